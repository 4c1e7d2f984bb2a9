"""`Store`: one namespace of a root. The truth is written first, the index after it; opening mends what lies between.

Legend: P latent tokens, H hidden size, D key size.
"""

import hashlib
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType

import numpy as np
from typing_extensions import Self

from latent_memory_plugin.errors import InputError, LatentMemoryError, NotFoundError, StoreError
from latent_memory_plugin.records import Episode, EpisodeState, Latent
from latent_memory_plugin.store.files import LatentFiles
from latent_memory_plugin.store.index import Index, Truth
from latent_memory_plugin.store.journal import Journal
from latent_memory_plugin.store.root import ModelId, Root, folder_name


class Store:
    """Episodes and Latents of one namespace. Safe in threads; several stores of one root in one process share its lock.

    Made by `open`. What a call has written when it returns survives a kill and a power cut. Every use after `close`
    raises StoreError.
    """

    def __init__(self, root: Root, namespace: str, model: ModelId | None, encoder: str | None) -> None:
        self.root = root.path
        """Folder of the root."""
        self.namespace = namespace
        """The namespace as the caller wrote it."""
        self.encoder = encoder
        """Name of the method that makes the keys; None where the store was opened for listing."""
        self._root = root
        self._closed = False
        folder = root.path / folder_name(namespace)
        self._files = LatentFiles(folder / "latents", namespace, model)
        self._journal = Journal(folder / "journal.sqlite", namespace)
        with ExitStack() as undo:
            undo.callback(self._journal.close)
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
            values, vector = _checked(tensor, latent), index.checked(key)
            self._files.write(latent, values, vector)
            index.add(latent.id, vector)

    def tensor(self, latent_id: str) -> np.ndarray:
        """The tensor (P, H) float32 of a Latent. Raises NotFoundError, CorruptError, WrongModelError."""
        with self._entered():
            return self._files.read(latent_id)[1]

    def latent(self, latent_id: str) -> Latent:
        """The record of a Latent. Raises NotFoundError, CorruptError, WrongModelError."""
        with self._entered():
            return self._files.record(latent_id)

    def latents(self) -> Iterator[Latent]:
        """All Latents, oldest first, read from the headers one by one. A file that cannot be read is left out, warned
        of and kept in `problems`."""
        with self._entered():
            latents = self._files.stream()
        yield from latents

    @property
    def problems(self) -> dict[Path, LatentMemoryError]:
        """The Latent files met so far that cannot be used, and why."""
        return dict(self._files.problems)

    def nearest(self, key: np.ndarray, limit: int = 1) -> list[tuple[str, float]]:
        """Up to `limit` Latent ids with the cosine similarity, -1 to 1, of their keys to this one (D,), best first."""
        with self._entered():
            _, (index, _) = self._searchable()
            return index.nearest(key, limit)

    def remove(self, latent_id: str) -> None:
        """Deletes a Latent, readable or not. Raises NotFoundError. A store open for listing leaves the index entry to
        the next opening with a model; until then it is never returned."""
        with self._entered():
            self._files.delete(latent_id)
            if self._indexes:
                self._indexes[0].discard([latent_id])

    def close(self) -> None:
        """Gives the namespace back, and the root where this was its last store. A second call does nothing."""
        with self._root.guard:
            if self._closed:
                return
            self._closed = True
            self._journal.close()
        self._root.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def _entered(self) -> Generator[None, None, None]:
        with self._root.guard:
            if self._closed:
                raise StoreError(f"The store of {self.namespace!r} in {str(self.root)!r} is closed; open it again.")
            yield

    def _searchable(self) -> tuple[str, tuple[Index, Index]]:
        if self.encoder is None or self._indexes is None:
            raise InputError(
                "The store was opened for listing, without a model; pass model= and encoder= to `Store.open`."
            )
        return self.encoder, self._indexes

    def _index(self, kind: str, encoder: str) -> Index:
        truth: Truth = self._files if kind == "latents" else self._journal
        digest = hashlib.sha256(encoder.encode()).hexdigest()[:8]
        return Index(self._root.chroma, f"{folder_name(self.namespace)}.{kind}.{digest}", truth, encoder)


def _checked(tensor: np.ndarray, latent: Latent) -> np.ndarray:
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(tensor, dtype=np.float32)  # (P, H)
    if values.shape != latent.shape:
        raise InputError(
            f"The tensor has shape {values.shape}, the Latent's record says {latent.shape}; pass a matching pair."
        )
    if not np.isfinite(values).all():
        raise InputError(f"The tensor of the Latent {latent.id} holds values that are not finite; it cannot be stored.")
    return values
