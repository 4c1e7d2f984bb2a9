"""The bytes of a Latent file: its tensors and, in the header, its whole record, as safetensors lays them out.

Whatever bytes come, reading them ends at once, with all they hold or with one error of this library: each bound is
checked before what it bounds is parsed. Legend: P latent tokens, H hidden size, D key size.
"""

import hashlib
import json
import os
import re
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from safetensors.numpy import save

from latent_memory_plugin.errors import CorruptError, InputError, StoreError
from latent_memory_plugin.records import Latent
from latent_memory_plugin.store.disk import reading
from latent_memory_plugin.store.schema import newer

SCHEMA = 1
"""Version of the header."""

MAX_HEADER_BYTES = 1 << 20
"""A header is about 2 KiB and grows by 35 bytes with every episode that it names."""
MAX_FILE_BYTES = 64 << 20
"""A thousand vectors of 16,384 numbers."""
MAX_KEY_VALUES = 1 << 16
"""D at most."""
MAX_VALUE = 1e4
"""No value is further from 0. Input embeddings stay below a few hundred also where a model scales them by √H, keys have
unit length, and float16 ends at 65,504."""

_LENGTH_BYTES = 8
_FIRST_READ_BYTES = 4096
_FLOAT32 = np.dtype("<f4")
_MAX_DIGITS = 20
_NUMBER = re.compile(r"[0-9]{1,9}")
_NEVER_ASSUMED = {"id", "form", "dtype", "created"}
_NAMES = {"__metadata__", "latent", "key"}, {"schema", "sha256", "record"}
_SLOT = {"dtype", "shape", "data_offsets"}


class Header(NamedTuple):
    """What the header of a Latent file says, checked against the size of the file."""

    latent: Latent
    """The record."""
    record: str
    """Its text, which the hash covers."""
    sha256: str
    """Hash of record, tensor and key, not compared with them yet."""
    starts: tuple[int, int]
    """Where the tensor and the key begin, in bytes from the beginning of the file."""
    key_values: int
    """D."""


def pack(latent: Latent, tensor: np.ndarray, key: np.ndarray) -> bytes:
    """The file of a Latent: tensor (P, H) and key (D,) float32. Raises InputError where `unpack` would refuse it."""
    record = latent.model_dump_json()
    metadata = {"schema": str(SCHEMA), "sha256": _digest(record, tensor, key), "record": record}
    content = save({"latent": tensor, "key": key}, metadata=metadata)
    if flaw := _oversized(tensor.size, key.size, len(content), _header_bytes(content)) or _extreme(tensor, key):
        raise InputError(f"The Latent {latent.id} cannot be stored: {flaw}.")
    return content


def unpack(content: bytes, where: Path) -> tuple[Latent, np.ndarray, np.ndarray]:
    """Record, tensor (P, H) and key (D,) float32 of a whole file, its hash and values checked; `where` is for errors.
    Raises CorruptError, and StoreError where the schema is newer."""
    header = parse(content, len(content), where)
    shape, (first, second) = header.latent.shape, header.starts
    tensor = np.frombuffer(content, _FLOAT32, shape[0] * shape[1], first).reshape(shape).astype(np.float32)  # (P, H)
    key = np.frombuffer(content, _FLOAT32, header.key_values, second).astype(np.float32)  # (D,)
    if header.sha256 != _digest(header.record, tensor, key):
        raise corrupt(where, "its content does not match the SHA-256 in its header")
    if flaw := _extreme(tensor, key):
        raise corrupt(where, flaw)
    return header.latent, tensor, key


def parse(content: bytes, size: int, where: Path) -> Header:
    """The header of a file of `size` bytes of which `content` is the beginning. Raises as `unpack` does."""
    length = _header_bytes(content)
    end = _LENGTH_BYTES + length
    if flaw := _oversized(0, 0, size, length):
        raise corrupt(where, flaw)
    if end > min(size, len(content)):
        raise corrupt(where, f"it ends within its header, after {min(size, len(content)):,} of {end:,} bytes")
    fields = _json(content[_LENGTH_BYTES:end], where)
    metadata = _metadata(fields, where)
    try:
        latent = Latent.from_json(metadata["record"].encode())
    except (InputError, UnicodeEncodeError) as exc:
        raise corrupt(where, str(exc)) from exc
    if missing := _NEVER_ASSUMED - latent.model_fields_set:
        raise corrupt(where, f"its record does not say {', '.join(sorted(missing))}")
    starts, key_values = _layout(fields, latent, size - end, where)
    return Header(latent, metadata["record"], metadata["sha256"], (end + starts[0], end + starts[1]), key_values)


def read_header(path: Path) -> Header:
    """The header of a file, and no more of it. Raises StoreError, from FileNotFoundError where there is none, and
    CorruptError."""
    with _opened(path) as (descriptor, size):
        content = os.read(descriptor, _FIRST_READ_BYTES)
        missing = _LENGTH_BYTES + _header_bytes(content) - len(content)
        if 0 < missing <= MAX_HEADER_BYTES:
            content += os.read(descriptor, missing)
    return parse(content, size, path)


def read_content(path: Path) -> bytes:
    """A whole file for `unpack`, read once; of a longer one than a Latent takes, a byte too many. Raises as
    `read_header` does."""
    with _opened(path) as (descriptor, size):
        return os.read(descriptor, min(size, MAX_FILE_BYTES) + 1)


