"""The episodes of a namespace, as a store offers them.

Legend: D key size.
"""

import logging
from collections.abc import Iterator

import numpy as np

from latent_memory_plugin.errors import CorruptError, InputError, NotFoundError
from latent_memory_plugin.records import Episode, EpisodeState
from latent_memory_plugin.store.session import Session

_log = logging.getLogger(__name__)


class Episodes(Session):
    """The half of a store that keeps what was gone through."""

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
        with self.exclusive():
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
        """Up to `limit` episodes with the cosine similarity, -1 to 1, of their keys to this one (D,), best first. One
        that cannot be read is left out and warned of: its neighbours can be learnt from all the same."""
        near: list[tuple[Episode, float]] = []
        with self._entered():
            _, (_, index) = self._searchable()
            for item_id, nearness in index.nearest(key, limit):
                try:
                    near.append((self._journal.episode(item_id), nearness))
                except CorruptError as exc:
                    _log.warning("%s", exc)
        return near
