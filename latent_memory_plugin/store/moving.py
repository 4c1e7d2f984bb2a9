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
from typing import BinaryIO, NamedTuple, cast

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
    Member,
    Source,
    refused,
    write_archive,
)
from latent_memory_plugin.store.database import Database
from latent_memory_plugin.store.disk import TEMPORARY, make_folder, sync_folder, writing
from latent_memory_plugin.store.files import SUFFIX, LatentFiles, checked_key
from latent_memory_plugin.store.journal import COLUMNS, Journal, episode_row
from latent_memory_plugin.store.packing import Content, unpack
from latent_memory_plugin.store.redaction import Texts
from latent_memory_plugin.store.root import ModelId

_log = logging.getLogger(__name__)
_ROWS = f"{COLUMNS}, encoder, key"


# -- out


def export_archive(
    path: Path, manifest: Manifest, ids: Collection[str], files: LatentFiles, journal: Journal, texts: Texts
) -> Manifest:
    """Writes an archive of these Latents, with the whole journal where the manifest says so; the manifest with all that
    depends on what is in it. `journal` is a connection of its own. Raises as `Store.export_to` does."""
    with ExitStack() as tables, writing(path):
        with journal.database.snapshot():  # short: who forgets waits for it
            written = [_table(STANDINGS, _standing_lines(journal, ids), path.parent, tables)]
            encoders = journal.encoders() if manifest.journal else set[str]()
            if manifest.journal:
                uses = (_line(use) for use in journal.stream_uses() if use.latent_id in ids)
                written.append(_table(USES, uses, path.parent, tables))
                written.append(_table(EPISODES, _episode_lines(journal, texts), path.parent, tables))
        latents: list[Source] = []
        for latent_id in sorted(ids):
            encoders.add(files.read(latent_id).latent.encoder)  # whole, and of this namespace and model
            latents.append(Source.of(f"latents/{latent_id}{SUFFIX}", files.path(latent_id)))
        sources = [written[0], *latents, *written[1:]]
        members = tuple(source.member for source in sources)
        whole = manifest.model_copy(update={"encoders": tuple(sorted(encoders)), "members": members})
        write_archive(path, whole, sources)
    return whole


def _table(name: str, rows: Iterable[bytes], folder: Path, tables: ExitStack) -> Source:
    file = tables.enter_context(TemporaryFile(dir=folder))  # noqa: SIM115  the caller closes it
    file.writelines(rows)
    return Source.of(name, cast("BinaryIO", file))


def _standing_lines(journal: Journal, ids: Iterable[str]) -> Iterator[bytes]:
    return (_line(standing) for latent_id in sorted(ids) if (standing := journal.standing(latent_id)))


def _episode_lines(journal: Journal, texts: Texts) -> Iterator[bytes]:
    page = journal.page(None, 0)
    while page:
        for _, row in page:
            encoder, key = journal.key(row[0])
            text = base64.b64encode(key.astype("<f4").tobytes()).decode()
            yield _line(EpisodeLine(episode=texts.written(journal.read(row)), encoder=encoder, key=text))
        page = journal.page(None, page[-1][0])


