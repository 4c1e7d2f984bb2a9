"""In-context learning from earlier problems: the retrieved problem and its trace stand as turns before the question."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from latent_memory_plugin import answers
from latent_memory_plugin.answers.judge import Judge
from latent_memory_plugin.bench.online.common import BELIEVED, Common
from latent_memory_plugin.bench.online.method import Given, Reader, sourced
from latent_memory_plugin.config import RetrieveConfig
from latent_memory_plugin.sandbox.world import MODELS

REFLECTIONS = 4
"""Completions sampled for a reflection; the first that keeps the vote's answer is taken."""
REFLECT = (
    "{losing}The answer above is right. Look back at it: which steps matter, and which mistake must be avoided? Then "
    "write the solution again, as a clear example of the method for similar problems, and end with the final answer in "
    "the same form as before."
)
LOSING = "Another attempt came to a different answer:\n\n{trace}\n\n"

Turns = list[dict[str, Any]]


@dataclass(frozen=True)
class Demonstration:
    """An earlier problem as an example."""

    question: str
    """The problem."""
    text: str
    """How it is solved."""


@dataclass
class RawTraces(Reader[Demonstration]):
    """The nearest earlier problem whose vote is believed, with a trace that won the vote."""

    known: dict[str, Demonstration] = field(default_factory=dict[str, Demonstration])
    """Question → demonstration."""
    threshold: float = RetrieveConfig().threshold
    """Cosine similarity of the keys from which an earlier problem is read, as for Latents."""
    confidence: float = BELIEVED
    """Confidence from which a vote is believed."""

    def read(self, question: str) -> Demonstration | None:
        """The nearest demonstration, where one is near enough."""
        key = self.common.keys[question]
        others = [other for other in self.known if other != question]
        nearest = max(others, key=lambda other: float(self.common.keys[other] @ key), default=None)
        if nearest is None or float(self.common.keys[nearest] @ key) < self.threshold:
            return None
        return self.known[nearest]

    def learn(self, question: str) -> str:
        """Keeps the problem, where its vote is believed and a finished trace won it."""
        self.cost.given_tokens += sum(len(rollout.token_ids) for rollout in self.common.pool[question])
        winners = self.common.winners(question)
        if not winners or self.common.vote(question).confidence < self.confidence:
            return "refused"
        self.known[question] = Demonstration(question, winners[0].text)
        return "kept"

    def ask(self, questions: Sequence[str]) -> None:
        """Decides what is read; a demonstration that does not fit the context is left out."""
        chosen = [(question, self.read(question)) for question in questions]
        self.waiting += [(one, read if read and fits(self.common, turns(one, read)) else None) for one, read in chosen]

    def sample(self, waiting: Sequence[tuple[str, Demonstration]]) -> list[list[Given]]:
        """Completions after the demonstration's turns."""
        groups = self.sampled(self.common.plain, [turns(question, shown) for question, shown in waiting])
        return sourced(groups, [shown.question for _, shown in waiting])


@dataclass
class ReflectedTraces(RawTraces):
    """The same, after the model has looked back at the trace: what it writes then is the demonstration.

    A reflection that does not come to the vote's answer is not taken: the vote is all that vouches for it. The embedded
    model knows no words but its problems'; with the trace in its context it solves the same problem once more, which is
    the form of looking back it is capable of.
    """

    reflected: dict[str, Demonstration] = field(default_factory=dict[str, Demonstration])
    """Question → demonstration after the reflection, for those that were read so far."""

    def collect(self) -> list[list[Given]]:
        """Looks back at every demonstration that was read, all together, then samples."""
        began = time.monotonic()
        read = {shown.question: shown for _, shown in self.waiting if shown is not None}
        self.reflect({question: shown for question, shown in read.items() if question not in self.reflected})
        self.cost.seconds += time.monotonic() - began
        self.waiting = [(question, shown and self.reflected[shown.question]) for question, shown in self.waiting]
        return super().collect()

    def reflect(self, shown: Mapping[str, Demonstration]) -> None:
        """The first reflection that keeps the vote's answer takes the trace's place; where none does, it stays."""
        self.reflected |= shown
        asked = {question: self._looking_back(one) for question, one in shown.items()}
        fitting = {question: told for question, told in asked.items() if fits(self.common, told)}
        model, seed = self.common.metered(), self.common.settings.measure_seed
        groups = model.sample(list(fitting.values()), [None] * len(fitting), REFLECTIONS, self.common.sampling, seed)
        self.cost.sampled_tokens += model.sampled_tokens
        for question, group in zip(fitting, groups, strict=True):
            taken = self.common.vote(question).answer
            kept = (one for one in group if one.finished and answers.agree(Judge().answer(one), taken))
            self.reflected[question] = next((Demonstration(question, one.text) for one in kept), shown[question])

    def _looking_back(self, shown: Demonstration) -> Turns:
        told = [*turns(shown.question, None), {"role": "assistant", "content": shown.text}]
        if self.common.plain.name in MODELS.values():
            return [*told, {"role": "user", "content": shown.question}]
        return [*told, {"role": "user", "content": REFLECT.format(losing=_losing(self.common, shown.question))}]


def turns(question: str, read: Demonstration | None) -> Turns:
    """The demonstration as a user's and an assistant's turn, then the question."""
    shown: Turns = []
    if read is not None:
        shown += [{"role": "user", "content": read.question}, {"role": "assistant", "content": read.text}]
    return [*shown, {"role": "user", "content": question}]


def fits(common: Common, conversation: Turns) -> bool:
    """Whether the model can read a conversation and answer it."""
    return len(common.plain.prompt_ids(conversation)) + common.sampling.max_new_tokens <= common.plain.context_tokens


def _losing(common: Common, question: str) -> str:
    taken = common.vote(question).answer
    lost = (one for one in common.pool[question] if one.answer is not None and not answers.agree(one.answer, taken))
    trace = next(lost, None)
    return "" if trace is None else LOSING.format(trace=trace.text)
