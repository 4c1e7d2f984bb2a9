"""Keys tell families apart across phrasings: the claims of docs/concepts.md, measured on the tuning families."""

from typing import Literal, NamedTuple

import numpy as np
import pytest

from latent_memory_plugin.config import RetrieveConfig
from latent_memory_plugin.engines.hf import LanguageModel
from latent_memory_plugin.keys import make
from latent_memory_plugin.keys.centre import CENTRE_QUESTIONS, unit_keys
from latent_memory_plugin.sandbox.world import families, stream

PROBLEMS = stream(families("tuning"), 240, 5)
QUESTIONS = [problem.question for problem in PROBLEMS]


class Separation(NamedTuple):
    """What the similarities of pairs of questions tell."""

    area: float
    """Chance that a pair of one family in two phrasings is nearer than a pair of two families."""
    reworded: float
    """Share of the pairs of one family in two phrasings that are near enough."""
    same: float
    """Share of the pairs of one family in the same phrasing that are near enough."""
    apart: float
    """Share of the pairs of two families that are near enough."""


def separation(keys: np.ndarray, threshold: float = RetrieveConfig().threshold) -> Separation:
    family = np.array([problem.family.name for problem in PROBLEMS])
    phrasing = np.array([problem.phrasing for problem in PROBLEMS])
    alike, worded, similarity = family[:, None] == family, phrasing[:, None] == phrasing, keys @ keys.T
    reworded, apart = similarity[alike & ~worded], np.sort(similarity[~alike])
    same = similarity[alike & worded & ~np.eye(len(keys), dtype=bool)]
    area = float((np.searchsorted(apart, reworded) / len(apart)).mean())
    return Separation(area, *(float((one >= threshold).mean()) for one in (reworded, same, apart)))


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return LanguageModel.load()


def hidden(model: LanguageModel, layer: int, pooling: Literal["mean", "last"]) -> Separation:
    raw = model.raw_keys(QUESTIONS, layer, pooling)  # (N, H)
    return separation(unit_keys(raw, model.raw_keys(CENTRE_QUESTIONS, layer, pooling).mean(0)))


def test_the_last_token_finds_paraphrases_better_than_the_mean_at_every_layer(model: LanguageModel) -> None:
    for layer in range(1, 7):
        last, mean = hidden(model, layer, "last"), hidden(model, layer, "mean")
        assert last.area > 0.99 and last.area > mean.area + 0.01, (layer, last, mean)


def test_at_the_threshold_the_middle_layers_last_token_finds_most_paraphrases_and_hardly_anything_else(
    model: LanguageModel,
) -> None:
    found = {layer: hidden(model, layer, "last") for layer in range(1, 7)}
    chosen = found[model.key_encoder.layer]
    assert chosen.reworded > 0.95 and chosen.same > 0.99 and chosen.apart < 0.002, chosen
    assert all(found[layer].reworded < chosen.reworded for layer in (1, 2)), found
    assert all(found[layer].apart > 5 * chosen.apart for layer in (4, 5, 6)), found


def test_kv_keys_are_those_of_the_middle_layers_last_token(model: LanguageModel) -> None:
    encoder = make(model, RetrieveConfig())
    assert encoder.name == "hidden-last-3-v1"
    assert separation(encoder.keys(QUESTIONS)) == hidden(model, 3, "last")


def test_input_keys_find_the_same_words_and_at_the_threshold_hardly_anything_else(model: LanguageModel) -> None:
    found = separation(make(model, RetrieveConfig(key="input")).keys(QUESTIONS))
    assert found.area > 0.95 and found.same > 0.99 and found.apart < 0.002, found
    assert 0.05 < found.reworded < 0.3, found
    lower = separation(make(model, RetrieveConfig(key="input")).keys(QUESTIONS), threshold=0.6)
    assert lower.reworded > 0.4 and lower.apart < 0.015, lower


def test_a_plain_mean_of_token_embeddings_finds_every_question_near_every_other(model: LanguageModel) -> None:
    plain, weighted = (
        hidden(model, 0, "mean"),
        separation(make(model, RetrieveConfig(key="input")).keys(QUESTIONS)),
    )
    assert plain.apart > 0.9 and plain.area < weighted.area - 0.02, (plain, weighted)
