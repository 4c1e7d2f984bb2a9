"""Latent files as an enemy would make them: bytes, headers, records, layouts and values, each changed at random.

They begin as a file of one tensor, as one of several, and as one of schema 1, whose record says `shape`.
"""

import copy
import hashlib
import json
import random
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
from store_builders import key, latent, tensor

from latent_memory_plugin.store.packing import pack

RECORD = latent(id="a" * 32, created=1.0)
VALID = pack(RECORD, {"latent": tensor()}, key())
DATA_BYTES = 4 * (3 * 4 + 8)
NAMED = {"down_3": (2, 4), "scale": (1,), "up_3": (4, 2)}
LENGTHS = (
    0,
    1,
    2,
    8,
    79,
    80,
    81,
    1 << 16,
    (1 << 20) - 1,
    1 << 20,
    (1 << 20) + 1,
    1 << 31,
    1 << 32,
    1 << 63,
    (1 << 64) - 1,
)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 3, 4, 12, 48, 80, 2**31, 2**32 - 1, 2**63, 2**64, 10**19, 10**40, 0.0, 3.0, 1e308),
    *(
        float("nan"),
        float("inf"),
        "",
        "0",
        "1",
        "2",
        "3",
        "\0",
        "\ud800",
        "F16",
        "F64",
        "I32",
        "BF16",
        "f32",
        "float16",
    ),
    *(
        [],
        [3, 4],
        [4, 3],
        [12],
        [3, 4, 1],
        [0, 48],
        [48, 80],
        [0, 80],
        [48, 48],
        [80, 48],
        [-1, 47],
        [[3], [4]],
        [2**32] * 2,
    ),
    *(
        {},
        {"a": {}},
        [[[[[]]]]],
        "x" * 5000,
        ["a"] * 500,
        "../x",
        "other",
        "a" * 32,
        "soft_prompt",
        "hard_prompt",
        {"latent": [3, 4]},
        {"latent": [4, 3], "key": [8]},
        {"": [12]},
        "e" * 64,
    ),
)
TOKENS = (
    b"[" * 3000,
    b'{"a":' * 3000,
    b"9" * 5000,
    b"1e99999",
    b"NaN",
    b"-Infinity",
    b"\xff\xfe",
    b"\\ud800",
    b"\0",
    b'"',
    b"}",
    b"",
)


def several() -> bytes:
    record = latent(id="a" * 32, created=1.0, form="low_rank", shapes=NAMED)
    tensors = {name: tensor().ravel()[: np.prod(shape)].reshape(shape) for name, shape in NAMED.items()}
    return pack(record, tensors, key())


def first_schema() -> bytes:
    """The file as version 1 wrote it."""
    fields, data = split(VALID)
    record = json.loads(fields["__metadata__"]["record"])
    record["shape"] = record.pop("shapes")["latent"]
    fields["__metadata__"]["schema"] = "1"
    return sealed(fields, json.dumps(record), data)


def valid(rng: random.Random) -> bytes:
    return rng.choice(VALIDS)


def split(content: bytes) -> tuple[dict[str, Any], bytes]:
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def joined(header: bytes, data: bytes) -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def sealed(fields: dict[str, Any], record: str, data: bytes) -> bytes:
    """A file with this record and the hash that belongs to it, as an enemy would compute it."""
    names = (*sorted(fields.keys() - {"__metadata__", "key"}), "key")
    places = (fields[name]["data_offsets"] for name in names)
    content = record.encode(errors="surrogatepass") + b"".join(data[first:last] for first, last in places)
    fields["__metadata__"] |= {"record": record, "sha256": hashlib.sha256(content).hexdigest()}
    return rebuilt(fields, data)


def rebuilt(fields: dict[str, Any], data: bytes) -> bytes:
    return joined(json.dumps(fields).encode(), data)


def flipped(rng: random.Random) -> bytes:
    content = bytearray(valid(rng))
    for _ in range(rng.choice((1, 1, 2, 8))):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


def cut(rng: random.Random) -> bytes:
    content = valid(rng)
    if rng.random() < 0.5:
        return content[: rng.randrange(len(content))]
    return content + rng.randbytes(rng.randrange(1, 99))


def spliced(rng: random.Random) -> bytes:
    content = valid(rng)
    start, end, place = (rng.randrange(len(content)) for _ in range(3))
    return content[:place] + content[min(start, end) : max(start, end)] + content[place + rng.randrange(9) :]


def wrong_length(rng: random.Random) -> bytes:
    content = valid(rng)
    (length,) = struct.unpack("<Q", content[:8])
    lie = rng.choice((*LENGTHS, length + rng.randrange(-90, 90), rng.getrandbits(64)))
    return struct.pack("<Q", lie) + content[8:]


