"""What a model does on the embedded world without memory: one sample, the majority of many, and greedy, by family."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

from latent_memory_plugin import answers
from latent_memory_plugin.answers.judge import Judge
from latent_memory_plugin.answers.vote import vote
from latent_memory_plugin.config import ModelConfig, SamplingConfig
from latent_memory_plugin.engines.base import Model
from latent_memory_plugin.errors import InputError
from latent_memory_plugin.records import Vote
from latent_memory_plugin.sandbox.family import Family, Split, WordProblem, World
from latent_memory_plugin.sandbox.world import MODELS, families, stream

LARGEST_FAMILY = 500
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
    world: World = "plain",
    split: Split | Literal["all"] = "all",
) -> dict[str, Any]:
    """Accuracies 0 to 1 of each family, `one_sample`, `majority_{rollouts}` and `greedy`, and their means over the
    families: all that are measured, those of a split, and those of a kind in a split.

    `model` is a loaded one, a path or hub id, or None for the one that was trained on this half of the world. The same
    seed draws the same problems and the same samples. Raises InputError for counts below 1, too many problems or an
    unknown world or split, ModelLoadError.
    """
    if rollouts < 1 or not 1 <= problems_per_family <= LARGEST_FAMILY:
        raise InputError(
            f"{problems_per_family!r} problems with {rollouts!r} rollouts cannot be measured; ask for 1 to "
            f"{LARGEST_FAMILY} problems per family and at least 1 rollout."
        )
    if world not in MODELS:
        raise InputError(f"There is no world {world!r}; choose {' or '.join(map(repr, MODELS))}.")
    began = time.monotonic()
    chosen = families(split, world)
    loaded = _loaded(MODELS[world] if model is None else model)
    measured = _families(loaded, chosen, problems_per_family, rollouts, seed, progress)
    return {
        "families": measured,
        **_summary(list(measured.values()), ("one_sample", f"majority_{rollouts}", "greedy")),
        "model": loaded.name,
        "world": world,
        "rollouts": rollouts,
        "seconds": round(time.monotonic() - began, 1),
        "seed": seed,
    }


def _families(
    model: Model, chosen: Sequence[Family], each: int, rollouts: int, seed: int, progress: Progress | None
) -> dict[str, dict[str, Any]]:
    """What each family came to, by its name, from `each` problems of it."""
    measured: dict[str, dict[str, Any]] = {}
    together = max(1, PROBLEMS_AT_ONCE // each)
    for start in range(0, len(chosen), together):
        some = chosen[start : start + together]
        problems = [problem for family in some for problem in stream([family], each, seed)]
        scores = _scores(model, problems, rollouts, seed)
        for family in some:
            mine = [score for problem, score in zip(problems, scores, strict=True) if problem.family is family]
            facts = {"split": family.split, "kinds": list(family.kinds)}
            measured[family.name] = {**facts, **_means(mine), "problems": len(mine)}
        if progress is not None:
            progress(len(measured), len(chosen), some[-1].name)
    return measured


def _summary(measured: Sequence[dict[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """Means over all families, over those of each split, and over those of each kind in each split."""

    def mean(split: str | None = None, kind: str | None = None) -> dict[str, float]:
        of = [one for one in measured if split in (None, one["split"]) and (kind is None or kind in one["kinds"])]
        return _means([{name: one[name] for name in names} for one in of])

    splits = sorted({one["split"] for one in measured}, reverse=True)
    kinds = sorted({(kind, one["split"]) for one in measured for kind in one["kinds"]})
    by_kind: dict[str, dict[str, Any]] = {kind: {} for kind, _ in kinds}
    for kind, split in kinds:
        by_kind[kind][split] = mean(split, kind)
    return {"mean": mean(), "splits": {split: mean(split) for split in splits}, "kinds": by_kind}


def _loaded(model: Model | str) -> Model:
    if not isinstance(model, str):
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
