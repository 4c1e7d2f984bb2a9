"""Muon (Jordan et al., 2024): momentum whose update is brought near an orthogonal matrix by Newton-Schulz steps.

In float32: `torch.optim.Muon` calculates in bfloat16, which a CPU without bfloat16 arithmetic emulates, many times
slower.
"""

from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5
ADAM_LIKE_SCALE = 0.2


def orthogonal(matrix: Tensor) -> Tensor:
    """Nearly the closest (half-)orthogonal matrix of the same shape (R, C)."""
    a, b, c = NEWTON_SCHULZ
    tall = matrix.shape[0] > matrix.shape[1]
    update: Tensor = matrix.mT if tall else matrix
    update = cast(Tensor, update / (update.norm() + 1e-7))
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = update @ update.mT
        update = a * update + (b * gram + c * gram @ gram) @ update
    return update.mT if tall else update


class Muon(torch.optim.Optimizer):
    """For matrices only; the update's root mean square is 0.2 times the learning rate, as Adam's tends to be."""

    def __init__(self, matrices: Iterable[Tensor], lr: float, momentum: float = 0.95) -> None:
        super().__init__(matrices, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One update from the gradients at hand."""
        for group in self.param_groups:
            for weight in group["params"]:
                momentum = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
                momentum.lerp_(weight.grad, 1 - group["momentum"])
                update = orthogonal(weight.grad.lerp(momentum, group["momentum"]))
                weight.add_(update, alpha=-group["lr"] * ADAM_LIKE_SCALE * max(weight.shape) ** 0.5)
