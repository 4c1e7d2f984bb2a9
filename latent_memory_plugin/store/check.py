"""Is everything under a root what was written? `check` reads all of it, says what is not, and repairs it where asked.

Files and rows come first, because the index is compared with what of them is whole. An index follows the truth with
each search: what has changed since the last one is not expected of it. Legend: B rows, D key size.
"""

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from latent_memory_plugin.errors import (
    CorruptError,
    InputError,
    LatentMemoryError,
    NotFoundError,
    StoreError,
    StoreWriteError,
)
from latent_memory_plugin.frozen import Frozen
from latent_memory_plugin.records import Latent, Standing, Use, question_hash
from latent_memory_plugin.store.access import ALONE, Access
from latent_memory_plugin.store.chroma import is_of_chroma
from latent_memory_plugin.store.disk import (
    TEMPORARY,
    delete_files,
    folder_path,
    make_folder,
    move_file,
    reading,
    sync_folder,
    write_file,
    writing,
)
from latent_memory_plugin.store.files import SUFFIX, LatentFiles
from latent_memory_plugin.store.index import Index, behind, collection_name, indexed
from latent_memory_plugin.store.journal import COLUMNS, Journal, Row
from latent_memory_plugin.store.keys import EpisodeKeys, LatentKeys, Truth
from latent_memory_plugin.store.packing import read_content, read_header, unpack
from latent_memory_plugin.store.root import JOURNAL, LATENTS, MODELS, STORE, WRITE_LOCK, ModelId, Root, folder_name
from latent_memory_plugin.store.schema import BACKUP, SCHEMA
from latent_memory_plugin.store.store import Store

if TYPE_CHECKING:
    from chromadb.api.models.Collection import Collection as Stored

Part = Literal["root", "latents", "journal", "index"]
Kind = Literal["fault", "leftover", "note"]
Mend = Callable[[], object]

QUARANTINE = "quarantine"
"""Folder of a namespace that takes what cannot be read; nothing in it is looked at again."""

_ROOT_NAMES = {STORE, WRITE_LOCK, MODELS, "lock", "owner.json", "lock.d", "chroma"}
_OWN_NAMES = {JOURNAL, f"{JOURNAL}-wal", f"{JOURNAL}-shm", LATENTS, QUARANTINE, WRITE_LOCK} | {
    BACKUP.format(version) for version in range(SCHEMA)
}
_TABLES = {
    "episodes": ("id", f"key, {COLUMNS}"),
    "standings": ("latent_id", "latent_id, state, record"),
    "uses": ("latent_id", "answer_id, latent_id, problem_hash, record"),
}
"""Tables whose rows are read: the column that names them, and those that are looked at."""
_PROBED = 20
"""Latents that are asked for their namespace where the journal does not say it."""
_ROWS, _KEYS = 200, 500
"""In memory at a time."""
_TOLERANCE = 1e-4
"""By how much the cosine of an indexed and a stored key may miss 1."""
_QUERIES = 20
"""Keys of a collection that are looked for; the search is approximate, so one in ten may be missed."""
_ROUNDS = 3
"""How often a repair of the index is looked at again: repairing one collection may cost another."""


class Finding(Frozen):
    """One thing that is not as it was written."""

    part: Part
    """What it concerns."""
    kind: Kind
    """`fault`: something that was stored cannot be used. `leftover`: a killed process leaves it, nothing is lost by it,
    and the next opening or a repair clears it. `note`: not ours; it is left alone and does not count."""
    path: str
    """The file or folder."""
    problem: str
    """What is wrong with it, one sentence."""
    remedy: str
    """What a repair does, or what a person has to do where it can do nothing."""
    repaired: bool = False
    """True where it has been done."""


