"""The optimiser loop that objectives share: Adam on the tensors of the Latent alone, the best of them kept."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from latent_memory_plugin.errors import DistilError
from latent_memory_plugin.forms import Tensors
from latent_memory_plugin.objectives.base import Attempt, Step

Loss = Callable[[dict[str, Tensor], int], Step]
"""(tensors, number of the step) → the step, after adding the loss's gradient to each `grad`."""


def descend(start: Tensors, loss: Loss, attempt: Attempt) -> dict[str, Tensor]:
    """The best tensors, float32, of at most `steps` optimiser steps from `start`.

    Best is the highest reward where the objective reports one, else the lowest loss, measured before each update.
    Ends early after `patience` steps without a better one, or where no loss has a gradient any more: a batch of fresh
    completions that all fare alike has none by chance, and the next one may. Raises `DistilError` where a loss or a
    gradient is not finite.
    """
    config = attempt.config
    tensors = {name: one.detach().clone().float().requires_grad_() for name, one in start.items()}
    optimizer = torch.optim.Adam(tensors.values(), lr=config.learning_rate)
    best, best_value, best_number = _copied(tensors), -math.inf, 0
    for number in range(1, config.steps + 2):
        optimizer.zero_grad()
        step = loss(tensors, number)
        moves = _moves(step, tensors)
        value = -step.loss if step.reward is None else step.reward
        if value > best_value:
            best, best_value, best_number = _copied(tensors), value, number
        if attempt.watch is not None:
            attempt.watch(step)
        if number > config.steps or number - best_number >= config.patience or not (moves or step.may_go_on):
            break
        if moves:
            torch.nn.utils.clip_grad_norm_(tensors.values(), config.max_gradient_norm)
            optimizer.step()
    return best


def _copied(tensors: Tensors) -> dict[str, Tensor]:
    return {name: one.detach().clone() for name, one in tensors.items()}


def _moves(step: Step, tensors: Tensors) -> bool:
    """Whether there is a gradient at all. Raises DistilError."""
    gradients = [one.grad for one in tensors.values() if one.grad is not None]
    if not math.isfinite(step.loss) or not all(bool(torch.isfinite(one).all()) for one in gradients):
        raise DistilError(
            f"Step {step.number} gave a loss of {step.loss!r} or a gradient that is not finite; nothing was stored. "
            "Lower `DistilConfig.learning_rate`, or load the model in float32."
        )
    return any(bool(one.any()) for one in gradients)
