"""What a model does on the embedded world without memory: one sample, the majority of many, and greedy, per family."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from latent_memory_plugin import answers
from latent_memory_plugin.answers.judge import Judge
from latent_memory_plugin.answers.vote import vote
from latent_memory_plugin.config import ModelConfig, SamplingConfig
from latent_memory_plugin.engines.base import Model
from latent_memory_plugin.errors import InputError
from latent_memory_plugin.records import Vote
from latent_memory_plugin.sandbox.family import WordProblem
from latent_memory_plugin.sandbox.world import FAMILIES, stream

LARGEST_FAMILY = 1000
"""Problems per family at most: the smallest families have not many more."""
PROBLEMS_AT_ONCE = 40
"""Small families are sampled together up to this number of problems."""

Progress = Callable[[int, int, str], None]
"""(families done, families in all, name of the last one)."""


def measure(
    model: Model | str | None = None,
    problems_per_family: int = 40,
    rollouts: int = 16,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Accuracies 0 to 1 of each family and their mean over the families: `one_sample`, `majority_{rollouts}`, `greedy`.

    `model` is a loaded one, a path or hub id, or None for the embedded one. The same seed draws the same problems and
    the same samples. Raises InputError for counts below 1 or too many problems, ModelLoadError.
    """
    if rollouts < 1 or not 1 <= problems_per_family <= LARGEST_FAMILY:
        raise InputError(
            f"{problems_per_family!r} problems with {rollouts!r} rollouts cannot be measured; ask for 1 to "
            f"{LARGEST_FAMILY} problems per family and at least 1 rollout."
        )
    began = time.monotonic()
    loaded = _loaded(model)
    families: dict[str, dict[str, Any]] = {}
    together = max(1, PROBLEMS_AT_ONCE // problems_per_family)
    for start in range(0, len(FAMILIES), together):
        some = FAMILIES[start : start + together]
        problems = [problem for family in some for problem in stream([family], problems_per_family, seed)]
        scores = _scores(loaded, problems, rollouts, seed)
        for family in some:
            mine = [score for problem, score in zip(problems, scores, strict=True) if problem.family is family]
            families[family.name] = {"split": family.split, **_means(mine), "problems": len(mine)}
        if progress is not None:
            progress(len(families), len(FAMILIES), some[-1].name)
    names = ("one_sample", f"majority_{rollouts}", "greedy")
    return {
        "families": families,
        "mean": _means([{name: one[name] for name in names} for one in families.values()]),
        "model": loaded.name,
        "rollouts": rollouts,
        "seconds": round(time.monotonic() - began, 1),
        "seed": seed,
    }


def _loaded(model: Model | str | None) -> Model:
    if model is not None and not isinstance(model, str):
        return model
    from latent_memory_plugin.engines.hf import LanguageModel

    return LanguageModel.load(ModelConfig(name=model))


def _scores(model: Model, problems: Sequence[WordProblem], rollouts: int, seed: int) -> list[dict[str, float]]:
    """How each problem went, by name."""
    sampled = _votes(model, problems, rollouts, SamplingConfig(), seed)
    greedy = _votes(model, problems, 1, SamplingConfig(temperature=0.0), seed)
    return [
        {
            "one_sample": _share_right(taken, problem.answer),
            f"majority_{rollouts}": float(answers.agree(taken.answer, problem.answer)),
            "greedy": _share_right(likeliest, problem.answer),
        }
        for problem, taken, likeliest in zip(problems, sampled, greedy, strict=True)
    ]


def _votes(
    model: Model, problems: Sequence[WordProblem], rollouts: int, sampling: SamplingConfig, seed: int
) -> list[Vote]:
    questions = [problem.question for problem in problems]
    groups = model.sample(questions, [None] * len(questions), rollouts, sampling, seed)
    return [vote([Judge().answer(rollout) for rollout in group]) for group in groups]


def _share_right(taken: Vote, label: str) -> float:
    return sum(count for answer, count in taken.counts if answers.agree(answer, label)) / taken.total


def _means(scores: Sequence[dict[str, float]]) -> dict[str, float]:
    """The mean of each name."""
    return {name: round(sum(score[name] for score in scores) / len(scores), 4) for name in scores[0]}
