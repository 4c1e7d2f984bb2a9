"""Log-probabilities of given completions, with gradient to the Latent and to nothing else."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from latent_memory_plugin.model.cache import is_differentiable
from latent_memory_plugin.model.engine import Engine, Inputs
from latent_memory_plugin.model.prompts import Prompt
from latent_memory_plugin.model.rows import Row, assemble, positions_of


def log_probabilities(
    engine: Engine, prompts: Sequence[Prompt], completions: Sequence[Sequence[int]], latent: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Log-probability of each completion token (B, T) float32 (float64 from a float64 model), 0 beyond a completion's
    end, and the mask (B, T) bool of completion tokens; T is the longest completion.

    Rows with the same prompt share one pass over Latent and prompt where the model's cache lets gradients through.
    """
    rows = [Row(prompt, latent) for prompt in prompts]
    with engine.frozen():
        logits = _shared(engine, rows, completions)  # (B, T, V)
        if logits is None:
            logits = _separate(engine, rows, completions)
    targets, mask = _targets(completions, engine.device)  # (B, T)
    precise = logits if logits.dtype == torch.float64 else logits.float()  # (B, T, V)
    chosen = precise.gather(-1, targets[..., None])[..., 0]  # (B, T)
    return (chosen - precise.logsumexp(-1)).masked_fill(~mask, 0.0), mask


def _separate(engine: Engine, rows: Sequence[Row], completions: Sequence[Sequence[int]]) -> Tensor:
    """Logits (B, T, V) of the completion tokens from whole rows."""
    inputs = assemble(engine, rows, [completion[:-1] for completion in completions])
    return engine.forward(inputs, keep=max(map(len, completions))).logits  # (B, T, V)


def _shared(engine: Engine, rows: Sequence[Row], completions: Sequence[Sequence[int]]) -> Tensor | None:
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
    read = [[row.prompt.ids[-1], *completion[:-1]] for row, completion in zip(rows, completions, strict=True)]
    ids, present = _pad(read, longest, engine.device)  # (B, T)
    mask = torch.cat([prefix.mask[source], present.long()], dim=1)  # (B, prefix + T)
    return engine.forward(Inputs(ids, None, mask, positions_of(mask)[:, -longest:]), cache).logits  # (B, T, V)


def _without_last(row: Row) -> Row:
    ids = row.prompt.ids[:-1]
    return Row(row.prompt._replace(ids=ids, bos_tokens=min(row.prompt.bos_tokens, len(ids))), row.latent)


def _targets(completions: Sequence[Sequence[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    return _pad(completions, max(map(len, completions)), device)


def _pad(sequences: Sequence[Sequence[int]], width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Token ids (B, width), 0 on the right, and the bool mask of those that are there."""
    ids = torch.tensor([[*one, *[0] * (width - len(one))] for one in sequences], device=device)  # (B, width)
    lengths = torch.tensor([len(one) for one in sequences], device=device)
    return ids, torch.arange(width, device=device) < lengths[:, None]
