"""The methods that are this library: `LatentMemory` with several settings."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from latent_memory_plugin import LatentMemory
from latent_memory_plugin.answering.ask import Asker
from latent_memory_plugin.bench.online.common import Common
from latent_memory_plugin.bench.online.method import Given, Method
from latent_memory_plugin.config import Config, NeighbourConfig, TrialConfig
from latent_memory_plugin.errors import ContextLengthError
from latent_memory_plugin.forms import Loaded
from latent_memory_plugin.learning.work import Candidate
from latent_memory_plugin.records import Answer, Outcome, Problem, Rollout, Use

if TYPE_CHECKING:
    pass

Reward = Callable[[str, str], float]
"""(question, completion text) → 0 to 1."""

NAMESPACE = "bench"
CONFIGS: dict[str, Config] = {
    "paper": Config.preset("paper"),
    "ours": Config(),
    "ours_without_trial": Config(trial=TrialConfig(required=False)),
    "ours_without_neighbours": Config(neighbours=NeighbourConfig(min_parents=1, max_parents=1)),
    "oracle": Config(),
}
"""Settings by method; the oracle has the labels as its reward beside them."""


class Unrecorded:
    """A store in which asking leaves no trace."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def record_uses(self, uses: Sequence[Use]) -> None:
        """Nothing is recorded."""


@dataclass
class Remembering(Method):
    """A `LatentMemory` in a store of its own.

    The first answer to a problem is an `ask` like any user's. The others measure what it might have been from other
    seeds: they go the same way and leave no trace, or one problem would count as several uses of its Latent.
    """

    config: Config = field(default_factory=Config)
    """Its settings."""
    reward: Reward | None = None
    """What is right, for the oracle alone."""
    candidates: list[Candidate] = field(default_factory=list[Candidate])
    """Every candidate that was examined, as the consolidator showed it."""
    outcomes: list[Outcome] = field(default_factory=list[Outcome])
    """What `observe` returned, in the order of the stream."""

    def __post_init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="latent-memory-bench-")
        self.config = self.config.model_copy(update={"seed": self.common.settings.seed})
        self.model = self.common.metered()
        model, watch = cast(Any, self.model), self.candidates.append
        self.memory = LatentMemory(self._folder.name, model, NAMESPACE, self.config, reward=self.reward, watch=watch)
        self._opened = self.memory.opened
        self._given: list[list[Given]] = []

    def ask(self, questions: Sequence[str]) -> None:
        """Answers at once, with what is stored now."""
        self._given += self.answers(questions)

    def answers(self, questions: Sequence[str], *, recorded: bool = True) -> list[list[Given]]:
        """An answer to each question from each answer seed; with `recorded` the first is a use as any other."""
        first, *others = self.common.settings.answer_seeds
        now = self.memory.ask(list(questions), n=1, seed=first) if recorded else self.unrecorded(questions, first)
        rounds = [now, *(self.unrecorded(questions, seed) for seed in others)]
        return [[_given(answer) for answer in answers] for answers in zip(*rounds, strict=True)]

    def unrecorded(self, questions: Sequence[str], seed: int, n: int = 1) -> list[Answer]:
        """What `ask` would return, without a trace in the store."""
        store = cast(Any, Unrecorded(self._opened.store))
        judge = self.memory.judge
        asker = Asker(self._opened.model, store, self._opened.encoder, self.config, judge)
        return asker.ask([Problem(question=one) for one in questions], n, self.config.sampling, seed)

    def learn(self, question: str) -> str:
        """Hands over the first rollouts; the memory samples more where its vote is open."""
        rollouts = self.common.pool[question][: self.config.vote.rollouts]
        sampled, scored = self.model.sampled_tokens, self.model.scored_tokens
        self.outcomes.append(self._observe(question, rollouts))
        self.cost.given_tokens += sum(len(rollout.token_ids) for rollout in rollouts)
        self.cost.sampled_tokens += self.model.sampled_tokens - sampled
        self.cost.scored_tokens += self.model.scored_tokens - scored
        return self.outcomes[-1].status

    def _observe(self, question: str, rollouts: Sequence[Rollout]) -> Outcome:
        try:
            return self.memory.observe(question, rollouts=rollouts)
        except ContextLengthError as exc:  # a long problem of a data set must not end the stream
            return Outcome(question=question, status="failed", reason=str(exc))

    def collect(self) -> list[list[Given]]:
        """The answers."""
        collected, self._given = self._given, []
        return collected

    def loaded(self, latent_id: str) -> Loaded:
        """A stored Latent as the model reads it."""
        store = self._opened.store
        return Loaded.from_arrays(store.latent(latent_id).form, store.tensors(latent_id))

    def rollouts(self, questions: Sequence[str], n: int, seed: int) -> list[tuple[Rollout, ...]]:
        """`n` completions of each question as the memory reads it now."""
        return [answer.rollouts for answer in self.unrecorded(questions, seed, n)]

    def close(self) -> None:
        """Closes the memory and deletes its store."""
        self.memory.close()
        self._folder.cleanup()


def remembering(name: str, common: Common, reward: Reward | None = None) -> Remembering:
    """The memory of that name."""
    config = CONFIGS[name].model_copy(update={"sampling": common.sampling})
    if common.max_batch_tokens is not None:
        distil = config.distil.model_copy(update={"max_batch_tokens": common.max_batch_tokens})
        config = config.model_copy(update={"distil": distil})
    return Remembering(common, config=config, reward=reward)


def _given(answer: Answer) -> Given:
    read = answer.usage.prompt_tokens + answer.usage.latent_tokens
    return Given(answer.answer, answer.usage.completion_tokens, read, next(iter(answer.latent_ids), None))
