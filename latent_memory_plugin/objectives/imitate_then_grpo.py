"""Imitation first, then some steps of GRPO from where it ended."""

from dataclasses import replace
from typing import cast

from latent_memory_plugin.config import ImitateThenGrpoConfig
from latent_memory_plugin.forms import Tensors
from latent_memory_plugin.objectives.base import Attempt, Objective
from latent_memory_plugin.objectives.grpo import grpo
from latent_memory_plugin.objectives.imitate import imitate


def imitate_then_grpo(attempt: Attempt, start: Tensors) -> Tensors:
    """The one, then `refine_steps` steps of the other. Raises as they do."""
    steps = cast(ImitateThenGrpoConfig, attempt.config.objective).refine_steps
    refining = attempt.config.model_copy(update={"steps": steps})
    return grpo(replace(attempt, config=refining), imitate(attempt, start))


IMITATE_THEN_GRPO = Objective(ImitateThenGrpoConfig, imitate_then_grpo)
