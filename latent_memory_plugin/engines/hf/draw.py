"""Choosing tokens: one uniform number for each row and step, turned into a token by the inverse of the distribution."""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from latent_memory_plugin.config import SamplingConfig


def uniforms(seed: int, prompt_ids: Sequence[int], rollout: int, count: int) -> "np.ndarray":
    """(count,) float64 in [0, 1) that belong to one rollout of one prompt.

    They depend on these three alone, not on the batch, the Latent or `count`: a prompt gets the same rollouts in any
    company, and the same numbers with and without a Latent, which makes the two easier to compare.
    """
    text = f"{seed}:{rollout}:{','.join(map(str, prompt_ids))}"
    key = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")
    return np.random.Generator(np.random.Philox(key=key)).random(count)


def choose(logits: Tensor, uniform: Tensor, sampling: SamplingConfig) -> Tensor:
    """Token ids (B,) from logits (B, V) and uniform numbers (B,); temperature 0 takes the likeliest."""
    if sampling.temperature == 0:
        return logits.argmax(-1)  # (B,)
    chances = torch.softmax(logits.float() / sampling.temperature, dim=-1)  # (B, V)
    if sampling.top_p == 1:
        return _invert(chances, uniform)
    ordered, ids = chances.sort(dim=-1, descending=True)  # (B, V)
    before = ordered.cumsum(-1) - ordered  # (B, V)
    ordered = ordered.masked_fill(before >= sampling.top_p, 0.0)
    return ids.gather(-1, _invert(ordered, uniform)[:, None])[:, 0]  # (B,)


def _invert(chances: Tensor, uniform: Tensor) -> Tensor:
    """The first index (B,) at which the running sum of chances (B, V), not necessarily normalised, passes the share
    `uniform` (B,) of their total."""
    # float64 keeps the tail of a large vocabulary reachable; MPS has none.
    precise = torch.float32 if chances.device.type == "mps" else torch.float64
    running = chances.cumsum(-1, dtype=precise)  # (B, V)
    target = uniform.to(precise)[:, None] * running[:, -1:]  # (B, 1)
    index = torch.searchsorted(running, target, right=True)[:, 0]  # (B,)
    return index.clamp(max=chances.shape[-1] - 1)
