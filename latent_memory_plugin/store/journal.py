"""The journal: every episode of one namespace with its key, in SQLite. What it acknowledges survives a power cut."""

import sqlite3
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from latent_memory_plugin.errors import (
    CorruptError,
    InputError,
    LatentMemoryError,
    NotFoundError,
    StoreError,
    StoreWriteError,
)
from latent_memory_plugin.records import Episode, EpisodeState, Problem, Rollout, Vote
from latent_memory_plugin.store.disk import sync_folder, writing

SCHEMA = 1
"""Version of the tables, kept in `PRAGMA user_version`."""

_TABLES = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    """CREATE TABLE episodes (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        created REAL NOT NULL,
        state TEXT NOT NULL,
        encoder TEXT NOT NULL,
        key BLOB NOT NULL,
        reason TEXT NOT NULL,
        question TEXT NOT NULL,
        vote TEXT,
        rollouts TEXT NOT NULL)""",
    "CREATE INDEX episodes_by_state ON episodes (state, number)",
    "CREATE INDEX episodes_by_encoder ON episodes (encoder, id)",
)
_COLUMNS = "id, created, state, reason, question, vote, rollouts"
_PAGE = 100
_FLOAT32 = np.dtype("<f4")
_ROLLOUTS = TypeAdapter(tuple[Rollout, ...])


class Journal:
    """The journal of one namespace. Not safe in threads by itself: its store holds the root's guard."""

    def __init__(self, path: Path, namespace: str) -> None:
        self.path = path
        with self._door():
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(namespace)
        except BaseException:
            self._connection.close()
            raise

    def add(self, episode: Episode, encoder: str, key: np.ndarray) -> None:
        """Commits a new episode with its key (D,) float32. Raises InputError where its id is taken."""
        row = (*_row(episode), encoder, key.astype(_FLOAT32).tobytes())
        try:
            self._run(f"INSERT INTO episodes ({_COLUMNS}, encoder, key) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", *row)
        except sqlite3.IntegrityError as exc:
            raise InputError(f"The episode {episode.id!r} is in the journal already; call update instead.") from exc

    def update(self, episode: Episode) -> None:
        """Replaces rollouts, vote, state and reason of an episode. Raises NotFoundError."""
        _, _, state, reason, _, vote, rollouts = _row(episode)
        cursor = self._run(
            "UPDATE episodes SET state = ?, reason = ?, vote = ?, rollouts = ? WHERE id = ?",
            *(state, reason, vote, rollouts, episode.id),
        )
        if not cursor.rowcount:
            raise self._unknown(episode.id)

    def episode(self, episode_id: str) -> Episode:
        """Raises NotFoundError, CorruptError."""
        rows = self._rows(f"SELECT {_COLUMNS} FROM episodes WHERE id = ?", episode_id)
        if not rows:
            raise self._unknown(episode_id)
        return self._episode(rows[0])

    def page(self, state: EpisodeState | None, after: int) -> list[tuple[int, Episode]]:
        """Up to a hundred episodes, oldest first, each with its number; `after` is the last number seen, 0 at first."""
        where, values = ("number > ?", (after,)) if state is None else ("state = ? AND number > ?", (state, after))
        rows = self._rows(
            f"SELECT number, {_COLUMNS} FROM episodes WHERE {where} ORDER BY number LIMIT {_PAGE}", *values
        )
        return [(row[0], self._episode(row[1:])) for row in rows]

    def key(self, episode_id: str) -> tuple[str, np.ndarray]:
        """Encoder and key (D,) float32 of an episode. Raises NotFoundError."""
        rows = self._rows("SELECT encoder, key FROM episodes WHERE id = ?", episode_id)
        if not rows:
            raise self._unknown(episode_id)
        return rows[0][0], _key(rows[0][1])

    def holds(self, item_id: str) -> bool:
        """Whether there is an episode with this id."""
        return bool(self._rows("SELECT 1 FROM episodes WHERE id = ?", item_id))

    def ids(self, encoder: str) -> set[str]:
        """Ids of all episodes whose key was made by this encoder."""
        return {row[0] for row in self._rows("SELECT id FROM episodes WHERE encoder = ?", encoder)}

    def keys(self, item_ids: Iterable[str], encoder: str) -> Iterator[tuple[str, np.ndarray]]:
        """Id and key (D,) float32 of those of the given episodes whose key was made by this encoder."""
        for item_id in item_ids:
            for row in self._rows("SELECT key FROM episodes WHERE id = ? AND encoder = ?", item_id, encoder):
                yield item_id, _key(row[0])

    def close(self) -> None:
        """Gives the file back."""
        with self._door():
            self._connection.close()

    def _prepare(self, namespace: str) -> None:
        self._run("PRAGMA journal_mode = WAL")
        self._run("PRAGMA synchronous = FULL")
        schema = self._rows("PRAGMA user_version")[0][0]
        if schema > SCHEMA:
            raise StoreError(f"{str(self.path)!r} has schema {schema}, this version reads up to {SCHEMA}; update it.")
        if schema == 0:
            self._create(namespace)
        found = self._rows("SELECT value FROM meta WHERE name = 'namespace'")
        if found != [(namespace,)]:
            raise CorruptError(
                f"{str(self.path)!r} is the journal of another namespace than {namespace!r}; move it back where it was."
            )

    def _create(self, namespace: str) -> None:
        if self._rows("SELECT 1 FROM sqlite_master"):
            raise CorruptError(f"{str(self.path)!r} is some other SQLite database, not a journal; move it away.")
        self._run("BEGIN IMMEDIATE")
        for statement in _TABLES:
            self._run(statement)
        self._run("INSERT INTO meta (name, value) VALUES ('namespace', ?)", namespace)
        self._run(f"PRAGMA user_version = {SCHEMA}")
        self._run("COMMIT")
        with writing(self.path):
            sync_folder(self.path.parent)

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
                f"The episode {item_id!r} in {str(self.path)!r} cannot be read ({exc}); restore the journal from a "
                "backup."
            ) from exc

    def _unknown(self, episode_id: str) -> NotFoundError:
        return NotFoundError(f"There is no episode {episode_id!r} in {str(self.path)!r}; `episodes()` lists them.")

    def _rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._door():
            return self._connection.execute(statement, values).fetchall()

    def _run(self, statement: str, *values: Any) -> sqlite3.Cursor:
        with self._door():
            return self._connection.execute(statement, values)

    @contextmanager
    def _door(self) -> Generator[None, None, None]:
        try:
            yield
        except sqlite3.IntegrityError:
            raise
        except sqlite3.OperationalError as exc:
            raise StoreWriteError(
                f"The journal {str(self.path)!r} cannot be used ({exc}); free some space and allow this user to write "
                "there. What was being written is not kept."
            ) from exc
        except sqlite3.DatabaseError as exc:
            raise CorruptError(
                f"The journal {str(self.path)!r} is damaged ({exc}); restore it from a backup, or move it away to "
                "begin an empty one: the Latents stay."
            ) from exc


def _row(episode: Episode) -> tuple[str, float, str, str, str, str | None, str]:
    vote = None if episode.vote is None else episode.vote.model_dump_json()
    rollouts = _ROLLOUTS.dump_json(episode.rollouts).decode()
    return episode.id, episode.created, episode.state, episode.reason, episode.question, vote, rollouts


def _key(blob: bytes) -> np.ndarray:
    return np.frombuffer(blob, _FLOAT32).astype(np.float32)  # (D,)