class Report(Frozen):
    """What was looked at, and what was found."""

    root: str
    """The folder."""
    namespaces: tuple[str, ...]
    """The namespaces that were checked."""
    latents: int
    """Latent files read in full."""
    episodes: int
    """Episodes read."""
    standings: int
    """Standings read."""
    uses: int
    """Uses read."""
    keys: int
    """Keys of the index compared with the stored ones."""
    findings: tuple[Finding, ...]
    """All flaws, in the order in which they were found."""
    seconds: float
    """How long it took."""

    @property
    def left(self) -> tuple[Finding, ...]:
        """What is still wrong: everything but notes and what was repaired."""
        return tuple(one for one in self.findings if one.kind != "note" and not one.repaired)


def check(root: Path, namespace: str | None = None, repair: bool = False, access: Access = ALONE) -> Report:
    """Reads everything under a root, or of one namespace, and says what is not as it was written.

    Without `repair` nothing is changed, but for what SQLite and Chroma do to their files when they open them. With it,
    what was under way is finished or undone, rows that belong to nothing are deleted, what cannot be read is moved to
    the namespace's `quarantine`, `store.json` is written anew from the Latents, and the index is built anew. In memory
    are one Latent, a page of rows or of keys, and the ids of all Latents.

    Raises NotFoundError where there is no such root or namespace, StoreLockedError where another process has it open,
    StoreWriteError, IndexUnavailableError.
    """
    path = folder_path(root)
    if not path.is_dir():
        raise NotFoundError(f"There is no root {str(path)!r}; pass the folder of a store.")
    began, opened = time.monotonic(), Root.open(path, access)
    try:
        with opened.guard, opened.searching:
            one = _Check(opened, repair)
            one.run(namespace)
    finally:
        opened.release()
    counts = {name: one.counts[name] for name in ("latents", "episodes", "standings", "uses", "keys")}
    names = tuple(space.namespace for space in one.spaces if space.namespace is not None)
    seconds = round(time.monotonic() - began, 3)
    return Report(root=str(path), namespaces=names, findings=tuple(one.findings), seconds=seconds, **counts)


@dataclass
class _Space:
    """What is kept of one namespace: ids."""

    folder: Path
    namespace: str | None = None
    """None where it is not known or the folder is not its own."""
    encoders: dict[str, str] = field(default_factory=dict[str, str])
    """The whole Latents, with who made their keys."""
    misplaced: set[str] = field(default_factory=set[str])
    """Ids of Latents that lay under another name."""
    is_readable: bool = False
    """True where its journal can be read."""


