"""A root folder as this process holds it: its locks, the model it belongs to, its Chroma client, its namespace folders.

All stores of one root in one process share one `Root`; the last one to release it gives the root back. A second
process is refused where Chroma is embedded, which loses data under two writers without an error.
"""

import hashlib
import json
import logging
import os
import re
import threading
import uuid
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
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
from latent_memory_plugin.store.database import Database
from latent_memory_plugin.store.disk import folder_path, make_folder, reading, write_file, writing
from latent_memory_plugin.store.ownership import Ownership
from latent_memory_plugin.store.schema import newer
from latent_memory_plugin.store.served import ServedChroma

SCHEMA = 1
"""Version of the layout of a root."""

STORE = "store.json"
"""Which model a root belongs to."""

JOURNAL = "journal.sqlite"
LATENTS = "latents"
"""What a namespace's folder holds."""

MODELS = "models"
"""Folder of the default root that holds the roots of named models."""

WRITE_LOCK = "write.lock"
"""Held while a process that shares a server changes the folder it stands in."""

WRITE_SECONDS = 60.0
"""How long to wait for it; a change takes milliseconds."""

_PLAIN = re.compile(r"[a-z0-9][a-z0-9_]{0,62}")
_DEVICES = {f"{device}{digit}" for device in ("com", "lpt") for digit in range(10)}
_RESERVED = {"chroma", "lock", "con", "prn", "aux", "nul"} | _DEVICES
_log = logging.getLogger(__name__)


class ModelId(NamedTuple):
    """Which model a root belongs to."""

    name: str
    """As a person knows it."""
    fingerprint: str
    """What is compared: 64 hexadecimal digits."""
    former: tuple[str, ...] = ()
    """Fingerprints of the same model by older methods."""

    def owns(self, fingerprint: str) -> bool:
        """Whether a fingerprint is this model's."""
        return fingerprint == self.fingerprint or fingerprint in self.former


def folder_name(namespace: str) -> str:
    """The folder of a namespace: the namespace itself where it is a plain, unreserved name, else a slug, a hyphen
    (which no plain name has) and 16 digits of its SHA-256. Raises InputError for an empty or unencodable namespace."""
    if not namespace or "\0" in namespace:
        raise InputError(f"The namespace {namespace!r:.80} is empty or holds a NUL; pass a name such as 'default'.")
    try:
        namespace.encode()
    except UnicodeEncodeError as exc:
        raise InputError(
            f"The namespace {namespace!r:.80} holds half a surrogate pair; pass whole characters."
        ) from exc
    return namespace if _PLAIN.fullmatch(namespace) and namespace not in _RESERVED else slug(namespace)


def slug(name: str) -> str:
    """A harmless folder name that no other name has: what is plain in it, a hyphen and 16 digits of its SHA-256."""
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:16]
    plain = re.sub(r"[^a-z0-9]+", "_", name[:100].lower()).strip("_")[:40].strip("_")
    return f"{plain or 'ns'}-{digest}"


def namespaces(root: str | os.PathLike[str]) -> list[str]:
    """The namespaces of a root as callers wrote them, in order; none where there is no root. Nothing is locked or
    made, so this works beside a process that writes; a folder whose journal cannot be read is left out with a warning
    in the log. Raises InputError, StoreError."""
    return sorted(_named(folder_path(root)))


def _named(root: Path) -> Iterator[str]:
    with reading(root):
        journals = sorted(root.glob(f"*/{JOURNAL}"))
    for journal in journals:
        with closing(Database(journal, None, read_only=True, older=True)) as database:
            try:
                [(namespace,)] = database.rows("SELECT value FROM meta WHERE name = 'namespace'")
                if folder_name(namespace) != journal.parent.name:
                    raise StoreError(f"it says {namespace!r:.200}, whose folder it is not")
            except (StoreError, InputError, ValueError, TypeError) as exc:
                _log.warning("%s does not say which namespace it holds: %s", journal, exc)
                continue
        yield namespace


