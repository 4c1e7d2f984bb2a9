"""A namespace for looking alone: from the files, without locks and without Chroma, also beside a process that writes.

The files are the truth, so nothing is missing, and what a writer adds is seen by the next call. Nothing is written: no
lock, and no temporary file. Beside a writer SQLite marks in the shared memory of both (`-shm`) who reads what.
"""

import logging
import sqlite3
from collections.abc import Collection, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from latent_memory_plugin.errors import OutdatedError
from latent_memory_plugin.records import Latent, Queued, Use
from latent_memory_plugin.store import schema
from latent_memory_plugin.store.database import Database
from latent_memory_plugin.store.files import LatentFiles
from latent_memory_plugin.store.importing import Imported
from latent_memory_plugin.store.journal import Journal
from latent_memory_plugin.store.root import ModelId, Root
from latent_memory_plugin.store.scan import Scan, folder_version, refusal
from latent_memory_plugin.store.session import Session
from latent_memory_plugin.store.standings import Standings, UsableLatents
from latent_memory_plugin.store.store import Store

_log = logging.getLogger(__name__)


class ReadOnlyStore(Store):
    """Episodes and Latents of one namespace as they are on the disk; none where there is no such folder yet.

    Whatever writes raises ReadOnlyError, but for `record_uses`, which does nothing: who only looks may ask.
    """

    def __init__(self, root: Root, namespace: str, model: ModelId | None, encoder: str | None) -> None:
        Session.__init__(self, root, namespace)
        self.encoder = encoder
        self._files = ReadOnlyFiles(self._folder / "latents", namespace, model)
        self._database = ReadOnlyDatabase(self._folder / "journal.sqlite", namespace)
        self._journal, self._standings = Journal(self._database), Standings(self._database)
        self._indexes = None if encoder is None else self._scans(encoder)
        self._database.rows("SELECT 1")  # an unreadable journal is refused here and not at some later call

    def record_uses(self, uses: Sequence[Use]) -> None:
        """Records nothing."""

    def next_queued(self, later: Collection[str] = ()) -> Queued | None:
        """Raises ReadOnlyError."""
        raise refusal(f"The queue of {self.namespace!r} cannot be learnt from")

    def import_from(self, path: Path) -> Imported:
        """Raises ReadOnlyError."""
        raise refusal(f"The archive {str(path)!r} cannot be imported")

    def _scans(self, encoder: str) -> tuple[Scan, Scan]:
        usable = UsableLatents(self._files, self._standings)
        return (
            Scan(self._files, usable.holds, encoder, lambda: folder_version(self._files.folder)),
            Scan(self._journal, self._journal.holds, encoder, lambda: None),
        )


class ReadOnlyFiles(LatentFiles):
    """The Latent files of one namespace."""

    def __init__(self, folder: Path, namespace: str, model: ModelId | None) -> None:
        self._prepare(folder, namespace, model)

    def write(self, latent: Latent, tensor: np.ndarray, key: np.ndarray) -> None:
        """Raises ReadOnlyError."""
        raise refusal(f"The Latent {latent.id} cannot be stored")

    def delete(self, latent_id: str) -> None:
        """Raises ReadOnlyError."""
        raise refusal(f"The Latent {latent_id} cannot be deleted")

    def ids(self, encoder: str = "") -> set[str]:
        """Ids of all files; none where there is no folder yet."""
        return super().ids(encoder) if self.folder.is_dir() else set()


class _State(NamedTuple):
    """What the journal's files look like from outside."""

    log: bool
    """There are a write-ahead log and its shared memory: a process has the journal open, or was killed."""
    file: tuple[int, ...]
    """Which file it is and, without a log, when it was changed."""


class ReadOnlyDatabase(Database):
    """The journal, opened with the first query that finds one.

    Beside a log SQLite reads what is in both. Without one it takes the file as one that nobody changes, because it
    would make a log otherwise, and the file is opened anew where it was changed all the same.
    """

    def __init__(self, path: Path, namespace: str) -> None:
        self.path = path
        self._namespace = namespace
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
        raise refusal(f"The journal {str(self.path)!r} cannot be written")

    @contextmanager
    def transaction(self) -> Generator[None, None, None]:
        """Raises ReadOnlyError."""
        self.run("BEGIN")
        yield

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
        with self._door():
            self._connection = self._connect("mode=ro") if state.log else self._connect("immutable=1")
        self._state = state
        try:
            if (found := schema.check(self, self._namespace)) < schema.SCHEMA:
                raise OutdatedError(
                    f"{str(self.path)!r} has the older schema {found}; open the root once without read_only=True, "
                    "which takes it to the present one."
                )
        except BaseException:
            self.close()
            raise

    def _connect(self, how: str) -> sqlite3.Connection:
        address = f"{self.path.as_uri()}?{how}"
        return sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)
