"""What the other carriers learn from and how: agreeing completions, Adam, a rate that falls to nothing."""

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from latent_memory_plugin.bench.online.common import Common
from latent_memory_plugin.config import DistilConfig
from latent_memory_plugin.objectives.batches import split, token_mean
from latent_memory_plugin.objectives.imitate import Example

if TYPE_CHECKING:
    from torch import Tensor

MAX_GRADIENT_NORM = 1.0


@dataclass(frozen=True)
class Schedule:
    """How long and how fast."""

    steps: int
    """Optimiser steps."""
    learning_rate: float
    """Adam's rate at the first step; a line down to nothing follows."""
    problems: int = 8
    """Problems whose examples one step reads."""


def examples(common: Common, question: str, most: int, worth: float, rollouts: int | None = None) -> list[Example]:
    """The distinct completions that agree with the vote of a question's first `rollouts`, the commonest `most` of them;
    their weights are `worth` together."""
    counts = Counter(map(common.plain.completion_ids, common.winners(question, rollouts))).most_common(most)
    total = sum(count for _, count in counts)
    return [Example(question, one, worth * count / total) for one, count in counts]


def whole(batch: list[Example]) -> list[list[Example]]:
    """A batch in one pass."""
    return [batch]


def parts(common: Common, batch: list[Example]) -> list[list[Example]]:
    """A batch in passes of `max_batch_tokens` at most, where that is set."""
    if common.max_batch_tokens is None:
        return whole(batch)

    def tokens(one: Example) -> int:
        return len(common.plain.prompt_ids(one.question)) + DistilConfig().latent_tokens + len(one.completion)

    return split(batch, common.max_batch_tokens, tokens)


def descend(
    parameters: "Sequence[Tensor]",
    loss: "Callable[[list[Example]], Tensor]",
    learnt: Sequence[Example],
    schedule: Schedule,
    seed: int,
    passes: Callable[[list[Example]], list[list[Example]]] = whole,
) -> int:
    """Moves the parameters down the loss of batches of examples, each read in one or several `passes`; returns the
    completion tokens that were scored."""
    import torch

    optimizer = torch.optim.Adam(list(parameters), lr=schedule.learning_rate)
    tokens = 0
    for number, batch in enumerate(batches(learnt, schedule, seed)):
        optimizer.param_groups[0]["lr"] = schedule.learning_rate * (1 - number / schedule.steps)
        optimizer.zero_grad()
        total = sum(example.weight for example in batch)
        for part in passes(batch):
            (loss(part) * (sum(example.weight for example in part) / total)).backward()
        torch.nn.utils.clip_grad_norm_(list(parameters), MAX_GRADIENT_NORM)
        optimizer.step()
        tokens += sum(len(example.completion) for example in batch)
    return tokens


def batches(learnt: Sequence[Example], schedule: Schedule, seed: int) -> Iterator[list[Example]]:
    """`steps` batches with the examples of `problems` problems or all of them, every problem once before one comes
    again. Examples of a problem stay together: a Latent's passes share its prompt."""
    groups: dict[str, list[Example]] = {}
    for example in learnt:
        groups.setdefault(example.question, []).append(example)
    rng, size = random.Random(f"batches-{seed}"), min(schedule.problems, len(groups))
    waiting: list[str] = []
    for _ in range(schedule.steps):
        if len(waiting) < size:
            waiting += rng.sample(list(groups), len(groups))
        chosen, waiting = waiting[:size], waiting[size:]
        yield [example for question in chosen for example in groups[question]]


def weighted(values: "Tensor", mask: "Tensor", batch: Sequence[Example]) -> "Tensor":
    """Minus the mean log-probability per token, from values (B, T) and their mask (B, T), rows by their weights."""
    rows = token_mean(values, mask)  # (B,)
    weights = rows.new_tensor([example.weight for example in batch])  # (B,)
    return -(weights * rows).sum() / weights.sum()
