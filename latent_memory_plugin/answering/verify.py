"""Verifying: of several completions of one question, which is to be believed?

Asked where the plain model and a Latent disagree. A verifier sees the completions and nothing of where they came from,
except that the plain model's stands first: between equals it is preferred.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, runtime_checkable

from latent_memory_plugin.answers.judge import Judge
from latent_memory_plugin.config import RouteConfig, SamplingConfig
from latent_memory_plugin.engines.base import Conversation, Model
from latent_memory_plugin.errors import ConfigError, LatentMemoryError, RewardError
from latent_memory_plugin.records import Rollout

Score = Callable[[str, str], float]
"""(question, completion text) → any finite number, the larger the better: a reward model, or a process reward model
through `over_steps`."""
StepScores = Callable[[str, str], Sequence[float]]
"""(question, completion text) → one finite number for each step of the completion, as a process reward model gives."""


class Dispute(NamedTuple):
    """Completions of one question that differ in their answers."""

    question: str
    """What was asked."""
    answers: tuple[Rollout, ...]
    """One completion for each answer, the answer extracted; the plain model's first."""
    conversation: Conversation | None = None
    """What was read, where that was more than the question."""

    @property
    def read(self) -> Conversation:
        """What the completions were answers to."""
        return self.question if self.conversation is None else self.conversation


class Preference(NamedTuple):
    """What a verifier makes of a dispute."""

    scores: tuple[float, ...]
    """One finite number for each completion, the larger the better."""
    sampled_tokens: int = 0
    """Tokens sampled to find out."""

    @property
    def chosen(self) -> int:
        """Number of the preferred completion; of equals, the first."""
        return self.scores.index(max(self.scores))


@runtime_checkable
class Verifier(Protocol):
    """Decides disputes, many at once so that what it samples can be sampled together."""

    @property
    def name(self) -> str:
        """The word for it in an answer's reason."""
        ...

    def prefer(self, disputes: Sequence[Dispute]) -> list[Preference]:
        """One preference for each dispute."""
        ...


@dataclass(frozen=True)
class Likelihood:
    """Scores a completion by its mean log-probability per token under the plain model, in nats."""

    model: Model
    """The frozen model."""
    name: str = "likelihood"
    """The word for it in an answer's reason."""

    def prefer(self, disputes: Sequence[Dispute]) -> list[Preference]:
        """One preference for each dispute; nothing is sampled."""
        return [Preference(self._scores(one)) for one in disputes]

    def _scores(self, dispute: Dispute) -> tuple[float, ...]:
        completions = [self.model.completion_ids(one) for one in dispute.answers]
        conversations = [dispute.read] * len(completions)
        values, mask = self.model.log_probabilities(conversations, completions, None)  # (B, T) each
        return tuple(float(mean) for mean in values.sum(1) / mask.sum(1))


@dataclass(frozen=True)
class FreshVote:
    """Scores a completion by the number of fresh completions of the plain model that give its answer."""

    model: Model
    """The frozen model."""
    judge: Judge
    """Completion text → answer, and whether two answers are the same."""
    rollouts: int
    """Fresh completions per dispute."""
    sampling: SamplingConfig
    """How they are sampled."""
    seed: int
    """The same seed samples the same completions."""
    name: str = "vote"
    """The word for it in an answer's reason."""

    def prefer(self, disputes: Sequence[Dispute]) -> list[Preference]:
        """One preference for each dispute, all of them sampled together."""
        conversations = [one.read for one in disputes]
        plain = [None] * len(conversations)
        groups = self.model.sample(conversations, plain, self.rollouts, self.sampling, self.seed)
        return [self._count(dispute, group) for dispute, group in zip(disputes, groups, strict=True)]

    def _count(self, dispute: Dispute, group: Sequence[Rollout]) -> Preference:
        votes = [self.judge.answer(one) for one in group]
        scores = tuple(float(sum(self.judge.agree(vote, one.answer) for vote in votes)) for one in dispute.answers)
        return Preference(scores, sum(len(one.token_ids) for one in group))


@dataclass(frozen=True)
class Scored:
    """Scores a completion by a function of the caller's."""

    score: Score
    """(question, completion text) → number."""

    @property
    def name(self) -> str:
        """The function's own name."""
        return getattr(self.score, "__name__", type(self.score).__name__)

    def prefer(self, disputes: Sequence[Dispute]) -> list[Preference]:
        """One preference for each dispute. Raises RewardError where the function fails or gives no finite number."""
        return [Preference(tuple(self._one(each.question, one.text) for one in each.answers)) for each in disputes]

    def _one(self, question: str, text: str) -> float:
        try:
            worth = float(self.score(question, text))
        except LatentMemoryError:
            raise
        except Exception as exc:  # whatever a caller's function raises
            raise RewardError(
                f"The verifier {self.name} raised {type(exc).__name__}: {exc} for the completion {text!r:.60}; it must "
                "return a number for every text."
            ) from exc
        if not math.isfinite(worth):
            raise RewardError(
                f"The verifier {self.name} gave {worth!r} for the completion {text!r:.60}; it must be a finite number."
            )
        return worth


def over_steps(scores: StepScores, reduce: Literal["mean", "min", "last"] = "min") -> Score:
    """One score for a completion from the scores of its steps, so that a process reward model can be a verifier.

    `min` is the worst step, `mean` the average one, `last` the step with the answer. A completion without a step scores
    0, the least a probability can be. Raises ConfigError for another `reduce`.
    """
    reductions: dict[str, Callable[[list[float]], float]] = {
        "mean": lambda steps: sum(steps) / len(steps),
        "min": min,
        "last": lambda steps: steps[-1],
    }
    if reduce not in reductions:
        raise ConfigError(f"reduce={reduce!r} is unknown; choose one of {', '.join(map(repr, reductions))}.")

    def score(question: str, text: str) -> float:
        steps = [float(one) for one in scores(question, text)]
        if not all(map(math.isfinite, steps)):  # a minimum of which one number is NaN depends on their order
            raise RewardError(f"The steps of {text!r:.60} were scored {steps!r:.200}; each needs a finite number.")
        return reductions[reduce](steps) if steps else 0.0

    return score


def make_verifier(
    model: Model,
    config: RouteConfig,
    judge: Judge,
    sampling: SamplingConfig,
    seed: int,
    own: Verifier | Score | None = None,
) -> Verifier:
    """The verifier of one call of `ask`: the caller's own, else the built-in one that the config names.

    `sampling` and `seed` are those of the answers in dispute.
    """
    if own is not None:
        return _own(own)
    if config.verifier == "likelihood":
        return Likelihood(model)
    # Greedy completions would all repeat the plain answer, and so would those of the seed it was sampled with.
    warm = sampling if sampling.temperature else sampling.model_copy(update={"temperature": 1.0})
    return FreshVote(model, judge, config.verifier_rollouts, warm, -1 - seed)


def _own(verifier: Verifier | Score) -> Verifier:
    if isinstance(verifier, Verifier):
        return verifier
    if not callable(verifier):
        raise ConfigError(
            f"verifier={verifier!r:.80} is neither a function of question and completion nor a Verifier; pass one."
        )
    return Scored(verifier)
