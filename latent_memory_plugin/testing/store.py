"""A fake of `store.Store`, which keeps everything in memory."""

import threading
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from latent_memory_plugin.errors import NotFoundError
from latent_memory_plugin.records import (
    USABLE,
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

Kept = TypeVar("Kept")


@dataclass
class InMemoryStore:
    """A store that forgets everything with the process."""

    _episodes: dict[str, Episode] = field(default_factory=dict[str, Episode])
    _episode_keys: dict[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])
    _latents: dict[str, Latent] = field(default_factory=dict[str, Latent])
    _tensors: dict[str, dict[str, np.ndarray]] = field(default_factory=dict[str, dict[str, np.ndarray]])
    _latent_keys: dict[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])
    _standings: dict[str, Standing] = field(default_factory=dict[str, Standing])
    _uses: dict[tuple[str, str], Use] = field(default_factory=dict[tuple[str, str], Use])
    _queue: dict[str, Queued] = field(default_factory=dict[str, Queued])
    _guard: threading.RLock = field(default_factory=threading.RLock)

    def commit(self, episode: Episode, key: np.ndarray) -> None:
        """Keeps a new episode."""
        self._episodes[episode.id], self._episode_keys[episode.id] = episode, key

    def update(self, episode: Episode) -> None:
        """Replaces an episode."""
        self.episode(episode.id)
        self._episodes[episode.id] = episode
        if episode.state != "pending":
            self.dequeue(episode.id)

    def settle(self, episode_id: str, state: EpisodeState, reason: str, attempt: str | None = None) -> bool:
        """Changes a pending episode."""
        with self._guard:
            known = self._episodes.get(episode_id)
            if known is None or known.state != "pending":
                return False
            self.update(known.model_copy(update={"state": state, "reason": reason, "attempt": attempt}))
        return True

    def episode(self, episode_id: str) -> Episode:
        """The episode of that id."""
        return _get(self._episodes, episode_id)

    def episodes(self, state: EpisodeState | None = None) -> Iterator[Episode]:
        """Oldest first."""
        return iter([one for one in self._episodes.values() if state in (None, one.state)])

    def episode_key(self, episode_id: str) -> np.ndarray:
        """(D,)."""
        return _get(self._episode_keys, episode_id)

    def neighbours(self, key: np.ndarray, least: float) -> list[Neighbour]:
        """Nearest first."""
        ranked = _ranked(self._episode_keys, key)
        return [_neighbour(self._episodes[one], similarity) for one, similarity in ranked if similarity >= least]

    def enqueue(self, episode_id: str, limit: int) -> bool:
        """Appends an episode to the queue, once."""
        with self._guard:
            room = len(self._queue) < limit
            if room:
                self._queue.setdefault(episode_id, Queued(episode_id=episode_id))
        return room

    def queued(self) -> int:
        """How many wait."""
        return len(self._queue)

    def next_queued(self, later: Collection[str] = ()) -> Queued | None:
        """The first that is not left out."""
        with self._guard:
            return next((one for one in self._queue.values() if one.episode_id not in later), None)

    def dequeue(self, episode_id: str) -> None:
        """Takes an episode out of the queue."""
        with self._guard:
            self._queue.pop(episode_id, None)

    def broke_off(self, episode_id: str, reason: str) -> None:
        """Counts an attempt."""
        with self._guard:
            if episode_id in self._queue:
                attempts = self._queue[episode_id].attempts + 1
                self._queue[episode_id] = Queued(episode_id=episode_id, attempts=attempts)
                self.update(self.episode(episode_id).model_copy(update={"reason": reason}))

    def give_up(self, episode_id: str, reason: str) -> bool:
        """Fails a pending episode."""
        self.dequeue(episode_id)
        return self.settle(episode_id, "failed", reason)

    @contextmanager
    def claimed(self, episode_ids: Sequence[str]) -> Generator[list[str], None, None]:
        """All of them: no other process has this store."""
        yield list(episode_ids)

    @contextmanager
    def exclusive(self) -> Generator[None, None, None]:
        """One thread at a time."""
        with self._guard:
            yield

    def put(self, latent: Latent, tensors: Mapping[str, np.ndarray] | np.ndarray, key: np.ndarray) -> None:
        """Keeps a Latent."""
        named = {"latent": tensors} if isinstance(tensors, np.ndarray) else dict(tensors)
        self._latents[latent.id], self._tensors[latent.id], self._latent_keys[latent.id] = latent, named, key

    def latent(self, latent_id: str) -> Latent:
        """The record of that id."""
        return _get(self._latents, latent_id)

    def tensors(self, latent_id: str) -> dict[str, np.ndarray]:
        """By name."""
        return _get(self._tensors, latent_id)

    def latents(self) -> Iterator[Latent]:
        """Oldest first."""
        return iter(sorted(self._latents.values(), key=lambda one: one.created))

    def latent_key(self, latent_id: str) -> np.ndarray:
        """(D,)."""
        return _get(self._latent_keys, latent_id)

    def nearest(self, key: np.ndarray, limit: int = 1) -> list[tuple[str, float]]:
        """Nearest first, usable ones alone."""
        keys = {one: other for one, other in self._latent_keys.items() if self.standing(one).state in USABLE}
        return _ranked(keys, key)[:limit]

    def beside(self, latent_id: str, limit: int) -> list[tuple[str, float]]:
        """Nearest first, usable ones alone."""
        found = self.nearest(self.latent_key(latent_id), limit + 1)
        return [one for one in found if one[0] != latent_id][:limit]

    def stand(self, standing: Standing) -> None:
        """Keeps what a Latent may do now."""
        self._standings[standing.latent_id] = standing

    def standing(self, latent_id: str) -> Standing:
        """What a Latent may do now."""
        kept = self._standings.get(latent_id)
        return kept or Standing(latent_id=latent_id, since=self.latent(latent_id).created)

    def record_uses(self, uses: Sequence[Use]) -> None:
        """Keeps or replaces uses."""
        self._uses.update({(use.answer_id, use.latent_id): use for use in uses})

    def uses(
        self, *, latent_id: str | None = None, answer_id: str | None = None, problem_hash: str | None = None
    ) -> list[Use]:
        """Oldest first."""
        wanted = {"latent_id": latent_id, "answer_id": answer_id, "problem_hash": problem_hash}
        given = {name: value for name, value in wanted.items() if value is not None}
        return [use for use in self._uses.values() if all(getattr(use, name) == given[name] for name in given)]

    def remove(self, latent_id: str) -> None:
        """Forgets a Latent, its standing and its uses."""
        if latent_id not in self._standings and not self.uses(latent_id=latent_id):
            self.latent(latent_id)
        every: tuple[dict[str, Any], ...] = (self._latents, self._tensors, self._latent_keys, self._standings)
        for kept in every:
            kept.pop(latent_id, None)
        self._uses = {pair: use for pair, use in self._uses.items() if use.latent_id != latent_id}

    def holdings(self) -> list[Holding]:
        """Every Latent; its size is its arrays'."""
        return [self._holding(latent) for latent in self._latents.values()]

    def evict(self, evicted: Evicted) -> None:
        """Forgets a Latent."""
        self.remove(evicted.latent_id)

    def close(self) -> None:
        """Nothing to release."""

    def _holding(self, latent: Latent) -> Holding:
        uses, arrays = (
            self.uses(latent_id=latent.id),
            (*self._tensors[latent.id].values(), self._latent_keys[latent.id]),
        )
        return Holding(
            latent_id=latent.id,
            bytes=sum(array.nbytes for array in arrays),
            stored=latent.created,
            state=self.standing(latent.id).state,
            wins=sum(use.correct is True for use in uses),
            losses=sum(use.correct is False for use in uses),
            last_use=max((use.created for use in uses), default=None),
        )


def _get(kept: Mapping[str, Kept], wanted: str) -> Kept:
    if wanted not in kept:
        raise NotFoundError(f"Nothing has the id {wanted!r}.")
    return kept[wanted]


def _ranked(keys: Mapping[str, np.ndarray], key: np.ndarray) -> list[tuple[str, float]]:
    cosines = ((name, float(key @ other)) for name, other in keys.items())
    return sorted(((name, min(1.0, max(-1.0, cosine))) for name, cosine in cosines), key=lambda pair: -pair[1])


def _neighbour(episode: Episode, similarity: float) -> Neighbour:
    return Neighbour(
        id=episode.id,
        problem_hash=episode.problem.hash,
        has_text=episode.problem.has_text,
        vote=episode.vote,
        state=episode.state,
        attempt=episode.attempt,
        similarity=similarity,
    )
