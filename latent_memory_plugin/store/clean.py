"""What the collections of a root held when Chroma was last closed, so that an opening need not fetch every vector.

The note lies in Chroma's own folder and goes where that goes. It is written last, once everything else in the folder
is on the disk, and deleted before Chroma starts: a process that is killed leaves none. It holds for the files as they
were, by size and time, so for a folder that was changed, replaced or copied since it says nothing.
"""

import hashlib
import json
import logging
import os
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from latent_memory_plugin.errors import StoreWriteError
from latent_memory_plugin.store.disk import delete_file, write_file, writing

NOTE = "clean.json"
"""The note's name in Chroma's folder."""

SCHEMA = 1
"""Version of the note."""

_log = logging.getLogger(__name__)


class CleanNote:
    """The note of one folder. Says nothing before `open`, and nothing more after `close` or `drop`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / NOTE
        self._is_open = False
        # Of collections that nobody has opened since: digests of their ids, as they were noted.
        self._noted: dict[str, str] = {}
        # Of opened collections: their ids now.
        self._held: dict[str, set[str]] = {}

    def open(self) -> None:
        """Takes the note from the disk; to be called before Chroma starts. Raises StoreWriteError."""
        self._is_open, self._held, self._noted = True, {}, {}
        if self._path.is_file():
            self._noted = self._read()
            delete_file(self._path)

    def agrees(self, name: str, ids: Collection[str]) -> bool:
        """Whether the collection is known to hold exactly these ids."""
        if name in self._held:
            return self._held[name] == set(ids)
        return name in self._noted and self._noted[name] == digest(ids)

    def hold(self, name: str, ids: Iterable[str]) -> None:
        """The collection holds these ids, whatever was known before."""
        if self._is_open:
            self._held[name] = set(ids)

    def add(self, name: str, ids: Iterable[str]) -> None:
        """The collection holds these ids too."""
        self._noted.pop(name, None)
        self._held.get(name, set[str]()).update(ids)

    def discard(self, name: str, ids: Iterable[str]) -> None:
        """The collection does not hold these ids any more."""
        self._noted.pop(name, None)
        self._held.get(name, set[str]()).difference_update(ids)

    def forget(self, name: str) -> None:
        """Nothing is known of the collection."""
        self._held.pop(name, None)
        self._noted.pop(name, None)

    def drop(self) -> None:
        """Nothing is known of any collection."""
        self._is_open, self._held, self._noted = False, {}, {}

    def close(self) -> None:
        """Writes the note, once Chroma has stopped. Where that fails, the next opening fetches what there is."""
        collections = self._noted | {name: digest(ids) for name, ids in self._held.items()}
        if self._is_open and collections:
            try:
                with writing(self._folder):
                    _sync(self._folder)
                    note = {"schema": SCHEMA, "files": _files(self._folder), "collections": collections}
                write_file(self._path, json.dumps(note).encode())
            except StoreWriteError as exc:
                _log.warning("no note of what the index holds: %s", exc)
        self.drop()

    def _read(self) -> dict[str, str]:
        try:
            note: Any = json.loads(self._path.read_bytes())
            if note["schema"] != SCHEMA or note["files"] != _files(self._folder):
                return {}
            return {str(name): str(noted) for name, noted in note["collections"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return {}


def digest(ids: Iterable[str]) -> str:
    """How many ids, and the SHA-256 of them in order."""
    ordered = sorted(ids)
    return f"{len(ordered)}:{hashlib.sha256(chr(10).join(ordered).encode()).hexdigest()}"


def _files(folder: Path) -> dict[str, list[int]]:
    """Size and time of change, in nanoseconds, of every file of Chroma's."""
    paths = [path for path in folder.rglob("*") if path.is_file() and path != folder / NOTE]
    return {str(path.relative_to(folder)): [path.stat().st_size, path.stat().st_mtime_ns] for path in paths}


def _sync(folder: Path) -> None:
    """Chroma does not wait until its graphs are on the disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDWR)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
