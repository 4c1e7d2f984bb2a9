"""What the stages need of a store, so that real ones and fakes are exchanged. Legend: P latent tokens, H hidden size,
D key size."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np

    from latent_memory_plugin.records import (
        Episode,
        EpisodeState,
        Evicted,
        Holding,
        Latent,
        Neighbour,
        Queued,
        Standing,
        Use,
    )


class AnyStore(Protocol):
    """Episodes and Latents of one namespace."""

    def commit(self, episode: "Episode", key: "np.ndarray") -> None:
        """Journals a new episode; durable when it returns."""

    def update(self, episode: "Episode") -> None:
        """Replaces an episode of the same id; durable when it returns."""

    def episode(self, episode_id: str) -> "Episode":
        """The episode of that id."""
        ...

    def episodes(self, state: "EpisodeState | None" = None) -> "Iterator[Episode]":
        """All episodes, or those in a state, oldest first."""
        ...

    def episode_key(self, episode_id: str) -> "np.ndarray":
        """The key (D,) an episode was committed with."""
        ...

    def neighbours(self, key: "np.ndarray", least: float) -> "list[Neighbour]":
        """All episodes whose keys have at least this cosine similarity to a key (D,), nearest first, without their
        texts and rollouts."""
        ...

    def settle(self, episode_id: str, state: "EpisodeState", reason: str, attempt: str | None = None) -> bool:
        """Journals what became of a pending episode, and in which attempt; False where it is settled or gone already.
        Durable when it returns."""
        ...

    def enqueue(self, episode_id: str, limit: int) -> bool:
        """Appends a pending episode to the worker's queue, once; False where `limit` wait already. What is settled
        leaves the queue."""
        ...

    def queued(self) -> int:
        """How many episodes wait for the worker."""
        ...

    def next_queued(self, later: Collection[str] = ()) -> "Queued | None":
        """The episode that has waited longest, those named left out; it stays queued."""
        ...

    def dequeue(self, episode_id: str) -> None:
        """Takes an episode out of the queue; one that is not there is fine."""

    def broke_off(self, episode_id: str, reason: str) -> None:
        """Counts an attempt at a queued episode that broke off."""

    def give_up(self, episode_id: str, reason: str) -> bool:
        """Fails a queued episode; False where it was settled meanwhile."""
        ...

    def claimed(self, episode_ids: "Sequence[str]") -> "AbstractContextManager[list[str]]":
        """Held while they are learnt from: those of the episodes that no other process is learning from."""
        ...

    def exclusive(self) -> "AbstractContextManager[None]":
        """Held, for moments, by a change that depends on what was read before: nobody else changes the namespace."""
        ...

    def put(self, latent: "Latent", tensors: "Mapping[str, np.ndarray]", key: "np.ndarray") -> None:
        """Stores a Latent with its tensors by name, float32, and its key (D,); durable when it returns."""

    def latent(self, latent_id: str) -> "Latent":
        """The record of that id."""
        ...

    def tensors(self, latent_id: str) -> "dict[str, np.ndarray]":
        """The tensors of that id by name, float32."""
        ...

    def latents(self) -> "Iterator[Latent]":
        """All Latents, oldest first."""
        ...

    def latent_key(self, latent_id: str) -> "np.ndarray":
        """The key (D,) a Latent was put with."""
        ...

    def nearest(self, key: "np.ndarray", limit: int = 1) -> list[tuple[str, float]]:
        """Ids of the usable Latents with the nearest keys and their cosine similarity, nearest first."""
        ...

    def beside(self, latent_id: str, limit: int) -> list[tuple[str, float]]:
        """The same for the key of a Latent, itself left out; needs no model."""
        ...

    def stand(self, standing: "Standing") -> None:
        """Journals what a Latent may do now, also before it is put; durable when it returns."""

    def standing(self, latent_id: str) -> "Standing":
        """What a Latent may do now; `live` where nothing was ever journaled of it."""
        ...

    def record_uses(self, uses: "Sequence[Use]") -> None:
        """Journals answers that read a Latent; a use of the same answer and Latent is replaced."""

    def uses(
        self, *, latent_id: str | None = None, answer_id: str | None = None, problem_hash: str | None = None
    ) -> "list[Use]":
        """The uses that match every argument given, oldest first."""
        ...

    def remove(self, latent_id: str) -> None:
        """Deletes a Latent."""

    def holdings(self) -> "list[Holding]":
        """Every Latent with its size and what its answers came to."""
        ...

    def evict(self, evicted: "Evicted") -> None:
        """Journals why a Latent goes, and deletes it."""

    def close(self) -> None:
        """Releases the root."""