class Root:
    """An opened root.

    `guard` is held, for moments, around every use of journals and files. `searching` is held around every use of
    Chroma, which may take long; whoever holds it never waits for `guard`.
    """

    _opened: ClassVar[dict[Path, "Root"]] = {}
    _door: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, path: Path, access: Access) -> None:
        self.path = path
        self.access = access
        self.guard, self.searching = threading.RLock(), threading.RLock()
        self.chroma = Chroma(path / "chroma") if access.chroma is None else ServedChroma(access.chroma, self._identity)
        self.ownership = Ownership(path, access)
        self._process = os.getpid()
        self._users = 0
        self._taken = False
        self._locks: dict[Path, FileLock] = {}

    @classmethod
    def open(cls, path: Path, access: Access) -> "Root":
        """The root of this process at a path, created where there is none. Raises InputError, StoreLockedError,
        StoreWriteError, ConfigError where this process has it open in another way."""
        path = folder_path(path)
        make_folder(path)
        path = path.resolve()
        with cls._door:
            if (root := cls._opened.get(path)) is None or not root.ownership.in_place:
                # One that was deleted or moved stays with its users, who are told so.
                root = cls._opened[path] = cls(path, access)
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
        """The root at a path for looking alone: without locks, and without Chroma. Raises InputError."""
        return cls(folder_path(path), Access(read_only=True))

    def release(self) -> None:
        """One user less; the last one closes Chroma and gives the root back."""
        if self.access.read_only or self.inherited:
            return
        with self._door:
            self._users -= 1
            if self._users:
                return
            if self._opened.get(self.path) is self:
                del self._opened[self.path]
            if not self._taken:
                return
            try:
                self.chroma.close(in_order=self.ownership.in_place)
            finally:
                self.ownership.release()

    @property
    def inherited(self) -> bool:
        """True in a process that was forked from the one that opened the root."""
        return os.getpid() != self._process

    @property
    def shared(self) -> bool:
        """True where other processes may change it too."""
        return self.access.chroma is not None

    @contextmanager
    def exclusive(self, folder: Path) -> Generator[None, None, None]:
        """Held: no other thread, and no process that shares the server, changes the namespace of this folder.
        Raises StoreLockedError where another process does not finish."""
        with self.guard:
            if not self.shared:
                yield
                return
            lock = self._lock_of(folder)
            try:
                yield
            finally:
                lock.release()

    def check(self, model: ModelId) -> ModelId:
        """The model with all fingerprints under which something of it may be stored here. Raises WrongModelError where
        the root belongs to another one."""
        owner = self.owner
        if owner is None:
            # Of a root that does not say whose it is; a new one holds nothing.
            return model if any(self.path.glob(f"*/{LATENTS}/*")) else model._replace(former=())
        if not model.owns(owner.fingerprint):
            raise WrongModelError(
                f"The root {str(self.path)!r} belongs to the model {owner.name!r} (fingerprint "
                f"{owner.fingerprint[:12]}), not to {model.name!r} (fingerprint {model.fingerprint[:12]}); "
                f"load {owner.name!r} or pass another root."
            )
        former = dict.fromkeys((*owner.former, owner.fingerprint))
        return model._replace(former=tuple(one for one in former if one != model.fingerprint))

    def claim(self, model: ModelId) -> ModelId:
        """Checks that the root belongs to this model, as `check` does, and writes it where it says something else: it
        is new, or its fingerprint was made by an older method."""
        with self.exclusive(self.path):
            checked, owner = self.check(model), self.owner
            same = owner is not None and (owner.fingerprint, owner.former) == (checked.fingerprint, checked.former)
            if not same or (self.shared and not self._identity()):
                self.name(checked)
        return checked

    def name(self, model: ModelId) -> None:
        """Writes which model the root belongs to, whatever was said before. Raises StoreWriteError."""
        said: dict[str, Any] = {"schema": SCHEMA, "model": model.name, "fingerprint": model.fingerprint}
        if model.former:
            said["former"] = list(model.former)
        if known := self._identity() or (uuid.uuid4().hex[:16] if self.shared else ""):
            said["id"] = known
        text = json.dumps(said | {"version": __version__}, indent=2, ensure_ascii=False)
        write_file(self.path / STORE, text.encode() + b"\n")

    @property
    def owner(self) -> ModelId | None:
        """The model that the root belongs to; None before it was bound to one. Raises CorruptError, StoreError."""
        path = self.path / STORE
        try:
            with reading(path):
                fields = json.loads(path.read_bytes()) if path.exists() else None
            if fields is None:
                return None
            if (schema := int(fields["schema"])) > SCHEMA:
                raise StoreError(newer(path, schema, SCHEMA, fields.get("version")))
            former = tuple(str(one) for one in fields.get("former", ()))
            return ModelId(str(fields["model"]), str(fields["fingerprint"]), former)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as exc:
            raise CorruptError(
                f"{str(path)!r} names no model ({exc!r}); restore it from a backup, or delete it: "
                "the next opening writes it again."
            ) from exc

    def _identity(self) -> str:
        """Tells the collections of this root from those of others on one server; empty where it has none there."""
        try:
            return str(json.loads((self.path / STORE).read_bytes())["id"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return ""

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
