"""The methods without memory: one sample, greedy decoding, the majority of many."""

from collections.abc import Sequence
from dataclasses import dataclass

from latent_memory_plugin.bench.online.method import Given, Method, Reader, given


@dataclass
class OneSample(Reader[str]):
    """The plain model."""

    learns = False

    def read(self, question: str) -> None:
        """Nothing."""
        return None

    def sample(self, waiting: Sequence[tuple[str, str]]) -> list[list[Given]]:
        """Never asked for: nothing is read."""
        return []


@dataclass
class Greedy(OneSample):
    """The plain model at temperature 0, where one answer is all there is."""

    def collect(self) -> list[list[Given]]:
        """One answer each."""
        model, questions = self.common.plain, [question for question, _ in self.waiting]
        self.waiting = []
        likeliest = self.common.sampling.model_copy(update={"temperature": 0.0})
        groups = model.sample(questions, [None] * len(questions), 1, likeliest, self.common.settings.answer_seeds[0])
        pairs = zip(questions, groups, strict=True)
        return [[given(group[0], len(model.prompt_ids(question)))] for question, group in pairs]


@dataclass
class Majority(Method):
    """Self-consistency: the answer most of the plain rollouts give."""

    learns = False

    asked: tuple[str, ...] = ()
    """Questions asked since the last `collect`."""

    def ask(self, questions: Sequence[str]) -> None:
        """Remembers the questions; their rollouts are there."""
        self.asked += tuple(questions)

    def collect(self) -> list[list[Given]]:
        """One answer each: there is one vote."""
        asked, self.asked = self.asked, ()
        return [[self._given(question)] for question in asked]

    def _given(self, question: str) -> Given:
        tokens = sum(len(rollout.token_ids) for rollout in self.common.pool[question])
        self.cost.bare_tokens += tokens
        return Given(self.common.vote(question).answer, tokens, len(self.common.plain.prompt_ids(question)))
