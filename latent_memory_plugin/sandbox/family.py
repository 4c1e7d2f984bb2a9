"""A family of word problems: how its problems are drawn, worded and solved, rightly and by misconception.

A procedure is written as `label = left op right; ...` with whole numbers, drawn letters and earlier labels as operands
and one of `+ - * /`. It is solved step by step and its last value is the answer:

    sum = a + b; mean = sum / 2      →      "sum: 12+8=20. mean: 20/2=10. #### 10"
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

Split = Literal["tuning", "held-out"]
World = Literal["plain", "hard"]
Kind = Literal["ways", "reworded", "look-alike", "misled"]
"""What makes a family of the hard half hard.

`ways`: the right procedure is written in several ways, and a misconception is likelier than any of them.
`reworded`: its phrasings share no words that carry meaning.
`look-alike`: its phrasings are nearly those of another family, which needs another procedure.
`misled`: a misconception is likelier than the right procedure, however it is written.
"""

NAMES = (
    "Ada",
    "Ben",
    "Cleo",
    "Dan",
    "Eve",
    "Finn",
    "Gus",
    "Hana",
    "Ivy",
    "Jon",
    "Kai",
    "Lena",
    "Max",
    "Nora",
    "Omar",
    "Pia",
)
THINGS = ("apples", "books", "cards", "coins", "cups", "eggs", "pens", "plums", "shells", "stamps", "stones", "toys")
LARGEST_VALUE = 999


@dataclass(frozen=True)
class Step:
    """One line of a procedure: `label: left op right = value`."""

    label: str
    left: str
    operator: str
    right: str


@dataclass(frozen=True)
class Procedure:
    """A way to solve the problems of a family, right or wrong."""

    name: str
    steps: tuple[Step, ...]

    @classmethod
    def parse(cls, name: str, text: str) -> "Procedure":
        """From `label = left op right; ...`; raises ValueError on anything else."""
        steps: list[Step] = []
        for line in text.split(";"):
            label, equation = line.split("=")
            left, operator, right = equation.split()
            steps.append(Step(label.strip(), left, operator, right))
        return cls(name, tuple(steps))

    def values(self, numbers: Mapping[str, int]) -> tuple[int, ...] | None:
        """The value of each step; None where one is not a whole number from 1 to `LARGEST_VALUE`."""
        known = dict(numbers)
        results: list[int] = []
        for step in self.steps:
            value = calculate(operand(step.left, known), step.operator, operand(step.right, known))
            if value is None or not 1 <= value <= LARGEST_VALUE:
                return None
            known[step.label] = value
            results.append(value)
        return tuple(results)


@dataclass(frozen=True)
class WordProblem:
    """One problem of a family, with the label that only measurements may see."""

    family: "Family"
    phrasing: int
    """Index of the wording, 0 to 3 or more."""
    numbers: Mapping[str, int]
    """The drawn letters."""
    question: str
    """The problem in words."""
    answer: str
    """The right answer as text."""


@dataclass(frozen=True)
class Family:
    """Problems that one procedure solves."""

    name: str
    split: Split
    ranges: Mapping[str, tuple[int, int]]
    """Smallest and largest value of each drawn letter."""
    phrasings: tuple[str, ...]
    """Wordings with `{letter}`, `{name}`, `{other}` and `{thing}` to fill in."""
    belief: tuple[float, ...]
    """For each phrasing the share of training solutions that use the right procedure."""
    right: str
    """The right procedure."""
    wrong: Mapping[str, str]
    """Misconceptions by name, the commonest first."""
    also_right: tuple[str, ...] = ()
    """Other ways to write the right procedure, each as likely as `right`."""
    leading: float = 0.6
    """Share of the commonest misconception among wrong training solutions."""
    kinds: tuple[Kind, ...] = ()
    """What makes it hard; empty in the plain half."""
    twin: str = ""
    """Name of the family that it looks like."""

    @property
    def world(self) -> World:
        """The half of the embedded world that it belongs to."""
        return "hard" if self.kinds else "plain"

    @cached_property
    def ways(self) -> tuple[Procedure, ...]:
        """The ways to write the right procedure."""
        return tuple(Procedure.parse("right", text) for text in (self.right, *self.also_right))

    @cached_property
    def misconceptions(self) -> tuple[Procedure, ...]:
        """The wrong procedures, the commonest first."""
        return tuple(Procedure.parse(name, text) for name, text in self.wrong.items())

    @property
    def procedures(self) -> tuple[Procedure, ...]:
        """The ways to write the right procedure, then the misconceptions."""
        return (*self.ways, *self.misconceptions)

    def draw(self, rng: random.Random, phrasing: int | None = None) -> WordProblem:
        """A problem whose procedures all come out whole and whose misconceptions all miss the right answer."""
        chosen = rng.randrange(len(self.phrasings)) if phrasing is None else phrasing
        numbers, answer = self._numbers(rng)
        name, other = rng.sample(NAMES, 2)
        question = self.phrasings[chosen].format(name=name, other=other, thing=rng.choice(THINGS), **numbers)
        return WordProblem(self, chosen, numbers, question, str(answer))

    def _numbers(self, rng: random.Random) -> tuple[dict[str, int], int]:
        while True:
            numbers = {letter: rng.randint(low, high) for letter, (low, high) in self.ranges.items()}
            results = [procedure.values(numbers) for procedure in self.procedures]
            solved = [values[-1] for values in results if values is not None]
            if len(solved) == len(results) and solved[0] not in solved[len(self.ways) :]:
                return numbers, solved[0]


def operand(text: str, known: Mapping[str, int]) -> int:
    """The value of a number, a drawn letter or an earlier label."""
    return int(text) if text.isdigit() else known[text]


def calculate(left: int, operator: str, right: int) -> int | None:
    """`left operator right` in whole numbers; None where a division leaves a rest."""
    if operator == "+":
        return left + right
    if operator == "-":
        return left - right
    if operator == "*":
        return left * right
    if operator == "/":
        return left // right if right and left % right == 0 else None
    raise ValueError(f"Unknown operator {operator!r}; expected one of + - * /.")
