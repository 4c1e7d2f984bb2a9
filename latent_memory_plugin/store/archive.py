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
from typing import Annotated, Any, BinaryIO, TypeVar, cast

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


Source = tuple[Member, BinaryIO | Path]
"""A member to be written, and the file that is its content."""


class EpisodeLine(Frozen):
    """An episode as an archive has it."""

    episode: Episode
    """The record, without its texts where the namespace keeps none."""
    encoder: str
    """Name of the method that made the key."""
    key: str
    """The key (D,), little-endian float32 in base64."""


def source(name: str, file: BinaryIO | Path) -> Source:
    """A member to be written: a file that is open, or one that is opened when its turn comes, as it is now."""
    return _copied(name, _chunks(file)), file


def write_archive(path: Path, manifest: Manifest, sources: Sequence[Source]) -> None:
    """Writes the archive whole or not at all, durable when it returns; a file that is there is replaced. Raises
    StoreWriteError, and StoreError where a source has changed since."""
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
                for member, content in sources:
                    if _append(file, member.name, member.bytes, _chunks(content)) != member:
                        raise StoreError(f"{member.name!r} changed while {str(path)!r} was written; export again.")
                file.write(bytes(2 * _BLOCK))
            move_file(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def _append(file: BinaryIO, name: str, size: int, chunks: Iterable[bytes]) -> Member:
    header = tarfile.TarInfo(name)
    header.size, header.mode = size, 0o600
    file.write(header.tobuf(tarfile.USTAR_FORMAT))
    written = _copied(name, chunks, file)
    file.write(bytes(-size % _BLOCK))
    return written


def _copied(name: str, chunks: Iterable[bytes], file: BinaryIO | None = None) -> Member:
    """What was read, and written to a file where there is one."""
    digest, size = hashlib.sha256(), 0
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
        if file:
            file.write(chunk)
    return Member(name=name, bytes=size, sha256=digest.hexdigest())


def _chunks(file: BinaryIO | Path) -> Iterator[bytes]:
    if isinstance(file, Path):
        with reading(file), file.open("rb") as opened:
            yield from _chunks(opened)
        return
    file.seek(0)
    while chunk := file.read(_CHUNK):
        yield chunk


class Archive:
    """An archive that is read, once and from beginning to end. Whatever is wrong with it raises CorruptError."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self.path = path
        """Where it lies."""
        self.manifest = self._manifest()
        """What it says it holds."""
        self.latent_ids = frozenset(self.manifest.latent_ids)
        """The Latents in it."""

    def members(self) -> Iterator[tuple[Member, Iterator[bytes]]]:
        """Each member with its content, line by line; its hash is compared at its end."""
        for member in self.manifest.members:
            name, size = self._next()
            if (name, size) != (member.name, member.bytes):
                raise refused(self.path, f"{name!r:.120} of {size:,} bytes stands where {member.name!r} belongs")
            yield member, (content := self._lines(member))
            for _ in content:  # what nobody has read
                pass
            self._skip(-size % _BLOCK)
        self._skip(2 * _BLOCK)
        if len(rest := self._file.read(_CHUNK)) == _CHUNK or any(rest):
            raise refused(self.path, "more follows after its last member")

    def records(self, member: Member, content: Iterable[bytes], kind: type[Line]) -> Iterator[Line]:
        """The records of a table, one in memory at a time."""
        for line in content:
            try:
                yield kind.from_json(line)
            except InputError as exc:
                raise refused(self.path, f"a line of {member.name!r} cannot be read ({exc})") from exc

    def _lines(self, member: Member) -> Iterator[bytes]:
        digest, left = hashlib.sha256(), member.bytes
        while left:
            line = self._file.readline(min(left, MAX_LINE_BYTES + 1))
            if not line:
                raise self._cut()
            if len(line) > MAX_LINE_BYTES:
                raise refused(self.path, f"{member.name!r} has a line of more than {MAX_LINE_BYTES:,} bytes")
            digest.update(line)
            left -= len(line)
            yield line
        if digest.hexdigest() != member.sha256:
            raise refused(self.path, f"{member.name!r} does not match its SHA-256 in the manifest")

    def _manifest(self) -> Manifest:
        name, size = self._next()
        if name != MANIFEST or size > MAX_MANIFEST_BYTES:
            raise refused(self.path, f"it begins with {name!r:.120} of {size:,} bytes, not with a {MANIFEST}")
        fields: Any = json.loads(self._content(size))
        self._skip(-size % _BLOCK)
        if not isinstance(fields, dict) or type(schema := cast(Any, fields).pop("schema", None)) is not int:
            raise refused(self.path, "its manifest names no schema")
        named = cast("dict[str, Any]", fields)
        if schema > SCHEMA:
            raise StoreError(newer(self.path, schema, SCHEMA, named.get("version")))
        manifest = Manifest.model_validate(named)
        tables = {STANDINGS, USES, EPISODES} if manifest.journal else {STANDINGS}
        names = [one.name for one in manifest.members]
        for one in manifest.members:
            if one.latent_id is None and one.name not in tables:
                raise refused(self.path, f"it has a member {one.name!r:.120}, which no archive has")
            if one.latent_id and one.bytes > MAX_FILE_BYTES:
                raise refused(self.path, f"{one.name!r} has {one.bytes:,} bytes, a Latent at most {MAX_FILE_BYTES:,}")
        if len(set(names)) < len(names) or not tables <= set(names):
            raise refused(self.path, "a member occurs twice, or a table is missing")
        return manifest

    def _next(self) -> tuple[str, int]:
        """Name and size of the next member; anything but a plain file is refused: links, devices, extended headers."""
        header = tarfile.TarInfo.frombuf(self._content(_BLOCK), "utf-8", "strict")
        if header.type != tarfile.REGTYPE or header.size < 0:
            raise refused(self.path, f"the member {header.name!r:.120} is no regular file")
        return header.name, header.size

    def _skip(self, size: int) -> None:
        if any(self._content(size)):
            raise refused(self.path, "something stands between its members or after the last")

    def _content(self, size: int) -> bytes:
        found = self._file.read(size)
        if len(found) < size:
            raise self._cut()
        return found

    def _cut(self) -> CorruptError:
        return refused(self.path, f"it is cut short, at {os.fstat(self._file.fileno()).st_size:,} bytes")


@contextmanager
def opened_archive(path: Path) -> Generator[Archive, None, None]:
    """The archive of a path. Raises StoreError, and CorruptError where it is none."""
    with reading(path):
        if not path.is_file():
            path.stat()  # names what is wrong where there is nothing
            raise refused(path, "it is no regular file")
        with path.open("rb") as file:
            try:
                yield Archive(file, path)
            except (ValueError, RecursionError, tarfile.TarError) as exc:
                if isinstance(exc, LatentMemoryError):
                    raise
                raise refused(path, str(exc)) from exc


def refused(path: Path, reason: str) -> CorruptError:
    """The refusal of an archive."""
    return CorruptError(
        f"{str(path)!r} is no whole archive: {reason:.1000}. Nothing of it was imported; export or copy it again."
    )
