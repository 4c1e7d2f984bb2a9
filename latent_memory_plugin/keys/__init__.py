"""Question → key. Keys are compared by their dot product, and only with keys of an encoder of the same name.

kv       the model's own activations on the prompt (`LanguageModel.keys`): what the model is about to do
input    the embedding of the question's text: by default of the model's own token embeddings, or of any
         `Embedding`, such as a sentence-transformers model's `encode`
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from latent_memory_plugin.errors import ConfigError, PluginError
from latent_memory_plugin.keys.base import Embedding, Encoder
from latent_memory_plugin.plugins import KEYS, blamed

if TYPE_CHECKING:
    import numpy as np

    from latent_memory_plugin.config import RetrieveConfig
    from latent_memory_plugin.engines.base import Model

__all__ = ["KEYS", "Embedding", "Encoder", "Make", "make", "make_encoder", "register"]

Make = Callable[["Model", Embedding | None], Encoder]
"""(model, the caller's embedding or None) → what makes the keys. Raises ConfigError for one that it does not use."""

register = KEYS.register


def make(model: "Model", config: "RetrieveConfig", embed: Embedding | None = None) -> Encoder:
    """The encoder of the kind that the config names; `embed` takes the place of the model's token embeddings in
    `input`. Raises ConfigError where there is no such kind, an embedding would not be used, or is a bare function."""
    if embed is not None and not isinstance(embed, Embedding):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(f"embed={embed!r:.80} has no name; pass Embedding('name of its model', function).")
    chosen = KEYS.get(config.key)
    with blamed("key", config.key):
        return _Checked(config.key, chosen(model, embed))


make_encoder = make
"""As it was called before there were plug-ins."""


@dataclass(frozen=True)
class _Checked:
    """An encoder whose failures name its kind."""

    kind: str
    encoder: Encoder

    @property
    def name(self) -> str:
        """Name of the method, stored with every key it makes."""
        return self.encoder.name

    def keys(self, questions: Sequence[str]) -> "np.ndarray":
        """Keys (N, D) float32. Raises what the encoder does, PluginError where that is not this library's or the keys
        are no such numbers."""
        import numpy as np

        with blamed("key", self.kind):
            keys = np.asarray(self.encoder.keys(questions), dtype=np.float32)  # (N, D)
        if keys.ndim != 2 or len(keys) != len(questions) or not np.isfinite(keys).all():
            raise PluginError(
                f"The key {self.kind!r} gave an array of shape {keys.shape} for {len(questions)} questions; it must "
                f"give {len(questions)} rows of finite numbers."
            )
        return keys
