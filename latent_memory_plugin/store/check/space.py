"""One namespace: which one it is, the files in its folder, its Latents, its journal, and what its index must hold."""

import os
from collections import Counter
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from latent_memory_plugin.errors import CorruptError, InputError, LatentMemoryError, StoreError, StoreWriteError
from latent_memory_plugin.records import Latent
from latent_memory_plugin.store.check.findings import QUARANTINE, Findings, Place, quarantine
from latent_memory_plugin.store.check.journal import JournalCheck
from latent_memory_plugin.store.disk import TEMPORARY, move_file, reading
from latent_memory_plugin.store.files import SUFFIX, LatentFiles
from latent_memory_plugin.store.journal import Journal
from latent_memory_plugin.store.keys import EpisodeKeys, LatentKeys, Truth
from latent_memory_plugin.store.packing import read_content, read_header, unpack
from latent_memory_plugin.store.root import JOURNAL, LATENTS, WRITE_LOCK, ModelId, Root, folder_name
from latent_memory_plugin.store.schema import BACKUP, SCHEMA
from latent_memory_plugin.store.store import Store

OWN_NAMES = {JOURNAL, f"{JOURNAL}-wal", f"{JOURNAL}-shm", LATENTS, QUARANTINE, WRITE_LOCK} | {
    BACKUP.format(version) for version in range(SCHEMA)
}
PROBED = 20
"""Latents that are asked for their namespace where the journal does not say it."""


