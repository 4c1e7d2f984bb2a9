"""The index: nearest keys by cosine similarity, in Chroma. It is derived: whatever Chroma loses, the truth gives back.

Only searches touch it. What was written since the last one is brought in then: the journal says what that was. What is
known about Chroma and why it is used this way: one writer per folder, or vectors are lost without an error; a kill
while it saves its graph can leave that unreadable, so every failure ends in building it anew; a health check that
fetches vectors and runs a query, because counts stay right when vectors are gone. Where Chroma was closed in good order
and nothing has changed since (`clean.py`), one vector and the query are enough.
"""

import hashlib
import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from latent_memory_plugin.errors import LatentMemoryError, StoreWriteError
from latent_memory_plugin.store.chroma import BrokenIndexError, Chroma, digest, is_of_chroma
from latent_memory_plugin.store.files import checked_key
from latent_memory_plugin.store.keys import Found, Truth

if TYPE_CHECKING:
    from chromadb.api.models.Collection import Collection as Stored

Result = TypeVar("Result")

FIRST_PORTION, GROWTH = 64, 8
"""How many keys are asked for at first where all within a distance are wanted, and how much more each time."""

SMALL = 2_000
"""Up to so many keys are built anew where their process was killed: a graph that was half saved may be readable and
lose keys with the next changes. It takes less than a second."""

_log = logging.getLogger(__name__)


