"""`input`: the embedding of the question's text. Legend: N questions, T tokens, H hidden size, D key size."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from latent_memory_plugin.errors import InputError
from latent_memory_plugin.keys.base import Embedding, Encoder
from latent_memory_plugin.keys.centre import CENTRE_QUESTIONS, CENTRE_VERSION, unit_keys

if TYPE_CHECKING:
    from latent_memory_plugin.engines.base import Reader

RARITY = 0.01
"""A token that is this share of all tokens gets half the weight of a rare one."""


def make(model: "Reader", embed: Embedding | None) -> Encoder:
    """From the model's token embeddings, or from the caller's embedding where there is one."""
    return TokenMean(model) if embed is None else TextEncoder(embed)


@dataclass(frozen=True)
class TokenMean:
    """`input` without a second model: the mean of the question's input embeddings, common tokens weighing little.

    Smooth inverse frequency (Arora, Liang and Ma 2017): a token that is the share p of all tokens of the centre's
    questions weighs `RARITY` / (`RARITY` + p), and the direction those questions share is taken out. Without both, the
    keys of any two word problems lie above every useful threshold (docs/log.md).
    """

    model: "Reader"
    """Its token embeddings are read, nothing is computed."""

    @property
    def name(self) -> str:
        """Changes with the method."""
        return f"input-sif-v{CENTRE_VERSION}"

    def keys(self, questions: Sequence[str]) -> np.ndarray:
        """(N, H) float32. Raises InputError."""
        centre, shared = self._reference
        raw = self._means(questions) - centre  # (N, H)
        return unit_keys(raw - np.outer(raw @ shared, shared), np.zeros_like(centre))

    @cached_property
    def _frequency(self) -> dict[int, float]:
        """Token id → share of the tokens of the centre's questions."""
        counts = Counter(token for one in CENTRE_QUESTIONS for token in self.model.question_ids(one))
        return {token: count / counts.total() for token, count in counts.items()}

    @cached_property
    def _reference(self) -> tuple[np.ndarray, np.ndarray]:
        """Centre (H,) and first principal direction (H,) of the centre's questions."""
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
        return f"input-{self.embedding.name.strip()}-v{CENTRE_VERSION}"

    def keys(self, questions: Sequence[str]) -> np.ndarray:
        """(N, D) float32. Raises InputError where the embedding gives something else than finite vectors."""
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
