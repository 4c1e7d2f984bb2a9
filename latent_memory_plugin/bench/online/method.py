"""What a method is: it is asked, then it may learn. It sees questions and plain rollouts, never a label."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from latent_memory_plugin.answers.judge import Judge
from latent_memory_plugin.bench.online.common import PROBLEMS_AT_ONCE, Common
from latent_memory_plugin.engines.base import Conversation, Model
from latent_memory_plugin.records import Rollout

if TYPE_CHECKING:
    from torch import Tensor

Reading = TypeVar("Reading")


@dataclass(frozen=True)
class Given:
    """One answer: a single sample, or what a method makes of several."""

    answer: str | None
    """The answer; None where the completion holds none."""
    tokens: float
    """Tokens sampled for it."""
    read_tokens: int
    """Tokens of the prompt, demonstrations and Latent vectors included."""
    source: str | None = None
    """What was read beside the question: the id of a Latent, of an adapter, or the question of a demonstration."""


@dataclass
class Cost:
    """What answering and learning took, over the whole stream."""

    seconds: float = 0.0
    """Wall time of learning, that of the plain rollouts left out."""
    bare_tokens: int = 0
    """Tokens of answers that are the plain model's, which were sampled for all methods together."""
    given_tokens: int = 0
    """Tokens of the plain rollouts that were handed over to learn from."""
    sampled_tokens: int = 0
    """Tokens sampled beside them."""
    scored_tokens: int = 0
    """Completion tokens that a training step computed log-probabilities of, once per step."""


@dataclass
class Method(ABC):
    """One way of answering a stream."""

    learns: ClassVar[bool] = True
    """False where nothing is learnt on the way, so that all problems can be answered together."""

    common: Common
    """Model, rollouts, keys and seeds."""
    cost: Cost = field(default_factory=Cost)
    """What it took so far."""

    @property
    def problems_at_once(self) -> int:
        """Problems that are answered before any of them is learnt from."""
        return PROBLEMS_AT_ONCE if self.learns else len(self.common.pool)

    def study(self) -> None:
        """Before the stream: what methods do that see all of it first."""
        return None

    @abstractmethod
    def ask(self, questions: Sequence[str]) -> None:
        """Answers with what is known now, or at least decides what is read."""

    def learn(self, question: str) -> str:
        """Learns from a problem that was answered; returns in a word what became of it."""
        return "nothing"

    @abstractmethod
    def collect(self) -> list[list[Given]]:
        """The answers to all questions asked since the last call, in order, one per answer seed each."""

    def close(self) -> None:
        """Releases what the method holds."""
        return None


@dataclass
class Reader(Method, Generic[Reading]):
    """A method that only chooses what is read with a question, and samples at the end, all problems together: what is
    sampled depends on the question, on what is read with it and on the seed, and not on when."""

    waiting: "list[tuple[str, Reading | None]]" = field(default_factory=list[Any])
    """Questions asked and what is read with each."""

    @abstractmethod
    def read(self, question: str) -> "Reading | None":
        """What is read with a question now; None for the question alone."""

    @abstractmethod
    def sample(self, waiting: "Sequence[tuple[str, Reading]]") -> list[list[Given]]:
        """The answers to each question with what is read with it, as many as there are answer seeds."""

    def ask(self, questions: Sequence[str]) -> None:
        """Decides what is read."""
        self.waiting += [(question, self.read(question)) for question in questions]

    def collect(self) -> list[list[Given]]:
        """Samples; where nothing is read, the answers are the plain model's, which are there."""
        waiting, self.waiting = self.waiting, []
        reading = [(question, read) for question, read in waiting if read is not None]
        sampled = iter(self.sample(reading) if reading else [])
        return [self.bare(question) if read is None else next(sampled) for question, read in waiting]

    def bare(self, question: str) -> list[Given]:
        """The plain model's answers."""
        self.cost.bare_tokens += sum(len(one.token_ids) for one in self.common.bare[question])
        read_tokens = len(self.common.plain.prompt_ids(question))
        return [given(one, read_tokens) for one in self.common.bare[question]]

    def sampled(
        self, model: Model, conversations: Sequence[Conversation], latent: "Tensor | None" = None
    ) -> list[list[Given]]:
        """Answers to conversations that hold more than a question, or are read with more; without their source."""
        settings, latents = self.common.settings, [latent] * len(conversations)
        seed = settings.answer_seeds[0]
        groups = model.sample(conversations, latents, settings.samples, self.common.sampling, seed)
        extra = 0 if latent is None else len(latent)
        lengths = [len(model.prompt_ids(conversation)) + extra for conversation in conversations]
        return [[given(one, length) for one in group] for group, length in zip(groups, lengths, strict=True)]


def given(rollout: Rollout, read_tokens: int) -> Given:
    """A single sample as an answer."""
    return Given(Judge().answer(rollout), len(rollout.token_ids), read_tokens)


def sourced(groups: Sequence[Sequence[Given]], sources: Sequence[str]) -> list[list[Given]]:
    """The same answers, marked with what was read for them."""
    pairs = zip(groups, sources, strict=True)
    return [[replace(one, source=source) for one in group] for group, source in pairs]
