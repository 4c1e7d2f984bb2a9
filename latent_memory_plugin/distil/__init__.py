"""Distilling: episodes and their votes → a candidate Latent. One file per objective, all with one signature."""

from collections.abc import Callable

from torch import Tensor

from latent_memory_plugin.distil.grpo import grpo
from latent_memory_plugin.distil.imitate import imitate
from latent_memory_plugin.distil.lesson import Attempt, Lesson, Step

__all__ = ["OBJECTIVES", "Attempt", "Lesson", "Step", "distil", "grpo", "imitate"]

OBJECTIVES: dict[str, Callable[[Attempt, Tensor], Tensor]] = {"imitate": imitate, "grpo": grpo}
"""Every objective by its name in `DistilConfig.objective`."""


def distil(attempt: Attempt, start: Tensor) -> Tensor:
    """A candidate Latent (P, H) float32, trained from `start` (P, H) by the configured objective."""
    return OBJECTIVES[attempt.config.objective](attempt, start)
