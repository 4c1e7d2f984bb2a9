"""`Store`: one namespace of a root, over its journal, its Latent files and an index of their keys.

The truth is written first: files and journal. Searches bring the index up to date; nothing else touches it, so nothing
else waits for it. A Latent is found where its file is there and its standing lets it be read.
"""

import logging
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar, get_args

import numpy as np
from typing_extensions import Self

from latent_memory_plugin import __version__
from latent_memory_plugin.errors import (
    CorruptError,
    InputError,
    LatentMemoryError,
    NotFoundError,
    ReadOnlyError,
    StoreError,
    WrongModelError,
)
from latent_memory_plugin.records import (
    Episode,
    EpisodeState,
    Evicted,
    Holding,
    Latent,
    LatentState,
    Neighbour,
    Queued,
    Standing,
    Use,
)
from latent_memory_plugin.store.access import ALONE, Access
from latent_memory_plugin.store.archive import Manifest, opened_archive
from latent_memory_plugin.store.disk import delete_files, make_folder
from latent_memory_plugin.store.files import LatentFiles, checked, checked_key
from latent_memory_plugin.store.index import Index, collection_name
from latent_memory_plugin.store.journal import Journal, episode_row, parts
from latent_memory_plugin.store.keys import EpisodeKeys, Found, LatentKeys, Scan, Truth, checked_limit
from latent_memory_plugin.store.moving import Imported, arriving, export_archive, resume_imports
from latent_memory_plugin.store.redaction import Texts
from latent_memory_plugin.store.root import JOURNAL, LATENTS, ModelId, Root, folder_name, namespaces
from latent_memory_plugin.store.schema import BACKUP

__all__ = ["Forgotten", "ModelId", "Store", "namespaces"]

Item = TypeVar("Item")

SETTLE_SECONDS = 0.1
"""How long closing waits for a search of another namespace."""

SCRUB = "scrub"
"""The journal's mark that is there while deleted rows wait to be overwritten."""

QUARANTINED_ROWS = "quarantine/*.json*"
"""Rows that a repair could not read: nobody can tell whose texts are in them, so every forgetting deletes them."""

_log = logging.getLogger(__name__)


class Forgotten(NamedTuple):
    """How much is gone."""

    latents: int
    """Latents with their standings."""
    episodes: int
    """Episodes with their texts."""
    uses: int
    """Answers that read a Latent."""


