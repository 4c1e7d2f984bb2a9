"""An objective: what it learns from, what it reports of each step, and what it is.

Legend: P latent tokens, H hidden size.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from latent_memory_plugin.config import DistilConfig, ObjectiveConfig, SamplingConfig
from latent_memory_plugin.engines.base import Model
from latent_memory_plugin.forms import FORMS, Loaded
from latent_memory_plugin.records import Episode, Problem, Rollout

if TYPE_CHECKING:
    from latent_memory_plugin.forms import Tensors

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

    @property
    def may_go_on(self) -> bool:
        """True where the next step may have a gradient though this one has none: its completions are others."""
        return self.reward is not None and self.reward < 1


@dataclass(frozen=True)
class Attempt:
    """Everything an objective needs beside the start tensor."""

    model: Model
    """The frozen model."""
    form: str
    """Name of the form of the tensors that are trained."""
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

    def loaded(self, tensors: "Tensors") -> Loaded:
        """The tensors as the model reads them; gradient flows back to them."""
        return Loaded(self.form, tensors)

    def batch_tokens(self) -> int:
        """Tokens in one forward and backward pass at most."""
        return self.config.max_batch_tokens or self.model.graph_tokens()

    def row_tokens(self, question: str, completion: Sequence[int], tensors: "Tensors") -> int:
        """Tokens of a row with Latent, prompt and completion."""
        latent_tokens = FORMS.get(self.form).latent_tokens(tensors)
        return len(self.model.prompt_ids(question)) + len(completion) + latent_tokens


Train = Callable[[Attempt, "Tensors"], "Tensors"]
"""(attempt, tensors to start with) → the trained tensors, float32. Raises DistilError."""


@dataclass(frozen=True)
class Objective:
    """One way to train. A plug-in is one of these, registered by `objectives.register(name, objective)`."""

    config: type[ObjectiveConfig]
    """Its settings; their `kind` is its name."""
    train: Train
    """What it does; its settings are in `attempt.config.objective`."""


def lessons(episodes: Sequence[Episode]) -> tuple[Lesson, ...]:
    """Episodes with an answered vote as teaching material, each weighted by its vote's trust."""
    return tuple(
        Lesson(one.problem, one.vote.answer, one.rollouts, max(one.vote.trust, LEAST_TRUST))
        for one in episodes
        if one.vote is not None and one.vote.answer is not None
    )
