"""The stream: the problems in the order they are met, and others of the same kinds for measurements alone."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from latent_memory_plugin import questions
from latent_memory_plugin.bench.online.sets import SETS, load, load_file
from latent_memory_plugin.errors import InputError
from latent_memory_plugin.sandbox.family import Family, World
from latent_memory_plugin.sandbox.world import families, stream

SPARE_PROBLEMS = 50
"""Problems of a kind that true effects are measured on."""

Split = Literal["tuning", "held-out"]


@dataclass(frozen=True)
class Asked:
    """One problem with its label. Methods see `question` alone."""

    question: str
    """The text the model reads."""
    answer: str
    """The right answer."""
    kind: str
    """Family of the embedded world, subject of a data set, or name of a file."""
    phrasing: int | None = None
    """Number of the wording in its family; None outside the embedded world."""


@dataclass(frozen=True)
class Stream:
    """Distinct problems in the order they are met."""

    name: str
    """Split of the embedded world (`hard-` before it in the hard half), name of a data set, or stem of a file."""
    seed: int
    """Draws the problems."""
    asked: tuple[Asked, ...]
    """The problems."""
    spare: Mapping[str, tuple[Asked, ...]]
    """For each kind, problems of it that are not in the stream."""

    @property
    def kinds(self) -> dict[str, str]:
        """Question → kind."""
        return {one.question: one.kind for one in self.asked}

    @property
    def phrasings(self) -> dict[str, int | None]:
        """Question → phrasing."""
        return {one.question: one.phrasing for one in self.asked}


def open_stream(problems: str, split: Split, seed: int, first: int | None = None, world: World = "plain") -> Stream:
    """The stream that `problems` names: a number of problems of the embedded world, a data set, a data set whose rows
    are in a file (`math-500=FILE.jsonl`), or a JSONL file with `question` and `answer`.

    `first` shortens a data set or file, after it was shuffled by the seed. Raises `InputError`.
    """
    if problems.isdigit() and int(problems) > 0:
        return embedded(split, int(problems), seed, world)
    if problems in SETS:
        rows = [Asked(*row) for row in load(problems)]
        return shuffled(problems, rows, seed, first)
    name, _, file = problems.partition("=")
    if name in SETS and file:
        return shuffled(name, [Asked(*row) for row in load_file(name, Path(file))], seed, first)
    path = Path(problems)
    if not path.is_file():
        raise InputError(
            f"--problems {problems!r} is no number from 1, no file and no data set; the data sets are "
            f"{', '.join(map(repr, SETS))}."
        )
    return shuffled(path.stem, own(path), seed, first)


def embedded(split: Split, problems: int, seed: int, world: World = "plain") -> Stream:
    """A stream of one half of the embedded world."""
    chosen = families(split, world)
    drawn = [Asked(one.question, one.answer, one.family.name, one.phrasing) for one in stream(chosen, problems, seed)]
    met = {one.question for one in drawn}
    rng = random.Random(f"spare-{seed}")
    spare = {family.name: tuple(_unmet(family, met, rng)) for family in chosen}
    return Stream(split if world == "plain" else f"{world}-{split}", seed, tuple(drawn), spare)


def own(path: Path) -> list[Asked]:
    """The problems of a JSONL file with `question`, `answer` and perhaps `kind`. Raises `InputError`."""
    rows = questions.read(path)
    missing = next((row.line for row in rows if row.answer is None), None)
    if missing is not None:
        raise InputError(f"Line {missing} of {str(path)!r} has no 'answer'; the score needs one in every line.")
    return [Asked(row.problem.question, row.answer or "", path.stem) for row in rows]


def shuffled(name: str, rows: Sequence[Asked], seed: int, first: int | None = None) -> Stream:
    """The rows in random order, each question once; those after the first `first` are spare."""
    distinct = list({row.question: row for row in rows}.values())
    random.Random(f"stream-{seed}").shuffle(distinct)
    kept, rest = distinct[:first], distinct[first:] if first is not None else []
    kinds = dict.fromkeys(row.kind for row in kept)
    spare = {kind: tuple(islice((row for row in rest if row.kind == kind), SPARE_PROBLEMS)) for kind in kinds}
    return Stream(name, seed, tuple(kept), spare)


def _unmet(family: Family, met: set[str], rng: random.Random) -> list[Asked]:
    """Distinct problems of a family that are not in `met`."""
    found: dict[str, Asked] = {}
    for _ in range(40 * SPARE_PROBLEMS):
        if len(found) == SPARE_PROBLEMS:
            break
        problem = family.draw(rng)
        if problem.question not in met:
            found.setdefault(problem.question, Asked(problem.question, problem.answer, family.name, problem.phrasing))
    return list(found.values())
