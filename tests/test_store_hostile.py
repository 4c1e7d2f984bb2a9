"""Latent files made by an enemy: whatever bytes come, they are read whole or refused by an error of this library.

What is read has finite numbers, the shape its record says and the hash of its header; nothing in between is returned.
"""

import json
import os
import random
import re
import struct
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hostile_files import DATA_BYTES, MUTATIONS, RECORD, VALID, VALIDS, joined, rebuilt, split
from safetensors.numpy import load
from store_builders import ENCODER, MODEL, key, latent, tensor
from typer.testing import CliRunner

from latent_memory_plugin import errors
from latent_memory_plugin.cli import app
from latent_memory_plugin.records import Standing
from latent_memory_plugin.store import Store
from latent_memory_plugin.store.files import LatentFiles
from latent_memory_plugin.store.packing import MAX_FILE_BYTES, MAX_VALUE, parse, unpack
from latent_memory_plugin.store.root import ModelId

WHERE = Path("latents") / "file.safetensors"


def read(content: bytes) -> bool:
    """Whether a file is read; then it is whole. Anything but an error of this library goes through."""
    try:
        record, tensors, vector = unpack(content, WHERE)
    except errors.LatentMemoryError as exc:
        assert isinstance(exc, errors.StoreError) and str(WHERE) in str(exc) and len(str(exc)) < 3000
        return False
    assert parse(content, len(content), WHERE).latent == record
    arrays = load(content)
    assert arrays.pop("key").tobytes() == vector.tobytes() and vector.ndim == 1 and vector.size
    assert arrays.keys() == record.shapes.keys() and list(tensors) == list(record.shapes) != []
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", name) and name != "key" for name in tensors)
    for name, values in tensors.items():
        assert values.tobytes() == arrays[name].tobytes() and values.shape == record.shapes[name] and values.size
    for values in (*tensors.values(), vector):
        assert values.dtype == np.float32 and np.abs(values).max() <= MAX_VALUE and values.flags.writeable
    return True


def fuzz(cases: int, seed: int) -> None:
    rng = random.Random(seed)
    outcomes: dict[str, Counter[bool]] = {mutate.__name__: Counter() for mutate in MUTATIONS}
    for number in range(cases):
        mutate = MUTATIONS[number % len(MUTATIONS)]
        content = mutate(rng)
        try:
            outcomes[mutate.__name__][read(content)] += 1
        except Exception as exc:
            raise AssertionError(f"case {number} of seed {seed}, {mutate.__name__}: {content[:3000]!r}") from exc
    assert all(counts[False] for counts in outcomes.values()), outcomes
    assert all(outcomes[name][True] for name in ("changed_record", "lying_layout", "wild_values")), outcomes


def test_any_bytes_are_read_whole_or_refused() -> None:
    fuzz(3_000, seed=0)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_hundred_thousand_hostile_files_are_read_whole_or_refused() -> None:
    fuzz(100_000, seed=1)


def test_files_that_change_under_a_store_never_raise_a_foreign_error(tmp_path: Path) -> None:
    """The same through the files of a namespace: what is read also belongs to it, to its model and to its name."""
    rng = random.Random(2)
    files = LatentFiles(tmp_path, "default", ModelId(*MODEL))
    path = tmp_path / f"{RECORD.id}.safetensors"
    found = 0
    for number in range(1_000):
        path.write_bytes(MUTATIONS[number % len(MUTATIONS)](rng))
        for use in (files.record, files.read):
            try:
                result = use(RECORD.id)
            except errors.LatentMemoryError:
                continue
            record = result if not isinstance(result, tuple) else result[0]
            assert (record.id, record.namespace, record.fingerprint) == (RECORD.id, "default", MODEL[1])
            found += 1
    assert found


def enormous(record: dict[str, Any]) -> bytes:
    fields, data = split(VALID)
    fields["__metadata__"]["record"] = json.dumps(json.loads(RECORD.model_dump_json()) | record)
    return rebuilt(fields, data)


