"""Every statistic of `bench online` against a reference that was computed another way."""

import itertools
import math

import numpy as np
import pytest

from latent_memory_plugin.bench.online.statistics import interval, mean, paired, pass_at_k


def test_the_interval_of_many_values_is_the_one_of_the_normal_distribution() -> None:
    values = np.random.default_rng(0).normal(0.4, 0.3, 2_000)
    found = interval(list(values))
    assert found is not None
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert found.mean == pytest.approx(values.mean(), abs=1e-4)
    assert found.low == pytest.approx(values.mean() - half, abs=0.05 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.05 * half)


def test_nineteen_of_twenty_intervals_hold_the_true_mean() -> None:
    rng = np.random.default_rng(1)
    drawn = [interval(list(rng.binomial(4, 0.3, 60) / 4), seed=number) for number in range(400)]
    held = sum(one is not None and one.low <= 0.3 <= one.high for one in drawn)
    assert 0.92 <= held / 400 <= 0.98


def test_values_that_are_all_the_same_have_an_interval_of_no_width_and_none_have_none() -> None:
    assert interval([0.5] * 7) == (0.5, 0.5, 0.5)
    assert interval([]) is None and paired([], []) is None and mean([]) is None


def test_a_paired_interval_is_that_of_the_differences_and_ignores_what_both_sides_share() -> None:
    rng = np.random.default_rng(2)
    difficulty = rng.random(200)
    better, worse = difficulty + 0.1 + rng.normal(0, 0.01, 200), difficulty + rng.normal(0, 0.01, 200)
    found = paired(list(better), list(worse))
    assert found == interval(list(better - worse))
    assert found is not None and found.low < 0.1 < found.high and found.high - found.low < 0.01


def test_two_sides_of_different_length_are_no_pairs() -> None:
    with pytest.raises(ValueError, match=r"shorter|longer|argument"):
        paired([1.0, 0.0], [1.0])


@pytest.mark.parametrize(("samples", "right"), [(6, 0), (6, 1), (6, 3), (6, 6), (8, 2)])
def test_pass_at_k_is_the_share_of_all_choices_of_k_samples_that_hold_a_right_one(samples: int, right: int) -> None:
    outcomes = [True] * right + [False] * (samples - right)
    for k in range(1, samples + 1):
        choices = list(itertools.combinations(outcomes, k))
        assert pass_at_k(samples, right, k) == pytest.approx(sum(map(any, choices)) / len(choices))


def test_pass_at_k_is_unbiased() -> None:
    rng, chance, k = np.random.default_rng(3), 0.2, 4
    estimates = [pass_at_k(16, int(rng.binomial(16, chance)), k) for _ in range(20_000)]
    assert np.mean(estimates) == pytest.approx(1 - (1 - chance) ** k, abs=0.005)


@pytest.mark.parametrize("k", [0, 9])
def test_pass_at_k_refuses_a_k_that_the_samples_do_not_allow(k: int) -> None:
    with pytest.raises(ValueError, match=rf"pass@{k}.*8 samples"):
        pass_at_k(8, 3, k)
