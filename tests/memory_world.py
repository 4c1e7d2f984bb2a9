"""What the tests of `LatentMemory` share: a fake world in which learning is real and fast, and the embedded one."""

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from latent_memory_plugin import Config, LatentMemory
from latent_memory_plugin.config import DistilConfig, NeighbourConfig, TrialConfig
from latent_memory_plugin.records import Rollout
from latent_memory_plugin.testing import FakeModel

SUMS = [f"sum: {number} and {number}" for number in range(1, 25)]
AGES = [f"age: {number}" for number in range(1, 5)]
ANSWERS = {**{one: (str(2 * number), "0") for number, one in enumerate(SUMS, 1)}, **dict.fromkeys(AGES, ("7", "0"))}
CONFIG = Config(
    distil=DistilConfig(steps=30, learning_rate=0.05),
    trial=TrialConfig(min_episodes=3, answers=16),
    neighbours=NeighbourConfig(min_parents=2, max_parents=4),
)


@dataclass(frozen=True)
class Gated(FakeModel):
    """A fake that samples only while `gate` is open, and says when it first wants to."""

    gate: threading.Event = field(default_factory=threading.Event)
    wanted: threading.Event = field(default_factory=threading.Event)
    closed: list[str] = field(default_factory=list[str])
    """Questions that found the gate closed for too long."""

    def sample(self, *given: Any, **named: Any) -> list[list[Rollout]]:
        self.wanted.set()
        if not self.gate.wait(timeout=20):
            self.closed.extend(given[0])
        return super().sample(*given, **named)


def fake(**changes: Any) -> FakeModel:
    settings: dict[str, Any] = {"bias": 1.5, **changes}
    return FakeModel(ANSWERS, **settings)


def fake_memory(root: Path, namespace: str = "default", model: Any = None, config: Config = CONFIG) -> LatentMemory:
    chosen: Any = model or fake()
    return LatentMemory(root, chosen, namespace, config)


def pending(memory: LatentMemory) -> list[str]:
    return [episode.question for episode in memory.episodes("pending")]