def _line(record: Frozen) -> bytes:
    return record.model_dump_json().encode() + b"\n"


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
    """An archive that waits in its folder, until `commit` and `finish`."""

    def __init__(self, folder: Path, files: LatentFiles) -> None:
        self.folder = folder
        """Where it waits."""
        self.committed = False
        """True from the commit until the end of the import."""
        self._files = files
        self._ready = LatentFiles(folder / "ready", files.namespace)
        self._manifest: Manifest
        # Whole episodes whose texts are not written.
        self._silent: list[Episode] = []

    def unpack(self, archive: Archive, texts: Texts, sizes: Mapping[str, int]) -> None:
        """Verifies all of it and writes it as it will be. `sizes`: D of the keys in the namespace, by encoder. Raises
        StoreError, CorruptError, WrongModelError, InputError where a Latent is here with another content."""
        self._manifest = archive.manifest
        model = ModelId(self._manifest.model, self._manifest.fingerprint)
        came = LatentFiles(archive.path / "latents", self._manifest.namespace, model)
        with closing(Database(self.folder / "journal.sqlite", self._files.namespace)) as database:
            journal = Journal(database)
            with database.transaction():
                for member, content in archive.members():
                    if member.latent_id:
                        self._latent(came, member.latent_id, b"".join(content), texts)
                    else:
                        self._table(archive, member, content, journal, texts, sizes)

    def commit(self, journal: Journal, texts: Texts) -> Imported:
        """Journals, in one transaction, all that came and that its Latents shall follow; what is here already stays as
        it is. Raises InputError where something is here with another content."""
        for latent_id in self._files.held(self._ready.ids()):  # since it was unpacked
            self._check_same(self._ready.read(latent_id))
            self._ready.path(latent_id).unlink()
        new, ids, database = self._ready.ids(), self._manifest.latent_ids, journal.database
        database.run("ATTACH DATABASE ? AS staged", str(self.folder / "journal.sqlite"))
        try:
            with database.transaction():
                known = _take_rows(database, set(ids) - new)
                for latent_id in new:
                    journal.changed("latents", latent_id)
                journal.mark(self.folder.name)
                self.committed = True
            episodes = {row[0]: None for row in database.rows("SELECT id FROM staged.episodes ORDER BY number")}
        finally:
            database.run("DETACH DATABASE staged")
        for episode in self._silent:
            if episode.id in episodes:
                texts.remember(episode)
        return Imported([one for one in ids if one in new], list(episodes), len(ids) - len(new) + known)

    def finish(self, journal: Journal) -> None:
        """Moves a committed import's Latents to where they are read, and forgets the import. Raises StoreWriteError."""
        with writing(self._files.folder):
            if self._ready.folder.is_dir():
                for path in self._ready.folder.iterdir():
                    path.replace(self._files.folder / path.name)
                sync_folder(self._ready.folder)
                sync_folder(self._files.folder)
        journal.unmark(self.folder.name)
        self.committed = False

    def _latent(self, came: LatentFiles, latent_id: str, content: bytes, texts: Texts) -> None:
        """A Latent as it came → a file of this namespace, where it is not here yet."""
        path = came.path(latent_id)
        try:
            whole = unpack(content, path)
            came.own(whole.latent, path)
        except StoreError as exc:
            raise refused(path.parents[1], f"its Latent {latent_id} cannot be read ({exc})") from exc
        own = texts.written(whole.latent.model_copy(update={"namespace": self._files.namespace}))
        if self._files.holds(latent_id):
            self._check_same(whole._replace(latent=own))
        else:
            self._ready.write(own, whole.tensors, whole.key)

    def _check_same(self, came: Content) -> None:
        here = self._files.read(came.latent.id)
        arrays = all(np.array_equal(array, came.tensors.get(name, ())) for name, array in here.tensors.items())
        if here.latent != came.latent or not arrays or not np.array_equal(here.key, came.key):
            raise InputError(
                f"The Latent {came.latent.id} is stored in {self._files.namespace!r} with another content; forget it "
                "first, or import into another namespace. Nothing was imported."
            )

    def _table(
        self,
        archive: Archive,
        member: Member,
        content: Iterable[bytes],
        journal: Journal,
        texts: Texts,
        sizes: Mapping[str, int],
    ) -> None:
        ids = set(archive.manifest.latent_ids)
        if member.name == STANDINGS:
            for standing in archive.records(member, content, Standing):
                _check_owner(archive, standing.latent_id, ids)
                journal.stand(standing)
        elif member.name == USES:
            for use in archive.records(member, content, Use):
                _check_owner(archive, use.latent_id, ids)
                journal.restore_use(texts.written(use))
        else:
            for line in archive.records(member, content, EpisodeLine):
                try:
                    key = np.frombuffer(base64.b64decode(line.key, validate=True), "<f4").astype(np.float32)  # (D,)
                    vector = checked_key(key, sizes.get(line.encoder))
                    journal.add(episode_row(texts.written(line.episode)), line.encoder, vector)
                except ValueError as exc:
                    raise refused(archive.path, f"the episode {line.episode.id!r:.80} cannot be used ({exc})") from exc
                if not texts.kept:
                    self._silent.append(line.episode)


def _check_owner(archive: Archive, latent_id: str, ids: Collection[str]) -> None:
    if latent_id not in ids:
        raise refused(archive.path, f"it says something of {latent_id!r:.80}, a Latent that is not in it")


def _take_rows(database: Database, known_latents: Iterable[str]) -> int:
    """Staged rows → those of the namespace: standings of new Latents, uses and episodes that are not known yet; how
    many episodes are. Raises InputError where one is here with another content."""
    for latent_id in known_latents:
        database.run("DELETE FROM staged.standings WHERE latent_id = ?", latent_id)
    database.run("INSERT OR REPLACE INTO main.standings SELECT * FROM staged.standings")
    uses = "answer_id, latent_id, problem_hash, record"
    database.run(f"INSERT OR IGNORE INTO main.uses ({uses}) SELECT {uses} FROM staged.uses ORDER BY number")
    both = "FROM staged.episodes AS new JOIN main.episodes AS old ON old.id = new.id"
    differs = " OR ".join(f"old.{one} <> new.{one}" for one in ("problem_hash", "created", "encoder", "key"))
    for (episode_id,) in database.rows(f"SELECT new.id {both} WHERE {differs} LIMIT 1"):
        raise InputError(
            f"The episode {episode_id!r:.80} is in the journal with another content; import into another namespace. "
            "Nothing was imported."
        )
    known = database.run("DELETE FROM staged.episodes WHERE id IN (SELECT id FROM main.episodes)")
    database.run(f"INSERT INTO main.episodes ({_ROWS}) SELECT {_ROWS} FROM staged.episodes ORDER BY number")
    return known


@contextmanager
def arriving(files: LatentFiles) -> Generator[Arrival, None, None]:
    """A folder for one import, deleted at the end; a committed import whose end failed keeps it for the next opening.
    Raises StoreWriteError."""
    arrival = Arrival(files.folder.parent / f"import-{uuid.uuid4().hex}{TEMPORARY}", files)
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
            committed = journal.marked(folder.name)
            if committed:
                Arrival(folder, files).finish(journal)
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
