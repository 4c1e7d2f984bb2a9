"""The journal's file: one SQLite database per namespace. What it acknowledges survives a power cut."""

import logging
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from latent_memory_plugin.errors import CorruptError, OutdatedError, ReadOnlyError, StoreError, StoreWriteError
from latent_memory_plugin.records import question_hash
from latent_memory_plugin.store import schema
from latent_memory_plugin.store.disk import TEMPORARY, file_identity, move_file, sync_folder, writing

_log = logging.getLogger(__name__)


class Database:
    """The opened file. Not safe in threads by itself: its store holds the root's guard.

    SQL may call `question_hash`, the function of the records.
    """

    def __init__(self, path: Path, namespace: str) -> None:
        self.path = path
        self.namespace = namespace
        with self._door():
            self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._connection.create_function("question_hash", 1, question_hash, deterministic=True)
        try:
            version = schema.check(self, namespace)
            self.run("PRAGMA journal_mode = WAL")
            self.run("PRAGMA synchronous = FULL")
            self.run("PRAGMA secure_delete = ON")
            schema.migrate(self, version, namespace)
            self._file = file_identity(path)
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

    @contextmanager
    def snapshot(self) -> Generator[None, None, None]:
        """All that is read inside is as it was when it was first read."""
        self.rows("BEGIN")
        try:
            yield
        finally:
            with suppress(StoreError):  # none was begun where there is no journal
                self.rows("COMMIT")

    def again(self) -> "Database":
        """Another connection to the same file, for another thread."""
        return type(self)(self.path, self.namespace)

    def in_place(self) -> bool:
        """Whether the file is still where it was opened: what is written to a deleted one is lost."""
        return file_identity(self.path) == self._file

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


class _State(NamedTuple):
    """What the journal's files look like from outside."""

    log: bool
    """There are a write-ahead log and its shared memory: a process has the journal open, or was killed."""
    file: tuple[int, ...]
    """Which file it is and, without a log, when it was changed."""


class ReadOnlyDatabase(Database):
    """The journal for looking alone, without locks, also beside a process that writes: opened with the first query
    that finds one, and never changed.

    Beside a log SQLite reads what is in both. Without one it takes the file as one that nobody changes, because it
    would make a log otherwise, and the file is opened anew where it was changed all the same.
    """

    def __init__(self, path: Path, namespace: str | None, older: bool = False) -> None:
        """`namespace`: the one that it must be of, None for any; `older`: whatever its version."""
        self.path = path
        self.namespace = namespace or ""
        self._wanted, self._older = namespace, older
        self._state: _State | None = None

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """What a query finds; nothing where there is no journal yet. Raises OutdatedError, StoreError, CorruptError."""
        state = self._look()
        if state != self._state:
            self.close()
            if state is not None:
                self._open(state)
        return super().rows(statement, *values) if self._state else []

    def run(self, statement: str, *values: Any) -> int:
        """Raises ReadOnlyError."""
        raise ReadOnlyError(f"The journal {str(self.path)!r} is open for looking alone and cannot be written.")

    def again(self) -> Database:
        """Another connection to the same file, for another thread."""
        return ReadOnlyDatabase(self.path, self._wanted, self._older)

    def in_place(self) -> bool:
        """True: what is looked at is looked for anew each time."""
        return True

    def close(self) -> None:
        """Gives the file back."""
        if self._state is not None:
            self._state = None
            super().close()

    def _look(self) -> _State | None:
        try:
            file = self.path.stat()
        except OSError:
            return None
        log, shared = (self.path.with_name(self.path.name + ending).exists() for ending in ("-wal", "-shm"))
        if log and shared:
            return _State(True, (file.st_ino,))
        if log:
            _log.warning("%s cannot be read with its log, the newest entries may be missing", self.path)
        return _State(False, (file.st_ino, file.st_mtime_ns, file.st_size))

    def _open(self, state: _State) -> None:
        address = f"{self.path.as_uri()}?{'mode=ro' if state.log else 'immutable=1'}"
        with self._door():
            self._connection = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)
        self._state = state
        try:
            found = schema.check(self, self._wanted)
            if found < schema.SCHEMA and not self._older:
                raise OutdatedError(
                    f"{str(self.path)!r} has the older schema {found}; open the root once without read_only=True, "
                    "which takes it to the present one."
                )
        except BaseException:
            self.close()
            raise
