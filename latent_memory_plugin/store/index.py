"""The index: nearest keys by cosine similarity, in Chroma. It is derived: whatever Chroma loses, the truth gives back.

What is known about Chroma and why it is used this way: one writer per folder, or vectors are lost without an error;
a vector index that is never persisted in between (`sync_threshold`), because a kill during that leaves it unreadable;
a health check that fetches vectors and runs a query, because counts stay right when vectors are gone.
"""

import logging
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from latent_memory_plugin.errors import InputError, LatentMemoryError, StoreWriteError
from latent_memory_plugin.store.disk import writing

if TYPE_CHECKING:
    from chromadb.api.client import Client
    from chromadb.api.collection_configuration import CreateHNSWConfiguration
    from chromadb.api.models.Collection import Collection

Result = TypeVar("Result")
_log = logging.getLogger(__name__)

_PAGE = 1000
_GRAPH: "CreateHNSWConfiguration" = {
    "space": "cosine",
    # The price: an opening replays every key, and a write costs time in proportion to the keys there are.
    "sync_threshold": 1_000_000,
    # Chroma's defaults miss the nearest key in up to 11 % of queries where similar keys arrive one after another.
    "max_neighbors": 32,
    "ef_construction": 200,
    "ef_search": 400,
}


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


class Chroma:
    """The one embedded Chroma client of a root, started when it is first needed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._client: Client | None = None

    def collection(self, name: str) -> "Collection":
        """The collection of this name, made where there is none."""
        if self._client is None:
            self._client = _start(self.folder)
        return self._client.get_or_create_collection(name, configuration={"hnsw": _GRAPH}, embedding_function=None)

    def drop(self, name: str) -> None:
        """Deletes the collection of this name; none is fine."""
        from chromadb.errors import NotFoundError

        if self._client is not None:
            with suppress(NotFoundError):
                self._client.delete_collection(name)

    def wipe(self) -> None:
        """Deletes every collection of every namespace, and the folder with them."""
        self.close()
        with writing(self.folder):
            if self.folder.is_dir() and not self.folder.is_symlink():
                shutil.rmtree(self.folder)
            else:
                self.folder.unlink(missing_ok=True)

    def close(self) -> None:
        """Stops the client; the next use starts another one."""
        client, self._client = self._client, None
        if client is not None:
            client.close()


class Index:
    """One Chroma collection: the keys of one namespace made by one encoder, either of its Latents or of its episodes.

    Opening compares it with the truth and mends what differs. Later failures are mended in the same way, once.
    """

    def __init__(self, chroma: Chroma, name: str, truth: Truth, encoder: str) -> None:
        self.name = name
        self._chroma = chroma
        self._truth = truth
        self._encoder = encoder
        self._size: int | None = None
        self._collection: Collection
        self._mending(self._probe, self._reconcile, self._rebuild, self._start_over)

    def checked(self, key: np.ndarray) -> np.ndarray:
        """The key (D,) as float32. Raises InputError where it is not flat, not finite or of another size."""
        with np.errstate(over="ignore"):
            vector = np.ascontiguousarray(key, dtype=np.float32)  # (D,)
        if vector.ndim != 1 or not vector.size or not np.isfinite(vector).all():
            raise InputError(
                f"A key of shape {vector.shape} is not a flat array of finite numbers; pass one of shape (D,)."
            )
        if self._size not in (None, vector.size):
            raise InputError(
                f"A key has {vector.size} values, the stored ones have {self._size}; use the same encoder."
            )
        return vector

    def add(self, item_id: str, key: np.ndarray) -> None:
        """Adds a key (D,) float32 whose item the truth holds. Raises StoreWriteError: the item is kept all the same."""
        self._mending(lambda: self._upsert([(item_id, self.checked(key))]), *self._mends())

    def discard(self, item_ids: Iterable[str]) -> None:
        """Takes items out; unknown ones are fine."""
        ids = list(item_ids)
        self._mending(lambda: self._collection.delete(ids=ids), *self._mends())

    def follow(self, item_id: str) -> None:
        """Brings one item up to date with the truth: in with its key, or out. Raises StoreWriteError."""
        if not self._truth.holds(item_id):
            self.discard([item_id])
            return
        for found, key in self._truth.keys([item_id], self._encoder):
            self.add(found, key)

    def nearest(self, key: np.ndarray, limit: int) -> list[tuple[str, float]]:
        """Up to `limit` ids with their keys' cosine similarity to this one (D,), best first. Raises InputError."""
        if limit < 1:
            raise InputError(f"limit={limit!r} asks for nothing; pass at least 1.")
        found = self._mending(lambda: self._query(self.checked(key), limit), *self._mends())
        gone = [item_id for item_id, _ in found if not self._truth.holds(item_id)]
        if not gone:
            return found
        self.discard(gone)
        return self.nearest(key, limit)

    def _query(self, vector: np.ndarray, limit: int) -> list[tuple[str, float]]:
        limit = min(limit, self._collection.count())
        if not limit:
            return []
        answer = self._collection.query(query_embeddings=vector[None], n_results=limit, include=["distances"])  # (1, D)
        distances = (answer["distances"] or [[]])[0]
        return [
            (item_id, min(1.0, max(-1.0, 1.0 - float(distance))))
            for item_id, distance in zip(answer["ids"][0], distances, strict=True)
        ]

    def _upsert(self, items: list[tuple[str, np.ndarray]]) -> None:
        ids, keys = [item_id for item_id, _ in items], np.stack([key for _, key in items])  # (B, D)
        self._collection.upsert(ids=ids, embeddings=keys)
        self._size = keys.shape[1]

    def _mends(self) -> tuple[Callable[[], None], ...]:
        return (lambda: None, self._reconcile, self._rebuild, self._start_over)

    def _mending(self, action: Callable[[], Result], *mends: Callable[[], None]) -> Result:
        """The result of the action, tried again after each mend. Chroma's errors have no common base (panics of its
        Rust part are not even an Exception), so everything but our own errors counts as one."""
        failure: BaseException | None = None
        for mend in mends:
            try:
                mend()
                return action()
            except LatentMemoryError:
                raise
            except BaseException as exc:
                if not isinstance(exc, Exception) and type(exc).__name__ != "PanicException":
                    raise
                failure = exc
                _log.warning("index %s failed (%s), mending it", self.name, exc)
        raise StoreWriteError(
            f"The index {self.name!r} in {str(self._chroma.folder)!r} fails even when built anew ({failure}); "
            "free some space and allow this user to write there. Latents and episodes are whole; opening the root "
            "again rebuilds the index."
        ) from failure

    def _probe(self) -> None:
        if self._size and self._collection.count() and not self._query(np.ones(self._size, np.float32), 1):
            raise RuntimeError("a query finds none of the stored keys")

    def _reconcile(self) -> None:
        """Opens the collection and adds and deletes what differs from the truth."""
        self._collection = self._chroma.collection(self.name)
        indexed, true = self._ids(), self._truth.ids(self._encoder)
        if extra := sorted(indexed - true):
            _log.warning("index %s holds %d keys too many, deleting them", self.name, len(extra))
            for start in range(0, len(extra), _PAGE):
                self._collection.delete(ids=extra[start : start + _PAGE])
        self._fill(true - indexed)

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
            page = self._collection.get(limit=_PAGE, offset=len(ids), include=["embeddings"])
            if not page["ids"]:
                return ids
            ids.update(page["ids"])
            self._size = np.asarray(page["embeddings"]).shape[1]

    def _fill(self, missing: set[str]) -> None:
        keys = self._truth.keys(sorted(missing), self._encoder)
        while page := list(islice(keys, _PAGE)):
            size = self._size or page[0][1].size
            fitting = [(item_id, key) for item_id, key in page if key.size == size]
            if len(fitting) < len(page):
                _log.warning("index %s leaves out %d keys of another size", self.name, len(page) - len(fitting))
            if fitting:
                self._upsert(fitting)


def _start(folder: Path) -> "Client":
    """A client on a folder. Not `PersistentClient`: when that fails to open a broken folder, it keeps the half-started
    system and hands it to the next client on the same path."""
    from chromadb.api import ServerAPI
    from chromadb.api.client import Client
    from chromadb.config import Settings, System

    settings = Settings(anonymized_telemetry=False, is_persistent=True, persist_directory=str(folder))
    system = System(settings)
    system.instance(ServerAPI)
    system.start()
    return Client.from_system(system)
