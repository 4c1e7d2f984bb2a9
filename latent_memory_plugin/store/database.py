"""The journal's file: one SQLite database per namespace. What it acknowledges survives a power cut."""

import logging
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

from typing_extensions import Self

from latent_memory_plugin.errors import CorruptError, InputError, OutdatedError, ReadOnlyError, StoreWriteError
from latent_memory_plugin.records import question_hash
from latent_memory_plugin.store import schema
from latent_memory_plugin.store.disk import TEMPORARY, file_identity, move_file, sync_folder, writing

_log = logging.getLogger(__name__)

_State = tuple[bool, tuple[int, ...]]
"""What the files look like from outside: whether there are a log and its shared memory, because a process has the
journal open or was killed; and which file it is with, where there is no log, when it was changed."""


class Database:
    """The opened file. Not safe in threads by itself: its store holds the root's guard.

    SQL may call `question_hash`, the function of the records. To be read alone it is opened with the first query that
    finds a file, without locks, also beside a process that writes, and never changed: beside a log SQLite reads what is
    in both; without one it takes the file as one that nobody changes, because it would make a log otherwise, and the
    file is opened anew where it was changed all the same.
    """

    def __init__(self, path: Path, namespace: str | None, read_only: bool = False, older: bool = False) -> None:
        """`namespace`: the one that it must be of, None for any; `older`: also of an older version, to be read alone.
        Raises StoreWriteError, StoreError where it is newer, CorruptError."""
        self.path = path
        self._opens = (path, namespace, read_only, older)
        self._namespace, self._read_only, self._older = namespace, read_only, older
        self._state: _State | None = None
        if not read_only:
            self._open_to_write(namespace or "")
            self._file = file_identity(path)

    def again(self) -> Self:
        """Another connection to the same file, for another thread."""
        return type(self)(*self._opens)

    def rows(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """What a query finds; nothing where there is no file to be read alone. Raises StoreWriteError, CorruptError,
        and as an opening does."""
        if self._read_only and not self._is_open_to_read():
            return []
        with self._door():
            return self._connection.execute(statement, values).fetchall()

    def run(self, statement: str, *values: Any) -> int:
        """How many rows a statement changed; durable when it returns, inside a transaction when that ends. Raises
        StoreWriteError, CorruptError, InputError for a text that cannot be stored, and SQLite's own IntegrityError."""
        if self._read_only:
            raise ReadOnlyError(f"The journal {str(self.path)!r} is open to be read alone and cannot be written.")
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
            with suppress(StoreWriteError):  # none was begun where there is no file
                self.rows("COMMIT")

    def in_place(self) -> bool:
        """Whether the file is still where it was opened: what is written to a deleted one is lost."""
        return self._read_only or file_identity(self.path) == self._file

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
        if not self._read_only or self._state:
            self._state = None
            with self._door():
                self._connection.close()

    def _open_to_write(self, namespace: str) -> None:
        with self._door():
            self._connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            self._connection.create_function("question_hash", 1, question_hash, deterministic=True)
        try:
            version = schema.check(self, namespace)
            for setting in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
                self.run(f"PRAGMA {setting}")
            schema.migrate(self, version, namespace)
        except BaseException:
            self._connection.close()
            raise

    def _is_open_to_read(self) -> bool:
        """Whether there is a file, which is open now."""
        state = self._look()
        if state != self._state:
            self.close()
            if state:
                self._open_to_read(state)
        return state is not None

    def _open_to_read(self, state: _State) -> None:
        address = f"{self.path.as_uri()}?{'mode=ro' if state[0] else 'immutable=1'}"
        with self._door():
            self._connection = sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)
        self._state = state
        try:
            found = schema.check(self, self._namespace)
            if found < schema.SCHEMA and not self._older:
                raise OutdatedError(
                    f"{str(self.path)!r} has the older schema {found}; open the root once without read_only=True, "
                    "which takes it to the present one."
                )
        except BaseException:
            self.close()
            raise

    def _look(self) -> _State | None:
        try:
            file = self.path.stat()
        except OSError:
            return None
        log, shared = (self.path.with_name(self.path.name + ending).exists() for ending in ("-wal", "-shm"))
        if log and shared:
            return True, (file.st_ino,)
        if log:
            _log.warning("%s cannot be read with its log, the newest entries may be missing", self.path)
        return False, (file.st_ino, file.st_mtime_ns, file.st_size)

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
        except UnicodeEncodeError as exc:
            raise InputError(f"{exc.object!r:.200} holds half a surrogate pair and cannot be stored.") from exc
