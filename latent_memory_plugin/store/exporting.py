"""Out of a namespace: all of it, or single Latents, as an archive.

Legend: D key size.
"""

import base64
from collections.abc import Collection, Iterator
from pathlib import Path

from latent_memory_plugin import __version__
from latent_memory_plugin.errors import InputError
from latent_memory_plugin.frozen import Frozen
from latent_memory_plugin.records import Episode
from latent_memory_plugin.store.archive import EPISODES, STANDINGS, USES, EpisodeLine, Manifest, Source, write_archive
from latent_memory_plugin.store.files import SUFFIX
from latent_memory_plugin.store.packing import read_content
from latent_memory_plugin.store.session import Session


class Exports(Session):
    """The part of a store that hands over."""

    def export_to(self, path: Path, latent_ids: Collection[str] | None = None) -> Manifest:
        """Writes an archive of the namespace with its journal, or of the named Latents with their standings alone; a
        file that is there is replaced. Other uses of the root wait meanwhile.

        Raises InputError where there is nothing to export, NotFoundError, CorruptError for a Latent that cannot be
        read, StoreWriteError.
        """
        with self.exclusive():
            # Before the snapshot: the standing of a Latent is older than its file, and without one it would be live.
            ids = sorted(self._files.ids() if latent_ids is None else set(latent_ids))
            with self._database.snapshot():
                sources = self._sources(ids, latent_ids is None)
                manifest = self._manifest(ids, latent_ids is None, sources)
                write_archive(path, manifest, sources)
        return manifest

    def _sources(self, ids: Collection[str], whole: bool) -> list[Source]:
        sources = [Source(STANDINGS, lambda: self._standing_lines(ids)), *map(self._latent, ids)]
        if whole:
            sources += [Source(USES, lambda: self._use_lines(set(ids))), Source(EPISODES, self._episode_lines)]
        return sources

    def _manifest(self, ids: Collection[str], whole: bool, sources: Collection[Source]) -> Manifest:
        owner = self._root.owner
        if owner is None or not (whole or ids):
            raise InputError(f"There is nothing to export from {self.namespace!r}; name Latents that are stored.")
        encoders = {self._files.record(latent_id).encoder for latent_id in ids}
        return Manifest(
            version=__version__,
            namespace=self.namespace,
            model=owner.name,
            fingerprint=owner.fingerprint,
            encoders=tuple(sorted(encoders | (self._journal.encoders() if whole else set()))),
            journal=whole,
            members=tuple(source.member() for source in sources),
        )

    def _latent(self, latent_id: str) -> Source:
        def read() -> Iterator[bytes]:
            self._files.read(latent_id)  # whole, and of this namespace and model
            yield read_content(self._files.folder / f"{latent_id}{SUFFIX}")

        return Source(f"latents/{latent_id}{SUFFIX}", read)

    def _standing_lines(self, ids: Collection[str]) -> Iterator[bytes]:
        return (_line(standing) for latent_id in ids if (standing := self._standings.read(latent_id)))

    def _use_lines(self, ids: Collection[str]) -> Iterator[bytes]:
        return (_line(use) for use in self._standings.stream_uses() if use.latent_id in ids)

    def _episode_lines(self) -> Iterator[bytes]:
        for episode in self._all_episodes():
            encoder, key = self._journal.key(episode.id)
            text = base64.b64encode(key.astype("<f4").tobytes()).decode()
            yield _line(EpisodeLine(episode=self._journal.written(episode), encoder=encoder, key=text))

    def _all_episodes(self) -> Iterator[Episode]:
        last = 0
        while page := self._journal.page(None, last):
            yield from (episode for _, episode in page)
            last = page[-1][0]


def _line(record: Frozen) -> bytes:
    return record.model_dump_json().encode() + b"\n"
