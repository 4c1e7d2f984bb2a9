"""Rows of a batch: padding, beginning-of-sequence token, Latent, prompt, completion, in this order.

The Latent stands after the left padding and positions are counted from the mask, so a row in a batch equals the same
row alone. (PEFT puts virtual tokens before the padding and drops the positions, which moves logits by several units.)
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from latent_memory_plugin.engines.hf.engine import Engine, Inputs
from latent_memory_plugin.engines.hf.prompts import Prompt


class Row(NamedTuple):
    """A prompt and what is read before it."""

    prompt: Prompt
    """What is asked."""
    vectors: Tensor | None = None
    """(P, H) with which a Latent enters, or None."""

    @property
    def latent_tokens(self) -> int:
        """P; 0 without a Latent."""
        return 0 if self.vectors is None else len(self.vectors)

    @property
    def length(self) -> int:
        """Tokens of the row up to the end of its prompt."""
        return len(self.prompt.ids) + self.latent_tokens


def positions_of(mask: Tensor) -> Tensor:
    """Place of each token in its row (B, T) int64, from a mask (B, T); padding gets 0 or its left neighbour's."""
    return (mask.cumsum(-1) - 1).clamp(min=0)  # (B, T)


def assemble(engine: Engine, rows: Sequence[Row], tails: Sequence[Sequence[int]] | None = None) -> Inputs:
    """The rows as one batch, left-padded so that all prompts end at the same column; `tails`, where given, follow
    there, padded on the right to the longest.

    Gradient flows to the vectors. Without any the batch holds ids, with some it holds embeddings.
    """
    ids, mask, places = _layout(rows, tails or [()] * len(rows))
    token_ids = torch.from_numpy(ids).to(engine.device)  # (B, T)
    present = torch.from_numpy(mask).to(engine.device)  # (B, T)
    if not len(places):
        return Inputs(token_ids, None, present, positions_of(present))
    embeddings = engine.embed(token_ids)  # (B, T, H)
    vectors = torch.cat([row.vectors.to(embeddings) for row in rows if row.vectors is not None])  # (sum of P, H)
    at = torch.from_numpy(places).to(engine.device)
    embeddings = embeddings.index_put((at[:, 0], at[:, 1]), vectors)  # (B, T, H)
    return Inputs(None, embeddings, present, positions_of(present))


def _layout(rows: Sequence[Row], tails: Sequence[Sequence[int]]) -> tuple["np.ndarray", "np.ndarray", "np.ndarray"]:
    """Token ids (B, T), mask (B, T) and the places (row, column) of latent vectors in row order, int64."""
    start = max(row.length for row in rows)
    shape = (len(rows), start + max(len(tail) for tail in tails))
    ids, mask = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.int64)  # (B, T)
    places: list[tuple[int, int]] = []
    for number, (row, tail) in enumerate(zip(rows, tails, strict=True)):
        bos, begin = row.prompt.bos_tokens, start - row.length
        slots = begin + bos
        ids[number, begin:slots] = row.prompt.ids[:bos]
        ids[number, slots + row.latent_tokens : start] = row.prompt.ids[bos:]
        ids[number, start : start + len(tail)] = tail
        mask[number, begin : start + len(tail)] = 1
        places += [(number, slots + i) for i in range(row.latent_tokens)]
    return ids, mask, np.asarray(places, dtype=np.int64).reshape(-1, 2)