ENORMOUS: dict[str, Callable[[], bytes]] = {
    "nested lists": lambda: joined(b"[" * 1_000_000, b""),
    "nested objects": lambda: joined(b'{"a":' * 200_000, b""),
    "a long number": lambda: joined(b'{"a":' + b"9" * 1_000_000 + b"}", b""),
    "a long exponent": lambda: joined(b'{"a":1e' + b"9" * 1_000_000 + b"}", b""),
    "many names": lambda: rebuilt({str(number): [] for number in range(60_000)}, b""),
    "a shape without end": lambda: rebuilt(split(VALID)[0] | {"latent": {"shape": [1] * 300_000}}, b""),
    "a record of wrong parents": lambda: enormous({"parents": [1] * 300_000}),
    "a record of many names": lambda: enormous({str(number): 1 for number in range(50_000)}),
    "a long number in the record": lambda: enormous({"seed": "9" * 1_000_000}),
    "a long name": lambda: enormous({"namespace": "x" * 1_040_000}),
}  # fmt: skip


@pytest.mark.parametrize("make", ENORMOUS.values(), ids=ENORMOUS.keys())
def test_a_header_of_a_megabyte_is_refused_quickly_and_in_a_short_sentence(make: Callable[[], bytes]) -> None:
    content = make()
    start = time.process_time()
    with pytest.raises(errors.CorruptError) as refused:
        unpack(content, WHERE)
    assert time.process_time() - start < 5
    assert len(str(refused.value)) < 3000


def test_a_file_larger_than_any_latent_is_refused_unread(tmp_path: Path) -> None:
    files = LatentFiles(tmp_path, "default", None)
    path = tmp_path / f"{RECORD.id}.safetensors"
    path.write_bytes(VALID)
    os.truncate(path, 1 << 40)  # no disk space is used
    for use in (files.record, files.read):
        with pytest.raises(errors.CorruptError, match=rf"{RECORD.id}.*{MAX_FILE_BYTES:,}"):
            use(RECORD.id)
    path.write_bytes(struct.pack("<Q", (1 << 20) + 1) + b"{" * (1 << 21))
    with pytest.raises(errors.CorruptError, match=r"header.*1,048,577 bytes, at most 1,048,576"):
        files.record(RECORD.id)


