"""How an archive is read: as if an enemy had written it.

Regular files alone are taken, in the order and of the sizes and hashes that the manifest says, and only under names
that an archive has; tarfile's extraction, which follows names and links, is never used.
"""

import hashlib
import json
import os
import tarfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

from latent_memory_plugin.errors import CorruptError, LatentMemoryError, StoreError
from latent_memory_plugin.store.archive import (
    BLOCK,
    EPISODES,
    MANIFEST,
    MAX_MANIFEST_BYTES,
    SCHEMA,
    STANDINGS,
    USES,
    Manifest,
    Member,
)
from latent_memory_plugin.store.disk import reading, writing
from latent_memory_plugin.store.packing import MAX_FILE_BYTES
from latent_memory_plugin.store.schema import newer

MAX_LINE_BYTES = 64 << 20
"""One episode with all its rollouts."""

_CHUNK = 1 << 20


def read_manifest(path: Path) -> Manifest:
    """The manifest of an archive. Raises StoreError, CorruptError."""
    with _opened(path) as file:
        return _manifest(file, path)


def unpack_archive(path: Path, folder: Path) -> Manifest:
    """Copies every member into a folder, its hash checked; names are those of the archive, of which the manifest knows
    no others than its own. Nothing is durable yet. Raises StoreError, StoreWriteError, CorruptError."""
    with _opened(path) as file:
        manifest = _manifest(file, path)
        for member in manifest.members:
            name, size = _next(file, path)
            if (name, size) != (member.name, member.bytes):
                raise refused(path, f"{name!r:.120} of {size:,} bytes stands where {member.name!r} belongs")
            _extract(file, member, folder / member.name, path)
        _finished(file, path)
    return manifest


def lines(path: Path) -> Iterator[bytes]:
    """The lines of an unpacked table, one in memory at a time. Raises CorruptError for one that is too long."""
    with reading(path), path.open("rb") as file:
        while line := file.readline(MAX_LINE_BYTES + 1):
            if len(line) > MAX_LINE_BYTES:
                raise refused(path, f"it has a line of more than {MAX_LINE_BYTES:,} bytes")
            yield line


@contextmanager
def _opened(path: Path) -> Generator[BinaryIO, None, None]:
    """The opened archive. What does not come from this library's own checks is a damaged file."""
    with reading(path):
        if not path.is_file():
            path.stat()  # names what is wrong where there is nothing
            raise refused(path, "it is no regular file")
        with path.open("rb") as file:
            try:
                yield file
            except (ValueError, RecursionError, tarfile.TarError) as exc:
                if isinstance(exc, LatentMemoryError):
                    raise
                raise refused(path, str(exc)) from exc


def _manifest(file: BinaryIO, path: Path) -> Manifest:
    name, size = _next(file, path)
    if name != MANIFEST or size > MAX_MANIFEST_BYTES:
        raise refused(path, f"it begins with {name!r:.120} of {size:,} bytes, not with a {MANIFEST}")
    fields: Any = json.loads(_content(file, size, path))
    _skip(file, -size % BLOCK, path)
    if not isinstance(fields, dict) or type(schema := cast(Any, fields).pop("schema", None)) is not int:
        raise refused(path, "its manifest names no schema")
    named = cast("dict[str, Any]", fields)
    if schema > SCHEMA:
        raise StoreError(newer(path, schema, SCHEMA, named.get("version")))
    try:
        manifest = Manifest.model_validate(named)
    except ValueError as exc:
        raise refused(path, f"its manifest is not of this library ({exc})") from exc
    _check_names(manifest, path)
    return manifest


def _check_names(manifest: Manifest, path: Path) -> None:
    tables = {STANDINGS, USES, EPISODES} if manifest.journal else {STANDINGS}
    names = [one.name for one in manifest.members]
    for one in manifest.members:
        if one.latent_id is None and one.name not in tables:
            raise refused(path, f"it has a member {one.name!r:.120}, which no archive has")
        if one.latent_id and one.bytes > MAX_FILE_BYTES:
            raise refused(path, f"{one.name!r} has {one.bytes:,} bytes, a Latent at most {MAX_FILE_BYTES:,}")
    if len(set(names)) < len(names):
        raise refused(path, "a member occurs twice")
    if missing := tables - set(names):
        raise refused(path, f"{sorted(missing)[0]!r} is missing")


def _next(file: BinaryIO, path: Path) -> tuple[str, int]:
    """Name and size of the next member; anything but a plain file is refused: links, devices, extended headers."""
    header = tarfile.TarInfo.frombuf(_content(file, BLOCK, path), "utf-8", "strict")
    if header.type != tarfile.REGTYPE or header.size < 0:
        raise refused(path, f"the member {header.name!r:.120} is no regular file")
    return header.name, header.size


def _extract(file: BinaryIO, member: Member, target: Path, path: Path) -> None:
    digest, left = hashlib.sha256(), member.bytes
    with writing(target), target.open("xb") as out:
        while left:
            chunk = _content(file, min(left, _CHUNK), path)
            digest.update(chunk)
            out.write(chunk)
            left -= len(chunk)
    _skip(file, -member.bytes % BLOCK, path)
    if digest.hexdigest() != member.sha256:
        raise refused(path, f"{member.name!r} does not match its SHA-256 in the manifest")


def _finished(file: BinaryIO, path: Path) -> None:
    """Raises CorruptError where more follows, or not even the end."""
    _skip(file, 2 * BLOCK, path)
    if len(rest := file.read(_CHUNK)) == _CHUNK or any(rest):
        raise refused(path, "more follows after its last member")


def _skip(file: BinaryIO, size: int, path: Path) -> None:
    if any(_content(file, size, path)):
        raise refused(path, "something stands between its members or after the last")


def _content(file: BinaryIO, size: int, path: Path) -> bytes:
    found = file.read(size)
    if len(found) < size:
        raise refused(path, f"it is cut short, at {os.fstat(file.fileno()).st_size:,} bytes")
    return found


def refused(path: Path, reason: str) -> CorruptError:
    """The refusal of an archive."""
    return CorruptError(
        f"{str(path)!r} is no whole archive: {reason:.1000}. Nothing of it was imported; export or copy it again."
    )
