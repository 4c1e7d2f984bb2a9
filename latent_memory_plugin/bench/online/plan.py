"""What is to be measured, and how far it has got."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latent_memory_plugin.bench.online import roster
from latent_memory_plugin.bench.online.asking import PLAIN, Asking
from latent_memory_plugin.bench.online.stream import Split
from latent_memory_plugin.config import ModelConfig
from latent_memory_plugin.errors import InputError
from latent_memory_plugin.sandbox.family import World

Progress = Callable[[int, int, str], None]
"""(steps done, steps in all, what the last one was)."""


@dataclass(frozen=True)
class Plan:
    """What is to be measured."""

    problems: str = "300"
    """Length of a stream of the embedded world, a data set, or a JSONL file."""
    split: Split = "held-out"
    """Families of the embedded world."""
    seeds: tuple[int, ...] = (0,)
    """One stream each."""
    methods: tuple[str, ...] = ()
    """Names; none stands for all."""
    samples: int = 4
    """Answers per problem and method."""
    voters: int = 16
    """Plain rollouts of each problem."""
    first: int | None = None
    """Problems of a data set or file at most."""
    model: ModelConfig = ModelConfig()
    """The frozen model."""
    out: Path = Path("bench-online")
    """Where results are kept, in one folder per stream."""
    asking: Asking = PLAIN
    """How it is asked and how it answers."""
    max_batch_tokens: int | None = None
    """Tokens in one forward and backward pass at most; None leaves each method what it is set to."""
    effects: bool = True
    """False leaves out the true effects of Latents, which take hundreds of samples of spare problems for each."""

    world: World = "plain"
    """Half of the embedded world; `model` does not follow it."""

    def __post_init__(self) -> None:
        if self.samples < 1 or self.voters < 2 or (self.first is not None and self.first < 1) or not self.seeds:
            raise InputError(
                f"samples={self.samples!r}, voters={self.voters!r}, first={self.first!r}, seeds={self.seeds!r} cannot "
                "be measured; take at least 1 sample, 2 voters, 1 problem and 1 seed."
            )
        if self.max_batch_tokens is not None and self.max_batch_tokens < 1:
            raise InputError(f"max_batch_tokens={self.max_batch_tokens!r} is no number of tokens; take at least 1.")

    @property
    def names(self) -> list[str]:
        """The methods in the order of the tables."""
        return roster.chosen(",".join(self.methods) or None, self.voters)

    @property
    def departures(self) -> dict[str, Any]:
        """How the model is asked, where that is not the default, and whether effects were left out: results made
        otherwise are other results."""
        asked = {name: value for name, value in self.asking.fields.items() if value != PLAIN.fields[name]}
        return asked if self.effects else asked | {"effects": False}


@dataclass
class Steps:
    """Counts problems for a progress bar."""

    progress: Progress | None
    """Told of every step."""
    total: int
    """Steps in all."""
    done: int = 0
    """Steps so far."""
    what: str = ""
    """What is being done."""

    def say(self, what: str) -> None:
        """What is being done now."""
        self.what = what
        self(0)

    def __call__(self, steps: int) -> None:
        """That many steps more."""
        self.done += steps
        if self.progress is not None:
            self.progress(self.done, self.total, self.what)
