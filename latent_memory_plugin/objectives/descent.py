"""The optimiser loop that all objectives share: Adam on the Latent alone, the best tensor kept."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from latent_memory_plugin.errors import DistilError
from latent_memory_plugin.objectives.lesson import Attempt, Step

Objective = Callable[[Tensor, int], Step]
"""(latent (P, H), number of the step) → the step, after adding the loss's gradient to `latent.grad`."""


def descend(start: Tensor, objective: Objective, attempt: Attempt) -> Tensor:
    """The best Latent (P, H) float32 of at most `steps` optimiser steps from `start` (P, H).

    Best is the highest reward where the objective reports one, else the lowest loss, measured before each update.
    Ends early after `patience` steps without a better one, or where no gradient is left. Raises `DistilError` where a
    loss or a gradient is not finite.
    """
    config = attempt.config
    latent = start.detach().clone().float().requires_grad_()  # (P, H)
    optimizer = torch.optim.Adam([latent], lr=config.learning_rate)
    best, best_value, best_number = latent.detach().clone(), -math.inf, 0
    for number in range(1, config.steps + 2):
        optimizer.zero_grad()
        step = objective(latent, number)
        gradient = _gradient(step, latent)
        value = -step.loss if step.reward is None else step.reward
        if value > best_value:
            best, best_value, best_number = latent.detach().clone(), value, number
        if attempt.watch is not None:
            attempt.watch(step)
        if number > config.steps or number - best_number >= config.patience or not gradient.any():
            break
        torch.nn.utils.clip_grad_norm_([latent], config.max_gradient_norm)
        optimizer.step()
    return best


def _gradient(step: Step, latent: Tensor) -> Tensor:
    gradient = torch.zeros_like(latent) if latent.grad is None else latent.grad  # (P, H)
    if not math.isfinite(step.loss) or not torch.isfinite(gradient).all():
        raise DistilError(
            f"Step {step.number} gave a loss of {step.loss!r} or a gradient that is not finite; nothing was stored. "
            "Lower `DistilConfig.learning_rate`, or load the model in float32."
        )
    return gradient