class SpaceCheck:
    """One namespace of an opened root. What it keeps is ids."""

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
        # The whole Latents with the encoders of their keys, and those that lay under another name.
        self._encoders: dict[str, str] = {}
        self._misplaced: set[str] = set()
        self._is_readable = False

    def run(self) -> None:
        """Adds what is wrong to the findings."""
        self.namespace = self._named()
        if self.namespace is None:
            return
        if self._findings.repair:
            self._open(self.namespace)
        for path in _listed(self.folder):
            if path.name.endswith(TEMPORARY) or path.name.startswith("import-"):
                # A folder is an import's, which the opening has settled unless its process lives.
                remedy = "The next opening or --repair finishes or deletes it."
                self._findings.left_behind(("root", path), remedy, path.is_file())
            elif path.name not in OWN_NAMES:
                self._findings.foreign(("root", path))
        for path in _listed(self.folder / LATENTS):
            if path.name.endswith(TEMPORARY):
                self._findings.left_behind(("latents", path), "The next opening or --repair deletes it.")
            elif path.suffix != SUFFIX:
                self._findings.foreign(("latents", path), "It is no Latent file.")
            elif latent := self._latent(path, self.namespace):
                self.counts["latents"] += 1
                self.models[ModelId(latent.model, latent.fingerprint)] += 1
                self._encoders[latent.id] = latent.encoder
        self._journal(self.namespace)

    @contextmanager
    def derived(self) -> Generator[dict[tuple[str, str], Truth] | None, None, None]:
        """What its index must hold, by kind and encoder; None where that is not known."""
        if self.namespace is None or not self._is_readable:
            yield None
            return
        with closing(self._opened(self.namespace)) as journal:
            files = LatentFiles(self.folder / LATENTS, self.namespace, self._model)
            files.encoders = dict.fromkeys(files.ids(), "") | self._encoders
            encoders = sorted({*journal.encoders(), *self._encoders.values()})
            latents, episodes = LatentKeys(files, journal), EpisodeKeys(journal)
            yield {(one.kind, encoder): one for encoder in encoders for one in (latents, episodes)}

    def _named(self) -> str | None:
        namespace = self._said_by_journal() or self._said_by_latents() or self.folder.name
        with suppress(InputError):
            if folder_name(namespace) == self.folder.name:
                return namespace
        problem = f"It holds the namespace {namespace!r:.200}, whose folder it is not."
        if namespace == self.folder.name:
            problem = "Neither its journal nor a Latent says which namespace it holds."
        self._findings.add(
            ("root", self.folder), "fault", problem, "Move it back, or restore its journal from a backup."
        )
        return None

    def _said_by_journal(self) -> str | None:
        with suppress(StoreError, ValueError), closing(self._opened(None)) as journal:
            [(namespace,)] = journal.rows("SELECT value FROM meta WHERE name = 'namespace'")
            return namespace if isinstance(namespace, str) else None
        return None

    def _said_by_latents(self) -> str | None:
        for path in sorted((self.folder / LATENTS).glob(f"*{SUFFIX}"))[:PROBED]:
            with suppress(StoreError):
                return read_header(path).latent.namespace
        return None

    def _open(self, namespace: str) -> None:
        """What an opening finishes and undoes."""
        try:
            with Store.open(self._root.path, namespace, access=self._root.access) as store:
                mended = store.mended
        except StoreWriteError:
            raise
        except StoreError:
            return  # what is wrong is found below
        for sentence in mended:
            self._findings.add(("root", self.folder), "leftover", sentence, "The opening did it.", lambda: True)

    # -- Latents

    def _latent(self, path: Path, namespace: str) -> Latent | None:
        """The record of a whole Latent of this place, read in full: hash, header, values, key, namespace, model."""
        place: Place = ("latents", path)
        try:
            latent = unpack(read_content(path), path).latent
            if latent.namespace != namespace:
                raise CorruptError(f"It belongs to the namespace {latent.namespace!r:.200}.")
        except CorruptError as exc:
            moves = f"--repair moves it to {self.folder.name}/{QUARANTINE}; restore it from a backup."
            self._findings.add(place, "fault", str(exc), moves, lambda: quarantine(path, self.folder))
            return None
        except LatentMemoryError as exc:
            self._findings.add(place, "fault", str(exc), "Do what it says; --repair leaves it alone.")
            return None
        if self._model and not self._model.owns(latent.fingerprint):
            self._findings.add(
                place,
                "fault",
                f"It belongs to the model {latent.model!r:.200} (fingerprint {latent.fingerprint[:12]!r}), the root to "
                f"{self._model.name!r} (fingerprint {self._model.fingerprint[:12]!r}).",
                "It is never read here. Move it to a root of its model; --repair leaves it alone.",
            )
            return None
        return latent if latent.id == path.stem or self._renamed(path, latent.id) else None

    def _renamed(self, path: Path, latent_id: str) -> bool:
        """Whether a Latent under another name than its own has its own now."""
        self._misplaced.add(latent_id)
        right = path.with_name(f"{latent_id}{SUFFIX}")
        place: Place = ("latents", path)
        problem = f"Its record is that of the Latent {latent_id}."
        if right.exists():
            remedy = f"There is one already; --repair moves it to {self.folder.name}/{QUARANTINE}."
            self._findings.add(place, "fault", problem, remedy, lambda: quarantine(path, self.folder))
            return False
        return self._findings.add(place, "fault", problem, "--repair renames it.", lambda: move_file(path, right))

    # -- the journal

    def _journal(self, namespace: str) -> None:
        place: Place = ("journal", self.folder / JOURNAL)
        if not place[1].exists():
            problem = "It is missing, though there are Latents: all of them are read, also those that were taken back."
            remedy = "Restore it from a backup; else the next opening begins an empty one."
            self._findings.add(place, "fault", problem, remedy)
            return
        folders = (self.folder / LATENTS, self.folder / QUARANTINE)
        there = {path.name.partition(".")[0] for folder in folders for path in folder.glob(f"*{SUFFIX}*")}
        try:
            with closing(self._opened(namespace)) as journal:
                rows = JournalCheck(journal, there | self._misplaced, self._findings)
                self._is_readable = rows.run()
                self.counts.update(rows.counts)
        except LatentMemoryError as exc:
            remedy = "--repair leaves it alone, because it says which Latents were taken back. Do what it says."
            self._findings.add(place, "fault", str(exc), remedy)

    def _opened(self, namespace: str | None) -> Journal:
        looking = namespace is None or not self._findings.repair
        return Journal(self.folder / JOURNAL, namespace, read_only=looking, older=True)


def _listed(folder: Path) -> list[Path]:
    """What is in a folder, in order; nothing where there is none."""
    with reading(folder):
        return [folder / name for name in sorted(os.listdir(folder))] if folder.is_dir() else []
