"""The keys of a namespace as a store searches them, whichever index holds them, and what may be searched for."""

from collections.abc import Iterable
from typing import Protocol

import numpy as np

from latent_memory_plugin.errors import InputError


class Keys(Protocol):
    """The keys of a namespace's Latents or episodes, to be searched."""

    mended: list[str]
    """What was not as it should be and was put right, one sentence each."""

    def checked(self, key: np.ndarray) -> np.ndarray:
        """The key (D,) as float32. Raises InputError where it is not flat, not finite or of another size."""
        ...

    def add(self, item_id: str, key: np.ndarray) -> None:
        """Adds a key (D,) float32 whose item the truth holds."""
        ...

    def discard(self, item_ids: Iterable[str]) -> None:
        """Takes items out; unknown ones are fine."""
        ...

    def follow(self, item_id: str) -> None:
        """Brings one item up to date with the truth: in with its key, or out."""
        ...

    def follow_all(self, item_ids: Iterable[str]) -> None:
        """Adds the keys of new items of the truth."""
        ...

    def renew(self) -> None:
        """Builds the index anew from the truth, without what was deleted."""
        ...

    def nearest(self, key: np.ndarray, limit: int) -> list[tuple[str, float]]:
        """Up to `limit` ids with their keys' cosine similarity to this one (D,), best first."""
        ...


def checked_key(key: np.ndarray, size: int | None) -> np.ndarray:
    """The key (D,) as float32. Raises InputError where it is not flat, not finite or of another known size."""
    with np.errstate(over="ignore"):
        vector = np.ascontiguousarray(key, dtype=np.float32)  # (D,)
    if vector.ndim != 1 or not vector.size or not np.isfinite(vector).all():
        raise InputError(
            f"A key of shape {vector.shape} is not a flat array of finite numbers; pass one of shape (D,)."
        )
    if size not in (None, vector.size):
        raise InputError(f"A key has {vector.size} values, the stored ones have {size}; use the same encoder.")
    return vector


def checked_limit(limit: int) -> int:
    """How many to find. Raises InputError where that is none."""
    if limit < 1:
        raise InputError(f"limit={limit!r} asks for nothing; pass at least 1.")
    return limit
