"""`Rooted`: what every door here has: which store it opens, as fields that can be saved, and the live core memory."""

import copy
from pathlib import Path
from typing import Any, cast

from llama_index.core.bridge.pydantic import BaseModel, PrivateAttr
from typing_extensions import Self

from latent_memory_plugin import Config, InputError, ModelConfig
from latent_memory_plugin import LatentMemory as CoreMemory


class Rooted(BaseModel):
    """Root, namespace and settings of a core memory. Restored from them, it opens the same store again."""

    root: str | None = None
    """Folder of the store; by default `LATENT_MEMORY_ROOT`, else the user's data folder."""
    namespace: str = "default"
    """What is learnt in one namespace is found in no other."""
    config: Config = Config()
    """All settings of the core, which model to load included."""

    _core: CoreMemory = PrivateAttr()

    def __init__(self, *, core: CoreMemory | None = None, model: Any = None, **fields: Any) -> None:
        """`model` is a path, hub id or `ModelConfig` that is saved with the rest. `core` is a live memory of your own
        (its functions, such as a reward, are not saved). Raises InputError, ConfigError."""
        fields.pop("class_name", None)
        self._refuse_unknown(fields)
        if core is None:
            config = _config(fields.get("config"), model)
            core = CoreMemory(fields.get("root"), namespace=fields.get("namespace", "default"), config=config)
        elif not isinstance(core, CoreMemory):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(f"core={core!r:.80} is no LatentMemory of latent_memory_plugin; pass one.")
        super().__init__(**fields | {"root": str(core.root), "namespace": core.namespace, "config": core.config})
        self._core = core

    @property
    def core(self) -> CoreMemory:
        """The core memory, with all it can do: `latents`, `standing`, `consolidate`, `episodes`."""
        return self._core

    def close(self) -> None:
        """Releases model and store; the next use opens them again."""
        self._core.close()

    def __getstate__(self) -> dict[str, Any]:
        """Pickled are the fields alone: live parts are opened again."""
        return {"__dict__": self.model_dump()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state["__dict__"])

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return type(self)(core=self._core, **copy.deepcopy(self.model_dump(), memo))

    @classmethod
    def _refuse_unknown(cls, fields: dict[str, Any]) -> None:
        if unknown := sorted(fields.keys() - cls.model_fields.keys()):
            known = ", ".join(["core", "model", *cls.model_fields])
            raise InputError(f"{cls.__name__} has no setting {unknown[0]!r}. Its settings are: {known}.")


def _config(config: Any, model: Any) -> Config:
    """The settings with the model in them. Raises ConfigError."""
    if config is None or isinstance(config, dict):
        config = Config(**cast("dict[str, Any]", config or {}))
    if model is None:
        return config
    if isinstance(model, str | Path):
        model = ModelConfig(name=str(model))
    if not isinstance(model, ModelConfig):
        raise InputError(
            f"model={model!r:.80} cannot be saved; pass a path, hub id or ModelConfig, or a live memory: "
            "core=latent_memory_plugin.LatentMemory(model=...)."
        )
    return config.model_copy(update={"model": model})