def noise(rng: random.Random) -> bytes:
    return joined(rng.randbytes(rng.randrange(200)), rng.randbytes(rng.randrange(200)))


def changed(fields: Any, rng: random.Random) -> None:
    """Replaces, deletes, adds or repeats one thing somewhere in JSON."""
    while True:
        places = list(fields) if isinstance(fields, dict) else list(range(len(fields)))
        place = rng.choice(places) if places else None
        inner = None if place is None else fields[place]
        if isinstance(inner, (dict, list)) and inner and rng.random() < 0.7:
            fields = inner
            continue
        break
    value, act = copy.deepcopy(rng.choice(VALUES)), rng.random()
    if place is None or act < 0.1:
        fields.update({str(rng.choice(VALUES)): value}) if isinstance(fields, dict) else fields.append(value)
    elif act < 0.25:
        del fields[place]
    else:
        fields[place] = value


def changed_header(rng: random.Random) -> bytes:
    fields, data = split(valid(rng))
    for _ in range(rng.choice((1, 1, 2, 3))):
        if fields:
            changed(fields, rng)
    return rebuilt(fields, data)


def changed_record(rng: random.Random) -> bytes:
    fields, data = split(valid(rng))
    record = json.loads(fields["__metadata__"]["record"])
    for _ in range(rng.choice((1, 1, 2))):
        if record:
            changed(record, rng)
    text = json.dumps(record, ensure_ascii=rng.random() < 0.5)
    return sealed(fields, text, data)


def raw_text(rng: random.Random) -> bytes:
    """Deep nesting, huge numbers, doubled names, invalid UTF-8 and other tokens in header or record."""
    fields, data = split(valid(rng))
    text = bytearray(json.dumps(fields).encode())
    place = rng.randrange(len(text))
    if rng.random() < 0.2:
        text[1:1] = rng.choice((b'"latent":{},', b'"key":3,', b'"__metadata__":{"schema":"1"},', b'"x":1,'))
    elif rng.random() < 0.5:
        record = bytearray(fields["__metadata__"]["record"].encode())
        place = rng.randrange(len(record))
        record[place : place + rng.randrange(20)] = rng.choice(TOKENS)
        return sealed(fields, record.decode(errors="replace"), data)
    else:
        text[place : place + rng.randrange(20)] = rng.choice(TOKENS)
    return joined(bytes(text), data)


def lying_layout(rng: random.Random) -> bytes:
    """Shapes, types and offsets of tensors that overlap, leave gaps, go beyond the end or are too many."""
    fields, data = split(VALID)
    record = json.loads(fields["__metadata__"]["record"])
    rows, columns, size = (rng.choice((0, 1, 2, 3, 4, 6, 12, 2**16, 2**33)) for _ in range(3))
    record["shapes"] = {"latent": [rows, columns]}
    if rng.random() < 0.2:
        record["shape"] = record.pop("shapes")["latent"]
    first, total = 4 * rows * columns, 4 * (rows * columns + size)
    if rng.random() < 0.8 and total < 5000:
        data = rng.randbytes(total) if rng.random() < 0.3 else bytes(total)
    places = [[0, first], [first, total]]
    if rng.random() < 0.6:
        bounds = [0, first, 4 * size, total, len(data), 2**63, rng.randrange(99)]
        places = [[4 * size, total], [0, 4 * size]] if rng.random() < 0.5 else [rng.choices(bounds, k=2) for _ in "12"]
    for name, shape, place in zip(("latent", "key"), ([rows, columns], [size]), places, strict=True):
        fields[name] = {"dtype": rng.choice(("F32",) * 5 + ("F16",)), "shape": shape, "data_offsets": place}
    if rng.random() < 0.2:
        extra = rng.choice(("extra", "latent2", "", "key ", "Latent", "../x"))
        fields[extra] = fields[rng.choice(("latent", "key"))]
        if rng.random() < 0.5:
            record.setdefault("shapes", {})[extra] = fields[extra]["shape"]
    text = json.dumps(record)
    return sealed(fields, text, data)


def wild_values(rng: random.Random) -> bytes:
    fields, data = split(valid(rng))
    values = np.frombuffer(data, "<f4").copy()
    for _ in range(rng.randrange(1, 4)):
        wild = (np.nan, np.inf, -np.inf, 1e5, -1.0001e4, 1e4, 3.4e38, 1e-45, -0.0, 0.5)
        values[rng.randrange(len(values))] = rng.choice(wild)
    return sealed(fields, fields["__metadata__"]["record"], values.astype("<f4").tobytes())


VALIDS = (VALID, several(), first_schema())
MUTATIONS: tuple[Callable[[random.Random], bytes], ...] = (
    *(flipped, cut, spliced, wrong_length, noise, changed_header, changed_record, raw_text, lying_layout, wild_values),
)
