"""`Store`: one namespace of a root. The truth is written first, the index after it; opening mends what lies between.

A Latent is in the index where its file is there and its standing lets it be read.

Legend: P latent tokens, H hidden size, D key size.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from typing_extensions import Self

from latent_memory_plugin.errors import InputError, LatentMemoryError, NotFoundError
from latent_memory_plugin.records import USABLE, Episode, EpisodeState, Latent, Standing, Use
from latent_memory_plugin.store.database import Database
from latent_memory_plugin.store.files import LatentFiles, checked
from latent_memory_plugin.store.index import Index, Truth
from latent_memory_plugin.store.journal import Journal
from latent_memory_plugin.store.root import ModelId, Root, folder_name
from latent_memory_plugin.store.session import Session
from latent_memory_plugin.store.standings import Standings, UsableLatents


class Store(Session):
    """Episodes and Latents of one namespace. Safe in threads; several stores of one root in one process share its lock.

    Made by `open`. What a call has written when it returns survives a kill and a power cut. Every use after `close`
    raises StoreError.
    """

    def __init__(self, root: Root, namespace: str, model: ModelId | None, encoder: str | None) -> None:
        super().__init__(root, namespace)
        self.encoder = encoder
        """Name of the method that makes the keys; None where the store was opened for listing."""
        folder = root.path / folder_name(namespace)
        self._files = LatentFiles(folder / "latents", namespace, model)
        self._database = Database(folder / "journal.sqlite", namespace)
        self._journal, self._standings = Journal(self._database), Standings(self._database)
        with ExitStack() as undo:
            undo.callback(self._database.close)
            self._indexes = (
                None if encoder is None else (self._index("latents", encoder), self._index("episodes", encoder))
            )
            undo.pop_all()

    @classmethod
    def open(cls, root: Path, namespace: str, model: tuple[str, str] | None = None, encoder: str | None = None) -> Self:
        """Opens a namespace of a root, made where there is none, and mends its index.

        `model` is the name and the fingerprint of the model in use, `encoder` the name of its key method: a root
        belongs to one model, and keys of different encoders are never compared. With neither, the store is open for
        listing: whatever takes a key is refused, Latents of any model are shown, and Chroma is not started.

        Raises StoreLockedError, StoreWriteError, WrongModelError, CorruptError, InputError.
        """
        folder_name(namespace)
        if (model is None) != (encoder is None):
            raise InputError(f"model={model!r} and encoder={encoder!r} belong together; pass both, or neither to list.")
        shared = Root.open(Path(root))
        with ExitStack() as undo:
            undo.callback(shared.release)
            with shared.guard:
                owner = None if model is None else ModelId(*model)
                if owner:
                    shared.claim(owner)
                store = cls(shared, namespace, owner, encoder)
            undo.pop_all()
        return store

    def commit(self, episode: Episode, key: np.ndarray) -> None:
        """Writes a new episode with its key (D,). Raises InputError where its id is empty or taken or the key does not
        fit. A StoreWriteError that names the index instead of the journal means that the episode itself is kept."""
        if not episode.id:
            raise InputError(
                f"The episode {episode.question!r:.80} has an empty id; leave the id out to get a fresh one."
            )
        with self._entered():
            encoder, (_, index) = self._searchable()
            vector = index.checked(key)
            self._journal.add(episode, encoder, vector)
            index.add(episode.id, vector)

    def update(self, episode: Episode) -> None:
        """Replaces rollouts, vote, state and reason of an episode. Raises NotFoundError."""
        with self._entered():
            self._journal.update(episode)

    def episode(self, episode_id: str) -> Episode:
        """Raises NotFoundError."""
        with self._entered():
            return self._journal.episode(episode_id)

    def episode_key(self, episode_id: str) -> np.ndarray:
        """The key (D,) float32 of an episode. Raises NotFoundError, also where another encoder made it."""
        with self._entered():
            encoder, key = self._journal.key(episode_id)
        if self.encoder not in (None, encoder):
            raise NotFoundError(
                f"The key of the episode {episode_id!r} was made by {encoder!r}, not by {self.encoder!r}."
            )
        return key

    def episodes(self, state: EpisodeState | None = None) -> Iterator[Episode]:
        """All episodes or those in one state, in the order of their commits, a hundred in memory at a time."""
        last = 0
        while True:
            with self._entered():
                page = self._journal.page(state, last)
            if not page:
                return
            yield from (episode for _, episode in page)
            last = page[-1][0]

    def near_episodes(self, key: np.ndarray, limit: int) -> list[tuple[Episode, float]]:
        """Up to `limit` episodes with the cosine similarity, -1 to 1, of their keys to this one (D,), best first."""
        with self._entered():
            _, (_, index) = self._searchable()
            return [(self._journal.episode(item_id), nearness) for item_id, nearness in index.nearest(key, limit)]

    def put(self, latent: Latent, tensor: np.ndarray, key: np.ndarray) -> None:
        """Writes a new Latent: tensor (P, H) float32 and key (D,). Raises InputError where its namespace, encoder, id,
        shape or values do not fit, WrongModelError."""
        with self._entered():
            encoder, (index, _) = self._searchable()
            if latent.encoder != encoder:
                raise InputError(
                    f"The Latent's encoder is {latent.encoder!r}, the store's {encoder!r}; open one for that."
                )
            values, vector = checked(tensor, latent), index.checked(key)
            self._files.write(latent, values, vector)
            if self._standings.usable(latent.id):
                index.add(latent.id, vector)

    def tensor(self, latent_id: str) -> np.ndarray:
        """The tensor (P, H) float32 of a Latent. Raises NotFoundError, CorruptError, WrongModelError."""
        with self._entered():
            return self._files.read(latent_id)[1]

    def latent(self, latent_id: str) -> Latent:
        """The record of a Latent. Raises NotFoundError, CorruptError, WrongModelError."""
        with self._entered():
            return self._files.record(latent_id)

    def latent_key(self, latent_id: str) -> np.ndarray:
        """The key (D,) float32 of a Latent. Raises NotFoundError, also where another encoder made it, CorruptError,
        WrongModelError."""
        with self._entered():
            latent, _, key = self._files.read(latent_id)
        if self.encoder not in (None, latent.encoder):
            raise NotFoundError(
                f"The key of the Latent {latent_id!r} was made by {latent.encoder!r}, not by {self.encoder!r}."
            )
        return key

    def latents(self) -> Iterator[Latent]:
        """All Latents whatever their standing, oldest first, read from the headers one by one. A file that cannot be
        read is left out, warned of and kept in `problems`."""
        with self._entered():
            latents = self._files.stream()
        yield from latents

    @property
    def problems(self) -> dict[Path, LatentMemoryError]:
        """The Latent files met so far that cannot be used, and why."""
        return dict(self._files.problems)

    def nearest(self, key: np.ndarray, limit: int = 1) -> list[tuple[str, float]]:
        """Up to `limit` ids of usable Latents with the cosine similarity, -1 to 1, of their keys to this one (D,), best
        first."""
        with self._entered():
            _, (index, _) = self._searchable()
            return index.nearest(key, limit)

    def stand(self, standing: Standing) -> None:
        """Journals what a Latent may do now, which may be before it is put. Raises NotFoundError where the id is none
        of a Latent, InputError where the reason cannot be stored. A store open for listing leaves the index to the next
        opening with a model; until then a Latent that is usable again is not found, and one that is not any more is
        never returned."""
        with self._entered():
            stored, before = self._files.holds(standing.latent_id), self._standings.usable(standing.latent_id)
            self._standings.write(standing)
            if self._indexes and stored and before != (standing.state in USABLE):
                self._indexes[0].follow(standing.latent_id)

    def standing(self, latent_id: str) -> Standing:
        """What a Latent may do now: `live` since it was made where nothing was journaled of it. Raises NotFoundError
        where it is neither journaled nor stored, CorruptError, WrongModelError."""
        with self._entered():
            journaled = self._standings.read(latent_id)
            return journaled or Standing(latent_id=latent_id, since=self._files.record(latent_id).created)

    def record_uses(self, uses: Sequence[Use]) -> None:
        """Journals answers that read a Latent, all or none; a use of the same answer and Latent is replaced and keeps
        its place in the order. Raises InputError where a text cannot be stored."""
        with self._entered():
            self._standings.record_uses(uses)

    def uses(
        self, *, latent_id: str | None = None, answer_id: str | None = None, problem_hash: str | None = None
    ) -> list[Use]:
        """The uses that match every argument given, oldest first. Raises CorruptError."""
        with self._entered():
            return self._standings.uses(latent_id, answer_id, problem_hash)

    def remove(self, latent_id: str) -> None:
        """Deletes a Latent, readable or not, its standing and its uses; also what a removal that was cut short has left
        of them. Raises NotFoundError. A store open for listing leaves the index entry to the next opening with a model;
        until then it is never returned."""
        with self._entered():
            if self._files.holds(latent_id) or not self._standings.knows(latent_id):
                self._files.delete(latent_id)
            # After the file: one without a standing would be live.
            self._standings.forget(latent_id)
            if self._indexes:
                self._indexes[0].discard([latent_id])

    def _release(self) -> None:
        self._database.close()

    def _searchable(self) -> tuple[str, tuple[Index, Index]]:
        if self.encoder is None or self._indexes is None:
            raise InputError(
                "The store was opened for listing, without a model; pass model= and encoder= to `Store.open`."
            )
        return self.encoder, self._indexes

    def _index(self, kind: str, encoder: str) -> Index:
        truth: Truth = UsableLatents(self._files, self._standings) if kind == "latents" else self._journal
        digest = hashlib.sha256(encoder.encode()).hexdigest()[:8]
        return Index(self._root.chroma, f"{folder_name(self.namespace)}.{kind}.{digest}", truth, encoder)
