"""Into a namespace: an archive, all of it or nothing. Verified in a staging folder before anything can be seen.

Legend: D key size.
"""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from latent_memory_plugin.errors import InputError, StoreError, WrongModelError
from latent_memory_plugin.frozen import Frozen
from latent_memory_plugin.records import Standing, Use
from latent_memory_plugin.store.archive import EPISODES, STANDINGS, USES, EpisodeLine, Manifest
from latent_memory_plugin.store.files import SUFFIX, LatentFiles
from latent_memory_plugin.store.redaction import short_latent, short_use
from latent_memory_plugin.store.root import ModelId
from latent_memory_plugin.store.session import Session
from latent_memory_plugin.store.staging import Staging, staged
from latent_memory_plugin.store.unpacking import lines, read_manifest, refused, unpack_archive

Line = TypeVar("Line", bound=Frozen)


class Imported(NamedTuple):
    """What an import has brought."""

    latent_ids: list[str]
    """The Latents that are new in the namespace."""
    episode_ids: list[str]
    """The episodes that are."""
    known: int
    """Latents and episodes that were there already, and are as they were."""


class _Arrival(NamedTuple):
    """An archive that is unpacked and verified."""

    path: Path
    """Where it is, for errors."""
    manifest: Manifest
    """What it holds."""
    staging: Staging
    """Its folder."""
    ready: LatentFiles
    """Its Latents, as files of this namespace."""

    def lines(self, name: str, kind: type[Line]) -> Iterator[Line]:
        """The records of a table. Raises CorruptError."""
        for line in lines(self.staging.folder / name):
            try:
                record = kind.from_json(line)
            except InputError as exc:
                raise refused(self.path, f"a line of {name!r} cannot be read ({exc})") from exc
            yield record


class Imports(Session):
    """The part of a store that takes in."""

    def import_from(self, path: Path) -> Imported:
        """Takes in all of an archive or nothing of it, whatever namespace it comes from; what is here already with the
        same content stays as it is. A root without a model belongs to the archive's from now on.

        Raises StoreError and CorruptError for what is no whole archive, WrongModelError, InputError where an id is
        taken by something else, StoreWriteError. Where that names the folder of the Latents, the next opening finishes
        the import.
        """
        manifest = read_manifest(path)
        model = self._fitting(manifest, path)
        with staged(self._files.folder.parent) as staging:
            if unpack_archive(path, staging.folder) != manifest:
                raise StoreError(f"{str(path)!r} changed while it was read; import it again.")
            arrival = _Arrival(path, manifest, staging, LatentFiles(staging.ready, self.namespace, model))
            self._rewrite(arrival, model)
            with self.exclusive():
                imported = self._commit(arrival)
                staging.finish(self._database)
                self._enter_index(imported)
        return imported

    def _fitting(self, manifest: Manifest, path: Path) -> ModelId:
        """The model of the archive, where it is the root's. Raises WrongModelError."""
        model = ModelId(manifest.model, manifest.fingerprint)
        with self._entered():
            owner = self._root.owner or model
        if owner.fingerprint != model.fingerprint:
            raise WrongModelError(
                f"The archive {str(path)!r} belongs to the model {model.name!r:.200} (fingerprint "
                f"{model.fingerprint[:12]!r}), the root to {owner.name!r:.200} (fingerprint "
                f"{owner.fingerprint[:12]!r}); import it into a root of its own model."
            )
        return model

    def _rewrite(self, arrival: _Arrival, model: ModelId) -> None:
        """The Latents as they came → verified files of this namespace."""
        came = LatentFiles(arrival.staging.arrived, arrival.manifest.namespace, model)
        for latent_id in arrival.manifest.latent_ids:
            try:
                latent, tensor, key = came.read(latent_id)
            except StoreError as exc:
                raise refused(arrival.path, f"its Latent {latent_id} cannot be read ({exc})") from exc
            own = latent.model_copy(update={"namespace": self.namespace})
            arrival.ready.write(own if self.keep_text else short_latent(own), tensor, key)
            (came.folder / f"{latent_id}{SUFFIX}").unlink()

    def _commit(self, arrival: _Arrival) -> Imported:
        """Journals, in one transaction, all that came and that its files shall follow."""
        ids = arrival.manifest.latent_ids
        new = [latent_id for latent_id in ids if not self._known(latent_id, arrival.ready)]
        self._root.claim(ModelId(arrival.manifest.model, arrival.manifest.fingerprint))
        with self._database.transaction():
            self._restore_standings(arrival, set(ids), set(new))
            episode_ids, known = self._restore_episodes(arrival) if arrival.manifest.journal else ([], 0)
            arrival.staging.commit(self._database)
        return Imported(new, episode_ids, len(ids) - len(new) + known)

    def _known(self, latent_id: str, ready: LatentFiles) -> bool:
        """Whether the same Latent is here already; then it need not follow. Raises InputError where it is another."""
        if not self._files.holds(latent_id):
            return False
        (latent, *arrays), (other, *others) = self._files.read(latent_id), ready.read(latent_id)
        if latent != other or not all(map(np.array_equal, arrays, others)):
            raise InputError(
                f"The Latent {latent_id} is stored in {self.namespace!r} with another content; forget it first, or "
                "import into another namespace. Nothing was imported."
            )
        (ready.folder / f"{latent_id}{SUFFIX}").unlink()
        return True

    def _restore_standings(self, arrival: _Arrival, ids: set[str], new: set[str]) -> None:
        """Standings of new Latents, and the uses that are not known yet."""
        for standing in arrival.lines(STANDINGS, Standing):
            self._check_owner(standing.latent_id, ids, arrival.path)
            if standing.latent_id in new:
                self._standings.write(standing)
        for use in arrival.lines(USES, Use) if arrival.manifest.journal else ():
            self._check_owner(use.latent_id, ids, arrival.path)
            self._standings.restore(use if self.keep_text else short_use(use))

    def _check_owner(self, latent_id: str, ids: set[str], path: Path) -> None:
        if latent_id not in ids:
            raise refused(path, f"it says something of {latent_id!r:.80}, a Latent that is not in it")

    def _restore_episodes(self, arrival: _Arrival) -> tuple[list[str], int]:
        """Ids of the new ones, and the number of those known already."""
        new: list[str] = []
        known = 0
        for line in arrival.lines(EPISODES, EpisodeLine):
            if self._journal.restore(line.episode, line.encoder, self._key(line, arrival.path)):
                new.append(line.episode.id)
            else:
                known += 1
        return new, known

    def _key(self, line: EpisodeLine, path: Path) -> np.ndarray:
        """The key (D,) float32 of an episode."""
        try:
            key = np.frombuffer(base64.b64decode(line.key, validate=True), "<f4").astype(np.float32)  # (D,)
        except ValueError as exc:
            raise refused(path, f"the key of the episode {line.episode.id!r:.80} cannot be read ({exc})") from exc
        if self._indexes and line.encoder == self.encoder:
            return self._indexes[1].checked(key)
        if not key.size or not np.isfinite(key).all():
            raise refused(path, f"the key of the episode {line.episode.id!r:.80} is not finite")
        return key

    def _enter_index(self, imported: Imported) -> None:
        for index, ids in zip(self._indexes or (), (imported.latent_ids, imported.episode_ids), strict=False):
            index.follow_all(ids)
