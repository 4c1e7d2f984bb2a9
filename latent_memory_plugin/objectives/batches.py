"""Splitting rows into passes that fit a token budget, and averaging over tokens."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from torch import Tensor

Item = TypeVar("Item")


def split(items: Sequence[Item], max_tokens: int, tokens_of: Callable[[Item], int]) -> list[list[Item]]:
    """The items in batches whose rows, padded to the longest, hold at most `max_tokens`; a longer row stands alone."""
    batches: list[list[Item]] = []
    longest = 0
    for item in sorted(items, key=tokens_of):
        longest = tokens_of(item)
        if not batches or (len(batches[-1]) + 1) * longest > max_tokens:
            batches.append([])
        batches[-1].append(item)
    return batches


def token_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of `values` (B, T) where `mask` (B, T) is True; (B,), 0 for a row without any."""
    kept = values.masked_fill(~mask, 0.0)  # (B, T)
    return kept.sum(dim=1) / mask.sum(dim=1).clamp(min=1)  # (B,)
