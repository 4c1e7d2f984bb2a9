"""The journal's file: one SQLite database per namespace. What it acknowledges survives a power cut."""

import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from latent_memory_plugin.errors import CorruptError, StoreError, StoreWriteError
from latent_memory_plugin.records import question_hash
from latent_memory_plugin.store import schema
from latent_memory_plugin.store.disk import TEMPORARY, move_file, sync_folder, writing


class Database:
    """The opened file. Not safe in threads by itself: its store holds the root's guard.

    SQL may call `question_hash`, the function of the records.
    """

    def __init__(self, path: Path, namespace: str) -> None:
        self.path = path
        with self._door():
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._connection.create_function("question_hash", 1, question_hash, deterministic=True)
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

    def copy_to(self, path: Path) -> None:
        """Writes a copy of the whole file, durable when it returns; one that is there already is replaced at once.
        Raises StoreWriteError, CorruptError."""
        temporary = path.with_name(path.name + TEMPORARY)
        with writing(path):
            try:
                temporary.unlink(missing_ok=True)
                with self._door(), closing(sqlite3.connect(temporary)) as target:
                    # A copy that is cut short is worthless; a finished one is synchronised below.
                    target.execute("PRAGMA journal_mode = OFF")
                    self._connection.backup(target)
                move_file(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)

    @contextmanager
    def snapshot(self) -> Generator[None, None, None]:
        """All that is read inside is as it was when it was first read."""
        self.rows("BEGIN")
        try:
            yield
        finally:
            with suppress(StoreError):  # none was begun where there is no journal
                self.rows("COMMIT")

    def scrub(self) -> None:
        """Overwrites all that was ever deleted, by writing the file anew. Raises StoreWriteError where another process
        reads it for longer than SQLite waits."""
        self.run("VACUUM")
        if self.rows("PRAGMA wal_checkpoint(TRUNCATE)")[0][0]:
            raise StoreWriteError(
                f"Deleted rows of {str(self.path)!r} cannot be overwritten while another process reads it; end that "
                "one and call again, or leave it to the next opening. They are never returned."
            )

    def sync_name(self) -> None:
        """Makes the name of a new file durable. Raises StoreWriteError."""
        with writing(self.path):
            sync_folder(self.path.parent)

    def close(self) -> None:
        """Gives the file back."""
        with self._door():
            self._connection.close()

    def _prepare(self, namespace: str) -> None:
        version = schema.check(self, namespace)
        self.run("PRAGMA journal_mode = WAL")
        self.run("PRAGMA synchronous = FULL")
        self.run("PRAGMA secure_delete = ON")
        schema.migrate(self, version, namespace)

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
