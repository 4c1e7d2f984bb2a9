"""The journal's file: one SQLite database per namespace. What it acknowledges survives a power cut."""

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from latent_memory_plugin.errors import CorruptError, StoreError, StoreWriteError
from latent_memory_plugin.store.disk import sync_folder, writing

_STEPS = (
    (
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
    ),
    (
        """CREATE TABLE standings (
            latent_id TEXT PRIMARY KEY,
            state TEXT NOT NULL,
            record TEXT NOT NULL)""",
        """CREATE TABLE uses (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            answer_id TEXT NOT NULL,
            latent_id TEXT NOT NULL,
            problem_hash TEXT NOT NULL,
            record TEXT NOT NULL,
            UNIQUE (answer_id, latent_id))""",
        "CREATE INDEX uses_by_latent ON uses (latent_id, number)",
        "CREATE INDEX uses_by_problem ON uses (problem_hash, number)",
    ),
    (
        "ALTER TABLE episodes ADD COLUMN problem_hash TEXT NOT NULL DEFAULT ''",
        "CREATE INDEX episodes_by_problem ON episodes (problem_hash)",
        """CREATE TABLE queue (
            number INTEGER PRIMARY KEY AUTOINCREMENT,
            episode_id TEXT NOT NULL UNIQUE,
            attempts INTEGER NOT NULL DEFAULT 0,
            reason TEXT NOT NULL DEFAULT '')""",
        """CREATE TABLE claims (
            episode_id TEXT PRIMARY KEY,
            owner TEXT NOT NULL)""",
    ),
)
"""What takes the tables from each version to the next, from an empty file on."""

SCHEMA = len(_STEPS)
"""Version of the tables, kept in `PRAGMA user_version`."""


class Database:
    """The opened file. Not safe in threads by itself: its store holds the root's guard."""

    def __init__(self, path: Path, namespace: str) -> None:
        self.path = path
        with self._door():
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(namespace)
        except BaseException:
            self._connection.close()
            raise

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """What a query finds. Raises StoreWriteError, CorruptError."""
        with self._door():
            return self._connection.execute(statement, values).fetchall()

    def run(self, statement: str, *values: Any) -> int:
        """How many rows a statement changed; durable when it returns, inside a transaction when that ends.
        Raises StoreWriteError, CorruptError, and SQLite's own IntegrityError."""
        with self._door():
            return self._connection.execute(statement, values).rowcount

    @contextmanager
    def transaction(self) -> Generator[None, None, None]:
        """All that runs inside is kept, or nothing of it."""
        self.run("BEGIN IMMEDIATE")
        try:
            yield
            self.run("COMMIT")
        except BaseException:
            # A full disk has undone it already.
            if self._connection.in_transaction:
                self.run("ROLLBACK")
            raise

    def close(self) -> None:
        """Gives the file back."""
        with self._door():
            self._connection.close()

    def _prepare(self, namespace: str) -> None:
        self.run("PRAGMA journal_mode = WAL")
        self.run("PRAGMA synchronous = FULL")
        schema = self.rows("PRAGMA user_version")[0][0]
        if schema > SCHEMA:
            raise StoreError(f"{str(self.path)!r} has schema {schema}, this version reads up to {SCHEMA}; update it.")
        if schema == 0 and self.rows("SELECT 1 FROM sqlite_master"):
            raise CorruptError(f"{str(self.path)!r} is some other SQLite database, not a journal; move it away.")
        if schema:
            self._check(namespace)
        if schema < SCHEMA:
            self._migrate(schema, namespace)

    def _check(self, namespace: str) -> None:
        found = self.rows("SELECT value FROM meta WHERE name = 'namespace'")
        if found != [(namespace,)]:
            raise CorruptError(
                f"{str(self.path)!r} is the journal of another namespace than {namespace!r}; move it back where it was."
            )

    def _migrate(self, schema: int, namespace: str) -> None:
        with self.transaction():
            for statement in (statement for step in _STEPS[schema:] for statement in step):
                self.run(statement)
            self.run("INSERT OR IGNORE INTO meta (name, value) VALUES ('namespace', ?)", namespace)
            self.run(f"PRAGMA user_version = {SCHEMA}")
        with writing(self.path):
            sync_folder(self.path.parent)

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
                "begin an empty one: the Latents stay, and all of them are read again."
            ) from exc
