"""Out of a namespace and into it: what an archive is made of, and how it is taken in, all of it or nothing.

An import waits in a folder inside the namespace's own, verified before anything of it can be seen:

    import-<digits>.tmp/ready           its Latents as they will be; a mark in the journal says that they shall
    import-<digits>.tmp/journal.sqlite  its rows as they will be
    import-<digits>.lock                held by the process whose import it is

An import that was cut short before its mark was committed is deleted by the next opening, one after it is finished.
Legend: D key size.
"""

import base64
import logging
import shutil
import uuid
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO, NamedTuple, TypeVar, cast

import numpy as np
from filelock import FileLock, Timeout

from latent_memory_plugin.errors import InputError, StoreError
from latent_memory_plugin.frozen import Frozen
from latent_memory_plugin.records import Episode, Standing, Use
from latent_memory_plugin.store.archive import (
    EPISODES,
    STANDINGS,
    USES,
    Archive,
    EpisodeLine,
    Manifest,
    Source,
    refused,
    source,
    write_archive,
)
from latent_memory_plugin.store.disk import TEMPORARY, make_folder, sync_file, sync_folder, writing
from latent_memory_plugin.store.files import SUFFIX, LatentFiles, checked_key
from latent_memory_plugin.store.journal import COLUMNS, Journal, episode_row
from latent_memory_plugin.store.packing import Content, unpack
from latent_memory_plugin.store.redaction import Texts
from latent_memory_plugin.store.root import ModelId

_log = logging.getLogger(__name__)
_ROWS = f"{COLUMNS}, encoder, key"

Said = TypeVar("Said", Standing, Use)


# -- out


def export_archive(
    path: Path, manifest: Manifest, ids: Collection[str], files: LatentFiles, journal: Journal, texts: Texts
) -> Manifest:
    """Writes an archive of these Latents, with the whole journal where the manifest says so; the manifest with all that
    depends on what is in it. `journal` is a connection of its own. Raises as `Store.export_to` does."""
    with ExitStack() as tables, writing(path):

        def table(name: str, rows: Iterable[Frozen]) -> Source:
            file = cast("BinaryIO", tables.enter_context(TemporaryFile(dir=path.parent)))
            file.writelines(row.model_dump_json().encode() + b"\n" for row in rows)
            return source(name, file)

        with journal.snapshot():  # short: who forgets waits for it
            standings = (standing for one in sorted(ids) if (standing := journal.standing(one)))
            sources = [table(STANDINGS, standings)]
            encoders = journal.encoders() if manifest.journal else set[str]()
            rest: list[Source] = []
            if manifest.journal:
                rest.append(table(USES, (use for use in journal.stream_uses() if use.latent_id in ids)))
                rest.append(table(EPISODES, _episode_lines(journal, texts)))
        for latent_id in sorted(ids):
            encoders.add(files.read(latent_id).latent.encoder)  # whole, and of this namespace and model
            sources.append(source(f"latents/{latent_id}{SUFFIX}", files.path(latent_id)))
        sources += rest
        members = tuple(member for member, _ in sources)
        whole = manifest.model_copy(update={"encoders": tuple(sorted(encoders)), "members": members})
        write_archive(path, whole, sources)
    return whole


def _episode_lines(journal: Journal, texts: Texts) -> Iterator[EpisodeLine]:
    page = journal.page(None, 0)
    while page:
        for _, row in page:
            encoder, key = journal.key(row[0])
            text = base64.b64encode(key.astype("<f4").tobytes()).decode()
            yield EpisodeLine(episode=texts.written(journal.read(row)), encoder=encoder, key=text)
        page = journal.page(None, page[-1][0])


# -- in


class Imported(NamedTuple):
    """What an import has brought."""

    latent_ids: list[str]
    """The Latents that are new in the namespace."""
    episode_ids: list[str]
    """The episodes that are."""
    known: int
    """Latents and episodes that were there already, and are as they were."""


