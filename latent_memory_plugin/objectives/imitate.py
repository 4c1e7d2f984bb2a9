"""Imitation: cross-entropy on the rollouts that agree with the vote. Nothing is sampled again.

The positive half of a policy gradient, also known as rejection-sampling fine-tuning; the only weights are a Latent.
"""

from collections import Counter
from dataclasses import dataclass, replace
from typing import cast

from latent_memory_plugin.config import GrpoConfig, ImitateConfig
from latent_memory_plugin.engines.base import Scorer
from latent_memory_plugin.errors import DistilError
from latent_memory_plugin.forms import Loaded, Tensors
from latent_memory_plugin.objectives.base import Attempt, Lesson, Objective, Step
from latent_memory_plugin.objectives.batches import split, token_mean
from latent_memory_plugin.objectives.descent import descend
from latent_memory_plugin.records import Rollout

HALF = 0.5
"""Completions that score this much or more are imitated."""


@dataclass(frozen=True)
class Example:
    """One distinct completion to imitate."""

    question: str
    completion: tuple[int, ...]
    """Token ids with the end token."""
    weight: float
    """Its share of the loss; all examples together have 1."""


def imitate(attempt: Attempt, start: Tensors) -> Tensors:
    """Tensors after which the model is likelier to write what agreed with the votes.

    Minimises the mean negative log-probability per token of the agreeing completions, each episode weighted by its
    trust. Raises `DistilError` where no completion agrees or a value is not finite.
    """

    def tokens(one: Example) -> int:
        return attempt.row_tokens(one.question, one.completion, start)

    batches = split(examples(attempt), attempt.batch_tokens(), tokens)

    def loss(tensors: Tensors, number: int) -> Step:
        total = sum(_backward(attempt.model, batch, attempt.loaded(tensors)) for batch in batches)
        return Step(number, total, reward=None, entropy=total)

    return descend(start, loss, attempt)


IMITATE = Objective(ImitateConfig, imitate)


def examples(attempt: Attempt) -> list[Example]:
    """The distinct agreeing completions of each lesson, the commonest first and at most `rollouts` of them."""
    found: list[Example] = []
    most = cast(ImitateConfig | GrpoConfig, attempt.config.objective).rollouts
    for lesson in attempt.lessons:
        agreeing = (one for one in lesson.rollouts if one.finished and _agrees(attempt, lesson, one))
        counts = Counter(map(attempt.model.completion_ids, agreeing)).most_common(most)
        total = sum(count for _, count in counts)
        found += [Example(lesson.problem.question, ids, lesson.trust * count / total) for ids, count in counts]
    if not found:
        raise DistilError("No finished rollout agrees with its vote, so there is nothing to imitate.")
    whole = sum(example.weight for example in found)
    return [replace(example, weight=example.weight / whole) for example in found]


def _agrees(attempt: Attempt, lesson: Lesson, rollout: Rollout) -> bool:
    return attempt.score(lesson.problem.question, lesson.answer, rollout) >= HALF


def _backward(model: Scorer, batch: list[Example], latent: Loaded) -> float:
    values, mask = model.log_probabilities(
        [example.question for example in batch], [example.completion for example in batch], latent
    )  # (B, T), (B, T)
    weights = values.new_tensor([example.weight for example in batch])  # (B,)
    loss = -(weights * token_mean(values, mask)).sum()
    loss.backward()
    return loss.item()
