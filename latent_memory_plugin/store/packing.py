"""The bytes of a Latent file: its tensors, its key and, in the header, its whole record, as safetensors lays them out.

Whatever bytes come, reading them ends at once, with all they hold or with one error of this library: each bound is
checked before what it bounds is parsed; how the tensors lie in the file is checked by safetensors. Legend: D key size.
"""

import hashlib
import json
import os
import re
import stat
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from latent_memory_plugin.errors import CorruptError, InputError, StoreError
from latent_memory_plugin.records import Latent
from latent_memory_plugin.store.disk import reading
from latent_memory_plugin.store.schema import newer

SCHEMA = 2
"""Version of the header. Files of version 1 hold one tensor, `latent`, whose shape their record calls `shape`."""

MAX_HEADER_BYTES = 1 << 20
"""A header is about 2 KiB and grows by 35 bytes with every episode that it names."""
MAX_FILE_BYTES = 64 << 20
"""A thousand vectors of 16,384 numbers."""
MAX_KEY_VALUES = 1 << 16
"""D at most."""
MAX_VALUE = 1e4
"""No value is further from 0. Input embeddings stay below a few hundred also where a model scales them by √H, keys have
unit length, and float16 ends at 65,504."""

KEY = "key"
"""The name of the key among the tensors."""

_LENGTH_BYTES = 8
_FIRST_READ_BYTES = 4096
_MAX_DIGITS = 20
_NUMBER = re.compile(r"[0-9]{1,9}")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_NEVER_ASSUMED = {"id", "form", "dtype", "created"}
_TEXTS = {"schema", "sha256", "record"}

Tensors = Mapping[str, np.ndarray]
"""By name, float32; their names and shapes are in the record of their Latent."""


class Header(NamedTuple):
    """What the header of a Latent file says, checked against the size of the file."""

    latent: Latent
    """The record."""
    record: str
    """Its text, which the hash covers."""
    sha256: str
    """Hash of record, tensors and key, not compared with them yet."""


class Content(NamedTuple):
    """What a Latent file holds, checked against its hash."""

    latent: Latent
    """The record."""
    tensors: dict[str, np.ndarray]
    """By name, float32, in the order of the record's shapes."""
    key: np.ndarray
    """(D,) float32."""


def pack(latent: Latent, tensors: Tensors, key: np.ndarray) -> bytes:
    """The file of a Latent: tensors of the record's names and shapes, and key (D,), all float32. Raises InputError
    where `unpack` would refuse it."""
    record = latent.model_dump_json()
    metadata = {"schema": str(SCHEMA), "sha256": _digest(record, tensors, key), "record": record}
    flaw = _misnamed(latent) or _extreme(tensors, key)
    content = b"" if flaw else save({**tensors, KEY: key}, metadata=metadata)
    size = sum(array.nbytes for array in tensors.values())
    if flaw := flaw or _oversized(size, key.nbytes, len(content), _header_bytes(content)):
        raise InputError(f"The Latent {latent.id} cannot be stored: {flaw}.")
    return content


def unpack(content: bytes, where: Path) -> Content:
    """All of a whole file, its hash and values checked; `where` is for errors. Raises CorruptError, and StoreError
    where the schema is newer."""
    header = parse(content, len(content), where)
    try:
        arrays = load(content)
    except (SafetensorError, ValueError, KeyError, TypeError, OverflowError) as exc:
        raise corrupt(where, f"its tensors cannot be read ({exc})") from exc
    if wrong := [f"{name!r} is {array.dtype}" for name, array in arrays.items() if array.dtype != np.float32]:
        raise corrupt(where, f"its tensor {wrong[0]:.200}, not float32")
    shapes, key = header.latent.shapes, np.array(arrays.pop(KEY), np.float32)  # (D,)
    if {name: array.shape for name, array in arrays.items()} != shapes or key.ndim != 1 or not key.size:
        found = {name: array.shape for name, array in (*arrays.items(), (KEY, key))}
        raise corrupt(where, f"its tensors have the shapes {found!s:.300}, not {shapes!s:.300} and (D,)")
    tensors = {name: np.array(arrays[name], np.float32) for name in shapes}
    if header.sha256 != _digest(header.record, tensors, key):
        raise corrupt(where, "its content does not match the SHA-256 in its header")
    if flaw := _oversized(0, key.nbytes, 0, 0) or _extreme(tensors, key):
        raise corrupt(where, flaw)
    return Content(header.latent, tensors, key)


