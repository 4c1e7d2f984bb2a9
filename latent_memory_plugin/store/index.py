"""The index: nearest keys by cosine similarity, in Chroma. It is derived: whatever Chroma loses, the truth gives back.

What is known about Chroma and why it is used this way: one writer per folder, or vectors are lost without an error;
a kill while it saves its graph can leave that unreadable, so every failure ends in building it anew; a health check
that fetches vectors and runs a query, because counts stay right when vectors are gone. Where Chroma was closed in good
order and nothing has changed since (`clean.py`), one vector and the query are enough.
"""

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from latent_memory_plugin.errors import IndexUnavailableError, LatentMemoryError, StoreWriteError
from latent_memory_plugin.store.chroma import Chroma, is_of_chroma
from latent_memory_plugin.store.keys import checked_key, checked_limit

if TYPE_CHECKING:
    from chromadb.api.models.Collection import Collection

Result = TypeVar("Result")
Exclusive = Callable[[], AbstractContextManager[None]]
"""Held: no other process changes the truth or the index."""

_log = logging.getLogger(__name__)


class Truth(Protocol):
    """Where an index is derived from."""

    def ids(self, encoder: str) -> set[str]:
        """Ids of everything that may have a key made by this encoder."""
        ...

    def keys(self, item_ids: Iterable[str], encoder: str) -> Iterator[tuple[str, np.ndarray]]:
        """Id and key (D,) float32 of those of the given items that do have one."""
        ...

    def holds(self, item_id: str) -> bool:
        """Whether the item exists."""
        ...


