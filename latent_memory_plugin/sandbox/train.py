"""Trains an embedded model from scratch: `python -m latent_memory_plugin.sandbox.train` (or `make sandbox-model`) the
one of the plain half, with `--world hard` that of the hard half.

Seeded: batch `i` depends on the seed and `i` alone. Resumable: a checkpoint holds weights, optimiser state and step;
the same command goes on where it stopped. Hidden matrices are trained with Muon (Jordan et al., 2024), the rest with
Adam.
"""

import argparse
import logging
import random
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file  # pyright: ignore[reportUnknownVariableType]
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from latent_memory_plugin.sandbox.corpus import document
from latent_memory_plugin.sandbox.family import Family, World
from latent_memory_plugin.sandbox.muon import Muon
from latent_memory_plugin.sandbox.tokenizer import train_tokenizer
from latent_memory_plugin.sandbox.world import FAMILIES, HARD_FAMILIES

WEIGHTS = Path(__file__).parent / "weights"
SEED = 0
ROWS, ROW_TOKENS = 12, 512
PEAK_RATE_MATRICES, PEAK_RATE_REST = 6e-3, 4e-3
WARMUP_STEPS = 60
PEAK_SHARE = 12 / 17
UNSPOKEN_WEIGHT = 0.1
TOKENIZER_DOCUMENTS = 20_000
CHECKPOINT_EVERY = 100

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Recipe:
    """What the training of one embedded model takes."""

    families: tuple[Family, ...]
    """What its text is about."""
    folder: Path
    """Where its weights belong."""
    steps: int
    """Optimiser steps."""
    intermediate_size: int
    """Width of its MLPs."""


RECIPES: Mapping[World, Recipe] = {
    "plain": Recipe(FAMILIES, WEIGHTS, steps=1700, intermediate_size=432),
    "hard": Recipe(HARD_FAMILIES, WEIGHTS / "hard", steps=2000, intermediate_size=384),
}


@dataclass(frozen=True)
class Batch:
    """Packed training rows."""

    ids: Tensor
    """(B, T) int64."""
    weights: Tensor
    """(B, T) float32, the loss weight of each token as a target."""


def build_model(tokenizer: PreTrainedTokenizerFast, intermediate_size: int) -> Qwen3ForCausalLM:
    """A Qwen3 model of about 2 million parameters with random weights."""
    torch.manual_seed(SEED)
    ends: Any = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=160,
            intermediate_size=intermediate_size,
            num_hidden_layers=6,
            num_attention_heads=5,
            num_key_value_heads=5,
            head_dim=32,
            max_position_embeddings=2048,
            tie_word_embeddings=True,
            **ends,
        )
    )


def build_tokenizer(families: tuple[Family, ...] = FAMILIES) -> PreTrainedTokenizerFast:
    """The tokenizer learnt from the first documents about these families."""
    rng = random.Random(f"tokenizer-{SEED}")
    return train_tokenizer(_plain_texts(families, rng))


def _plain_texts(families: tuple[Family, ...], rng: random.Random) -> Iterator[str]:
    for _ in range(TOKENIZER_DOCUMENTS):
        text = "".join(piece for piece, _ in document(families, rng))
        yield re.sub(r"<\|\w+\|>|</?tool_call>", " ", text)


def batch(tokenizer: PreTrainedTokenizerFast, step: int, families: tuple[Family, ...] = FAMILIES) -> Batch:
    """The packed rows of one step: documents one after the other, cut at the row's end."""
    rng = random.Random(f"corpus-{SEED}-{step}")
    needed = ROWS * (ROW_TOKENS + 1)
    ids: list[int] = []
    weights: list[float] = []
    while len(ids) < needed:
        pieces = document(families, rng)
        encode: Any = tokenizer
        encoded = cast(list[list[int]], encode([text for text, _ in pieces], add_special_tokens=False).input_ids)
        for (_, spoken), piece in zip(pieces, encoded, strict=True):
            ids += piece
            weights += [1.0 if spoken else UNSPOKEN_WEIGHT] * len(piece)
    shape = (ROWS, ROW_TOKENS + 1)
    return Batch(torch.tensor(ids[:needed]).view(shape), torch.tensor(weights[:needed]).view(shape))  # (B, T)


def loss_of(model: Qwen3ForCausalLM, rows: Batch) -> Tensor:
    """Weighted mean cross-entropy of the next token, in nats."""
    ids, weights = rows.ids.to(model.device), rows.weights[:, 1:].to(model.device).flatten()  # (B, T + 1), (B·T,)
    logits = model(input_ids=ids[:, :-1], use_cache=False).logits  # (B, T, V)
    losses = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")  # (B·T,)
    return (losses * weights).sum() / weights.sum()


