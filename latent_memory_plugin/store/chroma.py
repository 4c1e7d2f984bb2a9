"""The one door to Chroma, here embedded in the process. `served.py` is the same door with a server behind it."""

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from traceback import walk_tb
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from latent_memory_plugin.errors import StoreWriteError
from latent_memory_plugin.store.disk import delete_files, sync_file, write_file, writing

if TYPE_CHECKING:
    from chromadb.api.client import Client
    from chromadb.api.collection_configuration import CreateHNSWConfiguration
    from chromadb.api.models.Collection import Collection

Result = TypeVar("Result")

NOTE = "clean.json"
"""Lies in Chroma's folder and says what its collections held when it was closed, so that an opening need not fetch
every vector. It is written last, once everything else there is on the disk, and deleted before Chroma starts: a process
that is killed leaves none. It holds for the files as they were, by size and time: of a folder that was changed,
replaced or copied since, it says nothing."""

NOTE_SCHEMA = 1
"""Version of the note."""

_log = logging.getLogger(__name__)

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

    portion = 100
    """Keys that are written at once where other threads wait meanwhile: Chroma holds the interpreter, 0.3 ms a key."""

    pause_seconds = 0.01
    """Between two such portions, for those threads."""

    leaves_note: ClassVar[bool] = True
    """False where nothing is known of what the collections hold when they are opened again."""

    graph: "ClassVar[CreateHNSWConfiguration]" = _GRAPH
    """How the collections that this process makes search and save."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.place = str(folder)
        """Where the index is, for messages."""
        self.digests: dict[str, str] = {}
        """What collections are known to hold: the `digest` of their ids."""
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

        self.digests.pop(name, None)
        if self._client is not None:
            with suppress(NotFoundError):
                self._client.delete_collection(name)

    def wipe(self) -> None:
        """Deletes every collection of every namespace, and the folder with them."""
        self.close(in_order=False)
        with writing(self.folder):
            if self.folder.is_dir() and not self.folder.is_symlink():
                shutil.rmtree(self.folder)
            else:
                self.folder.unlink(missing_ok=True)

    def close(self, in_order: bool = True) -> None:
        """Stops the client; the next use starts another one, which believes what is known where this was in order."""
        client, self._client = self._client, None
        known, self.digests = self.digests if in_order else {}, {}
        if client is not None:
            self.stops += 1
            client.close()
            if self.leaves_note and known:
                self._leave_note(known)

    def abandon(self) -> None:
        """Stops a client that failed: after a full disk it waits for itself without end in its next write."""
        try:
            self.close(in_order=False)
        except BaseException as exc:
            if not is_of_chroma(exc):
                raise

    def reaching(self, action: Callable[[], Result]) -> Result:
        """The result of an action that needs Chroma to answer; an embedded one is always there."""
        return action()

    def _start(self) -> "Client":
        note = self.folder / NOTE
        if note.is_file():
            self.digests = self._noted(note)
            delete_files([note])
        return _start(self.folder)

    def _noted(self, note: Path) -> dict[str, str]:
        try:
            said: Any = json.loads(note.read_bytes())
            believed = said["schema"] == NOTE_SCHEMA and said["files"] == self._files()
            return {str(name): str(known) for name, known in said["collections"].items()} if believed else {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {}

    def _leave_note(self, known: dict[str, str]) -> None:
        """Where that fails, the next opening fetches what there is."""
        try:
            with writing(self.folder):
                for path in self._paths():  # Chroma does not wait until its graphs are on the disk
                    sync_file(path)
                note = {"schema": NOTE_SCHEMA, "files": self._files(), "collections": known}
            write_file(self.folder / NOTE, json.dumps(note).encode())
        except StoreWriteError as exc:
            _log.warning("no note of what the index holds: %s", exc)

    def _files(self) -> dict[str, list[int]]:
        """Size and time of change, in nanoseconds, of every file of Chroma's."""
        found = {str(path.relative_to(self.folder)): path.stat() for path in self._paths()}
        return {name: [status.st_size, status.st_mtime_ns] for name, status in found.items()}

    def _paths(self) -> Iterator[Path]:
        return (path for path in self.folder.rglob("*") if path.is_file() and path.name != NOTE)


def digest(ids: Iterable[str]) -> str:
    """How many ids, and the SHA-256 of them in order."""
    ordered = sorted(ids)
    return f"{len(ordered)}:{hashlib.sha256(chr(10).join(ordered).encode()).hexdigest()}"


class BrokenIndexError(Exception):
    """What Chroma gives back is not what it was given."""


def is_of_chroma(error: BaseException) -> bool:
    """Whether an error was raised inside Chroma or its Rust part, whose panics are no Exception, or says that what it
    holds is broken. A lack of memory or of a package is nobody's broken index."""
    if isinstance(error, BrokenIndexError):
        return True
    if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
        return False
    modules = (str(frame.f_globals.get("__name__", "")) for frame, _ in walk_tb(error.__traceback__))
    inside = any(module.partition(".")[0].startswith("chromadb") for module in modules)
    return inside and not isinstance(error, (MemoryError, ImportError))


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