class Index:
    """One Chroma collection: the keys of one namespace made by one encoder, either of its Latents or of its episodes.

    The first search opens it, compares it with the truth and mends what differs; each later one brings in what has
    changed. Failures are mended in the same way, once. Not safe in threads by itself.
    """

    def __init__(self, chroma: Chroma, name: str, truth: Truth, encoder: str) -> None:
        self.name = name
        """Of the collection."""
        self.mended: list[str] = []
        """What was not as it should be and was put right, one sentence each."""
        self._chroma = chroma
        self._truth = truth
        self._encoder = encoder
        self._size: int | None = None
        self._collection: Stored | None = None
        # What the client of the collection counted when it was opened, and the last change that was followed: None
        # before it was compared with the truth.
        self._stops = 0
        self._followed: int | None = None

    def nearest(self, key: np.ndarray, limit: int) -> Found:
        """Up to `limit` of the nearest to a key (D,). Raises InputError, StoreWriteError, IndexUnavailableError."""
        return self._mending(lambda: self._found(key, limit))

    def within(self, key: np.ndarray, least: float) -> Found:
        """All with at least this similarity to a key (D,). Raises as `nearest` does."""
        return self._mending(lambda: self._within(key, least))

    def renew(self) -> None:
        """Deletes the collection and builds it anew from the truth. Raises as `nearest` does."""
        self._mending(lambda: None, self._rebuild, self._start_over)

    def settle(self) -> None:
        """Brings in what has changed since the last search, before the client stops, and says what there is now, so
        that the next opening need not compare everything. Where that fails it will."""
        if not (self._is_open and self._chroma.leaves_note):
            return
        try:
            if self._follow_changes():
                self._truth.journal.mark(indexed(self.name), str(self._followed))
                true = self._truth.ids(self._encoder)
                if self._stored.count() == len(true):
                    self._chroma.digests[self.name] = digest(true)
        except BaseException as exc:
            if not isinstance(exc, LatentMemoryError) and not is_of_chroma(exc):
                raise

    # -- searching

    def _found(self, key: np.ndarray, limit: int) -> Found:
        """What a query finds of what there is; the rest is taken out."""
        vector = checked_key(key, self._size)
        while True:
            found = self._query(vector, limit)
            held = self._truth.held([item_id for item_id, _ in found])
            if len(held) == len(found):
                return found
            self._delete([item_id for item_id, _ in found if item_id not in held])

    def _within(self, key: np.ndarray, least: float) -> Found:
        portion = FIRST_PORTION
        while len(found := self._found(key, portion)) == portion and found[-1][1] >= least:
            portion *= GROWTH
        return [one for one in found if one[1] >= least]

    def _query(self, vector: np.ndarray, limit: int) -> Found:
        answer = self._stored.query(query_embeddings=vector[None], n_results=limit, include=["distances"])  # (1, D)
        distances = (answer["distances"] or [[]])[0]
        if len(distances) != len(answer["ids"][0]):
            raise BrokenIndexError("a query gives other distances than keys")
        similarities = (min(1.0, max(-1.0, 1.0 - float(distance))) for distance in distances)
        return list(zip(answer["ids"][0], similarities, strict=True))

    # -- bringing it up to date

    @property
    def _stored(self) -> "Stored":
        if self._collection is None:
            raise BrokenIndexError("it is not open")
        return self._collection

    @property
    def _is_open(self) -> bool:
        return self._followed is not None and self._stops == self._chroma.stops

    def _follow(self) -> None:
        """Brings it up to date, with no more work than that takes."""
        if not self._is_open:
            self._resume()
        elif not self._follow_changes():
            self._reconcile()

    def _follow_changes(self) -> bool:
        """Adds and deletes what has changed since; False where that is not known any more."""
        newest, ids = self._truth.journal.changes(self._truth.kind, self._followed or 0)
        if ids is None:
            return False
        if ids:
            added = self._fill(self._truth.held(sorted(ids)))
            self._delete(sorted(ids - added))
        self._followed = newest
        return True

    def _resume(self) -> None:
        """Opens the collection; where it is not known to hold what the truth does, compares them."""
        newest, true, count = self._open(), self._truth.ids(self._encoder), self._stored.count()
        known = self._chroma.digests.get(self.name)
        if known == digest(true) and count == len(true):
            first = self._stored.get(limit=1, include=["embeddings"])
            self._size = _vectors(first).shape[1] if first["ids"] else None
            self._compared(newest)
        elif known is None and self._chroma.leaves_note and 0 < count <= SMALL:
            self._say("was not closed in good order and was built anew")
            self._rebuild()
        else:
            self._reconcile()

    def _reconcile(self, silent: bool = False) -> None:
        """Opens the collection and adds and deletes what differs from the truth; says what should not have differed."""
        expected = None if silent else behind(self.name, self._truth)
        newest = self._open()
        indexed, true = self._ids(), self._truth.ids(self._encoder)
        extra, added = indexed - true, self._fill(true - indexed)
        self._delete(sorted(extra))
        if expected is not None and (lost := extra - expected):
            self._say(f"held {len(lost)} keys too many, which were deleted")
        if expected is not None and (lost := added - expected):
            self._say(f"lacked {len(lost)} keys, which were added")
        self._compared(newest)

    def _open(self) -> int:
        """Opens the collection; the number of the newest change that what is read from now on has in it."""
        self._followed = None
        self._collection, self._stops = self._chroma.collection(self.name), self._chroma.stops
        return self._truth.journal.changes(self._truth.kind, 0)[0]

    def _compared(self, newest: int) -> None:
        """It holds what the truth does: queries find it, and the journal says so for whoever checks."""
        self._probe()
        self._followed = newest
        with suppress(StoreWriteError):  # a search writes nothing that it needs
            self._truth.journal.mark(indexed(self.name), str(newest))

    def _rebuild(self) -> None:
        self._chroma.drop(self.name)
        self._reconcile(silent=True)

    def _start_over(self) -> None:
        self._chroma.wipe()
        self._reconcile(silent=True)

    def _probe(self) -> None:
        if self._size and self._stored.count() and not self._query(np.ones(self._size, np.float32), 1):
            raise BrokenIndexError("a query finds none of the stored keys")

    def _ids(self) -> set[str]:
        """All indexed ids; their vectors are fetched too, which fails where Chroma has lost one."""
        ids: set[str] = set()
        self._size = None
        while True:
            page = self._stored.get(limit=self._chroma.page, offset=len(ids), include=["embeddings"])
            if not page["ids"]:
                return ids
            before = len(ids)
            ids.update(page["ids"])
            if len(ids) != before + len(page["ids"]):
                raise BrokenIndexError("the same key comes twice")
            self._size = _vectors(page).shape[1]

    def _fill(self, missing: Collection[str]) -> set[str]:
        """Adds those of the items that have a fitting key; their ids."""
        added: set[str] = set()
        keys = self._truth.keys(sorted(missing), self._encoder)
        alone = threading.active_count() == 1
        while page := list(islice(keys, self._chroma.page if alone else self._chroma.portion)):
            size = self._size or page[0][1].size
            fitting = [(item_id, key) for item_id, key in page if key.size == size]
            if len(fitting) < len(page):
                _log.warning("index %s leaves out %d keys of another size", self.name, len(page) - len(fitting))
            if fitting:
                if added and not alone:
                    time.sleep(self._chroma.pause_seconds)
                self._upsert(fitting)
                added.update(item_id for item_id, _ in fitting)
        return added

    def _upsert(self, items: Sequence[tuple[str, np.ndarray]]) -> None:
        ids, keys = [item_id for item_id, _ in items], np.stack([key for _, key in items])  # (B, D)
        self._chroma.digests.pop(self.name, None)
        self._stored.upsert(ids=ids, embeddings=keys)
        self._size = keys.shape[1]

    def _delete(self, ids: Sequence[str]) -> None:
        """Takes items out; unknown ones are fine."""
        for start in range(0, len(ids), self._chroma.portion):
            self._chroma.digests.pop(self.name, None)
            self._stored.delete(ids=list(ids[start : start + self._chroma.portion]))

    # -- mending

    def _mending(self, action: Callable[[], Result], *mends: Callable[[], None]) -> Result:
        """The result of the action, tried again after each mend. Only what comes of Chroma is mended."""
        failure: BaseException | None = None
        for mend in mends or (self._follow, self._reconcile, self._rebuild, self._start_over):
            try:
                result = self._chroma.reaching(lambda mend=mend: (mend(), action())[1])
            except BaseException as exc:
                if not is_of_chroma(exc):
                    raise
                failure = exc
                self._chroma.abandon()
            else:
                if failure is not None:
                    self._say(f"failed ({failure}) and was mended")
                return result
        raise StoreWriteError(
            f"The index {self.name!r} in {self._chroma.place!r} fails even when built anew ({failure}); "
            "free some space and allow this user to write there. Latents and episodes are whole; the next search "
            "rebuilds the index."
        ) from failure

    def _say(self, what: str) -> None:
        self.mended.append(f"The index {self.name} {what}.")
        _log.warning(self.mended[-1])


def collection_name(namespace_folder: str, kind: str, encoder: str) -> str:
    """The collection of the keys that one encoder made, of the `latents` or of the `episodes` of a namespace."""
    return f"{namespace_folder}.{kind}.{hashlib.sha256(encoder.encode()).hexdigest()[:8]}"


def indexed(name: str) -> str:
    """The journal's mark of the last change that a collection is known to have followed."""
    return f"indexed {name}"


def behind(name: str, truth: Truth) -> frozenset[str] | None:
    """The items whose changes a collection need not have followed; None where that is not known."""
    followed = truth.journal.marked(indexed(name))
    return None if followed is None else truth.journal.changes(truth.kind, int(followed))[1]


def _vectors(page: Any) -> np.ndarray:
    """The vectors (B, D) of a page, one for each id."""
    vectors = np.asarray(page["embeddings"])
    if vectors.ndim != 2 or len(vectors) != len(page["ids"]):
        raise BrokenIndexError(f"{len(page['ids'])} keys come with vectors of the shape {vectors.shape}")
    return vectors
