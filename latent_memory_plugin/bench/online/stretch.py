"""One stream: its plain rollouts, every method along it, and what is measured when the stream is over."""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from latent_memory_plugin import __version__
from latent_memory_plugin.bench.online import after, files, roster
from latent_memory_plugin.bench.online.common import (
    Common,
    Draw,
    Drawn,
    Settings,
    kept_or_drawn,
    plain_answers,
    plain_pool,
)
from latent_memory_plugin.bench.online.effect import Effects
from latent_memory_plugin.bench.online.memories import Remembering
from latent_memory_plugin.bench.online.method import Given, Method
from latent_memory_plugin.bench.online.plan import Plan, Steps
from latent_memory_plugin.bench.online.stream import Asked, Stream
from latent_memory_plugin.bench.online.walk import Walked, right, walk
from latent_memory_plugin.engines.base import Model

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass
class Stretch:
    """One stream and its folder."""

    plan: Plan
    """What is to be measured."""
    model: Model
    """The frozen model."""
    weights: "Callable[[], tuple[PreTrainedModel, PreTrainedTokenizerBase]]"
    """A fresh copy of its weights, with its tokenizer."""
    steps: Steps
    """Progress."""
    stream: Stream
    """The problems."""

    def __post_init__(self) -> None:
        self.settings = Settings(self.stream.seed, self.plan.samples, self.plan.voters)
        self.folder = self.plan.out / f"{self.stream.name}-{self.stream.seed}"

    def results(self) -> list[dict[str, Any]]:
        """What each method came to; finished ones are read from their files."""
        return [self._result(name) for name in self.plan.names]

    @property
    def key(self) -> dict[str, Any]:
        """What a result depends on, the method's own settings aside."""
        problems = json.dumps([asdict(one) for one in self.stream.asked])
        return {
            "stream": self.stream.name,
            "problems": hashlib.sha256(problems.encode()).hexdigest(),
            "settings": asdict(self.settings),
            "model": self.model.fingerprint,
            "version": __version__,
        } | self.plan.departures

    @cached_property
    def common(self) -> Common:
        """What the methods share; its rollouts are drawn once."""
        sampling, tokens = self.plan.asking.sampling, self.plan.max_batch_tokens
        pool = self._drawn("pool", plain_pool(self.model, self.settings, sampling))
        bare = self._drawn("answers", plain_answers(self.model, self.settings, sampling))
        per_token = (pool.seconds + bare.seconds) / max(1, pool.tokens + bare.tokens)
        drawn = pool.rollouts, bare.rollouts, per_token
        return Common(self.model, self.weights, *drawn, self.settings, sampling, tokens)

    @cached_property
    def effects(self) -> Effects:
        """Measures Latents of this stream's methods."""
        return Effects(self.common, self.stream.spare if self.plan.effects else {})

    def _drawn(self, name: str, draw: Draw) -> Drawn:
        questions, path = [one.question for one in self.stream.asked], self.folder / f"{name}.jsonl"
        self.steps.say(f"seed {self.stream.seed}: plain {name}")
        return kept_or_drawn(draw, questions, path, self.key | {"rollouts": name}, lambda _: self.steps(0))

    def _result(self, name: str) -> dict[str, Any]:
        path = self.folder / f"{name}.json"
        key = self.key | {"method": name, "own": roster.settings_of(name)}
        kept = files.finished(path, key)
        if kept is not None:
            self.steps(len(self.stream.asked))
            return kept
        began = time.monotonic()
        common, labels = self.common, {one.question: one.answer for one in self.stream.asked}
        self.steps.say(f"seed {self.stream.seed}: {name}")
        method = roster.build(name, common, labels)
        try:
            result = {files.KEY: key, "method": name, **self._measured(name, method)}
        finally:
            method.close()
        result["seconds"] = round(time.monotonic() - began, 1)
        return files.write(path, result)

    def _measured(self, name: str, method: Method) -> dict[str, Any]:
        walked = walk(method, self.common.questions, self.steps)
        result = {"cost": self._cost(method, walked), "problems": self._problems(walked)}
        if isinstance(method, Remembering):
            result |= after.Aftermath(method, self.stream, walked, self.effects).report()
        if method.problems_at_once < len(self.stream.asked):
            result["forgetting"] = after.forgetting(method, self.stream, walked)
        if name in (roster.NONE, roster.OURS):
            result["pass_at_k"] = self._passes(method)
        return result

    def _cost(self, method: Method, walked: Walked) -> dict[str, float]:
        cost, per_token = method.cost, self.common.token_seconds
        return {
            "answering_seconds": round(walked.seconds + cost.bare_tokens * per_token, 2),
            "learning_seconds": round(cost.seconds + cost.given_tokens * per_token, 2),
            "given_tokens": cost.given_tokens,
            "sampled_tokens": cost.sampled_tokens,
            "scored_tokens": cost.scored_tokens,
        }

    def _problems(self, walked: Walked) -> list[dict[str, Any]]:
        rows = zip(self.stream.asked, walked.given, walked.became, strict=True)
        return [_problem(asked, given, became) for asked, given, became in rows]

    def _passes(self, method: Method) -> dict[str, float]:
        asked = after.pass_problems(self.stream)
        questions = [one.question for one in asked]
        if isinstance(method, Remembering):
            return after.passes(method.rollouts(questions, after.LARGEST_K, self.settings.measure_seed + 3), asked)
        return after.passes([self.common.pool[question] for question in questions], asked)


def _problem(asked: Asked, given: Sequence[Given], became: str) -> dict[str, Any]:
    return {
        **asdict(asked),
        "right": [int(one) for one in right(given, asked)],
        "answers": [one.answer for one in given],
        "tokens": [one.tokens for one in given],
        "read_tokens": [one.read_tokens for one in given],
        "sources": [one.source for one in given],
        "became": became,
    }