def corrupt(where: Path, reason: str) -> CorruptError:
    """The refusal of a file that is not what was written."""
    return CorruptError(
        f"{str(where)!r} is no whole Latent file: {reason.rstrip('.'):.1000}. Restore it from a backup or delete it."
    )


@contextmanager
def _opened(path: Path) -> Generator[tuple[int, int], None, None]:
    """Descriptor and size in bytes of a file; a pipe or a folder is refused, and a pipe never waited for."""
    with reading(path):
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise corrupt(path, "it is no regular file")
            yield descriptor, status.st_size
        finally:
            os.close(descriptor)


def _header_bytes(content: bytes) -> int:
    return int.from_bytes(content[:_LENGTH_BYTES], "little")


def _json(text: bytes, where: Path) -> dict[str, Any]:
    try:
        fields = json.loads(text.decode(), object_pairs_hook=_unique, parse_int=_integer)
        if isinstance(fields, dict):
            return cast("dict[str, Any]", fields)
        raise ValueError("it is no object")
    except (ValueError, RecursionError) as exc:
        raise corrupt(where, f"its header is no JSON of this library ({exc})") from exc


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(fields := dict(pairs)) < len(pairs):
        raise ValueError("a name occurs twice")
    return fields


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"a number of {len(digits)} digits")
    return int(digits)


def _metadata(fields: dict[str, Any], where: Path) -> dict[str, str]:
    """Schema, hash and record, all texts, of the newest schema known."""
    found = fields.get("__metadata__")
    metadata = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    schema = metadata.get("schema")
    if isinstance(schema, str) and _NUMBER.fullmatch(schema) and int(schema) > SCHEMA:
        raise StoreError(newer(where, schema, SCHEMA, _writer(metadata)))
    if schema != str(SCHEMA):
        raise corrupt(where, f"its schema is {schema!r:.80}, not {SCHEMA}")
    if (fields.keys(), metadata.keys()) != _NAMES or not all(isinstance(text, str) for text in metadata.values()):
        names = sorted([*fields, *metadata])
        raise corrupt(where, f"its header has {names!r:.200}, not record, hash and schema as texts, a latent and a key")
    return metadata


def _writer(metadata: dict[str, Any]) -> object:
    """The version of the library that wrote a file of a newer schema; None where it cannot be found."""
    try:
        return json.loads(metadata["record"], parse_int=_integer)["version"]
    except (ValueError, RecursionError, KeyError, TypeError, IndexError):
        return None


def _layout(fields: dict[str, Any], latent: Latent, size: int, where: Path) -> tuple[tuple[int, int], int]:
    """Where tensor and key begin among the `size` bytes of both, and D. They fill them without gap or overlap."""
    shape, first, last = _slot(fields, "latent", where)
    key_shape, key_first, key_last = _slot(fields, "key", where)
    if shape != latent.shape or len(key_shape) != 1 or 0 in key_shape:
        found = f"{shape!s:.100} and {key_shape!s:.100}"
        raise corrupt(where, f"its tensors have the shapes {found}, not {latent.shape} and (D,)")
    count, key_count = shape[0] * shape[1], key_shape[0]
    if flaw := _oversized(count, key_count, 0, 0):
        raise corrupt(where, flaw)
    spans = [(0, 4 * count), (4 * count, size)], [(4 * key_count, size), (0, 4 * key_count)]
    if size != 4 * (count + key_count) or [(first, last), (key_first, key_last)] not in spans:
        said = f"{first}–{last} and {key_first}–{key_last}"
        raise corrupt(where, f"{count:,} and {key_count:,} numbers do not lie at the bytes {said} of {size:,}")
    return (first, key_first), key_count


def _slot(fields: dict[str, Any], name: str, where: Path) -> tuple[tuple[int, ...], int, int]:
    """Shape, first byte and end of a tensor, as the header has them."""
    match fields[name]:
        case {"dtype": "F32", "shape": [*shape], "data_offsets": [first, last]} if len(fields[name]) == len(_SLOT):
            if all(type(number) is int and number >= 0 for number in (*shape, first, last)):
                return tuple(shape), first, last
        case _:
            pass
    raise corrupt(where, f"its tensor {name!r} is {fields[name]!r:.200}, not F32 with a shape and two offsets")


def _oversized(values: int, key_values: int, file_bytes: int, header_bytes: int) -> str:
    """Which bound is broken, in words; nothing where none is."""
    for what, found, bound in (
        ("its header", header_bytes, MAX_HEADER_BYTES),
        ("its tensor", 4 * values, MAX_FILE_BYTES),
        ("its key", 4 * key_values, 4 * MAX_KEY_VALUES),
        ("the file", file_bytes, MAX_FILE_BYTES),
    ):
        if found > bound:
            return f"{what} would take {found:,} bytes, at most {bound:,} are allowed"
    return ""


def _extreme(tensor: np.ndarray, key: np.ndarray) -> str:
    """Which values are not finite or too large, in words; nothing where none is."""
    for name, values in (("tensor", tensor), ("key", key)):
        if not np.isfinite(values).all():
            return f"its {name} holds values that are not finite"
        if (largest := float(np.abs(values).max())) > MAX_VALUE:
            return f"its {name} holds a value of {largest:.3g}, at most {MAX_VALUE:g} is allowed"
    return ""


def _digest(record: str, tensor: np.ndarray, key: np.ndarray) -> str:
    digest = hashlib.sha256(record.encode())
    for array in (tensor, key):
        digest.update(array.astype(_FLOAT32).tobytes())
    return digest.hexdigest()
