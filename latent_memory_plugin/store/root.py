"""A root folder as this process holds it: its locks, the model it belongs to, its Chroma client, its namespace folders.

All stores of one root in one process share one `Root`; the last one to release it gives the root back. A second
process is refused where Chroma is embedded, which loses data under two writers without an error.
"""

import hashlib
import json
import os
import re
import threading
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from filelock import FileLock, Timeout

from latent_memory_plugin import __version__
from latent_memory_plugin.errors import (
    ConfigError,
    CorruptError,
    InputError,
    StoreError,
    StoreLockedError,
    WrongModelError,
)
from latent_memory_plugin.store.access import Access
from latent_memory_plugin.store.chroma import Chroma
from latent_memory_plugin.store.disk import make_folder, reading, write_file, writing
from latent_memory_plugin.store.ownership import Ownership
from latent_memory_plugin.store.schema import newer
from latent_memory_plugin.store.served import ServedChroma

SCHEMA = 1
"""Version of the layout of a root."""

STORE = "store.json"
"""Which model a root belongs to."""

WRITE_LOCK = "write.lock"
"""Held while a process that shares a server changes the folder it stands in."""

WRITE_SECONDS = 60.0
"""How long to wait for it; a change takes milliseconds, or as long as the server does."""

_PLAIN = re.compile(r"[a-z0-9][a-z0-9_]{0,62}")
_DEVICES = {f"{device}{digit}" for device in ("com", "lpt") for digit in range(10)}
_RESERVED = {"chroma", "lock", "con", "prn", "aux", "nul"} | _DEVICES


class ModelId(NamedTuple):
    """Which model a root belongs to."""

    name: str
    """As a person knows it."""
    fingerprint: str
    """What is compared: 64 hexadecimal digits."""
    hidden_size: int | None = None
    """H of the Latents that it reads; None where it is not known."""


def folder_name(namespace: str) -> str:
    """The folder of a namespace: the namespace itself where it is a plain, unreserved name, else a slug, a hyphen
    (which no plain name has) and 16 digits of its SHA-256. Raises InputError for an empty or unencodable namespace."""
    if not namespace or "\0" in namespace:
        raise InputError(f"The namespace {namespace!r:.80} is empty or holds a NUL; pass a name such as 'default'.")
    try:
        digest = hashlib.sha256(namespace.encode()).hexdigest()[:16]
    except UnicodeEncodeError as exc:
        raise InputError(
            f"The namespace {namespace!r:.80} holds half a surrogate pair; pass whole characters."
        ) from exc
    if _PLAIN.fullmatch(namespace) and namespace not in _RESERVED:
        return namespace
    slug = re.sub(r"[^a-z0-9]+", "_", namespace[:100].lower()).strip("_")[:40].strip("_")
    return f"{slug or 'ns'}-{digest}"


