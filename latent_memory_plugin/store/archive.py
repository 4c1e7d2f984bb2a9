"""An archive: a namespace, or some of its Latents, as one plain tar file with a manifest in front. How it is written.

Legend: D key size.
"""

import hashlib
import json
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, BinaryIO, NamedTuple

from pydantic import Field

from latent_memory_plugin.errors import StoreError
from latent_memory_plugin.frozen import Frozen
from latent_memory_plugin.records import Episode
from latent_memory_plugin.store.disk import TEMPORARY, move_file, writing

SCHEMA = 1
"""Version of the layout of an archive."""

MANIFEST = "manifest.json"
STANDINGS, USES, EPISODES = "standings.jsonl", "uses.jsonl", "episodes.jsonl"
MAX_MANIFEST_BYTES = 32 << 20
"""A manifest takes about 200 bytes for each Latent."""
MAX_TABLE_BYTES = (8 << 30) - 1
"""What the header of a tar member can say."""
BLOCK = 512
"""Members begin at multiples of this."""

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

    name: str
    """Its name in the archive."""
    read: Callable[[], Iterable[bytes]]
    """Its content, the same each time."""

    def member(self) -> Member:
        """Its line of the manifest."""
        digest, size = hashlib.sha256(), 0
        for chunk in self.read():
            digest.update(chunk)
            size += len(chunk)
        return Member(name=self.name, bytes=size, sha256=digest.hexdigest())


def write_archive(path: Path, manifest: Manifest, sources: Sequence[Source]) -> None:
    """Writes the archive whole or not at all, durable when it returns; a file that is there is replaced.

    Raises StoreWriteError, and StoreError where a source is not what the manifest says.
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
                for member, source in zip(manifest.members, sources, strict=True):
                    _append(file, member.name, member.bytes, _same(member, source, path))
                file.write(bytes(2 * BLOCK))
            move_file(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def _append(file: BinaryIO, name: str, size: int, chunks: Iterable[bytes]) -> None:
    header = tarfile.TarInfo(name)
    header.size, header.mode = size, 0o600
    file.write(header.tobuf(tarfile.USTAR_FORMAT))
    for chunk in chunks:
        file.write(chunk)
    file.write(bytes(-size % BLOCK))


def _same(member: Member, source: Source, path: Path) -> Iterator[bytes]:
    """The content of a source, refused at its end where it has changed."""
    digest, size = hashlib.sha256(), 0
    for chunk in source.read():
        digest.update(chunk)
        size += len(chunk)
        yield chunk
    if (size, digest.hexdigest()) != (member.bytes, member.sha256):
        raise StoreError(f"{member.name!r} changed while {str(path)!r} was written; export again.")