class _Check:
    """One check of an opened root."""

    def __init__(self, root: Root, repair: bool) -> None:
        self.findings: list[Finding] = []
        self.spaces: list[_Space] = []
        self.counts: Counter[str] = Counter()
        self._models: Counter[ModelId] = Counter()
        self._root, self._repair = root, repair
        self._model: ModelId | None = None

    def run(self, namespace: str | None) -> None:
        """Finds what is wrong."""
        wanted = None if namespace is None else folder_name(namespace)
        if wanted and not (self._root.path / wanted).is_dir():
            raise NotFoundError(f"Nothing is stored in the namespace {namespace!r} of {str(self._root.path)!r}.")
        broken = self._owner()
        self.spaces = [_Space(folder) for folder in self._folders() if wanted in (None, folder.name)]
        for space in self.spaces:
            self._space(space)
        if self._model is None and wanted is None:
            self._name_model(broken)
        for _ in range(_ROUNDS if self._repair else 1):
            before = len(self.findings)
            self._index(is_whole=wanted is None)
            if len(self.findings) == before:
                return

    def _add(self, part: Part, path: Path, kind: Kind, problem: str, remedy: str, mend: Mend | None = None) -> bool:
        """Adds a finding, and repairs it at once where that is asked for and `mend` does what `remedy` says; without
        it, a person has to. Whether it was repaired: `mend` returns False where it could not."""
        repaired = False
        if self._repair and mend is not None:
            try:
                repaired = mend() is not False
            except LatentMemoryError as exc:
                remedy = f"{remedy} That failed: {exc}"
        one = Finding(part=part, kind=kind, path=str(path), problem=problem, remedy=remedy, repaired=repaired)
        self.findings.append(one)
        return repaired

    def _unfinished(self, part: Part, path: Path, remedy: str) -> None:
        # A folder is an import's, which the opening has settled unless its process lives.
        mend = (lambda: delete_files([path])) if path.is_file() else None
        self._add(part, path, "leftover", "It was being written when its process ended.", remedy, mend)

    def _foreign(self, part: Part, path: Path, problem: str = "It is no part of a store.") -> None:
        self._add(part, path, "note", problem, "It is left alone; move it away if it is yours.")

    # -- the root

    def _folders(self) -> Iterator[Path]:
        """The folders of namespaces; other names are reported."""
        for path in _listed(self._root.path):
            if path.name.endswith(TEMPORARY) and path.is_file():
                self._unfinished("root", path, "--repair deletes it.")
            elif (path / JOURNAL).is_file() or (path / LATENTS).is_dir() or (path / QUARANTINE).is_dir():
                yield path
            elif path.name not in _ROOT_NAMES:
                self._foreign("root", path)

    def _owner(self) -> str:
        """Takes the model of the root; what is wrong with `store.json` where it names none."""
        try:
            self._model = self._root.owner
        except CorruptError as exc:
            return str(exc)
        except StoreError as exc:
            remedy = "Do what it says; --repair leaves it alone."
            self._add("root", self._root.path / STORE, "fault", str(exc), remedy)
        return ""

    def _name_model(self, broken: str) -> None:
        path, models = self._root.path / STORE, self._models
        if not broken and (path.exists() or not models):
            return
        problem = broken or "It is missing, though there are Latents."
        if len(models) > 1:
            names = ", ".join(sorted({repr(model.name) for model in models}))
            remedy = f"Restore it from a backup: the Latents belong to several models ({names:.300})."
            self._add("root", path, "fault", problem, remedy)
        elif models:
            [model], remedy = models, "--repair writes it anew from the Latents."
            self._add("root", path, "fault", problem, remedy, lambda: self._root.name(model))
        else:
            remedy = "--repair deletes it; there is no Latent, and the next opening with a model writes it."
            self._add("root", path, "fault", problem, remedy, lambda: delete_files([path]))

    # -- a namespace

    def _space(self, space: _Space) -> None:
        self._named(space)
        if space.namespace is None:
            return
        if self._repair:
            self._open(space.folder, space.namespace)
        for path in _listed(space.folder):
            if path.name.endswith(TEMPORARY) or path.name.startswith("import-"):
                self._unfinished("root", path, "The next opening or --repair finishes or deletes it.")
            elif path.name not in _OWN_NAMES:
                self._foreign("root", path)
        for path in _listed(space.folder / LATENTS):
            if path.name.endswith(TEMPORARY):
                self._unfinished("latents", path, "The next opening or --repair deletes it.")
            elif path.suffix != SUFFIX:
                self._foreign("latents", path, "It is no Latent file.")
            elif latent := self._latent(path, space):
                self.counts["latents"] += 1
                self._models[ModelId(latent.model, latent.fingerprint)] += 1
                space.encoders[latent.id] = latent.encoder
        self._journal(space)

    def _named(self, space: _Space) -> None:
        """Says which namespace a folder holds, by its journal, else by its Latents, else by its own name."""
        said, folder = self._said(space.folder), space.folder.name
        with suppress(InputError):
            if folder_name(said or folder) == folder:
                space.namespace = said or folder
                return
        problem = f"It holds the namespace {said!r:.200}, whose folder it is not."
        if said is None:
            problem = "Neither its journal nor a Latent says which namespace it holds."
        self._add("root", space.folder, "fault", problem, "Move it back, or restore its journal from a backup.")

    def _said(self, folder: Path) -> str | None:
        with suppress(StoreError, ValueError), closing(self._opened(folder, None)) as journal:
            [(namespace,)] = journal.rows("SELECT value FROM meta WHERE name = 'namespace'")
            return namespace if isinstance(namespace, str) else None
        for path in sorted((folder / LATENTS).glob(f"*{SUFFIX}"))[:_PROBED]:
            with suppress(StoreError):
                return read_header(path).latent.namespace
        return None

    def _open(self, folder: Path, namespace: str) -> None:
        """What an opening finishes and undoes."""
        try:
            with Store.open(self._root.path, namespace, access=self._root.access) as store:
                mended = store.mended
        except StoreWriteError:
            raise
        except StoreError:
            return  # what is wrong is found below
        for sentence in mended:
            self._add("root", folder, "leftover", sentence, "The opening did it.", lambda: True)

    def _opened(self, folder: Path, namespace: str | None) -> Journal:
        looking = namespace is None or not self._repair
        return Journal(folder / JOURNAL, namespace, read_only=looking, older=True)

    # -- its Latents

    def _latent(self, path: Path, space: _Space) -> Latent | None:
        """The record of a whole Latent of this place, read in full: hash, header, values, key, namespace, model."""
        try:
            latent = unpack(read_content(path), path).latent
            if latent.namespace != space.namespace:
                raise CorruptError(f"It belongs to the namespace {latent.namespace!r:.200}.")
        except CorruptError as exc:
            moves = f"--repair moves it to {space.folder.name}/{QUARANTINE}; restore it from a backup."
            self._add("latents", path, "fault", str(exc), moves, lambda: _quarantine(path, space.folder))
            return None
        except LatentMemoryError as exc:
            self._add("latents", path, "fault", str(exc), "Do what it says; --repair leaves it alone.")
            return None
        if self._model and not self._model.owns(latent.fingerprint):
            problem = (
                f"It belongs to the model {latent.model!r:.200} (fingerprint {latent.fingerprint[:12]!r}), the root to "
                f"{self._model.name!r} (fingerprint {self._model.fingerprint[:12]!r})."
            )
            remedy = "It is never read here. Move it to a root of its model; --repair leaves it alone."
            self._add("latents", path, "fault", problem, remedy)
            return None
        return latent if latent.id == path.stem or self._renamed(path, latent.id, space) else None

    def _renamed(self, path: Path, latent_id: str, space: _Space) -> bool:
        """Whether a Latent under another name than its own has its own now."""
        space.misplaced.add(latent_id)
        right, problem = path.with_name(f"{latent_id}{SUFFIX}"), f"Its record is that of the Latent {latent_id}."
        if right.exists():
            remedy = f"There is one already; --repair moves it to {space.folder.name}/{QUARANTINE}."
            self._add("latents", path, "fault", problem, remedy, lambda: _quarantine(path, space.folder))
            return False
        return self._add("latents", path, "fault", problem, "--repair renames it.", lambda: move_file(path, right))

    # -- its journal

    def _journal(self, space: _Space) -> None:
        path = space.folder / JOURNAL
        if not path.exists():
            problem = "It is missing, though there are Latents: all of them are read, also those that were taken back."
            remedy = "Restore it from a backup; else the next opening begins an empty one."
            self._add("journal", path, "fault", problem, remedy)
            return
        try:
            with closing(self._opened(space.folder, space.namespace)) as journal:
                space.is_readable = self._rows(journal, space)
        except LatentMemoryError as exc:
            remedy = "--repair leaves it alone, because it says which Latents were taken back. Do what it says."
            self._add("journal", path, "fault", str(exc), remedy)

    def _rows(self, journal: Journal, space: _Space) -> bool:
        """Reads every row once; False for a journal whose rows only an opening can read."""
        if said := _integrity(journal):
            remedy = "--repair builds SQLite's own indexes anew; where that is not enough, restore it from a backup."
            problem = f"SQLite finds it damaged: {'; '.join(said)[:500]}."
            self._add("journal", journal.path, "fault", problem, remedy, lambda: _reindex(journal))
        [(version,)] = journal.rows("PRAGMA user_version")
        if version < SCHEMA:
            problem = f"It has the schema {version}, older than {SCHEMA}; its rows were not looked at."
            remedy = "The next opening or --repair takes it to the present one, after a copy."
            self._add("journal", journal.path, "leftover", problem, remedy)
            return False
        for table in _TABLES:
            self._table(journal, table)
        folders = (space.folder / LATENTS, space.folder / QUARANTINE)
        stored = {path.name.partition(".")[0] for folder in folders for path in folder.glob(f"*{SUFFIX}*")}
        for table in ("standings", "uses"):
            lost = [one for one in _owners(journal, table, "latent_id") if one not in stored | space.misplaced]
            self._ownerless(journal, table, "latent_id", "no stored Latent", lost)
        for table in ("queue", "claims"):
            owners = _owners(journal, table, "episode_id")
            there = journal.held(owners)
            self._ownerless(journal, table, "episode_id", "no episode", [one for one in owners if one not in there])
        return True

    def _table(self, journal: Journal, table: str) -> None:
        name, columns = _TABLES[table]
        last, query = -1, f"SELECT rowid, {name} FROM {table} WHERE rowid > ? ORDER BY rowid LIMIT {_ROWS}"
        while page := journal.rows(query, last):
            for number, item_id in page:
                self.counts[table] += 1
                [row] = journal.rows(f"SELECT {columns} FROM {table} WHERE rowid = ?", number)
                try:
                    flaw = self._flaw(journal, table, row)
                except LatentMemoryError as exc:
                    flaw = str(exc)
                except (TypeError, ValueError) as exc:  # a damaged row may hold any type
                    flaw = repr(exc)
                if flaw:
                    self._unreadable(journal, table, number, f"The row of {item_id!r:.80} in {table}", flaw)
            last = page[-1][0]

    def _flaw(self, journal: Journal, table: str, row: Row) -> str:
        """What is wrong with a row, in words; nothing where it can be used."""
        if table == "episodes":
            return self._episode(journal, *row)
        if table == "standings":
            standing = Standing.from_json(row[-1])
            same = (standing.latent_id, standing.state) == row[:-1]
        else:
            use = Use.from_json(row[-1])
            same = (use.answer_id, use.latent_id, use.problem_hash) == row[:-1]
        return "" if same else "its columns and its record differ."

    def _episode(self, journal: Journal, blob: bytes, *row: object) -> str:
        episode, key = journal.read(row), np.frombuffer(blob, "<f4")  # (D,)
        if not key.size or not np.isfinite(key).all():
            return "its key is empty or not finite."
        known = row[COLUMNS.split(", ").index("problem_hash")]
        if episode.problem.has_text and known != question_hash(episode.question):
            change = "UPDATE episodes SET problem_hash = question_hash(question) WHERE id = ?"
            problem = f"The problem hash of the episode {episode.id!r:.80} is not that of its question."
            remedy = "--repair writes the right one."
            self._add("journal", journal.path, "fault", problem, remedy, lambda: journal.run(change, episode.id))
        return ""

    def _unreadable(self, journal: Journal, table: str, number: int, what: str, flaw: str) -> None:
        remedy = f"--repair writes it to {journal.path.parent.name}/{QUARANTINE} and deletes it here."
        if table == "standings":
            remedy = f"{remedy[:-1]}; the Latent is suspended."
        problem = f"{what} cannot be used: {flaw:.500}"
        self._add("journal", journal.path, "fault", problem, remedy, lambda: _take_out(journal, table, number))

    def _ownerless(self, journal: Journal, table: str, name: str, what: str, lost: list[str]) -> None:
        def delete() -> None:
            with journal.transaction():
                for value in lost:
                    journal.run(f"DELETE FROM {table} WHERE {name} IS ?", value)

        if lost:
            problem = f"Rows of {table} belong to {what}: {len(lost)}, such as {lost[0]!r:.80}."
            remedy = "They are never used. --repair deletes them."
            self._add("journal", journal.path, "leftover", problem, remedy, delete)

    # -- the index

    def _index(self, is_whole: bool) -> None:
        self.counts["keys"] = 0
        there = self._collections()
        if there is None:
            return
        for space in self.spaces:
            with self._derived(space) as known:
                if known is None:
                    continue
                own = {name for name in there if name.startswith(f"{space.folder.name}.")}
                for name in sorted(own - known.keys()):
                    self._stranger(name, "It holds keys of an encoder that no stored key is of.")
                for name, (encoder, truth) in known.items():
                    self._collection(name, encoder, truth, name in own)
        folders = {space.folder.name for space in self.spaces}
        for name in sorted(name for name in there if is_whole and name.partition(".")[0] not in folders):
            self._stranger(name, "It holds keys of a namespace that is not there.")

    def _collections(self) -> set[str] | None:
        """The names of all collections of the root; None where Chroma cannot be opened. A repair deletes all of it, so
        that there are none."""
        chroma = self._root.chroma
        try:
            return chroma.names()
        except BaseException as exc:
            if not is_of_chroma(exc):
                raise
            problem = f"It cannot be opened: {exc!s:.300}."
            remedy = "The next search builds it anew, or --repair does."
            self._add("index", Path(chroma.place), "leftover", problem, remedy, chroma.wipe)
            return set() if self._repair else None

    @contextmanager
    def _derived(self, space: _Space) -> Generator[dict[str, tuple[str, Truth]] | None, None, None]:
        """The collections that there may be, with their encoders and what they hold; None where that is not known."""
        if space.namespace is None or not space.is_readable:
            yield None
            return
        with closing(self._opened(space.folder, space.namespace)) as journal:
            files = LatentFiles(space.folder / LATENTS, space.namespace, self._model)
            files.encoders = dict.fromkeys(files.ids(), "") | space.encoders
            encoders = sorted({*journal.encoders(), *space.encoders.values()})
            truths: tuple[Truth, ...] = (LatentKeys(files, journal), EpisodeKeys(journal))
            yield {
                collection_name(space.folder.name, truth.kind, encoder): (encoder, truth)
                for encoder in encoders
                for truth in truths
            }

    def _stranger(self, name: str, problem: str) -> None:
        chroma = self._root.chroma
        for flaw in _reading(lambda: [problem] if chroma.collection(name).count() else []):
            self._add_index(name, flaw, "deletes it", lambda: chroma.drop(name))

    def _collection(self, name: str, encoder: str, truth: Truth, is_there: bool) -> None:
        def rebuilt() -> bool:
            Index(self._root.chroma, name, truth, encoder).renew()
            return not self._flaws(name, encoder, truth)

        if is_there:
            flaws = self._flaws(name, encoder, truth)
        else:
            flaws = ["There is none."] * (truth.journal.marked(indexed(name)) is not None and bool(truth.ids(encoder)))
        if flaws:
            self._add_index(name, " ".join(flaws), "builds it anew", rebuilt)

    def _add_index(self, name: str, problem: str, repair: str, mend: Mend) -> None:
        # The next opening shall not take it for what it was when it was closed.
        self._root.chroma.digests.pop(name, None)
        remedy = f"The next search puts its ids right; --repair {repair}."
        self._add("index", Path(self._root.chroma.place) / name, "leftover", problem, remedy, mend)

    def _flaws(self, name: str, encoder: str, truth: Truth) -> list[str]:
        return _reading(lambda: list(self._differences(name, encoder, truth)))

    def _differences(self, name: str, encoder: str, truth: Truth) -> Iterator[str]:
        stored, late = self._root.chroma.collection(name), behind(name, truth)
        true, seen, wrong = truth.ids(encoder), set[str](), 0
        while (page := stored.get(limit=_KEYS, offset=len(seen), include=["embeddings"]))["ids"]:
            ids, vectors = page["ids"], np.asarray(page["embeddings"])  # (B, D)
            seen.update(ids)
            keys = dict(truth.keys([item_id for item_id in ids if item_id in true], encoder))
            pairs = ((vector, keys.get(item_id)) for item_id, vector in zip(ids, vectors, strict=True))
            wrong += sum(key is not None and _cosine(vector, key) < 1 - _TOLERANCE for vector, key in pairs)
            self.counts["keys"] += len(ids)
        if late is not None and (missing := len(true - seen - late)):
            yield f"{missing} stored keys are missing."
        if late is not None and (extra := len(seen - true - late)):
            yield f"{extra} keys belong to nothing that is stored or usable."
        if wrong:
            yield f"{wrong} keys are not those that are stored."
        sample = sorted(true & seen)[:: max(1, len(true & seen) // _QUERIES)]
        if missed := _missed(stored, dict(truth.keys(sample, encoder))):
            yield f"Queries do not find {missed} of {len(sample)} keys that are there."


def _listed(folder: Path) -> list[Path]:
    """What is in a folder, in order; nothing where there is none."""
    with reading(folder):
        return [folder / name for name in sorted(os.listdir(folder))] if folder.is_dir() else []


def _quarantine(path: Path, namespace_folder: Path) -> None:
    """Moves a file out of the way, durable when it returns; nothing there is overwritten."""
    target = _free_name(namespace_folder, path.name)
    with writing(path):
        os.replace(path, target)
        sync_folder(target.parent)
        sync_folder(path.parent)


def _free_name(namespace_folder: Path, name: str) -> Path:
    """A path in the quarantine of this name, or of one with a number, where nothing is yet."""
    folder = namespace_folder / QUARANTINE
    make_folder(folder)
    target, number = folder / name, 1
    while target.exists():
        target, number = folder / f"{name}.{number}", number + 1
    return target


def _integrity(journal: Journal) -> list[str]:
    return [row[0] for row in journal.rows("PRAGMA integrity_check(10)") if row[0] != "ok"]


def _reindex(journal: Journal) -> bool:
    journal.run("REINDEX")
    return not _integrity(journal)


def _owners(journal: Journal, table: str, name: str) -> list[str]:
    return [row[0] for row in journal.rows(f"SELECT DISTINCT {name} FROM {table}")]


def _take_out(journal: Journal, table: str, number: int) -> None:
    """Writes a row to the quarantine and deletes it."""
    names = [row[1] for row in journal.rows(f"PRAGMA table_info({table})")]
    [row] = journal.rows(f"SELECT {', '.join(names)} FROM {table} WHERE rowid = ?", number)
    fields = dict(zip(names, row, strict=True))
    target = _free_name(journal.path.parent, f"{table}-{number}.json")
    write_file(target, json.dumps(fields, default=_plain, indent=2).encode())
    with journal.transaction():
        journal.run(f"DELETE FROM {table} WHERE rowid = ?", number)
        if table == "standings" and isinstance(fields["latent_id"], str):
            # Without a standing it would be live, and perhaps it was taken back.
            reason = f"What it may do could not be read; {target.name} in {QUARANTINE} has it."
            journal.stand(Standing(latent_id=fields["latent_id"], state="suspended", reason=reason))


def _plain(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else repr(value)


def _reading(look: Callable[[], list[str]]) -> list[str]:
    """What is found in Chroma, or that it cannot be read."""
    try:
        return look()
    except BaseException as exc:
        if not is_of_chroma(exc):
            raise
        return [f"It cannot be read: {exc!s:.300}."]


def _missed(stored: "Stored", keys: dict[str, np.ndarray]) -> int:
    """How many of these keys a query does not find, nor another key as near; 0 where the search may miss so many. A key
    of zeros is near to nothing."""
    missed = 0
    for key in islice((key for key in keys.values() if key.any()), _QUERIES):
        found = stored.query(query_embeddings=key[None], n_results=1, include=["distances"])  # (1, D)
        distances = (found["distances"] or [[]])[0]
        missed += not len(distances) or distances[0] > 10 * _TOLERANCE
    return missed if missed > len(keys) // 10 else 0


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    """Cosine of two vectors (D,); 1 where both are zero, 0 where they differ in size."""
    if one.shape != other.shape:
        return 0.0
    lengths = float(np.linalg.norm(one)) * float(np.linalg.norm(other))
    if not lengths:
        return 1.0 if np.array_equal(one, other) else 0.0
    return float((one * other).sum()) / lengths
