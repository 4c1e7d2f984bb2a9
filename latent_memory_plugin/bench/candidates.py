"""`bench candidates`: how often does learning succeed, and how often does the trial know?

One neighbourhood at a time, without a stream: some problems of a family, their votes, one candidate, its trial, and its
true effect on fresh problems of the family, for which alone the labels are used.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from latent_memory_plugin.answers import agree
from latent_memory_plugin.answers.judge import Judge
from latent_memory_plugin.bench.online.effect import HARM, HELP
from latent_memory_plugin.config import Config
from latent_memory_plugin.engines import Readable
from latent_memory_plugin.engines.hf import LanguageModel
from latent_memory_plugin.keys import make_encoder
from latent_memory_plugin.learning.street import Street, run
from latent_memory_plugin.learning.work import Candidate, Scope
from latent_memory_plugin.records import Episode, Problem
from latent_memory_plugin.sandbox.family import Family, WordProblem
from latent_memory_plugin.sandbox.world import stream
from latent_memory_plugin.testing import InMemoryStore

FRESH_PROBLEMS = 50
SAMPLES = 4
SUCCESS = 0.1
"""A candidate succeeds where it lifts its family by this much, or to `EXCELLENT`."""
EXCELLENT = 0.9
SAMPLE_SEED = 3

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Tried:
    """One candidate."""

    family: str
    """Family it was learnt from."""
    parents: int
    """Episodes it was learnt from."""
    right_parents: int
    """How many of their votes are right."""
    effect: float
    """Change of the family's accuracy on fresh problems, -1 to 1."""
    after: float
    """The accuracy with it."""
    passed: bool
    """What the trial said."""
    least_gain: float
    """The lower bound the trial found."""
    seconds: float
    """From the votes to the verdict."""


class Size(NamedTuple):
    """How much is measured."""

    episodes: int = 7
    """Problems of a family that a candidate is learnt from and tried on."""
    draws: int = 2
    """Candidates of each family."""


def measure(
    config: Config,
    size: Size,
    seed: int,
    chosen: Sequence[Family],
    progress: Progress | None = None,
) -> dict[str, Any]:
    """What comes of the candidates of every family: shares over all of them, and each one."""
    model = LanguageModel.load(config.model)
    tried: list[Tried] = []
    for number, family in enumerate(chosen):
        tried += _of_family(model, config, family, size, seed)
        if progress is not None:
            progress(number + 1, len(chosen), family.name)
    return summarise(tried) | {"candidates": [asdict(one) for one in tried]}


def summarise(tried: Sequence[Tried]) -> dict[str, Any]:
    """Shares over the candidates; None where there is nothing to take a share of."""
    sound = [one for one in tried if one.right_parents == one.parents]
    helpful = [one for one in tried if one.effect > HELP]
    return {
        "tried": len(tried),
        "effect": _mean([one.effect for one in tried]),
        "after": _mean([one.after for one in tried]),
        "success": _mean([_succeeds(one) for one in tried]),
        "right_votes": len(sound),
        "success_of_right_votes": _mean([_succeeds(one) for one in sound]),
        "harmful": sum(one.effect < HARM for one in tried),
        "passed": sum(one.passed for one in tried),
        "harmful_passed": sum(one.passed and one.effect < HARM for one in tried),
        "helpful_refused": _mean([float(not one.passed) for one in helpful]),
        "seconds_each": _mean([one.seconds for one in tried]),
    }


def _of_family(model: LanguageModel, config: Config, family: Family, size: Size, seed: int) -> Iterator[Tried]:
    drawn = stream([family], FRESH_PROBLEMS + size.episodes * size.draws, seed)
    fresh, rest = drawn[:FRESH_PROBLEMS], drawn[FRESH_PROBLEMS:]
    plain = _accuracy(model, config, fresh, None)
    for start in range(0, len(rest), size.episodes):
        some = rest[start : start + size.episodes]
        seen, seconds = _consolidated(model, config, some)
        labels = {one.question: one.answer for one in some}
        for candidate in seen:
            after = _accuracy(model, config, fresh, candidate.loaded)
            parents = candidate.plan.teachers
            right = sum(one.vote is not None and agree(one.vote.answer, labels[one.question]) for one in parents)
            trial = candidate.latent.trial
            yield Tried(
                family=family.name,
                parents=len(parents),
                right_parents=right,
                effect=after - plain,
                after=after,
                passed=trial.passed,
                least_gain=trial.least_gain or 0.0,
                seconds=seconds,
            )


def _consolidated(model: LanguageModel, config: Config, some: Sequence[WordProblem]) -> tuple[list[Candidate], float]:
    """The first candidate that these problems make together, none where too few votes are clear, and its seconds."""
    seen: list[Candidate] = []
    store, encoder = InMemoryStore(), make_encoder(model, config.retrieve)
    scope = Scope("bench", model.name, model.fingerprint, encoder.name, config, Judge())
    street = Street(store, scope, lambda work: run(model, work), seen.append)
    met = [Episode(problem=Problem(question=one.question)) for one in some]
    for episode, key in zip(met, encoder.keys([one.question for one in some]), strict=True):
        store.commit(episode, key)
    gathered = street.gather(met)
    began = time.monotonic()
    for episode in gathered:
        if not seen:
            street.learn(store.episode(episode.id))
    return seen, time.monotonic() - began


def _accuracy(model: LanguageModel, config: Config, problems: Sequence[WordProblem], latent: Readable) -> float:
    """Share of right samples, `SAMPLES` for each problem."""
    questions = [one.question for one in problems]
    groups = model.sample(questions, [latent] * len(questions), SAMPLES, config.sampling, SAMPLE_SEED)
    right = [
        agree(Judge().answer(one), problem.answer)
        for problem, group in zip(problems, groups, strict=True)
        for one in group
    ]
    return sum(right) / len(right)


def _succeeds(one: Tried) -> float:
    return float(one.effect > SUCCESS or one.after >= EXCELLENT)


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), 4) if values else None
