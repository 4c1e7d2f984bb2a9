"""One loaded model and one open store per process, however often `LatentMemory()` is written."""

import json
import os
import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from latent_memory_plugin.config import ModelConfig, RetrieveConfig
from latent_memory_plugin.errors import ConfigError, InputError, ReadOnlyError, StoreError
from latent_memory_plugin.store.access import ALONE, Access

if TYPE_CHECKING:
    from latent_memory_plugin.engines.hf import LanguageModel
    from latent_memory_plugin.keys.encoder import Embedding, Encoder
    from latent_memory_plugin.store import Store

ROOT_VARIABLE = "LATENT_MEMORY_ROOT"

Thing = TypeVar("Thing")


class Shelf(Generic[Thing]):
    """Things that are made once per key and dropped with their last user."""

    def __init__(self, drop: Callable[[Thing], None]) -> None:
        self._drop = drop
        self._lock = threading.RLock()
        self._users: dict[Hashable, int] = {}
        self._things: dict[Hashable, Thing] = {}

    def take(self, key: Hashable, make: Callable[[], Thing]) -> Thing:
        """The thing of that key, made where it is not there; one user more."""
        with self._lock:
            if key not in self._things:
                self._things[key] = make()
            self._users[key] = self._users.get(key, 0) + 1
            return self._things[key]

    def give_back(self, key: Hashable) -> None:
        """One user less; the last one drops the thing."""
        with self._lock:
            self._users[key] -= 1
            if self._users[key] == 0:
                del self._users[key]
                self._drop(self._things.pop(key))


@dataclass(frozen=True)
class Opened:
    """A model and a namespace's store, in use by one or more memories."""

    model: "LanguageModel"
    """The loaded model."""
    encoder: "Encoder"
    """Makes the keys."""
    store: "Store"
    """The open store."""
    config: ModelConfig | None
    """What the model was loaded by; None where the caller gave a loaded one."""
    learning: threading.RLock = field(default_factory=threading.RLock)
    """Held while an episode is learnt from: one at a time in a namespace."""


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


def chosen_root(root: str | Path | None, model: "str | Path | ModelConfig | LanguageModel | None" = None) -> Path:
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


def _name_of(model: "str | Path | ModelConfig | LanguageModel | None") -> str | None:
    return os.fspath(model) if isinstance(model, str | os.PathLike) else getattr(model, "name", None)


def _owner_of(root: Path) -> str | None:
    """The name of the model that a root says it belongs to; None where it does not say."""
    try:
        return json.loads((root / "store.json").read_bytes())["model"]
    except (OSError, ValueError, KeyError, TypeError):
        return None


def chosen_model(model: "str | Path | ModelConfig | LanguageModel") -> "ModelConfig | LanguageModel":
    """What to load, or the loaded model; whether a name exists is known when it is loaded. Raises `ConfigError`."""
    if isinstance(model, str | os.PathLike):
        return ModelConfig(name=os.fspath(model))
    if not isinstance(model, ModelConfig) and not hasattr(model, "log_probabilities"):
        raise ConfigError(
            f"model={model!r:.80} is no path, hub id, ModelConfig or LanguageModel; a transformers model becomes one "
            "by LanguageModel.wrap(model, tokenizer)."
        )
    return model


def open_shared(
    root: Path,
    namespace: str,
    model: "ModelConfig | LanguageModel",
    retrieve: RetrieveConfig,
    embed: "Embedding | None" = None,
    access: Access = ALONE,
) -> "tuple[Hashable, Opened]":
    """The shared model and store, with the key to give them back by. How long to wait for the root shares nothing."""
    name = model if isinstance(model, ModelConfig) else id(model)
    way = (access.read_only, access.chroma, access.keep_text)
    key = (root, namespace, name, retrieve.key, getattr(embed, "name", None), *way)
    return key, _opened.take(key, lambda: _open(root, namespace, model, retrieve, embed, access))


def close_shared(key: Hashable) -> None:
    """Gives back what `open_shared` gave."""
    _opened.give_back(key)


class Handle:
    """A model and a store that are opened with their first use, and given back at the end. Usable from threads."""

    def __init__(
        self,
        root: Path,
        namespace: str,
        model: "ModelConfig | LanguageModel",
        retrieve: RetrieveConfig,
        embed: "Embedding | None",
        access: Access = ALONE,
    ) -> None:
        self._opens = (root, namespace, model, retrieve, embed, access)
        self._lock = threading.Lock()
        self._held: tuple[Hashable, Opened] | None = None
        self._process = os.getpid()

    @property
    def opened(self) -> Opened:
        """The model and the store. Raises `StoreError` in a process that was forked meanwhile."""
        if os.getpid() != self._process:
            self._begin_anew()
        with self._lock:
            if self._held is None:
                self._held = open_shared(*self._opens)
            return self._held[1]

    @property
    def inherited(self) -> bool:
        """True where a process opened it that was forked into this one, to which it does not belong."""
        return self._held is not None and os.getpid() != self._process

    def check_writable(self) -> None:
        """Raises `ReadOnlyError` where nothing may be written."""
        root, namespace, *_, access = self._opens
        if access.read_only:
            raise ReadOnlyError(
                f"The memory of {namespace!r} in {str(root)!r} has read_only=True and learns nothing; make one without."
            )

    def _begin_anew(self) -> None:
        """In a forked process, where the lock may be held by a thread that it lacks."""
        if self.inherited:
            raise StoreError(
                f"The memory of {self._opens[1]!r} in {str(self._opens[0])!r} was opened before this process forked; "
                "make another one here, or start processes with the method 'spawn'."
            )
        self._lock, self._process = threading.Lock(), os.getpid()

    def close(self) -> None:
        """Gives back what was opened, if anything was; in a forked process, to which it does not belong, nothing."""
        if self.inherited:
            return
        with self._lock:
            if self._held is not None:
                close_shared(self._held[0])
            self._held = None


def _open(
    root: Path,
    namespace: str,
    model: "ModelConfig | LanguageModel",
    retrieve: RetrieveConfig,
    embed: "Embedding | None",
    access: Access,
) -> Opened:
    from latent_memory_plugin.keys.encoder import make_encoder
    from latent_memory_plugin.store import Store
    from latent_memory_plugin.store.root import ModelId

    config = model if isinstance(model, ModelConfig) else None
    loaded = model if not isinstance(model, ModelConfig) else _models.take(cast(Hashable, model), lambda: _load(model))
    try:
        encoder = make_encoder(loaded, retrieve, embed)
        store = Store.open(
            root, namespace, ModelId(loaded.name, loaded.fingerprint), encoder.name, access
        )
        return Opened(loaded, encoder, store, config)
    except BaseException:
        if config is not None:
            _models.give_back(cast(Hashable, config))
        raise


def _load(config: ModelConfig) -> "LanguageModel":
    from latent_memory_plugin.engines.hf import LanguageModel

    return LanguageModel.load(config)


def _close(opened: Opened) -> None:
    opened.store.close()
    if opened.config is not None:
        _models.give_back(cast(Hashable, opened.config))


_models: "Shelf[LanguageModel]" = Shelf(lambda model: None)
_opened: Shelf[Opened] = Shelf(_close)


def _forget_after_fork() -> None:
    """A forked process opens its own: these may be half made by threads that it lacks."""
    global _models, _opened
    _models, _opened = Shelf(lambda model: None), Shelf(_close)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
