"""An archive: a namespace, or some of its Latents, as one plain tar file with a manifest in front.

It is read as if an enemy had written it: regular files alone are taken, in the order and of the sizes and hashes that
the manifest says, and only under names that an archive has; tarfile's extraction, which follows names and links, is
never used, nor its reading of extended headers, which take as much memory as they ask for. Legend: D key size.
"""

import hashlib
import json
import os
import re
import tarfile
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO, NamedTuple, TypeVar, cast

from pydantic import Field

from latent_memory_plugin.errors import CorruptError, InputError, LatentMemoryError, StoreError
from latent_memory_plugin.frozen import Frozen
from latent_memory_plugin.records import Episode
from latent_memory_plugin.store.disk import TEMPORARY, move_file, reading, writing
from latent_memory_plugin.store.packing import MAX_FILE_BYTES
from latent_memory_plugin.store.schema import newer

Line = TypeVar("Line", bound=Frozen)

SCHEMA = 1
"""Version of the layout of an archive."""

MANIFEST = "manifest.json"
STANDINGS, USES, EPISODES = "standings.jsonl", "uses.jsonl", "episodes.jsonl"
MAX_MANIFEST_BYTES = 32 << 20
"""A manifest takes about 200 bytes for each Latent."""
MAX_TABLE_BYTES = (8 << 30) - 1
"""What the header of a tar member can say."""
MAX_LINE_BYTES = 64 << 20
"""One episode with all its rollouts."""

_BLOCK = tarfile.BLOCKSIZE
_CHUNK = 1 << 20
_LATENT_NAME = re.compile(r"latents/([0-9a-f]{32})\.safetensors")


class Member(Frozen):
    """One file of an archive."""

    name: str
    """`latents/<id>.safetensors`, or one of the tables."""
    bytes: Annotated[int, Field(ge=0, le=MAX_TABLE_BYTES)]
    """Its size."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Hash of its content."""

    @property
    def latent_id(self) -> str | None:
        """The id of the Latent it is; None for a table."""
        found = _LATENT_NAME.fullmatch(self.name)
        return found[1] if found else None


class Manifest(Frozen):
    """What an archive holds; the schema stands beside these fields."""

    version: str
    """Version of the library that wrote it."""
    namespace: str
    """The namespace it was taken from."""
    model: str
    """Name of the model its Latents belong to."""
    fingerprint: Annotated[str, Field(min_length=1, max_length=200)]
    """Fingerprint of that model."""
    encoders: tuple[str, ...]
    """Names of the methods that made the keys in it."""
    journal: bool
    """True where the episodes, their texts, and the uses are in it."""
    members: tuple[Member, ...]
    """Every other file, in its order in the archive."""

    @property
    def latent_ids(self) -> list[str]:
        """The Latents in it."""
        return [latent_id for one in self.members if (latent_id := one.latent_id)]


class EpisodeLine(Frozen):
    """An episode as an archive has it."""

    episode: Episode
    """The record, without its texts where the namespace keeps none."""
    encoder: str
    """Name of the method that made the key."""
    key: str
    """The key (D,), little-endian float32 in base64."""


class Source(NamedTuple):
    """A member to be written."""

    member: Member
    """Its line of the manifest."""
    file: BinaryIO | Path
    """Its content: a file that is open, read from its beginning, or one that is opened when its turn comes."""

    @classmethod
    def of(cls, name: str, file: BinaryIO | Path) -> "Source":
        """The member of a file as it is now."""
        digest, size = hashlib.sha256(), 0
        for chunk in _chunks(file):
            digest.update(chunk)
            size += len(chunk)
        return cls(Member(name=name, bytes=size, sha256=digest.hexdigest()), file)


# -- writing


def write_archive(path: Path, manifest: Manifest, sources: Sequence[Source]) -> None:
    """Writes the archive whole or not at all, durable when it returns; a file that is there is replaced.

    Raises StoreWriteError, and StoreError where a source has changed since.
    """
    temporary = path.with_name(path.name + TEMPORARY)
    text = json.dumps({"schema": SCHEMA} | manifest.model_dump(mode="json"), ensure_ascii=False).encode()
    if len(text) > MAX_MANIFEST_BYTES:
        raise StoreError(
            f"The manifest of {str(path)!r} would take {len(text):,} bytes, at most {MAX_MANIFEST_BYTES:,} can be read "
            "again; export fewer Latents at a time."
        )
    with writing(path):
        try:
            with temporary.open("wb") as file:
                _append(file, MANIFEST, len(text), [text])
                for member, source in sources:
                    _append(file, member.name, member.bytes, _same(member, source, path))
                file.write(bytes(2 * _BLOCK))
            move_file(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def _append(file: BinaryIO, name: str, size: int, chunks: Iterable[bytes]) -> None:
    header = tarfile.TarInfo(name)
    header.size, header.mode = size, 0o600
    file.write(header.tobuf(tarfile.USTAR_FORMAT))
    for chunk in chunks:
        file.write(chunk)
    file.write(bytes(-size % _BLOCK))


def _same(member: Member, source: BinaryIO | Path, path: Path) -> Iterator[bytes]:
    """The content of a source, refused at its end where it has changed."""
    digest, size = hashlib.sha256(), 0
    for chunk in _chunks(source):
        digest.update(chunk)
        size += len(chunk)
        yield chunk
    if (size, digest.hexdigest()) != (member.bytes, member.sha256):
        raise StoreError(f"{member.name!r} changed while {str(path)!r} was written; export again.")


def _chunks(file: BinaryIO | Path) -> Iterator[bytes]:
    if isinstance(file, Path):
        with reading(file), file.open("rb") as opened:
            yield from _chunks(opened)
        return
    file.seek(0)
    while chunk := file.read(_CHUNK):
        yield chunk


# -- reading


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
        _skip(file, 2 * _BLOCK, path)
        if len(rest := file.read(_CHUNK)) == _CHUNK or any(rest):
            raise refused(path, "more follows after its last member")
    return manifest


def lines(table: Path, kind: type[Line], path: Path) -> Iterator[Line]:
    """The records of an unpacked table, one in memory at a time; `path` is the archive's. Raises CorruptError."""
    with reading(table), table.open("rb") as file:
        while line := file.readline(MAX_LINE_BYTES + 1):
            if len(line) > MAX_LINE_BYTES:
                raise refused(path, f"{table.name!r} has a line of more than {MAX_LINE_BYTES:,} bytes")
            try:
                record = kind.from_json(line)
            except InputError as exc:
                raise refused(path, f"a line of {table.name!r} cannot be read ({exc})") from exc
            yield record


def refused(path: Path, reason: str) -> CorruptError:
    """The refusal of an archive."""
    return CorruptError(
        f"{str(path)!r} is no whole archive: {reason:.1000}. Nothing of it was imported; export or copy it again."
    )


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
    _skip(file, -size % _BLOCK, path)
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
    header = tarfile.TarInfo.frombuf(_content(file, _BLOCK, path), "utf-8", "strict")
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
    _skip(file, -member.bytes % _BLOCK, path)
    if digest.hexdigest() != member.sha256:
        raise refused(path, f"{member.name!r} does not match its SHA-256 in the manifest")


def _skip(file: BinaryIO, size: int, path: Path) -> None:
    if any(_content(file, size, path)):
        raise refused(path, "something stands between its members or after the last")


def _content(file: BinaryIO, size: int, path: Path) -> bytes:
    found = file.read(size)
    if len(found) < size:
        raise refused(path, f"it is cut short, at {os.fstat(file.fileno()).st_size:,} bytes")
    return found
