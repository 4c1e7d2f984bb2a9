"""The journal: every episode of one namespace with its key.

With `keep_text=False` no question and no completion is written; the texts stay in memory until the store is closed.
"""

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from latent_memory_plugin.errors import CorruptError, InputError, LatentMemoryError, NotFoundError
from latent_memory_plugin.records import Episode, EpisodeState, Problem, Rollout, Vote
from latent_memory_plugin.store.database import Database
from latent_memory_plugin.store.redaction import hash_alone, without_text

_COLUMNS = "id, created, state, reason, question, problem_hash, vote, rollouts"
_PAGE = 100
_FLOAT32 = np.dtype("<f4")
_ROLLOUTS = TypeAdapter(tuple[Rollout, ...])


class Journal:
    """The episodes of one namespace. Not safe in threads by itself: its store holds the root's guard."""

    def __init__(self, database: Database, keep_text: bool = True) -> None:
        self._database = database
        self._keep_text = keep_text
        # The whole episodes whose texts are not written, by their ids.
        self._unwritten: dict[str, Episode] = {}

    def add(self, episode: Episode, encoder: str, key: np.ndarray) -> None:
        """Commits a new episode with its key (D,) float32. Raises InputError where its id is taken."""
        row = (*_row(self.written(episode)), encoder, key.astype(_FLOAT32).tobytes())
        try:
            self._database.run(
                f"INSERT INTO episodes ({_COLUMNS}, encoder, key) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", *row
            )
        except sqlite3.IntegrityError as exc:
            raise InputError(f"The episode {episode.id!r} is in the journal already; call update instead.") from exc
        self._remember(episode)

    def update(self, episode: Episode) -> None:
        """Replaces rollouts, vote, state and reason of an episode. Raises NotFoundError."""
        _, _, *changes = _row(self.written(episode))
        changed = self._database.run(
            "UPDATE episodes SET state = ?, reason = ?, question = ?, problem_hash = ?, vote = ?, rollouts = ? "
            "WHERE id = ?",
            *(*changes, episode.id),
        )
        if not changed:
            raise self._unknown(episode.id)
        self._remember(episode)

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

    def written(self, episode: Episode) -> Episode:
        """What is written of an episode: where texts are not kept, neither question nor completions."""
        return episode if self._keep_text else without_text(episode)

    def forget(self, episode_ids: Iterable[str]) -> None:
        """Deletes episodes with their texts; unknown ones are fine."""
        for episode_id in episode_ids:
            self._database.run("DELETE FROM episodes WHERE id = ?", episode_id)
            self._database.run("DELETE FROM claims WHERE episode_id = ?", episode_id)
            self._unwritten.pop(episode_id, None)

    def restore(self, episode: Episode, encoder: str, key: np.ndarray) -> bool:
        """Adds an episode from elsewhere with its key (D,) float32; False where it is here already, which stays as it
        is. Raises InputError where another one has its id."""
        if not self.holds(episode.id):
            self.add(episode, encoder, key)
            return True
        known, (its_encoder, its_key) = self.episode(episode.id), self.key(episode.id)
        facts, others = (
            (known.problem.hash, known.created, its_encoder),
            (episode.problem.hash, episode.created, encoder),
        )
        if facts != others or not np.array_equal(its_key, key):
            raise InputError(
                f"The episode {episode.id!r:.80} is in the journal with another content; import into another "
                "namespace. Nothing was imported."
            )
        return False

    def encoders(self) -> set[str]:
        """Names of the methods that made the keys."""
        return {row[0] for row in self._database.rows("SELECT DISTINCT encoder FROM episodes")}

    def _remember(self, episode: Episode) -> None:
        if not self._keep_text and episode.problem.has_text:
            self._unwritten[episode.id] = episode

    def _episode(self, row: tuple[Any, ...]) -> Episode:
        item_id, created, state, reason, question, problem_hash, vote, rollouts = row
        try:
            episode = Episode(
                id=item_id,
                created=created,
                state=state,
                reason=reason,
                problem=Problem(question=question) if question else hash_alone(problem_hash),
                vote=None if vote is None else Vote.from_json(vote),
                rollouts=_ROLLOUTS.validate_json(rollouts),
            )
        except (LatentMemoryError, ValidationError, TypeError) as exc:
            raise CorruptError(
                f"The episode {item_id!r} in {str(self._database.path)!r} cannot be read ({exc}); restore the journal "
                "from a backup."
            ) from exc
        whole = self._unwritten.get(item_id)
        if whole is None:
            return episode
        why = whole.reason if whole.state == state else reason
        kept = {"problem": whole.problem, "rollouts": whole.rollouts, "vote": whole.vote, "reason": why}
        return episode.model_copy(update=kept)

    def _unknown(self, episode_id: str) -> NotFoundError:
        return NotFoundError(
            f"There is no episode {episode_id!r} in {str(self._database.path)!r}; `episodes()` lists them."
        )


def _row(episode: Episode) -> tuple[str, float, str, str, str, str, str | None, str]:
    vote = None if episode.vote is None else episode.vote.model_dump_json()
    rollouts = _ROLLOUTS.dump_json(episode.rollouts).decode()
    problem = episode.problem
    question = problem.question if problem.has_text else ""
    return episode.id, episode.created, episode.state, episode.reason, question, problem.hash, vote, rollouts


def _key(blob: bytes) -> np.ndarray:
    return np.frombuffer(blob, _FLOAT32).astype(np.float32)  # (D,)
