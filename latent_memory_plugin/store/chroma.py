"""The one door to Chroma, here embedded in the process. `served.py` is the same door with a server behind it."""

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

from latent_memory_plugin.store.clean import CleanNote
from latent_memory_plugin.store.disk import writing

if TYPE_CHECKING:
    from chromadb.api.client import Client
    from chromadb.api.collection_configuration import CreateHNSWConfiguration
    from chromadb.api.models.Collection import Collection

Result = TypeVar("Result")

_GRAPH: "CreateHNSWConfiguration" = {
    "space": "cosine",
    # Writes between two times that the graph is saved. Every write and every opening replays those since the last time,
    # and saving it takes time in proportion to the keys there are. A kill while it is saved can leave it unreadable:
    # then it is built anew from the truth.
    "sync_threshold": 1_000,
    # Chroma's defaults miss the nearest key in up to 11 % of queries where similar keys arrive one after another. A
    # graph that is built with more care answers them all, and a narrower search is enough.
    "max_neighbors": 32,
    "ef_construction": 400,
    "ef_search": 200,
}


class Chroma:
    """The one embedded Chroma client of a root, started when it is first needed."""

    page = 5_000
    """Keys that are written or fetched at once: embedded, Chroma takes up to 5,461; a server, 40 MB in a request."""

    graph: "ClassVar[CreateHNSWConfiguration]" = _GRAPH
    """How the collections that this process makes search and save."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.place = str(folder)
        """Where the index is, for messages."""
        self.clean = CleanNote(folder)
        """What its collections held when it was last closed."""
        self.stops = 0
        """How often a client was stopped: a collection is of no use after the stop of its client."""
        self._client: Client | None = None

    def collection(self, name: str) -> "Collection":
        """The collection of this name, made where there is none."""
        if self._client is None:
            self._client = self._start()
        return self._client.get_or_create_collection(name, configuration={"hnsw": self.graph}, embedding_function=None)

    def names(self) -> set[str]:
        """The names of all collections of the root; none where nothing was ever indexed, which asking does not
        change."""
        if self._client is None:
            if not self.folder.exists():
                return set()
            self._client = self._start()
        limit, names = 500, set[str]()
        while page := self._client.list_collections(limit=limit, offset=len(names)):
            names.update(collection.name for collection in page)
        return names

    def drop(self, name: str) -> None:
        """Deletes the collection of this name; none is fine."""
        from chromadb.errors import NotFoundError

        self.clean.forget(name)
        if self._client is not None:
            with suppress(NotFoundError):
                self._client.delete_collection(name)

    def wipe(self) -> None:
        """Deletes every collection of every namespace, and the folder with them."""
        self.clean.drop()
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
            self.stops += 1
            client.close()
            self.clean.close()

    def abandon(self) -> None:
        """Stops a client that failed, and believes nothing of what it said: after a full disk it waits for itself
        without end in its next write."""
        self.clean.drop()
        try:
            self.close()
        except BaseException as exc:
            if not is_of_chroma(exc):
                raise

    def reaching(self, action: Callable[[], Result]) -> Result:
        """The result of an action that needs Chroma to answer; an embedded one is always there."""
        return action()

    def _start(self) -> "Client":
        self.clean.open()
        return _start(self.folder)


def is_of_chroma(error: BaseException) -> bool:
    """Whether an error may be Chroma's own: they have no common base, and panics of its Rust part are no Exception."""
    return isinstance(error, Exception) or type(error).__name__ == "PanicException"


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