class Arrival:
    """An archive that waits in its folder until it is committed."""

    def __init__(self, folder: Path, files: LatentFiles, texts: Texts) -> None:
        self.folder = folder
        """Where it waits."""
        self.committed = False
        """True from the commit until the end of the import."""
        self._files, self._texts = files, texts
        self._ready = LatentFiles(folder / "ready", files.namespace)
        self._ids: list[str] = []
        # Whole episodes whose texts are not written.
        self._silent: list[Episode] = []

    def unpack(self, archive: Archive, sizes: Mapping[str, int]) -> None:
        """Verifies all of it and writes it as it will be. `sizes`: D of the keys in the namespace, by encoder. Raises
        StoreError, CorruptError, WrongModelError, InputError where a Latent is here with another content."""
        manifest, self._ids = archive.manifest, archive.manifest.latent_ids
        model = ModelId(manifest.model, manifest.fingerprint)
        came = LatentFiles(archive.path / "latents", manifest.namespace, model)
        staged = Journal(self.folder / "journal.sqlite", self._files.namespace)
        with closing(staged), staged.transaction():
            for member, content in archive.members():
                if member.latent_id:
                    self._latent(came, member.latent_id, b"".join(content))
                elif member.name == EPISODES:
                    self._episodes(archive, archive.records(member, content, EpisodeLine), staged, sizes)
                elif member.name == STANDINGS:
                    for standing in archive.records(member, content, Standing):
                        staged.stand(_owned(archive, standing))
                else:
                    for use in archive.records(member, content, Use):
                        staged.restore_use(self._texts.written(_owned(archive, use)))
        with writing(self._ready.folder):
            for path in self._ready.folder.iterdir():
                sync_file(path)
            sync_folder(self._ready.folder)

    def commit(self, journal: Journal) -> Imported:
        """Journals, in one transaction, all that came and that its Latents shall follow; what is here already stays as
        it is. Raises InputError where something is here with another content."""
        for latent_id in self._files.held(self._ready.ids()):  # since it was unpacked
            self._check_same(self._ready.read(latent_id))
            self._ready.path(latent_id).unlink()
        new = self._ready.ids()
        journal.run("ATTACH DATABASE ? AS staged", str(self.folder / "journal.sqlite"))
        try:
            with journal.transaction():
                known = _take_rows(journal, set(self._ids) - new)
                for latent_id in new:
                    journal.changed("latents", latent_id)
                journal.mark(self.folder.name)
                self.committed = True
            episodes = {row[0]: None for row in journal.rows("SELECT id FROM staged.episodes ORDER BY number")}
        finally:
            journal.run("DETACH DATABASE staged")
        for episode in self._silent:
            if episode.id in episodes:
                self._texts.remember(episode)
        known += len(self._ids) - len(new)
        return Imported([one for one in self._ids if one in new], list(episodes), known)

    def finish(self, journal: Journal) -> None:
        """Moves a committed import's Latents to where they are read, and forgets the import. Raises StoreWriteError."""
        with writing(self._files.folder):
            if self._ready.folder.is_dir():
                for path in self._ready.folder.iterdir():
                    path.replace(self._files.folder / path.name)
                sync_folder(self._files.folder)
        journal.unmark(self.folder.name)
        self.committed = False

    def _latent(self, came: LatentFiles, latent_id: str, content: bytes) -> None:
        """A Latent as it came → a file of this namespace, where it is not here yet."""
        path = came.path(latent_id)
        try:
            whole = unpack(content, path)
            came.own(whole.latent, path)
        except StoreError as exc:
            raise refused(path.parents[1], f"its Latent {latent_id} cannot be read ({exc})") from exc
        own = self._texts.written(whole.latent.model_copy(update={"namespace": self._files.namespace}))
        if self._files.holds(latent_id):
            self._check_same(whole._replace(latent=own))
        else:
            self._ready.write(own, whole.tensors, whole.key, Path.write_bytes)

    def _check_same(self, came: Content) -> None:
        here = self._files.read(came.latent.id)
        arrays = all(np.array_equal(array, came.tensors.get(name, ())) for name, array in here.tensors.items())
        if here.latent != came.latent or not arrays or not np.array_equal(here.key, came.key):
            raise InputError(
                f"The Latent {came.latent.id} is stored in {self._files.namespace!r} with another content; forget it "
                "first, or import into another namespace. Nothing was imported."
            )

    def _episodes(
        self, archive: Archive, lines: Iterable[EpisodeLine], staged: Journal, sizes: Mapping[str, int]
    ) -> None:
        for line in lines:
            try:
                key = np.frombuffer(base64.b64decode(line.key, validate=True), "<f4").astype(np.float32)  # (D,)
                row = episode_row(self._texts.written(line.episode))
                staged.add(row, line.encoder, checked_key(key, sizes.get(line.encoder)))
            except ValueError as exc:
                raise refused(archive.path, f"the episode {line.episode.id!r:.80} cannot be used ({exc})") from exc
            if not self._texts.kept:
                self._silent.append(line.episode)