@pytest.mark.skipif(os.name == "nt", reason="made with calls that Windows has not")
@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_file_is_refused_and_never_waited_for(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "default" / "latents" / f"{RECORD.id}.safetensors"
    path.parent.mkdir(parents=True)
    makers: dict[str, Callable[[], None]] = {
        "pipe": lambda: os.mkfifo(path),
        "folder": path.mkdir,
        "device": lambda: path.symlink_to("/dev/zero"),
    }
    makers[kind]()
    with pytest.warns(match="no regular file"), Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        assert list(store.latents()) == store.nearest(key()) == []
        with pytest.raises(errors.CorruptError, match=rf"{RECORD.id}.*no regular file"):
            store.tensors(RECORD.id)["latent"]


def test_a_link_to_another_namespace_shows_nothing_of_it(tmp_path: Path) -> None:
    with Store.open(tmp_path, "theirs", MODEL, ENCODER) as theirs, Store.open(tmp_path, "mine", MODEL, ENCODER) as mine:
        theirs.put(one := latent(namespace="theirs"), tensor(), key())
        name = f"{one.id}.safetensors"
        (tmp_path / "mine" / "latents" / name).symlink_to(tmp_path / "theirs" / "latents" / name)
        with pytest.raises(errors.CorruptError, match="namespace 'theirs'"):
            mine.tensors(one.id)["latent"]
        mine.remove(one.id)
        assert theirs.latent(one.id) == one


@pytest.mark.parametrize(
    ("changes", "values", "vector", "expected"),
    [
        ({}, tensor() * 1e6, key(), r"tensor.*at most 10000"),
        ({}, tensor(), key() * 2e4, r"key.*20000\b|key.*2e\+04, at most 10000"),
        ({}, tensor(), np.zeros(1 << 17, np.float32), r"key would take 524,288 bytes"),
        (
            {"shape": (4097, 4096)},
            np.zeros((4097, 4096), np.float32),
            key(),
            r"tensors would take .* at most 67,108,864",
        ),
        (
            {"parents": tuple("a" * 32 for _ in range(40_000))},
            tensor(),
            key(),
            r"header would take .* at most 1,048,576",
        ),
    ],
)
def test_what_could_not_be_read_again_is_not_stored(
    tmp_path: Path, changes: dict[str, Any], values: np.ndarray, vector: np.ndarray, expected: str
) -> None:
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        with pytest.raises(errors.InputError, match=expected):
            store.put(latent(**changes), values, vector)
        assert list(store.latents()) == []


def test_every_tensor_comes_back_by_its_name_bit_for_bit(tmp_path: Path) -> None:
    shapes = {"latent": (3, 4), "gate_0": (), "bias": (2, 1, 3), "a": (5,)}
    tensors = {name: np.random.default_rng(3).normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        store.put(one := latent(form="some_plugin", shapes=shapes), dict(reversed(tensors.items())), key())
        found = store.tensors(one.id)
        assert (list(found), store.latent(one.id)) == (list(shapes), one)
        assert all(found[name].tobytes() == values.tobytes() for name, values in tensors.items())
        assert all(found[name].shape == shape for name, shape in shapes.items())


@pytest.mark.parametrize(
    ("shapes", "given", "expected"),
    [
        ({"key": (8,)}, {"key": key()}, "a tensor is called 'key'"),
        ({"Up": (8,)}, {"Up": key()}, "a tensor is called 'Up'"),
        ({"a/b": (8,)}, {"a/b": key()}, "a tensor is called 'a/b'"),
        ({"a": (8,), "b": (8,)}, {"a": key()}, r"'b': \(8,\)"),
        ({"a": (8,)}, {"a": key(), "b": key()}, r"'b': \(8,\)"),
        ({"a": (2, 4)}, {"a": key()}, r"\(8,\).*\(2, 4\)"),
        ({"a": (8,)}, {"a": np.full(8, np.inf, np.float32)}, "'a'.*not finite"),
    ],
)
def test_tensors_that_are_not_those_of_the_record_or_have_no_name_for_a_file_are_refused(
    tmp_path: Path, shapes: dict[str, tuple[int, ...]], given: dict[str, np.ndarray], expected: str
) -> None:
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        with pytest.raises(errors.InputError, match=expected):
            store.put(latent(shapes=shapes), given, key())
        assert list(store.latents()) == []


def test_a_file_of_schema_1_is_read_as_it_was(tmp_path: Path) -> None:
    record, tensors, vector = unpack(VALIDS[2], WHERE)
    assert (record, record.shapes) == (RECORD, {"latent": (3, 4)})
    assert tensors["latent"].tobytes() == tensor().tobytes() and vector.tobytes() == key().tobytes()


def test_a_record_cannot_give_orders_to_the_terminal(tmp_path: Path) -> None:
    orders = "\x1b]0;owned\x07\x1b[2J\u202e"
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        store.put(one := latent(objective=orders), tensor(), key())
        store.stand(Standing(latent_id=one.id, reason=orders))
    for command in (["list"], ["show", one.id]):
        shown = CliRunner().invoke(app, [*command, "--root", str(tmp_path)])
        assert shown.exit_code == 0 and one.id[:8] in shown.stdout
        assert not re.search("[\x00-\x09\x0b-\x1f\u202e]", shown.stdout + shown.stderr)


def test_a_latent_file_is_a_safetensors_file() -> None:
    arrays = load(VALID)
    np.testing.assert_array_equal(arrays["latent"], tensor())
    np.testing.assert_array_equal(arrays["key"], key())
    assert len(VALID) - struct.unpack("<Q", VALID[:8])[0] - 8 == DATA_BYTES
