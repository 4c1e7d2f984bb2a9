"""Rows of a batch: padding, beginning-of-sequence token, Latent, prompt, completion, in this order.

The Latent stands after the left padding and positions are counted from the mask, so a row in a batch equals the same
row alone. (PEFT puts virtual tokens before the padding and drops the positions, which moves logits by several units.)
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from latent_memory_plugin.engines.base import Conversation
from latent_memory_plugin.engines.hf.engine import Engine, Inputs
from latent_memory_plugin.engines.hf.prompts import Prompt
from latent_memory_plugin.errors import InputError
from latent_memory_plugin.forms import soft_prompt


class Row(NamedTuple):
    """A prompt and the Latent it is read with."""

    prompt: Prompt
    """What is asked."""
    latent: Tensor | None
    """(P, H) the vectors read before the prompt, or None."""

    @property
    def latent_tokens(self) -> int:
        """P; 0 without a Latent."""
        return 0 if self.latent is None else int(self.latent.shape[0])

    @property
    def length(self) -> int:
        """Tokens of the row up to the end of its prompt."""
        return len(self.prompt.ids) + self.latent_tokens


def check_request(
    conversations: Sequence[Conversation], latents: Sequence[Tensor | None], rollouts: int, hidden_size: int
) -> None:
    """Raises InputError for counts and shapes that do not fit, WrongModelError for a Latent of another width."""
    if rollouts < 1:
        raise InputError(f"n={rollouts!r} rollouts were asked for; ask for at least 1.")
    if isinstance(conversations, str) or len(conversations) != len(latents):
        raise InputError(
            f"{len(conversations)} conversations and {len(latents)} Latents were given; pass lists of one length, "
            "with None where a conversation has no Latent."
        )
    for latent in latents:
        if latent is not None:
            soft_prompt.check(latent, hidden_size)


def positions_of(mask: Tensor) -> Tensor:
    """Place of each token in its row (B, T) int64, from a mask (B, T); padding gets 0 or its left neighbour's."""
    return (mask.cumsum(-1) - 1).clamp(min=0)  # (B, T)


def assemble(engine: Engine, rows: Sequence[Row], tails: Sequence[Sequence[int]] | None = None) -> Inputs:
    """The rows as one batch, left-padded so that all prompts end at the same column; `tails`, where given, follow
    there, padded on the right to the longest.

    Gradient flows to the Latents. Without any Latent the batch holds ids, with one it holds embeddings.
    """
    ids, mask, places = _layout(rows, tails or [()] * len(rows))
    token_ids = torch.from_numpy(ids).to(engine.device)  # (B, T)
    present = torch.from_numpy(mask).to(engine.device)  # (B, T)
    if not len(places):
        return Inputs(token_ids, None, present, positions_of(present))
    embeddings = engine.embed(token_ids)  # (B, T, H)
    vectors = torch.cat([row.latent.to(embeddings) for row in rows if row.latent is not None])  # (sum of P, H)
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