def _owned(archive: Archive, said: Said) -> Said:
    """What is said of a Latent that is in the archive."""
    if said.latent_id not in archive.latent_ids:
        raise refused(archive.path, f"it says something of {said.latent_id!r:.80}, a Latent that is not in it")
    return said


def _take_rows(journal: Journal, known_latents: Iterable[str]) -> int:
    """Staged rows → those of the namespace: standings of new Latents, uses and episodes that are not known yet; how
    many episodes are. Raises InputError where one is here with another content."""
    for latent_id in known_latents:
        journal.run("DELETE FROM staged.standings WHERE latent_id = ?", latent_id)
    journal.run("INSERT OR REPLACE INTO main.standings SELECT * FROM staged.standings")
    uses = "answer_id, latent_id, problem_hash, record"
    journal.run(f"INSERT OR IGNORE INTO main.uses ({uses}) SELECT {uses} FROM staged.uses ORDER BY number")
    both = "FROM staged.episodes AS new JOIN main.episodes AS old ON old.id = new.id"
    differs = " OR ".join(f"old.{one} <> new.{one}" for one in ("problem_hash", "created", "encoder", "key"))
    for (episode_id,) in journal.rows(f"SELECT new.id {both} WHERE {differs} LIMIT 1"):
        raise InputError(
            f"The episode {episode_id!r:.80} is in the journal with another content; import into another namespace. "
            "Nothing was imported."
        )
    known = journal.run("DELETE FROM staged.episodes WHERE id IN (SELECT id FROM main.episodes)")
    journal.run(f"INSERT INTO main.episodes ({_ROWS}) SELECT {_ROWS} FROM staged.episodes ORDER BY number")
    return known


@contextmanager
def arriving(files: LatentFiles, texts: Texts) -> Generator[Arrival, None, None]:
    """A folder for one import, deleted at the end; a committed import whose end failed keeps it for the next opening.
    Raises StoreWriteError."""
    arrival = Arrival(files.folder.parent / f"import-{uuid.uuid4().hex}{TEMPORARY}", files, texts)
    lock = _lock(arrival.folder)
    with writing(arrival.folder):
        lock.acquire()
    try:
        make_folder(arrival.folder / "ready")
        yield arrival
    finally:
        try:
            if not arrival.committed:
                shutil.rmtree(arrival.folder, ignore_errors=True)
        finally:
            _give_back(lock)


def resume_imports(files: LatentFiles, journal: Journal) -> list[str]:
    """Finishes or undoes every import that a dead process left behind, logs it and says it in one sentence each.
    Raises StoreWriteError."""
    said: list[str] = []
    for folder in sorted(files.folder.parent.glob(f"import-*{TEMPORARY}")):
        lock = _lock(folder)
        with writing(folder):
            try:
                lock.acquire()
            except Timeout:
                continue
        try:
            committed = journal.marked(folder.name) is not None
            if committed:
                Arrival(folder, files, Texts(True)).finish(journal)
            with writing(folder):
                shutil.rmtree(folder)
        finally:
            _give_back(lock)
        done = "finished" if committed else "undone"
        said.append(f"{folder.name} is an import that was cut short; it was {done}.")
        _log.warning(said[-1])
    return said


def _lock(folder: Path) -> FileLock:
    return FileLock(folder.with_suffix(".lock"), timeout=0, thread_local=False)


def _give_back(lock: FileLock) -> None:
    Path(lock.lock_file).unlink(missing_ok=True)
    lock.release()
