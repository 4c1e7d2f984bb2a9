"""Log-probabilities of given completions, with gradient to what a Latent enters with and to nothing else.

Logits (B, T, V) of a vocabulary of 150,000 take 600 kB for each token, and their gradients as much again. Where they
are many, a chunk of them is made, turned into the log-probabilities of the chosen tokens and the gradient of each to
its hidden state, and dropped: what is kept for the backward pass is (N, H).
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from latent_memory_plugin.engines.hf.cache import is_differentiable
from latent_memory_plugin.engines.hf.engine import Engine, Head, Inputs
from latent_memory_plugin.engines.hf.rows import Row, assemble, positions_of

if TYPE_CHECKING:
    from transformers import Cache

CHUNK_BYTES = 2**26
"""Logits that are held at once, in float32. What is smaller as a whole is not cut."""

Read = Callable[[Inputs, "Cache | None", int], Tensor]
"""(inputs, cache, keep) → logits (B, keep, V), or the hidden states (B, keep, H) that the head reads."""


def log_probabilities(
    engine: Engine, rows: Sequence[Row], completions: Sequence[Sequence[int]]
) -> tuple[Tensor, Tensor]:
    """Log-probability of each completion token (B, T) float32 (float64 from a float64 model), 0 beyond a completion's
    end, and the mask (B, T) bool of completion tokens; T is the longest completion.

    All rows are read with the same vectors or none, and those with the same prompt share one pass over vectors and
    prompt where the model's cache lets gradients through.
    """
    targets, mask = _pad(completions, max(map(len, completions)), engine.device)  # (B, T)
    # A head is looked for only where the logits are worth cutting.
    head = engine.head if mask.numel() > chunk_tokens(engine) else None
    with engine.frozen():
        read = engine.logits if head is None else engine.last_states
        given = _shared(engine, rows, completions, read)  # (B, T, V or H)
        if given is None:
            given = _separate(engine, rows, completions, read)
        if head is None:
            return of_targets(given, targets).masked_fill(~mask, 0.0), mask
        values = chunked(head, given[mask], targets[mask], chunk_tokens(engine))  # (tokens,)
        return values.new_zeros(mask.shape).masked_scatter(mask, values), mask


def chunk_tokens(engine: Engine) -> int:
    """Tokens whose logits may be held at once."""
    return max(1, CHUNK_BYTES // (4 * len(engine.embedding)))


def _separate(engine: Engine, rows: Sequence[Row], completions: Sequence[Sequence[int]], read: Read) -> Tensor:
    """What `read` gives for the completion tokens of whole rows, (B, T, ...)."""
    inputs = assemble(engine, rows, [completion[:-1] for completion in completions])
    return read(inputs, None, max(map(len, completions)))  # (B, T, ...)


def _shared(engine: Engine, rows: Sequence[Row], completions: Sequence[Sequence[int]], read: Read) -> Tensor | None:
    """The same from one pass over the distinct prompts without their last token, then one over that token and the
    completions. None where nothing is shared or cannot be."""
    distinct = list(dict.fromkeys(row.prompt.ids for row in rows))
    heads = [_without_last({row.prompt.ids: row for row in rows}[ids]) for ids in distinct]
    cache: Any = engine.new_cache()
    if len(distinct) == len(rows) or not is_differentiable(cache) or not all(head.length for head in heads):
        return None
    prefix = assemble(engine, heads)
    engine.forward(prefix, cache, keep=1)
    source = torch.tensor([distinct.index(row.prompt.ids) for row in rows], device=engine.device)  # (B,)
    cache.reorder_cache(source)
    longest = max(map(len, completions))
    tails = [[row.prompt.ids[-1], *completion[:-1]] for row, completion in zip(rows, completions, strict=True)]
    ids, present = _pad(tails, longest, engine.device)  # (B, T)
    mask = torch.cat([prefix.mask[source], present.long()], dim=1)  # (B, prefix + T)
    return read(Inputs(ids, None, mask, positions_of(mask)[:, -longest:]), cache, longest)  # (B, T, ...)


def _without_last(row: Row) -> Row:
    ids = row.prompt.ids[:-1]
    return Row(row.prompt._replace(ids=ids, bos_tokens=min(row.prompt.bos_tokens, len(ids))), row.vectors)


def _pad(sequences: Sequence[Sequence[int]], width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids (B, width), 0 on the right, and the bool mask of those that are there."""
    ids = torch.tensor([[*one, *[0] * (width - len(one))] for one in sequences], device=device)  # (B, width)
    lengths = torch.tensor([len(one) for one in sequences], device=device)
    return ids, torch.arange(width, device=device) < lengths[:, None]


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
