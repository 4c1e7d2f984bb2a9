"""Log-probabilities from hidden states, without the logits of all tokens at once.

Logits (B, T, V) of a vocabulary of 150,000 take 600 kB for each token, and their gradients as much again. Here a chunk
of them is made, turned into the log-probabilities of the chosen tokens and the gradient of each to its hidden state,
and dropped: what is kept for the backward pass is (N, H).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

CHUNK_BYTES = 2**26
"""Logits that are held at once, in float32. What is smaller as a whole is not cut."""

Head = Callable[[Tensor], Tensor]
"""Hidden states (..., H) → logits (..., V), each state by itself."""


def of_targets(logits: Tensor, targets: Tensor) -> Tensor:
    """Log-probability (...) float32 (float64 from float64) of `targets` (...) under logits (..., V)."""
    precise = logits if logits.dtype == torch.float64 else logits.float()  # (..., V)
    return precise.gather(-1, targets[..., None])[..., 0] - precise.logsumexp(-1)  # (...)


def chunked(head: Head, states: Tensor, targets: Tensor, chunk_tokens: int) -> Tensor:
    """The same (N,) from hidden states (N, H) and targets (N,), the logits of `chunk_tokens` tokens at a time."""
    if torch.is_grad_enabled() and states.requires_grad:
        return _Chunked.apply(states, targets, head, chunk_tokens)  # type: ignore[no-any-return]
    pieces = [slice(start, start + chunk_tokens) for start in range(0, len(states), chunk_tokens)]
    return torch.cat([of_targets(head(states[piece]), targets[piece]) for piece in pieces])  # (N,)


class _Chunked(torch.autograd.Function):
    """`chunked` with its gradient. As every state gives one value, its gradient is one vector (H,), known up to a
    factor when the value is made: the logits need not be kept, and need not be made again."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, targets: Tensor, head: Head, chunk_tokens: int) -> Tensor:
        slopes = torch.empty_like(states)  # (N, H)
        values: list[Tensor] = []
        for start in range(0, len(states), chunk_tokens):
            piece = slice(start, start + chunk_tokens)
            with torch.enable_grad():
                some = states[piece].detach().requires_grad_()  # (chunk, H)
                value = of_targets(head(some), targets[piece])  # (chunk,)
                [slopes[piece]] = torch.autograd.grad(value.sum(), some)
            values.append(value.detach())
        ctx.save_for_backward(slopes)
        return torch.cat(values)  # (N,)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        [slopes] = ctx.saved_tensors  # (N, H)
        return (gradients[0][:, None] * slopes).to(slopes.dtype), None, None, None
