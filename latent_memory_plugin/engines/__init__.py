"""What runs a model. `base.py` says what is asked of it; each engine is behind its own door, by name."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from latent_memory_plugin.engines.base import Conversation, Engine, Model, Readable, Reader, Sampler, Scorer
from latent_memory_plugin.plugins import ENGINES

if TYPE_CHECKING:
    from latent_memory_plugin.config import ModelConfig

__all__ = ["ENGINES", "Conversation", "Engine", "Model", "Readable", "Reader", "Sampler", "Scorer", "load", "register"]

Load = Callable[["ModelConfig"], Any]
"""The model a config names, with the abilities that the engine has. Raises ModelLoadError."""

register = ENGINES.register


def load(config: "ModelConfig") -> Any:
    """The model a config names, by its engine. Raises ModelLoadError, ConfigError, PluginError."""
    return ENGINES.get(config.engine)(config)
