"""What the tests of the background worker share."""

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from memory_world import ANSWERS, SUMS, Gated, config, fake_memory

from latent_memory_plugin import Config, LatentMemory
from latent_memory_plugin.records import Rollout
from latent_memory_plugin.testing import FakeModel

FIVE = SUMS[:5]
QUICK = {"backoff": 0.05}
LONG = 120.0
"""Seconds that nothing here takes, on however busy a machine."""


def worker_config(**changes: Any) -> Config:
    return config(worker={**QUICK, **changes})


def until(holds: Callable[[], object], seconds: float = LONG) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.005)


def queue(memory: LatentMemory) -> list[tuple[str, int]]:
    """Question and attempts of each queued episode, in the journal's own order."""
    database = memory.opened.store._database
    rows = database.rows("SELECT episode_id, attempts FROM queue ORDER BY number")
    return [(memory.opened.store.episode(row[0]).question, row[1]) for row in rows]


def untouched(memory: LatentMemory) -> list[str]:
    """Questions of which nothing has been learnt and nothing sampled."""
    return [one.question for one in memory.episodes("pending") if one.vote is None]


def observe(memory: LatentMemory, *questions: str) -> list[str]:
    return [memory.observe(question, when="background").reason for question in questions]


@contextmanager
def gated(root: Path, settings: Config | None = None, **named: Any) -> Generator[tuple[LatentMemory, Gated]]:
    """A memory whose model samples only while its gate is open; at the end it is."""
    model = Gated(ANSWERS, bias=1.5)
    with fake_memory(root, model=model, config=settings or worker_config(), **named) as memory:
        try:
            yield memory, model
        finally:
            model.gate.set()
    assert not model.closed


@dataclass(frozen=True)
class Order(FakeModel):
    """Notes the questions it samples, each time it is first asked for one or breaks off at it, in their order."""

    seen: list[str] = field(default_factory=list[str])
    broken: dict[str, int] = field(default_factory=dict[str, int])
    """Question → how often it breaks off yet."""
    error: type[Exception] = RuntimeError
    """What it breaks off with."""

    def sample(self, conversations: Any, *given: Any, **named: Any) -> list[list[Rollout]]:
        for question in conversations:
            if question not in self.seen or question in self.broken:
                self.seen.append(question)
            if self.broken.get(question, 0) > 0:
                self.broken[question] -= 1
                raise self.error(f"no luck with {question}")
        return super().sample(conversations, *given, **named)


def order(error: type[Exception] = RuntimeError, **broken: int) -> Order:
    """A model that breaks off at these questions of `FIVE`, named `q0` to `q4`, so many times."""
    times = {FIVE[int(name[1:])]: count for name, count in broken.items()}
    return Order(ANSWERS, bias=1.5, broken=times, error=error)