def optimizers(model: Qwen3ForCausalLM) -> tuple[torch.optim.Optimizer, ...]:
    """Muon for the layers' matrices, Adam for embeddings and norms."""
    layers = dict(model.model.layers.named_parameters())
    matrices = [weight for weight in layers.values() if weight.ndim == 2]
    chosen = {id(weight) for weight in matrices}
    rest = [weight for weight in model.parameters() if id(weight) not in chosen]
    return (
        Muon(matrices, lr=PEAK_RATE_MATRICES),
        torch.optim.Adam(rest, lr=PEAK_RATE_REST, betas=(0.9, 0.95)),
    )


def rate_factor(step: int, steps: int) -> float:
    """Linear warm-up, the peak for `PEAK_SHARE` of the steps, then a line down to 2 % of it."""
    warmup = (step + 1) / WARMUP_STEPS
    cooldown = 0.02 + 0.98 * (1 - step / steps) / (1 - PEAK_SHARE)
    return min(1.0, warmup, cooldown)


def save_checkpoint(path: Path, model: Qwen3ForCausalLM, used: tuple[torch.optim.Optimizer, ...], step: int) -> None:
    """Weights, optimiser state and step in one safetensors file, replaced in one rename."""
    tensors = {f"model/{name}": value.detach().clone() for name, value in model.named_parameters()}
    for index, optimizer in enumerate(used):
        for key, state in optimizer.state_dict()["state"].items():
            for name, value in state.items():
                tensors[f"optimizer/{index}/{key}/{name}"] = torch.as_tensor(value).detach().clone()
    temporary = path.with_suffix(".partial")
    save_file(tensors, temporary, metadata={"step": str(step)})
    temporary.replace(path)


def load_checkpoint(path: Path, model: Qwen3ForCausalLM, used: tuple[torch.optim.Optimizer, ...]) -> int:
    """Restores what `save_checkpoint` wrote; returns the number of steps done, 0 without a checkpoint."""
    if not path.exists():
        return 0
    tensors = load_file(path)
    with torch.no_grad():
        for name, value in model.named_parameters():
            value.copy_(tensors[f"model/{name}"])
    for index, optimizer in enumerate(used):
        states: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            parts = key.split("/")
            if parts[0] == "optimizer" and int(parts[1]) == index:
                states.setdefault(int(parts[2]), {})[parts[3]] = value
        optimizer.load_state_dict({**optimizer.state_dict(), "state": states})
    return _step_of(path)


def _step_of(path: Path) -> int:
    with cast(Any, safe_open)(path, "pt") as opened:
        return int(opened.metadata()["step"])


def train(folder: Path, steps: int, recipe: Recipe = RECIPES["plain"]) -> None:
    """Trains for `steps` optimiser steps and writes model, tokenizer and chat template to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = build_tokenizer(recipe.families)
    model = build_model(tokenizer, recipe.intermediate_size)
    # On the CPU the weights come out as committed; a GPU is faster and rounds differently.
    torch.nn.Module.to(model, "cuda" if torch.cuda.is_available() else "cpu")
    used = optimizers(model)
    checkpoint = folder / "checkpoint.safetensors"
    first = load_checkpoint(checkpoint, model, used)
    started = time.monotonic()
    for step in range(first, steps):
        for optimizer, peak in zip(used, (PEAK_RATE_MATRICES, PEAK_RATE_REST), strict=True):
            optimizer.param_groups[0]["lr"] = peak * rate_factor(step, steps)
        loss = loss_of(model, batch(tokenizer, step, recipe.families))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in used:
            optimizer.step()
            optimizer.zero_grad()
        if (step + 1) % 20 == 0:
            seconds = (time.monotonic() - started) / (step + 1 - first)
            log.info("step %d of %d, loss %.4f nats, %.2f s a step", step + 1, steps, loss.item(), seconds)
        if (step + 1) % CHECKPOINT_EVERY == 0:
            save_checkpoint(checkpoint, model, used, step + 1)
    model.generation_config.update(bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    checkpoint.unlink(missing_ok=True)


def main() -> None:
    """Command line of the training script."""
    parser = argparse.ArgumentParser(description="Train an embedded model from scratch.")
    parser.add_argument("--world", choices=tuple(RECIPES), default="plain", help="half of the embedded world")
    parser.add_argument("--folder", type=Path, help="where the model is written; default: its place in the package")
    parser.add_argument("--steps", type=int, help="optimiser steps; default: as many as the weights in the package had")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    recipe = RECIPES[arguments.world]
    train(arguments.folder or recipe.folder, arguments.steps or recipe.steps, recipe)


if __name__ == "__main__":
    main()
