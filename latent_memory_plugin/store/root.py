"""A root folder as this process holds it: its lock, the model it belongs to, its Chroma client, its namespace folders.

All stores of one root in one process share one `Root`; the last one to release it gives the lock back. A second
process is refused, because Chroma's embedded mode loses data under two writers without an error.
"""

import hashlib
import json
import os
import re
import socket
import threading
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from filelock import FileLock, Timeout

from latent_memory_plugin.errors import CorruptError, InputError, StoreError, StoreLockedError, WrongModelError
from latent_memory_plugin.store.disk import delete_file, make_folder, reading, write_file, writing
from latent_memory_plugin.store.index import Chroma

SCHEMA = 1
"""Version of the layout of a root."""

_PLAIN = re.compile(r"[a-z0-9][a-z0-9_]{0,62}")
_DEVICES = {f"{device}{digit}" for device in ("com", "lpt") for digit in range(10)}
_RESERVED = {"chroma", "lock", "con", "prn", "aux", "nul"} | _DEVICES


class ModelId(NamedTuple):
    """Which model a root belongs to."""

    name: str
    """As a person knows it."""
    fingerprint: str
    """What is compared: 64 hexadecimal digits."""


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

    def __init__(self, path: Path) -> None:
        self.path = path
        self.guard = threading.RLock()
        self.chroma = Chroma(path / "chroma")
        self._users = 0
        # Not thread-local: the thread that closes the last store need not be the one that opened the first.
        self._lock = FileLock(path / "lock", timeout=0, thread_local=False)

    @classmethod
    def open(cls, path: Path) -> "Root":
        """The root of this process at a path, created where there is none. Raises StoreLockedError, StoreWriteError."""
        path = path.expanduser().absolute()
        make_folder(path)
        path = path.resolve()
        with cls._door:
            root = cls._opened.get(path) or cls(path)
            if not root._users:
                root._take()
                cls._opened[path] = root
            root._users += 1
            return root

    def release(self) -> None:
        """One user less; the last one closes Chroma and gives the lock back."""
        with self._door, self.guard:
            self._users -= 1
            if self._users:
                return
            del self._opened[self.path]
            try:
                self.chroma.close()
                delete_file(self.path / "owner.json")
            finally:
                self._lock.release()

    def claim(self, model: ModelId) -> None:
        """Checks that the root belongs to this model; a new root belongs to it from now on. Raises WrongModelError."""
        with self.guard:
            owner = self._model()
            if owner is None:
                fields = {"schema": SCHEMA, "model": model.name, "fingerprint": model.fingerprint}
                write_file(self.path / "store.json", _json(fields))
            elif owner.fingerprint != model.fingerprint:
                raise WrongModelError(
                    f"The root {str(self.path)!r} belongs to the model {owner.name!r} (fingerprint "
                    f"{owner.fingerprint[:12]}), not to {model.name!r} (fingerprint {model.fingerprint[:12]}); "
                    f"load {owner.name!r} or pass another root."
                )

    def _model(self) -> ModelId | None:
        path = self.path / "store.json"
        try:
            with reading(path):
                fields = json.loads(path.read_bytes()) if path.exists() else None
            if fields is None:
                return None
            schema, model = int(fields["schema"]), ModelId(str(fields["model"]), str(fields["fingerprint"]))
        except (ValueError, KeyError, TypeError) as exc:
            raise CorruptError(
                f"{str(path)!r} names no model ({exc!r}); restore it from a backup, or delete it: "
                "the next opening writes it again."
            ) from exc
        if schema > SCHEMA:
            raise StoreError(
                f"{str(path)!r} has schema {schema}, this version reads up to {SCHEMA}; update the library."
            )
        return model

    def _take(self) -> None:
        with writing(self.path):
            try:
                self._lock.acquire()
            except Timeout as exc:
                raise StoreLockedError(
                    f"The root {str(self.path)!r} is in use by {_describe(self.path / 'owner.json')}; close it there, "
                    "or pass another root here."
                ) from exc
        try:
            since = datetime.now(timezone.utc).isoformat(sep=" ", timespec="seconds")
            owner = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
            write_file(self.path / "owner.json", _json(owner))
        except BaseException:
            self._lock.release()
            raise


def _describe(owner: Path) -> str:
    try:
        fields: dict[str, Any] = json.loads(owner.read_bytes())
        return f"process {fields['pid']} on host {fields['host']!r} since {fields['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process that has not said which it is yet"


def _json(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, indent=2, ensure_ascii=False).encode() + b"\n"
