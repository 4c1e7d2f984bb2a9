"""What an objective learns from, and what it reports of each step."""

from collections.abc import Callable
from dataclasses import dataclass

from latent_memory_plugin.config import DistilConfig, SamplingConfig
from latent_memory_plugin.records import Problem, Rollout
from latent_memory_plugin.seams import Model


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
    """Weight of this episode beside the others, above 0; the vote's share."""


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
    extract: Callable[[str], str | None]
    """Completion text → answer."""
    agree: Callable[[str | None, str | None], bool]
    """Are these two answers the same? None agrees with nothing."""
    seed: int
    """Fresh completions of step `i` depend on this and `i`."""
    watch: Callable[[Step], None] | None = None
    """Called after every step; an exception it raises ends the attempt."""
