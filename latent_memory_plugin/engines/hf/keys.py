"""Keys of conversations: the model's own hidden states, so that no second model is needed.

A key is one layer's hidden state, of the prompt's last token or averaged over the question's tokens, minus the centre
(`keys/centre.py`), scaled to unit length.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from latent_memory_plugin.engines.hf.engine import Engine
from latent_memory_plugin.engines.hf.prompts import Prompt
from latent_memory_plugin.engines.hf.rows import Row, assemble
from latent_memory_plugin.engines.hf.sample import batches
from latent_memory_plugin.errors import ConfigError
from latent_memory_plugin.keys.centre import CENTRE_VERSION

BATCH_TOKENS = 4096
"""Tokens of one forward pass: all layers' states are held at once."""


class KeyEncoder(NamedTuple):
    """Which hidden state becomes a key."""

    layer: int
    """Number of decoder layers below the state, 0 (the embeddings) to L."""
    pooling: Literal["mean", "last"]
    """`mean` over the question's tokens, or the `last` token of the prompt."""

    @property
    def name(self) -> str:
        """Name of the method, stored with every key it makes."""
        return f"hidden-{self.pooling}-{self.layer}-v{CENTRE_VERSION}"


def raw_keys(engine: Engine, prompts: Sequence[Prompt], encoder: KeyEncoder) -> "np.ndarray":
    """(N, H) float32 pooled hidden states, neither centred nor scaled. Raises ConfigError for a layer that is not
    there."""
    if not 0 <= encoder.layer <= engine.layers:
        raise ConfigError(f"Layer {encoder.layer!r} does not exist; the model has 0 to {engine.layers}.")
    found: dict[int, np.ndarray] = {}  # (H,) each, the width of the layers, which need not be that of the embeddings
    with engine.frozen(), torch.inference_mode():
        for batch in batches([len(prompt.ids) for prompt in prompts], 1, 0, BATCH_TOKENS):
            numbers = [number for number, _ in batch]
            pooled = _pooled(engine, [prompts[number] for number in numbers], encoder)  # (batch, H)
            found.update(zip(numbers, pooled.cpu().numpy(), strict=True))
    rows = [found[number] for number in range(len(prompts))]
    return np.stack(rows) if rows else np.zeros((0, engine.hidden_size), dtype=np.float32)  # (N, H)


def _pooled(engine: Engine, prompts: Sequence[Prompt], encoder: KeyEncoder) -> Tensor:
    """(N, H) float32."""
    inputs = assemble(engine, [Row(prompt) for prompt in prompts])
    states = engine.forward(inputs, keep=1, states=True).hidden_states[encoder.layer].float()  # (N, T, H)
    if encoder.pooling == "last":
        return states[:, -1]  # (N, H)
    wanted = torch.zeros(states.shape[:2], device=states.device)  # (N, T)
    for number, prompt in enumerate(prompts):
        start = states.shape[1] - len(prompt.ids)
        wanted[number, start + prompt.question.start : start + prompt.question.stop] = 1
    return (states * wanted[..., None]).sum(1) / wanted.sum(1, keepdim=True)  # (N, H)
