"""Who may use a root: one process with its own Chroma, or any number of processes that share a Chroma server.

An exclusive lock on `lock` is held by the one owner as long as it has the root open, by the others only while they
enter. Each of these holds an exclusive lock on a file of its own in `lock.d/`. Such locks end with their process, so it
is known without any clock who is alive, and what a dead process has left is taken over.
"""

import json
import os
import socket
import time
import uuid
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from latent_memory_plugin.errors import StoreLockedError
from latent_memory_plugin.store.access import Access
from latent_memory_plugin.store.disk import delete_files, file_identity, make_folder, write_file, writing

FOLDER = "lock.d"
"""Holds the locks of processes that share a server. No namespace has a folder of this name."""

ENTERING_SECONDS = 1.0
"""How long a process that shares a server waits at least: others that enter hold the lock for a moment."""

_POLL_SECONDS = 0.05


class Ownership:
    """The right of this process to a root."""

    def __init__(self, root: Path, access: Access) -> None:
        self.token = uuid.uuid4().hex
        """Names this process in claims, as long as it has the root open."""
        self._root = root
        self._access = access
        self._owner = root / "owner.json"
        # Not thread-local: the thread that closes the last store need not be the one that opened the first.
        self._lock = _lock(root / "lock")
        self._own = _lock(self._lock_of(self.token))
        # Which file the lock is that is held as long as the root is open: its number is given to no other meanwhile.
        self._held: tuple[int, int] | None = None

    def take(self) -> None:
        """Waits as long as the access allows. Raises StoreLockedError, StoreWriteError."""
        shortest = ENTERING_SECONDS if self._access.chroma else 0.0
        deadline = time.monotonic() + max(self._access.lock_timeout, shortest)
        while obstacle := self._attempt():
            if time.monotonic() >= deadline:
                raise StoreLockedError(
                    f"The root {str(self._root)!r} is in use by {obstacle}. Wait with lock_timeout=<seconds>, or open "
                    "it with the same chroma='http://host:port' in every process; read_only=True looks at it meanwhile."
                )
            time.sleep(_POLL_SECONDS)
        self._held = file_identity(self._held_path)

    @property
    def in_place(self) -> bool:
        """False where the root was deleted or moved since it was taken."""
        return self._held is None or file_identity(self._held_path) == self._held

    def release(self) -> None:
        """Gives the root back. Raises StoreWriteError."""
        here = self.in_place  # else the files at its path are those of another root
        try:
            if here:
                delete_files([self._said_by(self.token) if self._access.chroma else self._owner])
        finally:
            self._lock.release()
            self._own.release()
        if here and self._access.chroma:
            delete_files([self._lock_of(self.token)])

    def alive(self, token: str) -> bool:
        """Whether the process of that token still has the root open, with a server."""
        return token == self.token or _is_held(self._lock_of(token))

    @property
    def _held_path(self) -> Path:
        return self._lock_of(self.token) if self._access.chroma else self._root / "lock"

    def _attempt(self) -> str:
        """Takes the root; otherwise says who has it."""
        with writing(self._root):
            try:
                self._lock.acquire()
            except Timeout:
                return _described(self._owner)
            try:
                obstacle = self._obstacle()
                if not obstacle:
                    self._enter()
            except BaseException:
                self._own.release()
                self._lock.release()
                raise
            if obstacle or self._access.chroma:
                self._lock.release()
            return obstacle

    def _enter(self) -> None:
        since = datetime.now(timezone.utc).isoformat(sep=" ", timespec="seconds")
        fields = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
        if self._access.chroma is None:
            _write(self._owner, fields)
            return
        make_folder(self._root / FOLDER)
        self._own.acquire()
        _write(self._said_by(self.token), fields | {"chroma": self._access.chroma})
        delete_files([self._owner])  # of an owner that was killed

    def _obstacle(self) -> str:
        """A live process with a server that this one would not share; what the dead ones left is deleted."""
        for lock in sorted((self._root / FOLDER).glob("*.lock")):
            said = self._said_by(lock.stem)
            if not _is_held(lock):
                delete_files([said, lock])
            elif (server := _fields(said).get("chroma")) != self._access.chroma:
                return f"{_described(said)} with the server {server!r}"
        return ""

    def _lock_of(self, token: str) -> Path:
        return self._root / FOLDER / f"{token}.lock"

    def _said_by(self, token: str) -> Path:
        return self._root / FOLDER / f"{token}.json"


def _lock(path: Path) -> FileLock:
    return FileLock(path, timeout=0, thread_local=False)


def _is_held(path: Path) -> bool:
    if not path.exists():
        return False
    try:
        with _lock(path):
            return False
    except Timeout:
        return True


def _described(path: Path) -> str:
    fields = _fields(path)
    if not {"pid", "host", "since"} <= fields.keys():
        return "another process that has not said which it is yet"
    return f"process {fields['pid']} on host {fields['host']!r} since {fields['since']}"


def _fields(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}  # pyright: ignore[reportUnknownVariableType]


def _write(path: Path, fields: dict[str, Any]) -> None:
    write_file(path, json.dumps(fields, indent=2, ensure_ascii=False).encode() + b"\n")
