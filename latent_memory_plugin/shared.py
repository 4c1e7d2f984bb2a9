"""One loaded model and one open store per process, however often `LatentMemory()` is written.

A store is opened without its model, which is loaded with the first use that needs one: looking needs none.
"""

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from latent_memory_plugin.config import ModelConfig, RetrieveConfig
from latent_memory_plugin.engines import load
from latent_memory_plugin.errors import ConfigError, InputError, ReadOnlyError, StoreError
from latent_memory_plugin.plugins import EXECUTORS
from latent_memory_plugin.store.access import Access

if TYPE_CHECKING:
    from latent_memory_plugin.engines.base import Model
    from latent_memory_plugin.executors import Executor, Run
    from latent_memory_plugin.keys import Embedding, Encoder
    from latent_memory_plugin.store import Store

ROOT_VARIABLE = "LATENT_MEMORY_ROOT"

log = logging.getLogger(__name__)

Thing = TypeVar("Thing")


class Shelf(Generic[Thing]):
    """Things that are made once per key and dropped with their last user. Who makes one keeps nobody from another."""

    def __init__(self, drop: Callable[[Thing], None]) -> None:
        self._drop = drop
        self._lock = threading.Lock()
        self._slots: dict[Hashable, _Slot[Thing]] = {}

    def take(self, key: Hashable, make: Callable[[], Thing]) -> Thing:
        """The thing of that key, made where it is not there; one user more."""
        with self._lock:
            slot = self._slots.setdefault(key, _Slot())
            slot.users += 1
        try:
            with slot.lock:
                if not slot.made:
                    slot.made.append(make())
                return slot.made[0]
        except BaseException:
            self._leave(key)
            raise

    def give_back(self, key: Hashable) -> None:
        """One user less; the last one drops the thing."""
        slot = self._leave(key)
        if slot is not None:
            with slot.lock:
                for thing in slot.made:
                    self._drop(thing)

    def _leave(self, key: Hashable) -> "_Slot[Thing] | None":
        """One user less; the slot where that was the last."""
        with self._lock:
            slot = self._slots[key]
            slot.users -= 1
            if slot.users:
                return None
            return self._slots.pop(key)


class _Slot(Generic[Thing]):
    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.users = 0
        self.made: list[Thing] = []


def default_root() -> Path:
    """`LATENT_MEMORY_ROOT` where it is set, else the user's data folder; absolute. Raises `InputError` where neither is
    known."""
    from platformdirs import user_data_path

    from latent_memory_plugin.store.disk import folder_path

    named = os.environ.get(ROOT_VARIABLE)
    try:
        return folder_path(named or user_data_path("latent-memory"))
    except (InputError, RuntimeError) as exc:
        why = str(exc) if isinstance(exc, InputError) else "No home folder is known for the default root."
        raise InputError(f"{why} Set {ROOT_VARIABLE}, or pass root=.") from exc


def chosen_root(root: str | Path | None, model: "str | Path | ModelConfig | Model | None" = None) -> Path:
    """The folder a caller named, absolute; else that of the model below the default one, so that each named model has
    a root of its own. The embedded model, and one that the default root says it belongs to, have the default root
    itself. Raises `InputError`."""
    from latent_memory_plugin.store.disk import folder_path

    if root is not None:
        if not isinstance(root, str | os.PathLike) or not isinstance(  # pyright: ignore[reportUnnecessaryIsInstance]
            os.fspath(root), str
        ):
            raise InputError(f"root={root!r} is not a path; pass the folder of the store.")
        return folder_path(root)
    base, name = default_root(), _name_of(model)
    if name in (None, "embedded") or name == _owner_of(base):
        return base
    from latent_memory_plugin.store.root import MODELS, slug

    folder = Path(name).expanduser()
    return base / MODELS / slug(str(folder.resolve()) if folder.is_dir() else name)


def _name_of(model: "str | Path | ModelConfig | Model | None") -> str | None:
    return os.fspath(model) if isinstance(model, str | os.PathLike) else getattr(model, "name", None)


