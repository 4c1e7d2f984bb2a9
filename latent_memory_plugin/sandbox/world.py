"""The embedded world: two halves of 24 families of word problems, plain and hard, and how their solutions read.

Labels (`WordProblem.answer`) are for measurements only; nothing in the learning street imports this module.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from latent_memory_plugin.errors import InputError
from latent_memory_plugin.sandbox.family import Family, Procedure, Split, WordProblem, World, calculate, operand
from latent_memory_plugin.sandbox.hard_held_out import HARD_HELD_OUT
from latent_memory_plugin.sandbox.hard_tuning import HARD_TUNING
from latent_memory_plugin.sandbox.held_out import HELD_OUT
from latent_memory_plugin.sandbox.tuning import TUNING

FAMILIES: tuple[Family, ...] = TUNING + HELD_OUT
"""The plain half."""
HARD_FAMILIES: tuple[Family, ...] = HARD_TUNING + HARD_HELD_OUT
"""The hard half."""
MODELS: Mapping[World, str] = {"plain": "embedded", "hard": "embedded-hard"}
"""Name of the model that was trained on each half."""


def families(split: Split | Literal["all"] = "all", world: World | Literal["all"] = "plain") -> tuple[Family, ...]:
    """The families of a split (`tuning`, `held-out` or `all`) and of a half of the world (`plain`, `hard` or `all`).

    Raises InputError for other names.
    """
    if split not in ("tuning", "held-out", "all"):
        raise InputError(f"There is no split {split!r}; choose 'tuning', 'held-out' or 'all'.")
    if world not in ("plain", "hard", "all"):
        raise InputError(f"There is no world {world!r}; choose 'plain', 'hard' or 'all'.")
    return tuple(
        family
        for family in FAMILIES + HARD_FAMILIES
        if split in ("all", family.split) and world in ("all", family.world)
    )


def stream(chosen: Sequence[Family], problems: int, seed: int) -> list[WordProblem]:
    """`problems` distinct questions of the chosen families in random order, each family equally often."""
    if not chosen:
        raise InputError(f"chosen={chosen!r} holds no families; pass at least one.")
    rng = random.Random(f"stream-{seed}")
    drawn: dict[str, WordProblem] = {}
    while len(drawn) < problems:
        problem = chosen[len(drawn) % len(chosen)].draw(rng)
        drawn.setdefault(problem.question, problem)
    shuffled = list(drawn.values())
    rng.shuffle(shuffled)
    return shuffled


def solve(problem: WordProblem, procedure: Procedure, slip: random.Random | None = None, slip_rate: float = 0.0) -> str:
    """The solution text of a procedure, ending `#### answer`. A slip writes one wrong value and goes on with it."""
    known = dict(problem.numbers)
    lines: list[str] = []
    value = 0
    for label, equation, value in equations(procedure, known):
        if slip is not None and slip.random() < slip_rate:
            value = known[label] = max(1, value + slip.choice((-10, -2, -1, 1, 2, 10)))
        lines.append(f"{label}: {equation}={value}.")
    return " ".join([*lines, f"#### {value}"])


def equations(procedure: Procedure, known: dict[str, int]) -> Iterator[tuple[str, str, int]]:
    """Each step as (label, `left op right`, value); `known` is updated, so a caller may change a value on the way."""
    for step in procedure.steps:
        left, right = operand(step.left, known), operand(step.right, known)
        value = calculate(left, step.operator, right)
        known[step.label] = 0 if value is None else value
        yield step.label, f"{left}{step.operator}{right}", known[step.label]
