"""Two-pass methods: they see the whole stream and its votes before they answer its first problem.

They are no rivals in a stream, where the future is not known. They show what one carrier for everything comes to.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from latent_memory_plugin.bench.online.common import BELIEVED, Common
from latent_memory_plugin.bench.online.lora import WHOLE_STREAM, Adapter
from latent_memory_plugin.bench.online.method import Given, Method, Reader, sourced
from latent_memory_plugin.bench.online.training import Example, Schedule, descend, examples, parts, weighted
from latent_memory_plugin.config import DistilConfig
from latent_memory_plugin.engines.base import Model
from latent_memory_plugin.forms.soft_prompt import SOFT_PROMPT as FORM
from latent_memory_plugin.records import Problem

if TYPE_CHECKING:
    from torch import Tensor

COMPLETIONS = 2
"""Distinct completions imitated per problem at most."""
SOFT_PROMPT = Schedule(steps=200, learning_rate=0.05)
WHOLE = "stream"
"""What is read with every question."""


@dataclass
class OfflineSoftPrompt(Reader[str]):
    """One Latent, trained on everything that agrees with the believed votes of the stream."""

    learns = False

    latent: "Tensor | None" = None
    """(P, H) after `study`; None where no vote is believed."""

    def study(self) -> None:
        """Trains the Latent."""
        learnt = whole_stream(self)
        if not learnt:
            return
        first = max(learnt, key=lambda example: example.weight).question
        tokens = DistilConfig().latent_tokens
        latent = FORM.start(self.common.plain, Problem(question=first), tokens)["latent"]  # (P, H)
        latent = latent.detach().clone().requires_grad_()
        loss, seed = partial(_loss, self.common, latent), self.common.settings.seed
        pieces = partial(parts, self.common)
        self.cost.scored_tokens += descend([latent], loss, learnt, SOFT_PROMPT, seed, pieces)
        self.latent = latent.detach()

    def read(self, question: str) -> str | None:
        """Always the same."""
        return None if self.latent is None else WHOLE

    def sample(self, waiting: Sequence[tuple[str, str]]) -> list[list[Given]]:
        """Completions after the Latent."""
        groups = self.sampled(self.common.plain, [question for question, _ in waiting], self.latent)
        return sourced(groups, [source for _, source in waiting])


@dataclass
class OfflineLora(Reader[str]):
    """One LoRA adapter, trained on the same."""

    learns = False

    model: Model | None = None
    """The model with its adapter after `study`; None where no vote is believed."""

    def study(self) -> None:
        """Trains the adapter."""
        learnt = whole_stream(self)
        if not learnt:
            return
        adapter = Adapter(self.common)
        self.cost.scored_tokens += adapter.train(learnt, WHOLE_STREAM, self.common.settings.seed)
        self.model = adapter.model

    def read(self, question: str) -> str | None:
        """Always the same."""
        return None if self.model is None else WHOLE

    def sample(self, waiting: Sequence[tuple[str, str]]) -> list[list[Given]]:
        """Completions of the model with the adapter."""
        groups = self.sampled(self.model or self.common.plain, [question for question, _ in waiting])
        return sourced(groups, [source for _, source in waiting])


def whole_stream(method: Method) -> list[Example]:
    """The examples of all problems of the stream whose votes are believed; their tokens are the method's cost."""
    common = method.common
    method.cost.given_tokens += sum(len(one.token_ids) for group in common.pool.values() for one in group)
    votes = {question: common.vote(question) for question in common.questions}
    sure = {question: taken.trust for question, taken in votes.items() if taken.confidence >= BELIEVED}
    return [one for question, trust in sure.items() for one in examples(common, question, COMPLETIONS, trust)]


def _loss(common: Common, latent: "Tensor", batch: list[Example]) -> "Tensor":
    questions = [example.question for example in batch]
    values, mask = common.plain.log_probabilities(questions, [example.completion for example in batch], latent)
    return weighted(values, mask, batch)
