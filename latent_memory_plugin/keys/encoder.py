"""Question → key: the two kinds of `RetrieveConfig.key` behind one small object.

    kv       the model's own activations on the prompt (`LanguageModel.keys`): what the model is about to do
    input    the embedding of the question's text: by default of the model's own token embeddings, or of any
             `Embedding`, such as a sentence-transformers model's `encode`

Keys are compared by their dot product, and only with keys of an encoder of the same name.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from latent_memory_plugin.config import RetrieveConfig
from latent_memory_plugin.engines.base import Model
from latent_memory_plugin.errors import ConfigError, InputError

RARITY = 0.01
"""A token that is this share of all tokens gets half the weight of a rare one."""


class Encoder(Protocol):
    """Makes keys."""

    @property
    def name(self) -> str:
        """Name of the method, stored with every key it makes."""
        ...

    def keys(self, questions: Sequence[str]) -> np.ndarray:
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


@dataclass(frozen=True)
class Activations:
    """`kv`: the keys of the model itself."""

    model: Model
    """The frozen model."""

    @property
    def name(self) -> str:
        """As the model says."""
        return self.model.encoder

    def keys(self, questions: Sequence[str]) -> np.ndarray:
        """(N, D) float32. Raises InputError and ContextLengthError."""
        return self.model.keys(questions)


@dataclass(frozen=True)
class TokenMean:
    """`input` without a second model: the mean of the question's input embeddings, common tokens weighing little.

    Smooth inverse frequency (Arora, Liang and Ma 2017): a token that is the share p of all tokens of the centre's
    questions weighs `RARITY` / (`RARITY` + p), and the direction those questions share is taken out. Without both, the
    keys of any two word problems lie above every useful threshold (docs/log.md).
    """

    model: Model
    """Its token embeddings are read, nothing is computed."""

    @property
    def name(self) -> str:
        """Changes with the method."""
        from latent_memory_plugin.engines.hf.keys import CENTRE_VERSION

        return f"input-sif-v{CENTRE_VERSION}"

    def keys(self, questions: Sequence[str]) -> np.ndarray:
        """(N, H) float32. Raises InputError."""
        from latent_memory_plugin.engines.hf.keys import unit_keys

        centre, shared = self._reference
        raw = self._means(questions) - centre  # (N, H)
        return unit_keys(raw - np.outer(raw @ shared, shared), np.zeros_like(centre))

    @cached_property
    def _frequency(self) -> dict[int, float]:
        """Token id → share of the tokens of the centre's questions."""
        from latent_memory_plugin.engines.hf.keys import CENTRE_QUESTIONS

        counts = Counter(token for one in CENTRE_QUESTIONS for token in self.model.question_ids(one))
        return {token: count / counts.total() for token, count in counts.items()}

    @cached_property
    def _reference(self) -> tuple[np.ndarray, np.ndarray]:
        """Centre (H,) and first principal direction (H,) of the centre's questions."""
        from latent_memory_plugin.engines.hf.keys import CENTRE_QUESTIONS

        raw = self._means(CENTRE_QUESTIONS)  # (N, H)
        centre = raw.mean(axis=0)  # (H,)
        return centre, np.linalg.svd(raw - centre, full_matrices=False)[2][0]

    def _means(self, questions: Sequence[str]) -> np.ndarray:
        """(N, H) float32 weighted means, neither centred nor scaled."""
        if not questions:
            return np.zeros((0, self.model.hidden_size), dtype=np.float32)
        return np.stack([self._mean(self.model.question_ids(one)) for one in questions])  # (N, H)

    def _mean(self, ids: Sequence[int]) -> np.ndarray:
        weights = np.array([RARITY / (RARITY + self._frequency.get(one, 0.0)) for one in ids], dtype=np.float32)  # (T,)
        return weights @ self.model.token_embeddings(ids).numpy() / weights.sum()  # (H,)


@dataclass(frozen=True)
class TextEncoder:
    """`input` from an embedding of the caller's, minus its mean over the centre's questions, scaled to unit length."""

    embedding: Embedding
    """Texts → vectors."""

    @property
    def name(self) -> str:
        """Tells the keys of two embeddings apart."""
        from latent_memory_plugin.engines.hf.keys import CENTRE_VERSION

        return f"input-{self.embedding.name.strip()}-v{CENTRE_VERSION}"

    def keys(self, questions: Sequence[str]) -> np.ndarray:
        """(N, D) float32. Raises InputError where the embedding gives something else than finite vectors."""
        from latent_memory_plugin.engines.hf.keys import unit_keys

        centre = self._centre
        if not questions:
            return np.zeros((0, len(centre)), dtype=np.float32)
        raw = self._embed(questions)  # (N, D)
        if raw.shape[1] != len(centre):
            raise InputError(
                f"The embedding {self.embedding.name!r} gave vectors of {raw.shape[1]} numbers after some of "
                f"{len(centre)}; every text must get the same number."
            )
        return unit_keys(raw, centre)

    @cached_property
    def _centre(self) -> np.ndarray:
        """(D,)."""
        from latent_memory_plugin.engines.hf.keys import CENTRE_QUESTIONS

        return self._embed(CENTRE_QUESTIONS).mean(axis=0)

    def _embed(self, texts: Sequence[str]) -> np.ndarray:
        """(N, D) float32, checked."""
        try:
            given = np.asarray(self.embedding.function(list(texts)))
        except Exception as exc:  # whatever a caller's function raises
            raise InputError(
                f"The embedding {self.embedding.name!r} raised {type(exc).__name__}: {exc}; it must give one row of "
                "numbers for each text, on the CPU."
            ) from exc
        usable = given.dtype.kind in "fiu" and given.ndim == 2 and len(given) == len(texts) and given.size > 0
        with np.errstate(over="ignore"):
            raw = given.astype(np.float32) if usable else np.zeros((0, 0), dtype=np.float32)  # (N, D)
        if not usable or not np.isfinite(raw).all():
            raise InputError(
                f"The embedding {self.embedding.name!r} gave an array of shape {given.shape} and type {given.dtype} "
                f"for {len(texts)} texts; it must give {len(texts)} rows of finite numbers."
            )
        return raw


def make_encoder(model: Model, config: RetrieveConfig, embed: Embedding | None = None) -> Encoder:
    """The encoder that the config names; `embed` takes the place of the model's token embeddings in `input`.

    Raises ConfigError where an embedding is passed that would not be used, or a bare function.
    """
    if embed is not None and not isinstance(embed, Embedding):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ConfigError(f"embed={embed!r:.80} has no name; pass Embedding('name of its model', function).")
    if config.key == "kv":
        if embed is not None:
            raise ConfigError(f"embed={embed.name!r} has no use with key='kv'; choose RetrieveConfig(key='input').")
        return Activations(model)
    return TokenMean(model) if embed is None else TextEncoder(embed)