def parse(content: bytes, size: int, where: Path) -> Header:
    """The header of a file of `size` bytes of which `content` is the beginning. Raises as `unpack` does."""
    length = _header_bytes(content)
    end = _LENGTH_BYTES + length
    if flaw := _oversized(0, 0, size, length):
        raise corrupt(where, flaw)
    if end > min(size, len(content)):
        raise corrupt(where, f"it ends within its header, after {min(size, len(content)):,} of {end:,} bytes")
    fields = _json(content[_LENGTH_BYTES:end], where)
    metadata = _metadata(fields.pop("__metadata__", None), where)
    try:
        latent = Latent.from_json(metadata["record"].encode())
    except (InputError, UnicodeEncodeError) as exc:
        raise corrupt(where, str(exc)) from exc
    if missing := _NEVER_ASSUMED - latent.model_fields_set:
        raise corrupt(where, f"its record does not say {', '.join(sorted(missing))}")
    if flaw := _misnamed(latent) or _misplaced(fields, latent, size - end):
        raise corrupt(where, flaw)
    return Header(latent, metadata["record"], metadata["sha256"])


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


def _metadata(found: Any, where: Path) -> dict[str, str]:
    """Schema, hash and record, all texts, of a schema that is known."""
    metadata = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
    schema = metadata.get("schema")
    number = int(schema) if isinstance(schema, str) and _NUMBER.fullmatch(schema) else 0
    if number > SCHEMA:
        raise StoreError(newer(where, schema, SCHEMA, _writer(metadata)))
    if not number:
        raise corrupt(where, f"its schema is {schema!r:.80}, not 1 to {SCHEMA}")
    if metadata.keys() != _TEXTS or not all(isinstance(text, str) for text in metadata.values()):
        raise corrupt(where, f"its header has {sorted(metadata)!r:.200}, not record, hash and schema as texts")
    return metadata


def _writer(metadata: dict[str, Any]) -> object:
    """The version of the library that wrote a file of a newer schema; None where it cannot be found."""
    try:
        return json.loads(metadata["record"], parse_int=_integer)["version"]
    except (ValueError, RecursionError, KeyError, TypeError, IndexError):
        return None


def _misnamed(latent: Latent) -> str:
    """Which tensor has a name that none may have, in words; nothing where all are fine."""
    wrong = [name for name in latent.shapes if name == KEY or not _NAME.fullmatch(name)]
    return f"a tensor is called {wrong[0]!r:.80}, not by small letters, digits and '_' or by {KEY!r}" if wrong else ""


def _misplaced(fields: Mapping[str, Any], latent: Latent, size: int) -> str:
    """What shows without reading them that the tensors are not those of the record, or do not fill `size` bytes."""
    if set(fields) != {*latent.shapes, KEY}:
        return f"its tensors are {sorted(fields)!r:.200}, not {sorted(latent.shapes)!r:.200} and {KEY!r}"
    try:
        end = max(slot["data_offsets"][1] for slot in fields.values())
    except (TypeError, KeyError, IndexError) as exc:
        return f"its header does not say where its tensors lie ({exc!r})"
    return "" if end == size else f"its tensors end at byte {end!r:.80} of {size:,}"


def _oversized(tensor_bytes: int, key_bytes: int, file_bytes: int, header_bytes: int) -> str:
    """Which bound is broken, in words; nothing where none is."""
    for what, found, bound in (
        ("its header", header_bytes, MAX_HEADER_BYTES),
        ("its tensors", tensor_bytes, MAX_FILE_BYTES),
        ("its key", key_bytes, 4 * MAX_KEY_VALUES),
        ("the file", file_bytes, MAX_FILE_BYTES),
    ):
        if found > bound:
            return f"{what} would take {found:,} bytes, at most {bound:,} are allowed"
    return ""


def _extreme(tensors: Tensors, key: np.ndarray) -> str:
    """Which values are not finite or too large, in words; nothing where none is."""
    for what, values in (*((f"tensor {name!r}", array) for name, array in tensors.items()), (KEY, key)):
        if not np.isfinite(values).all():
            return f"its {what} holds values that are not finite"
        if (largest := float(np.abs(values).max())) > MAX_VALUE:
            return f"its {what} holds a value of {largest:.3g}, at most {MAX_VALUE:g} is allowed"
    return ""


def _digest(record: str, tensors: Tensors, key: np.ndarray) -> str:
    """Of the record, the tensors in the order of their names, and the key."""
    digest = hashlib.sha256(record.encode())
    for array in (*(tensors[name] for name in sorted(tensors)), key):
        digest.update(array.astype("<f4").tobytes())
    return digest.hexdigest()
