"""`kv`: the keys of the model itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from latent_memory_plugin.errors import ConfigError
from latent_memory_plugin.keys.base import Embedding

if TYPE_CHECKING:
    import numpy as np

    from latent_memory_plugin.engines.base import Reader


@dataclass(frozen=True)
class Activations:
    """What the model makes of the prompt."""

    model: "Reader"
    """The frozen model."""

    @property
    def name(self) -> str:
        """As the model says."""
        return self.model.encoder

    def keys(self, questions: Sequence[str]) -> "np.ndarray":
        """(N, D) float32. Raises InputError and ContextLengthError."""
        return self.model.keys(questions)


def make(model: "Reader", embed: Embedding | None) -> Activations:
    """Raises ConfigError for an embedding, which would not be used."""
    if embed is not None:
        raise ConfigError(f"embed={embed.name!r} has no use with key='kv'; choose RetrieveConfig(key='input').")
    return Activations(model)
