"""The check of one namespace: which one it is, its files, its Latents, its journal, and what its index must hold."""

import os
import sqlite3
from collections import Counter
from collections.abc import Generator, Set
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path

from latent_memory_plugin.errors import InputError, LatentMemoryError, StoreError, StoreWriteError
from latent_memory_plugin.store import schema
from latent_memory_plugin.store.check.findings import QUARANTINE, Findings
from latent_memory_plugin.store.check.journal import JournalCheck
from latent_memory_plugin.store.check.keys import Derived
from latent_memory_plugin.store.check.latents import LatentCheck, WholeLatents
from latent_memory_plugin.store.database import Database
from latent_memory_plugin.store.disk import TEMPORARY, delete_file, reading
from latent_memory_plugin.store.files import SUFFIX
from latent_memory_plugin.store.journal import Journal
from latent_memory_plugin.store.packing import read_header
from latent_memory_plugin.store.root import WRITE_LOCK, ModelId, Root, folder_name
from latent_memory_plugin.store.standings import Standings
from latent_memory_plugin.store.store import Store

JOURNAL, LATENTS = "journal.sqlite", "latents"
OWN_NAMES = {JOURNAL, f"{JOURNAL}-wal", f"{JOURNAL}-shm", LATENTS, QUARANTINE, WRITE_LOCK} | {
    schema.BACKUP.format(version) for version in range(schema.SCHEMA)
}
PROBED = 20
"""Latents that are asked for their namespace where the journal does not say it."""


class SpaceCheck:
    """One namespace of an opened root."""

    def __init__(self, root: Root, folder: Path, model: ModelId | None, findings: Findings) -> None:
        self.folder = folder
        """Its folder."""
        self.namespace: str | None = None
        """Its name; None where that is not known or the folder is not its own."""
        self.counts: Counter[str] = Counter()
        """What was read, by kind."""
        self.models: Counter[ModelId] = Counter()
        """The models of its whole Latents."""
        self._root = root
        self._model = model
        self._findings = findings
        self._encoders: dict[str, str] = {}
        self._elsewhere: Set[str] = set()
        self._is_readable = False

    def run(self) -> None:
        """Adds what is wrong to the findings."""
        self.namespace = self._named()
        if self.namespace is None:
            return
        if self._findings.repair:
            self._open()
        self._names()
        latents = LatentCheck(self.namespace, self.folder, self._model, self._findings)
        latents.run()
        self._encoders, self._elsewhere, self.models = latents.encoders, latents.misplaced, latents.models
        self.counts["latents"] += len(latents.encoders)
        self._journal(self.namespace)

    @contextmanager
    def derived(self) -> Generator[list[Derived] | None, None, None]:
        """What its index must hold; None where that is not known."""
        if self.namespace is None or not self._is_readable:
            yield None
            return
        with closing(self._database(self.namespace)) as database:
            yield self._expected(database)

    def _expected(self, database: Database) -> list[Derived]:
        encoders = {row[0] for row in database.rows("SELECT DISTINCT encoder FROM episodes")}
        latents, journal = WholeLatents(self.folder, self._encoders, Standings(database).unusable()), Journal(database)
        all_encoders = sorted(encoders | set(self._encoders.values()))
        return [
            Derived(kind, encoder, latents if kind == "latents" else journal)
            for encoder in all_encoders
            for kind in ("latents", "episodes")
        ]

    def _named(self) -> str | None:
        namespace = self._said_by_journal() or self._said_by_latents()
        place = ("root", self.folder)
        with suppress(InputError):
            if namespace is not None and folder_name(namespace) == self.folder.name:
                return namespace
        if namespace is None and folder_name(self.folder.name) == self.folder.name:
            return self.folder.name
        problem = f"It holds the namespace {namespace!r:.200}, whose folder it is not."
        if namespace is None:
            problem = "Neither its journal nor a Latent says which namespace it holds."
        self._findings.add(place, "fault", problem, "Move it back, or restore its journal from a backup.")
        return None

    def _said_by_journal(self) -> str | None:
        with suppress(sqlite3.Error), closing(_connected(self.folder / JOURNAL)) as connection:
            row = connection.execute("SELECT value FROM meta WHERE name = 'namespace'").fetchone()
            return row[0] if row and isinstance(row[0], str) else None
        return None

    def _said_by_latents(self) -> str | None:
        for path in sorted((self.folder / LATENTS).glob(f"*{SUFFIX}"))[:PROBED]:
            with suppress(StoreError):
                return read_header(path).latent.namespace
        return None

    def _open(self) -> None:
        """What an opening finishes and undoes."""
        try:
            with Store.open(self._root.path, str(self.namespace), access=self._root.access) as store:
                mended = store.mended
        except StoreWriteError:
            raise
        except StoreError:
            return  # what is wrong is found below
        for sentence in mended:
            place = ("root", self.folder)
            self._findings.add(place, "leftover", sentence, "The opening did it.", lambda: True)

    def _names(self) -> None:
        with reading(self.folder):
            names = sorted(os.listdir(self.folder))
        for name in names:
            place = ("root", self.folder / name)
            if name.endswith(TEMPORARY) or name.startswith("import-"):
                problem = "It was being written when its process ended."
                # A folder is an import's, which the opening has settled unless its process lives.
                mend = partial(delete_file, place[1]) if place[1].is_file() else None
                remedy = "The next opening or --repair finishes or deletes it."
                self._findings.add(place, "leftover", problem, remedy, mend)
            elif name not in OWN_NAMES:
                remedy = "It is left alone; move it away if it is yours."
                self._findings.add(place, "note", "It is no part of a store.", remedy)

    def _journal(self, namespace: str) -> None:
        path = self.folder / JOURNAL
        if not path.exists():
            problem = "It is missing, though there are Latents: all of them are read, also those that were taken back."
            self._findings.add(
                ("journal", path),
                "fault",
                problem,
                "Restore it from a backup; else the next opening begins an empty one.",
            )
            return
        try:
            with closing(self._database(namespace)) as database:
                checked = JournalCheck(database, self._kept(), self._findings)
                checked.run()
        except LatentMemoryError as exc:
            remedy = "--repair leaves it alone, because it says which Latents were taken back. Do what it says."
            self._findings.add(("journal", path), "fault", str(exc), remedy)
            return
        self._is_readable = not checked.is_older
        self.counts.update(checked.counts)

    def _database(self, namespace: str) -> Database:
        path = self.folder / JOURNAL
        return Database(path, namespace) if self._findings.repair else _Looked(path, namespace)

    def _kept(self) -> Set[str]:
        """Ids of all Latents whose file is there, readable or not, under whatever name, or in quarantine."""
        folders = (self.folder / LATENTS, self.folder / QUARANTINE)
        named = {path.name.partition(".")[0] for folder in folders for path in folder.glob(f"*{SUFFIX}*")}
        return named | self._elsewhere


class _Looked(Database):
    """A journal that is only looked at, whatever its version: its owner is this process, and its log is read."""

    def __init__(self, path: Path, namespace: str) -> None:
        self.path = path
        with self._door():
            self._connection = _connected(path)
        try:
            schema.check(self, namespace)
        except BaseException:
            self.close()
            raise


def _connected(path: Path) -> sqlite3.Connection:
    address = f"{path.absolute().as_uri()}?mode=ro"
    return sqlite3.connect(address, uri=True, isolation_level=None, check_same_thread=False)
