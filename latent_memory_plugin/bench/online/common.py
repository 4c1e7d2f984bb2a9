"""What all methods of a run share: the model, the plain rollouts, the keys, and the seeds."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from latent_memory_plugin import answers
from latent_memory_plugin.answers.judge import Judge
from latent_memory_plugin.answers.vote import vote
from latent_memory_plugin.bench.online.meter import Metered
from latent_memory_plugin.config import SamplingConfig
from latent_memory_plugin.engines.base import Model
from latent_memory_plugin.records import Rollout, Vote

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

PROBLEMS_AT_ONCE = 8
"""Problems of the stream that are answered before any of them is learnt from."""
BELIEVED = 0.95
"""Confidence from which the baselines believe a vote of the pool. The memory asks for more and samples on until it has
it; the pool is all the baselines have. On a stream of the tuning families 96 % of the votes this sure are right;
in-context learning came to the same with every value from 0 to 0.98, an offline LoRA to less with 0.9."""
DRAWN_AT_ONCE = 40
"""Problems whose plain rollouts are drawn together."""

Advance = Callable[[int], None]
"""Called with the number of problems done since the last call."""
Timed = tuple[tuple[Rollout, ...], float]
"""Rollouts and the seconds it took to sample them."""
Draw = Callable[[list[str]], list[list[Rollout]]]
"""Questions → rollouts of each."""


@dataclass(frozen=True)
class Settings:
    """What one run of the stream is made with; results made with other settings are made anew."""

    seed: int = 0
    """Draws the stream and all samples."""
    samples: int = 4
    """Answers per problem and method; the accuracy of a problem is the share of them that is right."""
    voters: int = 16
    """Plain rollouts of each problem, for the votes and for the majority."""

    # Far from every configured seed: a rollout drawn twice from one seed would be the same rollout twice.
    @property
    def pool_seed(self) -> int:
        """Of the plain rollouts."""
        return 1_000_000 + 1_000 * self.seed

    @property
    def answer_seeds(self) -> list[int]:
        """Of each answer. All methods answer with the same ones: where none reads anything, all say the same."""
        return [self.pool_seed + 1 + number for number in range(self.samples)]

    @property
    def measure_seed(self) -> int:
        """Of fresh samples after the stream."""
        return self.pool_seed + 900


class Drawn(NamedTuple):
    """Plain rollouts of all questions."""

    rollouts: dict[str, tuple[Rollout, ...]]
    """Question → rollouts with their answers."""
    seconds: float
    """Wall time of sampling them."""

    @property
    def tokens(self) -> int:
        """Tokens sampled."""
        return sum(len(one.token_ids) for group in self.rollouts.values() for one in group)


@dataclass(frozen=True)
class Common:
    """What the methods of a run share. There is no label in it."""

    plain: Model
    """The frozen model."""
    weights: "Callable[[], tuple[PreTrainedModel, PreTrainedTokenizerBase]]"
    """A fresh copy of the model's weights, with its tokenizer, for methods that train adapters."""
    pool: Mapping[str, tuple[Rollout, ...]]
    """Question → its plain rollouts with their answers, the same for every method."""
    bare: Mapping[str, tuple[Rollout, ...]]
    """Question → the plain model's completions from the answer seeds: what is said where nothing is read."""
    token_seconds: float
    """Wall time that sampling one token of those took."""
    settings: Settings
    """Seeds and counts."""
    sampling: SamplingConfig = SamplingConfig()
    """How completions are sampled."""
    max_batch_tokens: int | None = None
    """Tokens in one forward and backward pass at most; None leaves each method what it is set to."""

    def metered(self) -> Metered:
        """The model with counters of its own."""
        return Metered(self.plain)

    @cached_property
    def questions(self) -> list[str]:
        """The questions of the stream, in order."""
        return list(self.pool)

    @cached_property
    def keys(self) -> "dict[str, np.ndarray]":
        """Question → its key (D,), by the method the memory retrieves by."""
        return dict(zip(self.questions, self.plain.keys(self.questions), strict=True))

    def vote(self, question: str, rollouts: int | None = None) -> Vote:
        """The vote of the first `rollouts` plain rollouts of a question, all of them by default."""
        return vote([rollout.answer for rollout in self.pool[question][:rollouts]])

    def winners(self, question: str, rollouts: int | None = None) -> list[Rollout]:
        """The finished ones among those rollouts that agree with their vote."""
        taken = self.vote(question, rollouts)
        some = self.pool[question][:rollouts]
        return [one for one in some if one.finished and answers.agree(one.answer, taken.answer)]


def plain_pool(model: Model, settings: Settings, sampling: SamplingConfig = SamplingConfig()) -> Draw:
    """Draws the pool: `voters` rollouts of each question."""
    return lambda some: model.sample(some, [None] * len(some), settings.voters, sampling, settings.pool_seed)


def plain_answers(model: Model, settings: Settings, sampling: SamplingConfig = SamplingConfig()) -> Draw:
    """Draws the plain answers: one completion from each answer seed, as every method samples them."""

    def draw(some: list[str]) -> list[list[Rollout]]:
        seeds, nothing = settings.answer_seeds, [None] * len(some)
        rounds = [model.sample(some, nothing, 1, sampling, seed) for seed in seeds]
        return [[group[0] for group in groups] for groups in zip(*rounds, strict=True)]

    return draw


def kept_or_drawn(draw: Draw, questions: Sequence[str], path: Path, key: dict[str, Any], advance: Advance) -> Drawn:
    """The rollouts of every question, those in the file `path` not drawn again. What is new is added to it."""
    pool = dict(_kept(path, key))
    missing = [question for question in questions if question not in pool]
    advance(len(questions) - len(missing))
    if missing:
        _begin(path, key, pool)
    for start in range(0, len(missing), DRAWN_AT_ONCE):
        some = missing[start : start + DRAWN_AT_ONCE]
        began = time.monotonic()
        groups = [answered(group) for group in draw(some)]
        seconds = (time.monotonic() - began) / len(some)
        fresh = {question: (group, seconds) for question, group in zip(some, groups, strict=True)}
        _append(path, fresh)
        pool |= fresh
        advance(len(some))
    return Drawn({one: pool[one][0] for one in questions}, sum(pool[one][1] for one in questions))


def answered(group: Sequence[Rollout]) -> tuple[Rollout, ...]:
    """The rollouts with their extracted answers."""
    return tuple(one.model_copy(update={"answer": Judge().answer(one)}) for one in group)


def _kept(path: Path, key: dict[str, Any]) -> Iterator[tuple[str, Timed]]:
    """What the file holds for this key; a line that an interrupted run left half written ends it."""
    try:
        first, *lines = path.read_text(encoding="utf-8").split("\n")
        if json.loads(first) != json.loads(json.dumps(key)):
            return
        for line in lines:
            row = json.loads(line)
            yield row["question"], (tuple(Rollout(**one) for one in row["rollouts"]), row["seconds"])
    except (OSError, ValueError, KeyError, TypeError):
        return


def _begin(path: Path, key: dict[str, Any], pool: Mapping[str, Timed]) -> None:
    """Writes the file anew with what is kept of it: no half-written line is left that something could be added to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    passing = path.with_suffix(".tmp")
    passing.write_text(json.dumps(key) + "\n", encoding="utf-8")
    _append(passing, pool)
    passing.replace(path)


def _append(path: Path, fresh: Mapping[str, Timed]) -> None:
    rows = (
        {"question": question, "seconds": seconds, "rollouts": [one.model_dump() for one in group]}
        for question, (group, seconds) in fresh.items()
    )
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