class Index:
    """One Chroma collection: the keys of one namespace made by one encoder, either of its Latents or of its episodes.

    Opening compares it with the truth and mends what differs. Later failures are mended in the same way, once.
    """

    def __init__(
        self, chroma: Chroma, name: str, truth: Truth, encoder: str, exclusive: Exclusive = nullcontext
    ) -> None:
        self.name = name
        self._exclusive = exclusive
        # True where a server was not reached with a change: it is compared with the truth before its next use.
        self._behind = False
        self._chroma = chroma
        self._truth = truth
        self._encoder = encoder
        self.mended: list[str] = []
        """What was not as it should be and was put right, one sentence each."""
        self._size: int | None = None
        self._collection: Collection
        # What the client of the collection counted when it was opened.
        self._stops = 0
        self._mending(self._probe, self._resume, self._reconcile, self._rebuild, self._start_over)

    def checked(self, key: np.ndarray) -> np.ndarray:
        """The key (D,) as float32. Raises InputError where it is not flat, not finite or of another size."""
        return checked_key(key, self._size)

    def add(self, item_id: str, key: np.ndarray) -> None:
        """Adds a key (D,) float32 whose item the truth holds. Raises StoreWriteError: the item is kept all the same."""
        self._change(lambda: self._upsert([(item_id, self.checked(key))]))

    def discard(self, item_ids: Iterable[str]) -> None:
        """Takes items out; unknown ones are fine."""
        ids = list(item_ids)
        self._change(lambda: self._delete(ids))

    def follow(self, item_id: str) -> None:
        """Brings one item up to date with the truth: in with its key, or out. Raises StoreWriteError."""
        if not self._truth.holds(item_id):
            self.discard([item_id])
            return
        for found, key in self._truth.keys([item_id], self._encoder):
            self.add(found, key)

    def follow_all(self, item_ids: Iterable[str]) -> None:
        """Adds the keys of new items of the truth, many at a time. Raises StoreWriteError."""
        held = {item_id for item_id in item_ids if self._truth.holds(item_id)}
        self._change(lambda: self._fill(held))

    def renew(self) -> None:
        """Deletes the collection and builds it anew from the truth. Raises StoreWriteError."""
        self._change(self._rebuild)

    def refresh(self) -> None:
        """Opens and compares the collection again where its client was stopped since. Raises StoreWriteError,
        IndexUnavailableError."""
        self._mending(self._probe, *self._mends())

    def nearest(self, key: np.ndarray, limit: int) -> list[tuple[str, float]]:
        """Up to `limit` ids with their keys' cosine similarity to this one (D,), best first. Raises InputError."""
        wanted = checked_limit(limit)
        found = self._mending(lambda: self._query(self.checked(key), wanted), *self._mends())
        gone = [item_id for item_id, _ in found if not self._truth.holds(item_id)]
        if not gone:
            return found
        self.discard(gone)
        return self.nearest(key, limit)

    def _query(self, vector: np.ndarray, limit: int) -> list[tuple[str, float]]:
        answer = self._collection.query(query_embeddings=vector[None], n_results=limit, include=["distances"])  # (1, D)
        distances = (answer["distances"] or [[]])[0]
        return [
            (item_id, min(1.0, max(-1.0, 1.0 - float(distance))))
            for item_id, distance in zip(answer["ids"][0], distances, strict=True)
        ]

    def _upsert(self, items: list[tuple[str, np.ndarray]]) -> None:
        ids, keys = [item_id for item_id, _ in items], np.stack([key for _, key in items])  # (B, D)
        self._collection.upsert(ids=ids, embeddings=keys)
        self._chroma.clean.add(self.name, ids)
        self._size = keys.shape[1]

    def _delete(self, ids: list[str]) -> None:
        for start in range(0, len(ids), self._chroma.page):
            self._collection.delete(ids=ids[start : start + self._chroma.page])
        self._chroma.clean.discard(self.name, ids)

    def _change(self, action: Callable[[], object]) -> None:
        """A change that a server which does not answer gets later: the truth has it already."""
        try:
            self._mending(action, *self._mends())
        except IndexUnavailableError as exc:
            self._behind = True
            _log.warning("index %s is behind the files: %s", self.name, exc)

    def _mends(self) -> tuple[Callable[[], None], ...]:
        is_of_now = not self._behind and self._stops == self._chroma.stops
        return (_leave if is_of_now else self._reconcile, self._reconcile, self._rebuild, self._start_over)

    def _mending(self, action: Callable[[], Result], *mends: Callable[[], None]) -> Result:
        """The result of the action, tried again after each mend. Everything but our own errors counts as Chroma's."""
        failure: BaseException | None = None
        for mend in mends:
            try:
                result = self._chroma.reaching(partial(self._mended, mend, action))
            except LatentMemoryError:
                raise
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
            "free some space and allow this user to write there. Latents and episodes are whole; opening the root "
            "again rebuilds the index."
        ) from failure

    def _mended(self, mend: Callable[[], None], action: Callable[[], Result]) -> Result:
        with nullcontext() if mend is _leave else self._exclusive():
            mend()
        return action()

    def _probe(self) -> None:
        if self._size and self._collection.count() and not self._query(np.ones(self._size, np.float32), 1):
            raise RuntimeError("a query finds none of the stored keys")

    def _resume(self) -> None:
        """Opens the collection; where it is not known to hold what the truth does, compares them."""
        self._open()
        true = self._truth.ids(self._encoder)
        if not self._chroma.clean.agrees(self.name, true) or self._collection.count() != len(true):
            self._reconcile()
            return
        self._chroma.clean.hold(self.name, true)
        first = self._collection.get(limit=1, include=["embeddings"])
        self._size = np.asarray(first["embeddings"]).shape[1] if first["ids"] else None

    def _reconcile(self) -> None:
        """Opens the collection and adds and deletes what differs from the truth."""
        self._open()
        indexed, true = self._ids(), self._truth.ids(self._encoder)
        self._chroma.clean.hold(self.name, indexed)
        if extra := sorted(indexed - true):
            self._say(f"held {len(extra)} keys too many, which were deleted")
            self._delete(extra)
        if added := self._fill(true - indexed):
            self._say(f"lacked {added} keys, which were added")
        self._behind = False

    def _open(self) -> None:
        self._collection, self._stops = self._chroma.collection(self.name), self._chroma.stops

    def _rebuild(self) -> None:
        self._chroma.drop(self.name)
        self._reconcile()

    def _start_over(self) -> None:
        self._chroma.wipe()
        self._reconcile()

    def _ids(self) -> set[str]:
        """All indexed ids; their vectors are fetched too, which fails where Chroma has lost one."""
        ids: set[str] = set()
        self._size = None
        while True:
            page = self._collection.get(limit=self._chroma.page, offset=len(ids), include=["embeddings"])
            if not page["ids"]:
                return ids
            ids.update(page["ids"])
            self._size = np.asarray(page["embeddings"]).shape[1]

    def _fill(self, missing: set[str]) -> int:
        added = 0
        keys = self._truth.keys(sorted(missing), self._encoder)
        while page := list(islice(keys, self._chroma.page)):
            size = self._size or page[0][1].size
            fitting = [(item_id, key) for item_id, key in page if key.size == size]
            if len(fitting) < len(page):
                _log.warning("index %s leaves out %d keys of another size", self.name, len(page) - len(fitting))
            if fitting:
                self._upsert(fitting)
                added += len(fitting)
        return added

    def _say(self, what: str) -> None:
        self.mended.append(f"The index {self.name} {what}.")
        _log.warning(self.mended[-1])


def collection_name(namespace_folder: str, kind: str, encoder: str) -> str:
    """The collection of the keys that one encoder made, of the `latents` or of the `episodes` of a namespace."""
    return f"{namespace_folder}.{kind}.{hashlib.sha256(encoder.encode()).hexdigest()[:8]}"


def _leave() -> None:
    """The mend of what may be whole."""
