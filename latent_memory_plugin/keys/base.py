"""What is asked of an encoder, and what a caller may pass to one. Legend: N questions, D key size."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from latent_memory_plugin.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np


class Encoder(Protocol):
    """Makes keys."""

    @property
    def name(self) -> str:
        """Name of the method, stored with every key it makes."""
        ...

    def keys(self, questions: Sequence[str]) -> "np.ndarray":
        """Keys (N, D) float32 of unit length; near questions have a large dot product."""
        ...


@dataclass(frozen=True)
class Embedding:
    """A function that embeds texts, such as a sentence-transformers model's `encode`, under a name of its own."""

    name: str
    """Model and version; another embedding under the same name would be compared with keys it does not fit."""
    function: Callable[[list[str]], Any]
    """N texts → array (N, D) of finite numbers."""

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"The embedding's name is {self.name!r}; pass the name and version of its model.")
        if not callable(self.function):
            raise ConfigError(f"The embedding {self.name!r} is {self.function!r:.80}; pass a function of texts.")
