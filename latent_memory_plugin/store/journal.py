"""The journal: every episode of one namespace with its key."""

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from latent_memory_plugin.errors import CorruptError, InputError, LatentMemoryError, NotFoundError
from latent_memory_plugin.records import Episode, EpisodeState, Problem, Rollout, Vote
from latent_memory_plugin.store.database import Database

_COLUMNS = "id, created, state, reason, question, vote, rollouts"
_PAGE = 100
_FLOAT32 = np.dtype("<f4")
_ROLLOUTS = TypeAdapter(tuple[Rollout, ...])


class Journal:
    """The episodes of one namespace. Not safe in threads by itself: its store holds the root's guard."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, episode: Episode, encoder: str, key: np.ndarray) -> None:
        """Commits a new episode with its key (D,) float32. Raises InputError where its id is taken."""
        row = (*_row(episode), encoder, key.astype(_FLOAT32).tobytes())
        try:
            self._database.run(
                f"INSERT INTO episodes ({_COLUMNS}, encoder, key) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", *row
            )
        except sqlite3.IntegrityError as exc:
            raise InputError(f"The episode {episode.id!r} is in the journal already; call update instead.") from exc

    def update(self, episode: Episode) -> None:
        """Replaces rollouts, vote, state and reason of an episode. Raises NotFoundError."""
        _, _, state, reason, _, vote, rollouts = _row(episode)
        changed = self._database.run(
            "UPDATE episodes SET state = ?, reason = ?, vote = ?, rollouts = ? WHERE id = ?",
            *(state, reason, vote, rollouts, episode.id),
        )
        if not changed:
            raise self._unknown(episode.id)

    def episode(self, episode_id: str) -> Episode:
        """Raises NotFoundError, CorruptError."""
        rows = self._database.rows(f"SELECT {_COLUMNS} FROM episodes WHERE id = ?", episode_id)
        if not rows:
            raise self._unknown(episode_id)
        return self._episode(rows[0])

    def page(self, state: EpisodeState | None, after: int) -> list[tuple[int, Episode]]:
        """Up to a hundred episodes, oldest first, each with its number; `after` is the last number seen, 0 at first."""
        where, values = ("number > ?", (after,)) if state is None else ("state = ? AND number > ?", (state, after))
        rows = self._database.rows(
            f"SELECT number, {_COLUMNS} FROM episodes WHERE {where} ORDER BY number LIMIT {_PAGE}", *values
        )
        return [(row[0], self._episode(row[1:])) for row in rows]

    def key(self, episode_id: str) -> tuple[str, np.ndarray]:
        """Encoder and key (D,) float32 of an episode. Raises NotFoundError."""
        rows = self._database.rows("SELECT encoder, key FROM episodes WHERE id = ?", episode_id)
        if not rows:
            raise self._unknown(episode_id)
        return rows[0][0], _key(rows[0][1])

    def holds(self, item_id: str) -> bool:
        """Whether there is an episode with this id."""
        return bool(self._database.rows("SELECT 1 FROM episodes WHERE id = ?", item_id))

    def ids(self, encoder: str) -> set[str]:
        """Ids of all episodes whose key was made by this encoder."""
        return {row[0] for row in self._database.rows("SELECT id FROM episodes WHERE encoder = ?", encoder)}

    def keys(self, item_ids: Iterable[str], encoder: str) -> Iterator[tuple[str, np.ndarray]]:
        """Id and key (D,) float32 of those of the given episodes whose key was made by this encoder."""
        for item_id in item_ids:
            for row in self._database.rows("SELECT key FROM episodes WHERE id = ? AND encoder = ?", item_id, encoder):
                yield item_id, _key(row[0])

    def _episode(self, row: tuple[Any, ...]) -> Episode:
        item_id, created, state, reason, question, vote, rollouts = row
        try:
            return Episode(
                id=item_id,
                created=created,
                state=state,
                reason=reason,
                problem=Problem(question=question),
                vote=None if vote is None else Vote.from_json(vote),
                rollouts=_ROLLOUTS.validate_json(rollouts),
            )
        except (LatentMemoryError, ValidationError, TypeError) as exc:
            raise CorruptError(
                f"The episode {item_id!r} in {str(self._database.path)!r} cannot be read ({exc}); restore the journal "
                "from a backup."
            ) from exc

    def _unknown(self, episode_id: str) -> NotFoundError:
        return NotFoundError(
            f"There is no episode {episode_id!r} in {str(self._database.path)!r}; `episodes()` lists them."
        )


def _row(episode: Episode) -> tuple[str, float, str, str, str, str | None, str]:
    vote = None if episode.vote is None else episode.vote.model_dump_json()
    rollouts = _ROLLOUTS.dump_json(episode.rollouts).decode()
    return episode.id, episode.created, episode.state, episode.reason, episode.question, vote, rollouts


def _key(blob: bytes) -> np.ndarray:
    return np.frombuffer(blob, _FLOAT32).astype(np.float32)  # (D,)
