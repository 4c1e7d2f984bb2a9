"""What the tests of learning share: a fake world in which learning is real and fast, and builders of its records."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from latent_memory_plugin import Answer, Config, LatentMemory
from latent_memory_plugin.answers import extract
from latent_memory_plugin.answers.judge import Judge
from latent_memory_plugin.answers.vote import vote
from latent_memory_plugin.config import DistilConfig, LifeConfig, NeighbourConfig, TrialConfig, VoteConfig
from latent_memory_plugin.executors.thread import ThreadExecutor
from latent_memory_plugin.keys import make_encoder
from latent_memory_plugin.learning.learner import Learner
from latent_memory_plugin.learning.pool import Lane
from latent_memory_plugin.learning.street import run
from latent_memory_plugin.learning.work import Candidate, Scope
from latent_memory_plugin.records import Episode, Outcome, Problem, Rollout
from latent_memory_plugin.store.base import AnyStore
from latent_memory_plugin.testing import FIRST, SECOND, FakeModel, InMemoryStore

SUMS = [f"sum: {number} and {number}" for number in range(1, 25)]
AGES = [f"age: {number}" for number in range(1, 5)]
ANSWERS = {**{one: (str(2 * number), "0") for number, one in enumerate(SUMS, 1)}, **dict.fromkeys(AGES, ("7", "0"))}
CONFIG = Config(
    vote=VoteConfig(rollouts=8, max_rollouts=64, confidence=0.95, max_share=0.95),
    distil=DistilConfig(steps=30, learning_rate=0.05, patience=10),
    trial=TrialConfig(min_episodes=3, max_episodes=6, answers=16, confidence=0.9, min_gain=0.0),
    life=LifeConfig(min_uses=4, confidence=0.95),
    neighbours=NeighbourConfig(min_parents=2, max_parents=4, growth=1.5),
)
"""No test depends on what the defaults are."""
JUDGE = Judge(extract)


@dataclass(frozen=True)
class Gated(FakeModel):
    """A fake that samples only while `gate` is open, and says when it first wants to."""

    gate: threading.Event = field(default_factory=threading.Event)
    wanted: threading.Event = field(default_factory=threading.Event)
    closed: list[str] = field(default_factory=list[str])
    """Questions that found the gate closed for too long."""

    def sample(self, *given: Any, **named: Any) -> list[list[Rollout]]:
        self.wanted.set()
        if not self.gate.wait(timeout=120):
            self.closed.extend(given[0])
        return super().sample(*given, **named)


def config(**sections: dict[str, Any]) -> Config:
    """`CONFIG` with some settings of these sections changed."""
    old = {name: getattr(CONFIG, name) for name in sections}
    changed = {name: type(old[name])(**old[name].model_dump() | changes) for name, changes in sections.items()}
    return CONFIG.model_copy(update=changed)


def fake(**changes: Any) -> FakeModel:
    settings: dict[str, Any] = {"answers": ANSWERS, "bias": 1.5, **changes}
    return FakeModel(**settings)


def rollouts(question: str, first: int, second: int = 0, blank: int = 0) -> tuple[Rollout, ...]:
    """Completions of a question: so many with its first answer, its second, and none."""
    good, bad = ANSWERS.get(question, ("7", "0"))
    named = [(good, FIRST)] * first + [(bad, SECOND)] * second
    some = tuple(Rollout(text=f"#### {answer}", answer=answer, token_ids=(token,)) for answer, token in named)
    return (*some, *[Rollout(text="hm")] * blank)


def episode(question: str, first: int = 0, second: int = 0, blank: int = 0, **changes: Any) -> Episode:
    """An episode with these rollouts and their vote; without either where there are none."""
    seen = rollouts(question, first, second, blank)
    taken = vote([one.answer for one in seen]) if seen else None
    return Episode(problem=Problem(question=question), rollouts=seen, vote=taken, **changes)


def learner(
    config: Config = CONFIG,
    model: FakeModel | None = None,
    store: AnyStore | None = None,
    judge: Judge = JUDGE,
    watch: Callable[[Candidate], None] | None = None,
) -> Learner:
    """A learner over a store in memory."""
    chosen = model or fake()
    encoder = make_encoder(chosen, config.retrieve)
    scope = Scope("default", chosen.name, chosen.fingerprint, encoder.name, config, judge)
    executor = ThreadExecutor(chosen, None, run)
    return Learner(store or InMemoryStore(), chosen, encoder, scope, executor, Lane(), watch)


def ask_all(one: Learner, questions: list[str]) -> list[Outcome]:
    """Learns from questions of which nothing is known."""
    return one.learn([Problem(question=question) for question in questions])


def observe(one: Learner, question: str, first: int, second: int = 0, blank: int = 0) -> Outcome:
    """Learns from an episode whose rollouts are handed over."""
    problem = Problem(question=question)
    seen = one.commit(problem, rollouts(question, first, second, blank), one.keys([problem])[0])
    return one.consolidate([seen])[0]


def fake_memory(
    root: Path, namespace: str = "default", model: Any = None, config: Config = CONFIG, **named: Any
) -> LatentMemory:
    chosen: Any = model or fake()
    return LatentMemory(root, chosen, namespace, config, **named)


def said(answer: Answer) -> dict[str, Any]:
    """All of an answer but its id, which no other answer has."""
    return answer.model_dump(exclude={"id"})


def pending(memory: LatentMemory) -> list[str]:
    return [episode.question for episode in memory.episodes("pending")]