def _owner_of(root: Path) -> str | None:
    """The name of the model that a root says it belongs to; None where it does not say."""
    try:
        return json.loads((root / "store.json").read_bytes())["model"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def chosen_model(model: "str | Path | ModelConfig | Model") -> "ModelConfig | Model":
    """What to load, or the loaded model; whether a name exists is known when it is loaded. Raises `ConfigError`."""
    if isinstance(model, str | os.PathLike):
        return ModelConfig(name=os.fspath(model))
    if not isinstance(model, ModelConfig) and not hasattr(model, "log_probabilities"):
        raise ConfigError(
            f"model={model!r:.80} is no path, hub id, ModelConfig or LanguageModel; a transformers model becomes one "
            "by LanguageModel.wrap(model, tokenizer)."
        )
    return model


@dataclass(frozen=True)
class Opened:
    """A model and a namespace's store, in use by one or more memories."""

    model: Any
    """The loaded model: `engines.Model`, as far as its engine has the abilities."""
    encoder: "Encoder"
    """Makes the keys."""
    store: "Store"
    """The open store."""
    config: ModelConfig | None
    """What the model was loaded by; None where the caller gave a loaded one."""


class Wanted(NamedTuple):
    """What a memory opens."""

    root: Path
    """Folder of the store."""
    namespace: str
    """Part of it."""
    model: Any
    """A `ModelConfig`, or a loaded model."""
    retrieve: RetrieveConfig
    """How keys are made."""
    embed: "Embedding | None"
    """Embeds texts, in place of the model."""
    access: Access
    """How the root is opened."""

    @property
    def key(self) -> Hashable:
        """The same for all that share one open store. How long to wait for the root shares nothing."""
        name = self.model if isinstance(self.model, ModelConfig) else id(self.model)
        way = (self.access.read_only, self.access.chroma, self.access.keep_text)
        return (self.root, self.namespace, name, self.retrieve.key, getattr(self.embed, "name", None), *way)


class Place:
    """An open store, and its model once that was needed. Usable from threads."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._lock, self._loading = threading.Lock(), threading.Lock()
        self._store: Store | None = None
        self._opened: Opened | None = None

    @property
    def store(self) -> "Store":
        """The open store, which belongs to the model once that is loaded. Raises StoreError."""
        from latent_memory_plugin.store import Store

        with self._lock:
            if self._store is None:
                self._store = Store.open(self._wanted.root, self._wanted.namespace, access=self._wanted.access)
            return self._store

    @property
    def opened(self) -> Opened:
        """Model and store. Raises ModelLoadError, WrongModelError where the root is another model's."""
        with self._loading:
            if self._opened is None:
                self._opened = self._load()
            return self._opened

    def close(self) -> None:
        """Gives back both."""
        if self._store is not None:
            self._store.close()
        if self._opened is not None and self._opened.config is not None:
            _models.give_back(self._opened.config)

    def _load(self) -> Opened:
        from latent_memory_plugin.keys import make_encoder
        from latent_memory_plugin.store.root import ModelId

        model, config = self._wanted.model, None
        if self._wanted.root.exists():
            _ = self.store  # who may not open it shall not wait for the model; a new root waits until there is one
        if isinstance(model, ModelConfig):
            config, began = model, time.monotonic()
            model = _models.take(config, lambda: load(config))
            log.info("Model %r is there after %.1f seconds.", model.name, time.monotonic() - began)
        try:
            encoder = make_encoder(model, self._wanted.retrieve, self._wanted.embed)
            former = getattr(model, "former_fingerprints", ())
            self.store.bind(ModelId(model.name, model.fingerprint, former), encoder.name)
            return Opened(model, encoder, self.store, config)
        except BaseException:
            if config is not None:
                _models.give_back(config)
            raise


class Handle:
    """A place that is opened with its first use, and given back at the end. Usable from threads."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        """What is opened."""
        self._lock = threading.Lock()
        self._held: Place | None = None
        self._process = os.getpid()

    @property
    def place(self) -> Place:
        """The open place. Raises StoreError in a process that was forked meanwhile."""
        if os.getpid() != self._process:
            self._begin_anew()
        with self._lock:
            if self._held is None:
                self._held = _places.take(self.wanted.key, lambda: Place(self.wanted))
            return self._held

    @property
    def is_open(self) -> bool:
        """True between the first use and the end."""
        return self._held is not None

    @property
    def inherited(self) -> bool:
        """True where a process opened it that was forked into this one, to which it does not belong."""
        return self._held is not None and os.getpid() != self._process

    def check_writable(self) -> None:
        """Raises `ReadOnlyError` where nothing may be written."""
        if self.wanted.access.read_only:
            raise ReadOnlyError(
                f"The memory of {self.wanted.namespace!r} in {str(self.wanted.root)!r} has read_only=True and learns "
                "nothing; make one without."
            )

    def _begin_anew(self) -> None:
        """In a forked process, where the lock may be held by a thread that it lacks."""
        if self.inherited:
            raise StoreError(
                f"The memory of {self.wanted.namespace!r} in {str(self.wanted.root)!r} was opened before this process "
                "forked; make another one here, or start processes with the method 'spawn'."
            )
        self._lock, self._process = threading.Lock(), os.getpid()

    def close(self) -> None:
        """Gives back what was opened, if anything was; in a forked process, to which it does not belong, nothing."""
        if self.inherited:
            return
        with self._lock:
            held, self._held = self._held, None
        if held is not None:
            _places.give_back(self.wanted.key)


class Running(NamedTuple):
    """An executor, and what to give it back by."""

    executor: "Executor"
    """Where plans run."""
    key: Hashable | None
    """Of a shared one."""


def executor_of(opened: Opened, name: str, run: "Run") -> Running:
    """The executor of that name for a model, shared by all memories that name the same one. Raises ConfigError."""
    make = EXECUTORS.get(name)
    if opened.config is None:
        return Running(make(opened.model, None, run), None)
    key = (name, opened.config)
    return Running(_executors.take(key, lambda: make(opened.model, opened.config, run)), key)


def end_running(running: Running) -> None:
    """Gives an executor back."""
    if running.key is None:
        running.executor.close()
    else:
        _executors.give_back(running.key)


def _end_executor(executor: "Executor") -> None:
    executor.close()


def _close_place(place: Place) -> None:
    place.close()


_models: Shelf[Any] = Shelf(lambda model: None)
_places: Shelf[Place] = Shelf(_close_place)
_executors: "Shelf[Executor]" = Shelf(_end_executor)


def _forget_after_fork() -> None:
    """A forked process opens its own: these may be half made by threads that it lacks."""
    global _models, _places, _executors
    _models, _places, _executors = Shelf(lambda model: None), Shelf(_close_place), Shelf(_end_executor)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
