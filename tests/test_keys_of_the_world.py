"""Keys tell families apart across phrasings: the claim of docs/concepts.md, measured on the tuning families."""

from typing import Literal

import numpy as np
import pytest

from latent_memory_plugin.model import LanguageModel
from latent_memory_plugin.model.keys import CENTRE_QUESTIONS, unit_keys
from latent_memory_plugin.sandbox.world import families, stream


def area_under_curve(model: LanguageModel, pooling: Literal["mean", "last"]) -> float:
    """Chance that a pair of one family in two phrasings is nearer than a pair of two families."""
    problems = stream(families("tuning"), 240, 5)
    raw = model.raw_keys([problem.question for problem in problems], 3, pooling)  # (N, H)
    keys = unit_keys(raw, model.raw_keys(CENTRE_QUESTIONS, 3, pooling).mean(0))  # (N, H)
    family = np.array([problem.family.name for problem in problems])
    phrasing = np.array([problem.phrasing for problem in problems])
    same, similarity = family[:, None] == family, keys @ keys.T
    together = similarity[same & (phrasing[:, None] != phrasing)]
    apart = np.sort(similarity[~same])
    return float((np.searchsorted(apart, together) / len(apart)).mean())


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return LanguageModel.load()


def test_the_last_token_finds_paraphrases_better_than_the_mean(model: LanguageModel) -> None:
    last, mean = area_under_curve(model, "last"), area_under_curve(model, "mean")
    assert last > 0.99 and last > mean + 0.02, (last, mean)
