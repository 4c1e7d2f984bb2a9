"""The trial: when a candidate passes, what its bound means, and the harm it must not do."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from memory_world import JUDGE, SUMS, episode, fake
from torch import Tensor

from latent_memory_plugin.answers import extract
from latent_memory_plugin.answers.judge import Judge
from latent_memory_plugin.config import SamplingConfig, TrialConfig
from latent_memory_plugin.errors import InputError
from latent_memory_plugin.learning.trial import Examination, Examiner, Tally, change, examine, weighted
from latent_memory_plugin.records import Episode, Trial
from latent_memory_plugin.testing import FakeModel

MODEL = fake(bias=1.0)
WITNESSES = [episode(question, 12, 4) for question in SUMS[:4]]
NEARBY = [episode(question, 2, 14) for question in SUMS[10:13]]
"""Episodes whose votes are on the second answer: a Latent that raises the first harms them."""


def latent(mean: float) -> Tensor:
    return torch.full((2, 4), mean)  # (P, H)


def examiner(model: FakeModel = MODEL, seed: int = 0, judge: Judge = JUDGE, **settings: Any) -> Examiner:
    given: dict[str, Any] = {"answers": 32, "confidence": 0.9, "min_gain": 0.0, "min_episodes": 3, **settings}
    return Examiner(model, TrialConfig(**given), SamplingConfig(), judge.score, seed)


def tried(mean: float, witnesses: Sequence[Episode] = WITNESSES, *, by: Examiner | None = None, **given: Any) -> Trial:
    return examine(by or examiner(), latent(mean), Examination(witnesses, **given))


# -- when it passes ----------------------------------------------------------------------------------------------------


def test_a_helpful_candidate_passes_and_an_idle_and_a_harmful_one_do_not() -> None:
    helpful, idle, harmful = (tried(mean) for mean in (1.0, 0.0, -1.0))
    assert helpful.passed and helpful.gain > 0.2 and "went from 0.75 to 0.98" in helpful.reason
    assert not idle.passed and abs(idle.gain) < 0.1
    assert not harmful.passed and harmful.gain < -0.3


@pytest.mark.parametrize("mean", [-1.0, 0.0, 0.1, 0.2, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("min_gain", [0.0, 0.1, 0.2])
def test_a_candidate_passes_exactly_where_its_least_gain_is_above_the_one_asked_for(
    mean: float, min_gain: float
) -> None:
    verdict = tried(mean, by=examiner(min_gain=min_gain))
    assert verdict.least_gain is not None and verdict.least_gain < verdict.gain
    assert verdict.passed == (verdict.least_gain > min_gain)
    assert ("must be above" in verdict.reason) == (not verdict.passed)


def test_what_was_examined_is_in_the_record() -> None:
    verdict = tried(1.0, nearby=NEARBY[:1])
    assert verdict.episode_ids == tuple(one.id for one in WITNESSES)
    assert verdict.nearby_ids == (NEARBY[0].id,)
    assert verdict.answers == 4 * 32
    assert verdict.agreement_before == pytest.approx(12 / 16)


def test_the_same_seed_gives_the_same_verdict_and_another_seed_other_answers() -> None:
    assert tried(0.2, by=examiner(seed=3)) == tried(0.2, by=examiner(seed=3))
    assert len({tried(0.2, by=examiner(seed=seed)).agreement_after for seed in range(5)}) > 1


def test_a_later_attempt_must_be_surer_by_the_number_of_attempts() -> None:
    verdicts = [tried(0.3, by=replace(examiner(), attempt=number)) for number in (1, 2, 5, 20)]
    bounds = [one.least_gain for one in verdicts if one.least_gain is not None]
    assert bounds == sorted(bounds, reverse=True) and len(set(bounds)) == 4
    assert replace(examiner(), attempt=2).confidence == pytest.approx(0.95)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_a_candidate_with_too_few_witnesses_does_not_pass_however_much_it_helps(count: int) -> None:
    verdict = tried(5.0, WITNESSES[:count])
    assert not verdict.passed
    assert f"needs 3 episodes whose votes can be trusted, not {count}" in verdict.reason


def test_witnesses_of_even_odds_do_not_count() -> None:
    even = [episode(question, 8, 8) for question in SUMS[20:23]]
    verdict = tried(5.0, [*WITNESSES[:2], *even])
    assert not verdict.passed and "not 2" in verdict.reason


def test_a_trial_needs_votes_with_an_answer() -> None:
    for mute in (episode(SUMS[0]), episode(SUMS[0], 0, 0, 8)):
        with pytest.raises(InputError, match=f"{mute.id}.*no vote with an answer"):
            tried(1.0, [*WITNESSES, mute])


def test_a_trial_that_was_not_made_has_not_passed_and_says_what_is_missing() -> None:
    verdict = Trial.untried("No trial yet: 2 more near episodes with a vote are needed.")
    assert not verdict.passed and verdict.least_gain is None and "2 more near episodes" in verdict.reason


def test_an_external_reward_takes_the_place_of_agreement() -> None:
    second = Judge(extract, lambda question, text: float(text.endswith(" 0")))
    verdict = tried(1.0, by=examiner(judge=second))
    assert verdict.agreement_before == pytest.approx(4 / 16) and not verdict.passed
    assert tried(-1.5, by=examiner(judge=second)).passed


# -- trust -------------------------------------------------------------------------------------------------------------


def test_an_episode_weighs_as_much_as_its_vote_is_trusted() -> None:
    witnesses = [episode(SUMS[0], 12, 4), episode(SUMS[1], 5, 3), episode(SUMS[2], 4, 3)]
    trusts = [one.vote.trust for one in witnesses if one.vote]
    verdict = tried(1.0, witnesses)
    shares = [12 / 16, 5 / 8, 4 / 7]
    assert verdict.agreement_before == pytest.approx(np.average(shares, weights=trusts))
    assert trusts[0] > 1.5 * trusts[1] > 2 * trusts[2] > 0


def test_a_vote_of_even_odds_moves_nothing() -> None:
    even = episode(SUMS[20], 8, 8)
    with_it, without = tried(0.3, [*WITNESSES, even]), tried(0.3)
    assert (with_it.gain, with_it.least_gain) == pytest.approx((without.gain, without.least_gain))


def test_doubted_votes_give_a_wider_interval_than_trusted_ones_of_the_same_shares() -> None:
    before, after = [Tally(40, 64)] * 3, [Tally(60, 64)] * 3
    trusted, doubted = [[episode(question, *counts) for question in SUMS[:3]] for counts in [(40, 24), (5, 3)]]
    sure, unsure = change(before, after, trusted), change(before, after, doubted)
    assert sure.mean == pytest.approx(unsure.mean) and sure.error < unsure.error


def test_a_weighted_mean_without_weight_is_nothing() -> None:
    assert weighted([1.0, 0.5], [0.0, 0.0]) == weighted([], []) == 0.0


# -- the bound ---------------------------------------------------------------------------------------------------------


def test_more_answers_and_more_witnesses_tighten_the_bound() -> None:
    one = [episode(SUMS[0], 48, 16)]
    errors = [
        change([Tally(0.75 * count, count)] * many, [Tally(0.9 * count, count)] * many, one * many).error
        for count, many in [(8, 3), (16, 3), (64, 3), (64, 6), (64, 12)]
    ]
    assert errors == sorted(errors, reverse=True) and errors[-1] < errors[0] / 3


def test_more_confidence_lowers_the_bound() -> None:
    bounds = [tried(0.2, by=examiner(confidence=level)).least_gain or 0 for level in (0.3, 0.5, 0.8, 0.9, 0.99, 1.0)]
    assert bounds[0] == bounds[1] == pytest.approx(tried(0.2).gain)
    assert bounds[1:] == sorted(bounds[1:], reverse=True) and bounds[-1] >= -1


def test_even_where_all_answers_agree_the_change_is_not_certain() -> None:
    sure = change([Tally(0, 8)] * 3, [Tally(8, 8)] * 3, [episode(question, 16) for question in SUMS[:3]])
    assert sure.mean == 1 and sure.error > 0.05


@pytest.mark.parametrize(("plain", "read"), [((0.6, 0.5, 0.7), (0.8, 0.75, 0.85)), ((0.5,) * 3, (0.5,) * 3)])
@pytest.mark.parametrize(("split", "above"), [((22, 8), 1.05), ((18, 12), 1.25)])
def test_the_standard_error_is_the_spread_that_the_stated_model_has(
    plain: tuple[float, ...], read: tuple[float, ...], split: tuple[int, int], above: float
) -> None:
    """Both shares are drawn; where the winner is wrong, by a chance of 1 - confidence, the change has the other sign.

    Of doubted votes the error is a little too large, never too small: the noise of their change counts as change.
    """
    rng, worlds = np.random.default_rng(0), 3000
    witnesses = [episode(question, *split) for question in SUMS[:3]]
    confidence, total = witnesses[0].vote.confidence if witnesses[0].vote else 0, sum(split)
    before, after = rng.binomial(total, plain, (worlds, 3)), rng.binomial(32, read, (worlds, 3))
    signs = np.where(rng.random((worlds, 3)) < confidence, 1, -1)
    spread = float((signs * (after / 32 - before / total)).mean(axis=1).std())
    errors = [
        change([Tally(one, total) for one in then], [Tally(one, 32) for one in now], witnesses).error
        for then, now in zip(before.tolist(), after.tolist(), strict=True)
    ]
    assert 0.95 * spread < np.mean(errors) < above * spread


def test_an_idle_candidate_passes_about_as_rarely_as_the_confidence_says() -> None:
    """The agreement before is that of the rollouts that took the vote, so chance favours it, never the candidate."""
    passed: list[bool] = []
    for seed in range(300):
        drawn = fake(bias=1.0).sample(SUMS[:4], [None] * 4, 16, SamplingConfig(), seed=seed + 1_000_000)
        seen = [sum(one.text != "#### 0" for one in group) for group in drawn]
        witnesses = [episode(question, first, 16 - first) for question, first in zip(SUMS, seen, strict=False)]
        passed.append(tried(0.0, witnesses, by=examiner(seed=seed, confidence=0.9)).passed)
    assert np.mean(passed) <= 0.12


# -- harm and rivals ---------------------------------------------------------------------------------------------------


def test_a_candidate_that_harms_nearby_is_refused_though_it_helps_at_home() -> None:
    biased = fake(bias=1.0, biases={one.question: -2.0 for one in NEARBY})
    verdict = tried(1.0, by=examiner(biased), nearby=NEARBY)
    assert not verdict.passed and verdict.least_gain is not None and verdict.least_gain > 0
    assert verdict.nearby_change is not None and verdict.nearby_change < -0.5
    assert "harms 3 episodes of other neighbourhoods" in verdict.reason


def test_a_candidate_that_leaves_nearby_as_it_was_passes() -> None:
    unmoved = fake(bias=1.0, biases={one.question: -20.0 for one in NEARBY})
    verdict = tried(1.0, by=examiner(unmoved), nearby=NEARBY)
    assert verdict.passed and verdict.nearby_change is not None and abs(verdict.nearby_change) < 0.2


def test_harm_must_be_seen_as_surely_as_help() -> None:
    slightly = fake(bias=1.0, biases={one.question: -5.5 for one in NEARBY})
    certain, likely = (tried(1.0, by=examiner(slightly, confidence=level), nearby=NEARBY[:1]) for level in (0.999, 0.5))
    assert certain.nearby_change == likely.nearby_change
    assert certain.nearby_change is not None and -0.2 < certain.nearby_change < 0
    assert "harms" in likely.reason and "harms" not in certain.reason


def test_without_episodes_nearby_nothing_is_said_of_them() -> None:
    verdict = tried(1.0)
    assert verdict.nearby_ids == () and verdict.nearby_change is None


def test_a_candidate_must_be_better_than_the_latent_in_its_place() -> None:
    same, better, worse = (tried(0.5, current=latent(mean)) for mean in (0.5, 2.0, 0.0))
    assert not same.passed and "the Latent in its place reaches" in same.reason
    assert not better.passed and "the Latent in its place reaches 1.00" in better.reason
    assert worse.passed


def test_what_the_latent_in_its_place_does_is_asked_with_the_same_draws() -> None:
    """Equal Latents reach equal agreement, whatever the seed: no lucky draw lets an equal one pass."""
    for seed in range(10):
        assert not tried(0.3, by=examiner(seed=seed), current=latent(0.3)).passed


def test_an_answer_counts_where_it_agrees_with_its_own_episodes_vote() -> None:
    mixed = [episode(SUMS[0], 12, 4), episode(SUMS[1], 12, 4), episode(SUMS[2], 4, 12)]
    verdict = tried(2.0, mixed)
    assert verdict.agreement_after == pytest.approx(2 / 3, abs=0.02)