class Root:
    """An opened root. `guard` is held around every use of what its stores share."""

    _opened: ClassVar[dict[Path, "Root"]] = {}
    _door: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, path: Path, access: Access) -> None:
        self.path = path
        self.access = access
        self.guard = threading.RLock()
        self.chroma = Chroma(path / "chroma") if access.chroma is None else ServedChroma(access.chroma, self._identity)
        self.ownership = Ownership(path, access)
        self._process = os.getpid()
        self._users = 0
        self._taken = False
        self._locks: dict[Path, FileLock] = {}

    @classmethod
    def open(cls, path: Path, access: Access) -> "Root":
        """The root of this process at a path, created where there is none. Raises StoreLockedError, StoreWriteError,
        ConfigError where this process has it open in another way."""
        path = path.expanduser().absolute()
        make_folder(path)
        path = path.resolve()
        with cls._door:
            root = cls._opened.setdefault(path, cls(path, access))
            root._check_access(access)
            root._users += 1
        try:
            with root.guard:
                if not root._taken:
                    root.ownership.take()
                    root._taken = True
        except BaseException:
            root.release()
            raise
        return root

    @classmethod
    def to_read(cls, path: Path) -> "Root":
        """The root at a path for looking alone: without locks, and without Chroma."""
        return cls(path.expanduser().absolute(), Access(read_only=True))

    def release(self) -> None:
        """One user less; the last one closes Chroma and gives the root back."""
        if self.access.read_only or self.inherited:
            return
        with self._door, self.guard:
            self._users -= 1
            if self._users:
                return
            del self._opened[self.path]
            if not self._taken:
                return
            try:
                self.chroma.close()
            finally:
                self.ownership.release()

    @property
    def inherited(self) -> bool:
        """True in a process that was forked from the one that opened the root."""
        return os.getpid() != self._process

    @contextmanager
    def exclusive(self, folder: Path) -> Generator[None, None, None]:
        """Held: no other thread, and no process that shares the server, changes the namespace of this folder.
        Raises StoreLockedError where another process does not finish."""
        with self.guard:
            if self.access.chroma is None:
                yield
                return
            lock = self._lock_of(folder)
            try:
                yield
            finally:
                lock.release()

    def check(self, model: ModelId) -> None:
        """Raises WrongModelError where the root belongs to another model."""
        owner = self.owner
        if owner is not None and owner.fingerprint != model.fingerprint:
            raise WrongModelError(
                f"The root {str(self.path)!r} belongs to the model {owner.name!r} (fingerprint "
                f"{owner.fingerprint[:12]}), not to {model.name!r} (fingerprint {model.fingerprint[:12]}); "
                f"load {owner.name!r} or pass another root."
            )

    def claim(self, model: ModelId) -> None:
        """Checks that the root belongs to this model; a new root belongs to it from now on. Raises WrongModelError."""
        with self.exclusive(self.path):
            self.check(model)
            if self.owner is None:
                self.name(model)

    def name(self, model: ModelId) -> None:
        """Writes which model the root belongs to, whatever was said before. Raises StoreWriteError."""
        fields = {"schema": SCHEMA, "model": model.name, "fingerprint": model.fingerprint}
        self._write(fields | {"version": __version__})

    @property
    def owner(self) -> ModelId | None:
        """The model that the root belongs to; None before the first opening with one. Raises CorruptError,
        StoreError."""
        path = self.path / STORE
        try:
            with reading(path):
                fields = json.loads(path.read_bytes()) if path.exists() else None
            if fields is None:
                return None
            if (schema := int(fields["schema"])) > SCHEMA:
                raise StoreError(newer(path, schema, SCHEMA, fields.get("version")))
            return ModelId(str(fields["model"]), str(fields["fingerprint"]))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as exc:
            raise CorruptError(
                f"{str(path)!r} names no model ({exc!r}); restore it from a backup, or delete it: "
                "the next opening writes it again."
            ) from exc

    def _identity(self) -> str:
        """Tells the collections of this root from those of others on one server."""
        with self.exclusive(self.path):
            with reading(self.path / STORE):
                fields = json.loads((self.path / STORE).read_bytes())
            if "id" not in fields:
                fields["id"] = uuid.uuid4().hex[:16]
                self._write(fields)
            return str(fields["id"])

    def _write(self, fields: dict[str, Any]) -> None:
        write_file(self.path / STORE, json.dumps(fields, indent=2, ensure_ascii=False).encode() + b"\n")

    def _check_access(self, access: Access) -> None:
        if access.chroma != self.access.chroma:
            raise ConfigError(
                f"This process has the root {str(self.path)!r} open with chroma={self.access.chroma!r}, not "
                f"{access.chroma!r}; close it first, or open it in the same way."
            )

    def _lock_of(self, folder: Path) -> FileLock:
        """The acquired lock of a folder."""
        path = folder / WRITE_LOCK
        lock = self._locks.setdefault(folder, FileLock(path, timeout=WRITE_SECONDS, thread_local=False))
        with writing(path):
            try:
                lock.acquire()
            except Timeout as exc:
                raise StoreLockedError(
                    f"Another process has been writing under {str(path)!r} for {WRITE_SECONDS:.0f} s; see which ones "
                    "`lock.d` names, and end the one that hangs."
                ) from exc
        return lock


def _forget_after_fork() -> None:
    """A forked child has no part in its parent's roots; the lock may have been held by a thread that it lacks."""
    Root._opened, Root._door = {}, threading.Lock()  # pyright: ignore[reportPrivateUsage]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
