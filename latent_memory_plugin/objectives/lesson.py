"""What an objective learns from, and what it reports of each step."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from latent_memory_plugin.config import DistilConfig, SamplingConfig
from latent_memory_plugin.engines.base import Model
from latent_memory_plugin.records import Episode, Problem, Rollout

LEAST_TRUST = 1e-3
"""A vote of even odds that is learnt from all the same still needs a weight."""


@dataclass(frozen=True)
class Lesson:
    """One episode as teaching material."""

    problem: Problem
    """What was asked."""
    answer: str
    """The answer the vote agreed on."""
    rollouts: tuple[Rollout, ...]
    """Completions of the episode, with their extracted answers."""
    trust: float
    """Weight of this episode beside the others, above 0; the vote's trust."""


@dataclass(frozen=True)
class Step:
    """One optimiser step."""

    number: int
    """1 for the first."""
    loss: float
    """Value that was minimised; `imitate`: nats per token."""
    reward: float | None
    """`grpo`: share of fresh rollouts that agree with their votes, 0 to 1; None elsewhere."""
    entropy: float
    """Mean negative log-probability of the completion tokens, nats: for fresh rollouts an estimate of the entropy."""


@dataclass(frozen=True)
class Attempt:
    """Everything an objective needs beside the start tensor."""

    model: Model
    """The frozen model."""
    lessons: tuple[Lesson, ...]
    """One or several episodes, learnt from together."""
    config: DistilConfig
    """Steps, rates and sizes."""
    sampling: SamplingConfig
    """How fresh completions are sampled."""
    score: Callable[[str, str, Rollout], float]
    """(question, the vote's answer, completion) → 0 to 1: does it agree, or what is it worth?"""
    seed: int
    """Fresh completions of step `i` depend on this and `i`."""
    watch: Callable[[Step], None] | None = None
    """Called after every step; an exception it raises ends the attempt."""


def lessons(episodes: Sequence[Episode]) -> tuple[Lesson, ...]:
    """Episodes with an answered vote as teaching material, each weighted by its vote's trust."""
    return tuple(
        Lesson(one.problem, one.vote.answer, one.rollouts, max(one.vote.trust, LEAST_TRUST))
        for one in episodes
        if one.vote is not None and one.vote.answer is not None
    )
