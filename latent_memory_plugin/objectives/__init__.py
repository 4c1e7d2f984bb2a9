"""Distilling: episodes and their votes → a candidate Latent. One file per objective, all with one signature."""

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from latent_memory_plugin.objectives.grpo import grpo
from latent_memory_plugin.objectives.imitate import imitate
from latent_memory_plugin.objectives.lesson import Attempt, Lesson, Step, lessons

__all__ = ["OBJECTIVES", "Attempt", "Lesson", "Step", "distil", "grpo", "imitate", "imitate_then_grpo", "lessons"]


def imitate_then_grpo(attempt: Attempt, start: Tensor) -> Tensor:
    """A candidate Latent (P, H) float32: imitation first, then `refine_steps` steps of GRPO from where it ended."""
    refining = attempt.config.model_copy(update={"steps": attempt.config.refine_steps})
    return grpo(replace(attempt, config=refining), imitate(attempt, start))


OBJECTIVES: dict[str, Callable[[Attempt, Tensor], Tensor]] = {
    "imitate": imitate,
    "grpo": grpo,
    "imitate_then_grpo": imitate_then_grpo,
}
"""Every objective by its name in `DistilConfig.objective`."""


def distil(attempt: Attempt, start: Tensor) -> Tensor:
    """A candidate Latent (P, H) float32, trained from `start` (P, H) by the configured objective."""
    return OBJECTIVES[attempt.config.objective](attempt, start)
