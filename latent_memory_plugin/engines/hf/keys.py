"""Keys of conversations: the model's own hidden states, so that no second model is needed.

A key is one layer's hidden state, of the prompt's last token or averaged over the question's tokens, minus a fixed
centre (the mean of the same over questions about anything and everything), scaled to unit length. Without the centre,
all keys of a model point into nearly the same direction.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from latent_memory_plugin.engines.hf.engine import Engine
from latent_memory_plugin.engines.hf.prompts import Prompt
from latent_memory_plugin.engines.hf.rows import Row, assemble
from latent_memory_plugin.errors import ConfigError

BATCH_TOKENS = 4096
"""Tokens of one forward pass: all layers' states are held at once."""

CENTRE_VERSION = 1
"""Part of the encoder's name: a change to the questions below makes other keys."""

CENTRE_QUESTIONS = (
    "What is 17 plus 25?",
    "How many minutes are there in three and a half hours?",
    "A train travels 60 kilometres in 45 minutes. What is its speed in kilometres per hour?",
    "Solve the equation 3x - 7 = 11 for x.",
    "What is the area of a triangle with base 8 and height 5?",
    "Maria has 12 apples and gives a third of them to her brother. How many does she keep?",
    "What is the probability of rolling two sixes with two dice?",
    "Find the derivative of x squared times the sine of x.",
    "A shirt costs 40 dollars and is sold at 25 percent off. What is the price?",
    "Is 91 a prime number?",
    "What is the capital of Australia?",
    "Who wrote the play Hamlet?",
    "In which year did the Second World War end?",
    "Why is the sky blue?",
    "Explain how a bicycle stays upright.",
    "What does the heart do?",
    "Translate 'good morning' into French.",
    "Write a short poem about the sea.",
    "Give me a recipe for pancakes.",
    "Write a Python function that reverses a string.",
    "How do I undo the last commit in git?",
    "Sort these words by length: cat, elephant, dog, mouse.",
    "Summarise the plot of Cinderella in one sentence.",
    "What should I pack for a week in the mountains?",
)


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
    found: dict[int, np.ndarray] = {}
    order = sorted(range(len(prompts)), key=lambda number: len(prompts[number].ids))
    with engine.frozen(), torch.inference_mode():
        for batch in _batches(order, [len(prompt.ids) for prompt in prompts]):
            pooled = _pooled(engine, [prompts[number] for number in batch], encoder)  # (batch, H)
            found.update(zip(batch, pooled.cpu().numpy(), strict=True))
    if not found:
        return np.zeros((0, engine.hidden_size), dtype=np.float32)
    return np.stack([found[number] for number in range(len(prompts))])  # (N, H)


def unit_keys(raw: "np.ndarray", centre: "np.ndarray") -> "np.ndarray":
    """(N, H) float32 of unit length from raw keys (N, H) and a centre (H,); a key at the centre stays zero."""
    centred = raw - centre
    lengths = np.linalg.norm(centred, axis=-1, keepdims=True)
    return (centred / np.where(lengths > 0, lengths, 1)).astype(np.float32)


def _batches(order: Sequence[int], lengths: Sequence[int]) -> list[list[int]]:
    """Numbers in `order` (by length) in groups of at most `BATCH_TOKENS` tokens."""
    groups: list[list[int]] = []
    for number in order:
        if not groups or (len(groups[-1]) + 1) * lengths[number] > BATCH_TOKENS:
            groups.append([])
        groups[-1].append(number)
    return groups


def _pooled(engine: Engine, prompts: Sequence[Prompt], encoder: KeyEncoder) -> Tensor:
    """(N, H) float32."""
    inputs = assemble(engine, [Row(prompt, None) for prompt in prompts])
    states = engine.forward(inputs, keep=1, states=True).hidden_states[encoder.layer].float()  # (N, T, H)
    if encoder.pooling == "last":
        return states[:, -1]  # (N, H)
    wanted = torch.zeros(states.shape[:2], device=states.device)  # (N, T)
    for number, prompt in enumerate(prompts):
        start = states.shape[1] - len(prompt.ids)
        wanted[number, start + prompt.question.start : start + prompt.question.stop] = 1
    return (states * wanted[..., None]).sum(1) / wanted.sum(1, keepdim=True)  # (N, H)