class Store:
    """Episodes and Latents of one namespace. Safe in threads; several stores of one root in one process share its lock.

    Made by `open`. What a call has written when it returns survives a kill and a power cut. Whatever writes raises
    ReadOnlyError where it was opened to read alone, and StoreError where the root was deleted or moved since. Every use
    after `close` raises StoreError. D is the size of a key.
    """

    def __init__(self, root: Root, namespace: str, access: Access = ALONE) -> None:
        self.root = root.path
        """Folder of the root."""
        self.namespace = namespace
        """The namespace as the caller wrote it."""
        self.encoder: str | None = None
        """Name of the method that makes the keys; None before `bind`."""
        self._root, self._access = root, access
        self._folder = root.path / folder_name(namespace)
        self._texts = Texts(access.keep_text)
        self._files = LatentFiles(self._folder / LATENTS, namespace)
        self._model: ModelId | None = None
        self._size: int | None = None
        self._closed, self._searchers = False, 0
        self._mended: list[str] = []
        # Of the searching threads, under the root's lock for them: a connection, what is open, what is compared.
        self._reader: Journal | None = None
        self._searches: dict[str, Index | Scan] = {}
        self._scans: dict[str, Scan] = {}
        if access.read_only:
            self._journal = self._database = Journal(self._folder / JOURNAL, namespace, read_only=True)
            self._journal.rows("SELECT 1")  # an unreadable journal is refused here and not at some later call
            return
        make_folder(self._folder)
        with root.exclusive(self._folder), ExitStack() as undo:
            self._mended += self._files.prepare()
            self._journal = self._database = Journal(self._folder / JOURNAL, namespace)
            undo.callback(self._journal.close)
            self._mended += resume_imports(self._files, self._journal)
            if self._journal.marked(SCRUB) is not None:
                self._scrub()
            undo.pop_all()

    @classmethod
    def open(
        cls,
        root: Path,
        namespace: str,
        model: tuple[str, str] | ModelId | None = None,
        encoder: str | None = None,
        access: Access = ALONE,
    ) -> "Store":
        """Opens a namespace of a root, made where there is none, and finishes what was cut short. No index is opened.

        `model` and `encoder` bind it, see `bind`; with neither it is open for listing: whatever takes a key is refused,
        and Latents of any model are shown. With `access.read_only` nothing is made, locked or changed.

        Raises StoreLockedError, StoreWriteError, WrongModelError, CorruptError, InputError, ConfigError where this
        process has the root open in another way, OutdatedError where an older journal may not be migrated.
        """
        folder_name(namespace)
        opened = Root.to_read(root) if access.read_only else Root.open(root, access)
        with ExitStack() as undo:
            undo.callback(opened.release)
            store = cls(opened, namespace, access)
            undo.pop_all()
            undo.callback(store.close)
            if model is not None and encoder is not None:
                store.bind(model, encoder)
            elif model is not None or encoder is not None:
                raise InputError(
                    f"model={model!r} and encoder={encoder!r} belong together; pass both, or neither to list."
                )
            undo.pop_all()
        return store

    def bind(self, model: tuple[str, str] | ModelId, encoder: str) -> None:
        """From now on the store is one model's, with keys made by one encoder: a root belongs to one model, and keys of
        different encoders are never compared. A new root belongs to this model; one that says a former fingerprint of
        it says the present one from now on. Raises WrongModelError, InputError where it is bound to another encoder."""
        wanted = model if isinstance(model, ModelId) else ModelId(*model)
        with self._entered():
            if self.encoder not in (None, encoder):
                raise InputError(f"The store is bound to the encoder {self.encoder!r}; open another for {encoder!r}.")
            claim = self._root.check if self._access.read_only else self._root.claim
            self._files.model, self._model, self.encoder = claim(wanted), wanted, encoder

    @property
    def keep_text(self) -> bool:
        """False where neither questions nor completions are written."""
        return self._texts.kept

    @property
    def mended(self) -> tuple[str, ...]:
        """What the opening, and searches since, found unfinished or broken and put right, one sentence each; all of it
        was logged as well."""
        indexes = [one for one in self._searches.values() if isinstance(one, Index)]
        return (*self._mended, *(sentence for index in indexes for sentence in index.mended))

    @property
    def problems(self) -> dict[Path, LatentMemoryError]:
        """The Latent files met so far that cannot be used, and why."""
        return dict(self._files.problems)

    def close(self) -> None:
        """Gives the namespace back, and the root where this was its last store; where another thread searches in it,
        that one does so at its end. A second call does nothing, nor does one in a forked process, to which neither
        belongs."""
        if self._root.inherited:
            return
        with self._root.guard:
            if self._closed:
                return
            self._closed = True
            ends = not self._searchers
        if ends:
            self._end()

    def _end(self) -> None:
        try:
            # Where another namespace is searched for long, the next opening of this one's index has more to do.
            if self._searches and self._in_place and self._root.searching.acquire(timeout=SETTLE_SECONDS):
                try:
                    for one in self._searches.values():
                        one.settle()
                finally:
                    self._root.searching.release()
            if self._reader is not None:
                self._reader.close()
            self._journal.close()
        finally:
            self._root.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def exclusive(self) -> Generator[None, None, None]:
        """Held, for moments, by a change that depends on what was read before: no other thread of this process uses the
        root, and no process that shares its server changes the namespace. Raises StoreLockedError where one hangs."""
        with self._entered(), self._root.exclusive(self._folder):
            yield

    # -- episodes

    def commit(self, episode: Episode, key: np.ndarray) -> None:
        """Writes a new episode with its key (D,). Raises InputError where its id is empty or taken or the key does not
        fit."""
        if not episode.id:
            raise InputError(
                f"The episode {episode.question!r:.80} has an empty id; leave the id out to get a fresh one."
            )
        row = episode_row(self._texts.written(episode))
        with self._writing(exclusive=False):
            self._journal.add(row, self._bound(), self._fitting(key))
            self._texts.remember(episode)

    def update(self, episode: Episode) -> None:
        """Replaces rollouts, vote, state, reason and attempt of an episode. Raises NotFoundError."""
        row = episode_row(self._texts.written(episode))
        with self._writing():
            self._journal.update(row)
            self._texts.remember(episode)

    def settle(self, episode_id: str, state: EpisodeState, reason: str, attempt: str | None = None) -> bool:
        """Journals what became of a pending episode, readable or not, and in which attempt; False where it is settled
        or gone already."""
        with self._writing():
            changed = self._journal.settle(episode_id, state, self._texts.reason(reason, state), attempt)
            if changed:
                self._texts.change(episode_id, state=state, reason=reason, attempt=attempt)
        return changed

    def episode(self, episode_id: str) -> Episode:
        """Raises NotFoundError, CorruptError."""
        with self._entered():
            row = self._journal.row(episode_id)
        return self._texts.whole(self._journal.read(row))

    def episode_key(self, episode_id: str) -> np.ndarray:
        """The key (D,) float32 of an episode. Raises NotFoundError, also where another encoder made it."""
        with self._entered():
            encoder, key = self._journal.key(episode_id)
        if self.encoder not in (None, encoder):
            raise NotFoundError(
                f"The key of the episode {episode_id!r} was made by {encoder!r}, not by {self.encoder!r}."
            )
        return key

    def episodes(self, state: EpisodeState | None = None) -> Iterator[Episode]:
        """All episodes or those in one state, in the order of their commits, a few in memory at a time."""
        for row in self._paged(lambda last: self._journal.page(state, last)):
            yield self._texts.whole(self._journal.read(row))

    def counts(self) -> dict[EpisodeState, int]:
        """How many episodes are in each state."""
        with self._entered():
            known = self._journal.counts()
        return {state: known.get(state, 0) for state in get_args(EpisodeState)}

    def neighbours(self, key: np.ndarray, least: float) -> list[Neighbour]:
        """All episodes whose keys have at least this cosine similarity, -1 to 1, to a key (D,), best first, without
        their texts and rollouts. One that cannot be read is left out and warned of: the others can be learnt from all
        the same. Raises InputError, IndexUnavailableError."""
        found, near = self._search("episodes", key, lambda keys, vector: keys.within(vector, least)), list[Neighbour]()
        for part in parts(found):
            with self._entered():
                rows = self._journal.light([item_id for item_id, _ in part])
            for item_id, similarity in part:
                try:
                    if item_id in rows:
                        near.append(self._texts.around(self._journal.neighbour(rows[item_id], similarity)))
                except CorruptError as exc:
                    _log.warning("%s", exc)
        return near

    # -- the queue of the background worker, and which process learns from what

    def enqueue(self, episode_id: str, limit: int) -> bool:
        """Appends a pending episode to the queue, once; False where `limit` episodes wait already. It leaves the queue
        with the write that settles or deletes it. Only episodes whose key was made by the store's encoder are seen: no
        other can be learnt from."""
        with self._writing(exclusive=False):
            return self._journal.enqueue(episode_id, limit, self.encoder)

    def queued(self) -> int:
        """How many episodes wait, the one under way among them."""
        with self._entered():
            return self._journal.queued(self.encoder)

    def next_queued(self, later: Collection[str] = ()) -> Queued | None:
        """The episode that has waited longest, those named and those that another process learns from left out; None
        where there is none. It stays queued."""
        with self._writing(exclusive=False):
            later = {*later, *self._claimed_by_others()}
            waiting = self._journal.next_queued(self.encoder, len(later) + 1)
        return next((Queued(episode_id=one, attempts=attempts) for one, attempts in waiting if one not in later), None)

    def dequeue(self, episode_id: str) -> None:
        """Takes an episode out, which may stay pending; one that is not queued is fine."""
        with self._writing(exclusive=False):
            self._journal.dequeue(episode_id)

    def broke_off(self, episode_id: str, reason: str) -> None:
        """Counts an attempt at a queued episode that broke off, and journals why; one that is gone is fine."""
        with self._writing(exclusive=False):
            self._journal.broke_off(episode_id, self._texts.reason(reason))
            self._texts.change(episode_id, reason=reason)

    def give_up(self, episode_id: str, reason: str) -> bool:
        """Journals a pending episode as failed, readable or not, and takes it out of the queue. False where it was
        settled or deleted meanwhile."""
        with self._writing():
            self._journal.dequeue(episode_id)
            return self.settle(episode_id, "failed", reason)

    @contextmanager
    def claimed(self, episode_ids: Sequence[str]) -> Generator[list[str], None, None]:
        """Held while they are learnt from: those of the episodes that no other process is learning from. A claim
        stands in the journal and lives as long as its process has the root open; a sole owner needs none."""
        if not self._root.shared:
            yield list(episode_ids)
            return
        owner = self._root.ownership.token
        with self._writing():
            taken = self._claimed_by_others()
            mine = [episode_id for episode_id in episode_ids if episode_id not in taken]
            self._journal.claim(mine, owner)
        try:
            yield mine
        finally:
            with self._writing(exclusive=False):
                self._journal.unclaim(owner, mine)

    def _claimed_by_others(self) -> set[str]:
        """What live processes have claimed; the claims of the dead are deleted."""
        if not self._root.shared:
            return set()
        ownership = self._root.ownership
        claims = self._journal.claims(but=ownership.token)
        dead = {owner for owner in {owner for _, owner in claims} if not ownership.alive(owner)}
        for owner in dead:
            self._journal.unclaim(owner)
        return {episode_id for episode_id, owner in claims if owner not in dead}

    # -- Latents

    def put(self, latent: Latent, tensors: Mapping[str, np.ndarray] | np.ndarray, key: np.ndarray) -> None:
        """Writes a new Latent: its tensors by name, as its record says, or the one called `latent`, and its key (D,).
        Raises InputError where its namespace, encoder, id, shapes or values do not fit, WrongModelError."""
        encoder = self._bound()
        if latent.encoder != encoder:
            raise InputError(f"The Latent's encoder is {latent.encoder!r}, the store's {encoder!r}; open one for that.")
        values = checked({"latent": tensors} if isinstance(tensors, np.ndarray) else tensors, latent)
        with self._writing():
            self._files.write(self._texts.written(latent), values, self._fitting(key))
            try:
                self._journal.changed("latents", latent.id)
            except StoreError:  # no index would know of it
                self._files.delete([latent.id])
                raise

    def tensors(self, latent_id: str) -> dict[str, np.ndarray]:
        """The tensors of a Latent by name, float32. Raises NotFoundError, CorruptError, WrongModelError."""
        self._check()
        return self._files.read(latent_id).tensors

    def latent(self, latent_id: str) -> Latent:
        """The record of a Latent. Raises NotFoundError, CorruptError, WrongModelError."""
        self._check()
        return self._files.record(latent_id)

    def latent_key(self, latent_id: str) -> np.ndarray:
        """The key (D,) float32 of a Latent. Raises NotFoundError, also where another encoder made it, CorruptError,
        WrongModelError."""
        self._check()
        latent, _, key = self._files.read(latent_id)
        if self.encoder not in (None, latent.encoder):
            raise NotFoundError(
                f"The key of the Latent {latent_id!r} was made by {latent.encoder!r}, not by {self.encoder!r}."
            )
        return key

    def latents(self, newest: int | None = None) -> Iterator[Latent]:
        """All Latents whatever their standing, or so many that were stored last, oldest first, read from the headers
        one by one. A file that cannot be read is left out, warned of and kept in `problems`."""
        self._check()
        yield from self._files.stream(newest)

    def latent_ids(self) -> list[str]:
        """Ids of all Latents, readable or not, in order."""
        self._check()
        return sorted(self._files.ids())

    def nearest(self, key: np.ndarray, limit: int = 1) -> Found:
        """Up to `limit` ids of usable Latents with the cosine similarity, -1 to 1, of their keys to this one (D,), best
        first. Raises InputError, IndexUnavailableError."""
        wanted = checked_limit(limit)
        return self._search("latents", key, lambda keys, vector: keys.nearest(vector, wanted))

    def beside(self, latent_id: str, limit: int) -> Found:
        """Up to `limit` ids of the usable Latents whose keys, made by the same encoder, are nearest to that of one,
        itself left out, with their cosine similarity, best first. Needs no model: without an open index all keys are
        read and compared. Raises NotFoundError, CorruptError, WrongModelError."""
        wanted = checked_limit(limit) + 1
        latent, _, key = self._files.read(latent_id)
        with self._searching():
            keys = self._searches.get("latents") if latent.encoder == self.encoder else None
            if keys is None:
                keys = self._scans.setdefault(latent.encoder, Scan(self._truth("latents"), latent.encoder))
            found = keys.nearest(key, wanted)
        return [one for one in found if one[0] != latent_id][:limit]

    def stand(self, standing: Standing) -> None:
        """Journals what a Latent may do now, which may be before it is put. Raises NotFoundError where the id is none
        of a Latent, InputError where the reason cannot be stored."""
        self._files.path(standing.latent_id)
        with self._writing():
            self._journal.stand(standing)

    def standing(self, latent_id: str) -> Standing:
        """What a Latent may do now: `live` since it was made where nothing was journaled of it. Raises NotFoundError
        where it is neither journaled nor stored, CorruptError, WrongModelError."""
        with self._entered():
            journaled = self._journal.standing(latent_id)
        return journaled or Standing(latent_id=latent_id, since=self._files.record(latent_id).created)

    def states(self) -> Counter[LatentState]:
        """How many Latents are in each state, those left out that `problems` names."""
        with self._entered():
            known = self._journal.states()
        broken = {path.stem for path in self._files.problems}
        return Counter(known.get(latent_id, "live") for latent_id in self._files.ids() - broken)

    def record_uses(self, uses: Sequence[Use]) -> None:
        """Journals answers that read a Latent, all or none; a use of the same answer and Latent is replaced and keeps
        its place in the order. Opened to read alone, it does nothing: who only looks may ask. Raises InputError where a
        text cannot be stored."""
        if not self._access.read_only:
            with self._writing(exclusive=False):
                self._journal.record_uses([self._texts.written(use) for use in uses])

    def uses(
        self, *, latent_id: str | None = None, answer_id: str | None = None, problem_hash: str | None = None
    ) -> list[Use]:
        """The uses that match every argument given, oldest first. Raises CorruptError."""
        with self._entered():
            return self._journal.uses(latent_id=latent_id, answer_id=answer_id, problem_hash=problem_hash)

    def holdings(self) -> list[Holding]:
        """Every Latent, readable or not, with its size and what its answers came to. No header is read."""
        with self._entered():
            states, tallies = self._journal.states(), self._journal.tallies()
        return [
            Holding(
                latent_id=latent_id,
                bytes=size,
                stored=stored,
                state=states.get(latent_id, "live"),
                **tallies.get(latent_id, {}),
            )
            for latent_id, size, stored in self._files.sizes()
        ]

    def remove(self, latent_id: str) -> None:
        """Deletes a Latent, readable or not, its standing and its uses; also what a removal that was cut short has left
        of them. Raises NotFoundError."""
        with self._writing():
            self._require([latent_id])
            # The file first: one without a standing would be live.
            self._files.delete([latent_id])
            with self._journal.transaction():
                self._journal.forget([latent_id], (), "0 = ?", 1)
            self._size = None

    def evict(self, evicted: Evicted) -> None:
        """Journals why a Latent goes, and removes it. Raises NotFoundError."""
        with self._writing():
            if not self._files.holds(evicted.latent_id):
                raise self._files.unknown(evicted.latent_id)
            self._journal.evict(evicted)
            self.remove(evicted.latent_id)

    def evictions(self) -> Iterator[Evicted]:
        """What has been evicted, oldest first, a hundred in memory at a time."""
        yield from self._paged(self._journal.evictions)

    # -- forgetting: no byte of a text stays. The files go first and the rows after them, so that a call that was cut
    # short is finished by calling again; what it has deleted of the journal is overwritten by the next opening.

    def forget_latents(self, latent_ids: Collection[str]) -> Forgotten:
        """Deletes Latents with their standings and uses. Raises NotFoundError where one is not there."""
        with self._writing():
            self._require(latent_ids)
            return self._forget(latent_ids, (), "0 = ?", 1)

    def forget_problem(self, problem_hash: str) -> Forgotten:
        """Deletes every episode of a question, given by its hash, the Latents learnt from one of them, and the answers
        given to it."""
        return self._forget_where(
            "problem_hash = ?",
            problem_hash,
            lambda one, episodes: (
                problem_hash in (one.problem_hash, *one.problems) or not episodes.isdisjoint(one.parents)
            ),
            "problem_hash = ?",
        )

    def forget_older(self, time: float) -> Forgotten:
        """Deletes what was made before a Unix time in seconds: Latents with their standings and uses, episodes, and
        answers that read a Latent which stays."""
        uses = "json_extract(record, '$.created') < ?"
        return self._forget_where("created < ?", time, lambda one, _: one.created < time, uses)

    def forget_everything(self) -> Forgotten:
        """Deletes all of the namespace, readable or not; it can be used again at once."""
        with self._writing():
            episodes = self._episodes_where("1 = ?", 1)
            gone = self._forget(sorted(self._files.ids()), episodes, "1 = ?", 1)
            with self._journal.transaction():
                self._journal.forget_rest()
            delete_files(self._folder.glob("quarantine/*"))
        return gone

    def _forget_where(
        self, condition: str, value: str | float, goes: Callable[[Latent, set[str]], bool], uses: str
    ) -> Forgotten:
        """Deletes the episodes that fulfil a condition, the Latents that go with them, and the uses that fulfil
        another. Most headers are read before anybody has to wait."""
        with self._writing(exclusive=False):
            before = self._episodes_where(condition, value)
        known = {one.id: goes(one, before) for one in self._files.records(self._files.ids())}
        with self._writing():
            episodes = self._episodes_where(condition, value)
            fresh = self._files.ids().difference(known if episodes == before else ())
            known |= {one.id: goes(one, episodes) for one in self._files.records(fresh)}
            return self._forget(self._files.held(one for one in known if known[one]), episodes, uses, value)

    def _episodes_where(self, condition: str, value: str | float) -> set[str]:
        return {row[0] for row in self._journal.rows(f"SELECT id FROM episodes WHERE {condition}", value)}

    def _forget(self, latents: Collection[str], episodes: Collection[str], uses: str, value: str | float) -> Forgotten:
        self._files.delete(latents)
        with self._journal.transaction():
            self._journal.mark(SCRUB)
            gone = self._journal.forget(latents, episodes, uses, value)
        self._texts.forget(episodes)
        self._size = None
        self._scrub()
        return Forgotten(len(latents), len(episodes), gone)

    def _scrub(self) -> None:
        delete_files([*self._folder.glob(BACKUP.format("*")), *self._folder.glob(QUARANTINED_ROWS)])
        self._journal.scrub()
        self._journal.unmark(SCRUB)

    # -- out and in

    def export_to(self, path: Path, latent_ids: Collection[str] | None = None) -> Manifest:
        """Writes an archive of the namespace with its journal, or of the named Latents with their standings alone; a
        file that is there is replaced. Nobody waits meanwhile.

        Raises InputError where there is nothing to export, NotFoundError, CorruptError for a Latent that cannot be
        read, StoreWriteError.
        """
        with self._entered():
            # Before the snapshot: the standing of a Latent is older than its file, and without one it would be live.
            ids = self._files.ids() if latent_ids is None else set(latent_ids)
            owner = self._root.owner
            if owner is None or not (latent_ids is None or ids):
                raise InputError(f"There is nothing to export from {self.namespace!r}; name Latents that are stored.")
        manifest = Manifest(
            version=__version__,
            namespace=self.namespace,
            model=owner.name,
            fingerprint=owner.fingerprint,
            encoders=(),
            journal=latent_ids is None,
            members=(),
        )
        with closing(self._journal.again()) as journal:
            return export_archive(path, manifest, ids, self._files, journal, self._texts)

    def import_from(self, path: Path) -> Imported:
        """Takes in all of an archive or nothing of it, whatever namespace it comes from; what is here already with the
        same content stays as it is. A root without a model belongs to the archive's from now on.

        Raises StoreError and CorruptError for what is no whole archive, WrongModelError, InputError where an id is
        taken by something else, StoreWriteError. Where that names the folder of the Latents, the next opening finishes
        the import.
        """
        with self._writing(exclusive=False):
            known = {one: size for one in self._journal.encoders() if (size := self._journal.key_size(one))}
        with opened_archive(path) as archive, arriving(self._files, self._texts) as arrival:
            self._model_of(archive.manifest, path)
            arrival.unpack(archive, known)
            with self._writing():
                with self._root.exclusive(self.root):
                    model = self._model_of(archive.manifest, path)
                    if model != self._root.owner:
                        self._root.name(model)
                self._files.model = model if self._model else None
                imported = arrival.commit(self._journal)
                arrival.finish(self._journal)
        return imported

    def _model_of(self, manifest: Manifest, path: Path) -> ModelId:
        """The root's model, of which the archive is. Raises WrongModelError."""
        came = ModelId(manifest.model, manifest.fingerprint)
        owner = self._root.owner or came
        if owner.owns(came.fingerprint):
            return owner
        if self._model is not None and self._model.owns(came.fingerprint):
            return owner._replace(former=(*owner.former, came.fingerprint))
        raise WrongModelError(
            f"The archive {str(path)!r} belongs to the model {came.name!r:.200} (fingerprint "
            f"{came.fingerprint[:12]!r}), the root to {owner.name!r:.200} (fingerprint {owner.fingerprint[:12]!r}); "
            "import it into a root of its own model."
        )

    # -- doors

    @contextmanager
    def _entered(self) -> Generator[None, None, None]:
        """Held by whoever reads, for moments."""
        self._check()
        with self._root.guard:
            self._check()
            yield

    @contextmanager
    def _writing(self, exclusive: bool = True) -> Generator[None, None, None]:
        """Held by whoever writes, for moments; exclusive where what is read before must still hold, also for others."""
        if self._access.read_only:
            raise ReadOnlyError(
                f"The store of {self.namespace!r} in {str(self.root)!r} was opened with read_only=True and cannot be "
                "written; open it without that where nobody else has it."
            )
        with self.exclusive() if exclusive else self._entered():
            yield

    @contextmanager
    def _searching(self) -> Generator[None, None, None]:
        """Held by whoever searches, which may take long; whoever holds it never waits for the other doors."""
        with self._entered():
            self._searchers += 1
        try:
            with self._root.searching:
                self._check()
                yield
        finally:
            with self._root.guard:
                self._searchers -= 1
                ends = self._closed and not self._searchers
            if ends:
                self._end()

    def _paged(self, page: Callable[[int], list[tuple[int, Item]]]) -> Iterator[Item]:
        """All there is of something, a page in memory at a time, by what gives the page after a number."""
        last = 0
        while True:
            with self._entered():
                items = page(last)
            if not items:
                return
            yield from (item for _, item in items)
            last = items[-1][0]

    def _check(self) -> None:
        """Raises StoreError where the store cannot be used any more."""
        what = f"The store of {self.namespace!r} in {str(self.root)!r}"
        if self._root.inherited:
            raise StoreError(
                f"{what} was opened before this process was forked; use it in the process that opened it, and start "
                "others with the method 'spawn'."
            )
        if self._closed:
            raise StoreError(f"{what} is closed; open it again.")
        if not self._in_place:
            raise StoreError(
                f"{what} was deleted or moved while it was open, and what is written to it would be lost; close it and "
                "open the root where it is now."
            )

    @property
    def _in_place(self) -> bool:
        return self._root.ownership.in_place and self._journal.in_place()

    def _bound(self) -> str:
        if self.encoder is None:
            raise InputError(
                "The store was opened for listing, without a model; pass model= and encoder= to `Store.open`, or call "
                "`bind`."
            )
        return self.encoder

    def _fitting(self, key: np.ndarray) -> np.ndarray:
        """The key (D,) as float32. Raises InputError where it is not flat, not finite, or of another size than the
        encoder's keys here."""
        encoder = self._bound()
        if self._size is None:
            self._size = self._journal.key_size(encoder)
        if self._size is None:
            self._size = next((key.size for _, key in self._files.keys(sorted(self._files.ids()), encoder)), None)
        return checked_key(key, self._size)

    def _require(self, latent_ids: Collection[str]) -> None:
        """Raises NotFoundError where one is neither stored nor journaled."""
        for latent_id in latent_ids:
            if not self._files.holds(latent_id) and not self._journal.knows(latent_id):
                raise self._files.unknown(latent_id)

    def _search(self, kind: str, key: np.ndarray, look: "Callable[[Index | Scan, np.ndarray], Found]") -> Found:
        """What is found among the keys of the store's encoder. Where there is none, no index is opened."""
        encoder, vector = self._bound(), checked_key(key, None)
        with self._searching():
            if kind not in self._searches:
                truth = self._truth(kind)
                if next(truth.keys(sorted(truth.ids(encoder)), encoder), None) is None:
                    return []
                name = collection_name(self._folder.name, kind, encoder)
                self._searches[kind] = (
                    Scan(truth, encoder) if self._access.read_only else Index(self._root.chroma, name, truth, encoder)
                )
            return look(self._searches[kind], vector)

    def _truth(self, kind: str) -> Truth:
        """What is searched, read by a connection of its own."""
        if self._reader is None:
            self._reader = self._journal.again()
        return LatentKeys(self._files, self._reader) if kind == "latents" else EpisodeKeys(self._reader)
