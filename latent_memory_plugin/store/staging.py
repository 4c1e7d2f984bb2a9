"""Where an import waits: a folder inside the namespace's own, so that what is verified there arrives by renaming alone.

    import-<digits>.tmp/latents     as they came
    import-<digits>.tmp/ready       as they will be; a row of the journal's `meta` says that they shall
    import-<digits>.lock            held by the process whose import it is

An import that was cut short before its row was committed is deleted by the next opening, one after it is finished.
"""

import logging
import shutil
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from latent_memory_plugin.store.database import Database
from latent_memory_plugin.store.disk import TEMPORARY, make_folder, sync_folder, writing

_log = logging.getLogger(__name__)


class Staging:
    """The folder of one import."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        """Where it waits."""
        self.committed = False
        """True from the commit until the end of the import."""

    @property
    def arrived(self) -> Path:
        """The Latents as they came."""
        return self.folder / "latents"

    @property
    def ready(self) -> Path:
        """The Latents as they will be."""
        return self.folder / "ready"

    def commit(self, database: Database) -> None:
        """Says, inside a transaction, that what is ready shall be there."""
        database.run("INSERT INTO meta (name, value) VALUES (?, '')", self.folder.name)
        self.committed = True

    def finish(self, database: Database) -> None:
        """Moves a committed import's Latents to where they are read, and forgets the import. Raises StoreWriteError."""
        latents = self.folder.parent / "latents"
        with writing(latents):
            if self.ready.is_dir():
                for path in self.ready.iterdir():
                    path.replace(latents / path.name)
                sync_folder(self.ready)
                sync_folder(latents)
        database.run("DELETE FROM meta WHERE name = ?", self.folder.name)
        self.committed = False


@contextmanager
def staged(namespace_folder: Path) -> Generator[Staging, None, None]:
    """A folder for one import, deleted at the end; a committed import whose end failed keeps it for the next opening.
    Raises StoreWriteError."""
    staging = Staging(namespace_folder / f"import-{uuid.uuid4().hex}{TEMPORARY}")
    lock = _lock(staging.folder)
    with writing(staging.folder):
        lock.acquire()
    try:
        make_folder(staging.arrived)
        yield staging
    finally:
        try:
            if not staging.committed:
                shutil.rmtree(staging.folder, ignore_errors=True)
        finally:
            _give_back(lock)


def resume(namespace_folder: Path, database: Database) -> list[str]:
    """Finishes or undoes every import that a dead process left behind, logs it and says it in one sentence each.
    Raises StoreWriteError."""
    said: list[str] = []
    for folder in sorted(namespace_folder.glob(f"import-*{TEMPORARY}")):
        lock = _lock(folder)
        with writing(folder):
            try:
                lock.acquire()
            except Timeout:
                continue
        try:
            said.append(_settle(Staging(folder), database))
        finally:
            _give_back(lock)
    return said


def _settle(staging: Staging, database: Database) -> str:
    committed = database.rows("SELECT 1 FROM meta WHERE name = ?", staging.folder.name)
    if committed:
        staging.finish(database)
    with writing(staging.folder):
        shutil.rmtree(staging.folder)
    said = f"{staging.folder.name} is an import that was cut short; it was {'finished' if committed else 'undone'}."
    _log.warning(said)
    return said


def _lock(folder: Path) -> FileLock:
    return FileLock(folder.with_suffix(".lock"), timeout=0, thread_local=False)


def _give_back(lock: FileLock) -> None:
    Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()
