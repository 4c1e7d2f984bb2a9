"""Answers → Vote: merging, share, entropy, ties, how sure the winner is, and how many more rollouts are wanted."""

import math
import random
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_memory_plugin.answers.vote import vote
from latent_memory_plugin.config import VoteConfig
from latent_memory_plugin.errors import InputError
from latent_memory_plugin.learning.rollouts import wanted
from latent_memory_plugin.records import Vote

SPELLINGS = ["0.5", "1/2", "\\frac{1}{2}", "7", "7.0", None]
CONFIG = VoteConfig(rollouts=8, max_rollouts=64, confidence=0.95)
ANSWERS = st.lists(st.sampled_from(SPELLINGS), min_size=1, max_size=12)


def test_equal_answers_are_merged_before_counting() -> None:
    taken = vote(["3", "0.5", "1/2", "\\frac{1}{2}", "3"])
    assert (taken.answer, taken.share) == ("0.5", 0.6)
    assert taken.counts == (("0.5", 3), ("3", 2))


def test_the_winner_is_spelled_as_most_rollouts_spell_it() -> None:
    assert vote(["0.5", "1/2", "1/2", "3"]).answer == "1/2"


def test_the_share_and_the_entropy_count_rollouts_without_an_answer() -> None:
    taken = vote(["4", None, "4", None, None, "5"])
    assert taken.share == 2 / 6
    assert taken.counts == ((None, 3), ("4", 2), ("5", 1))
    assert taken.entropy == pytest.approx(-sum(p * math.log(p) for p in (3 / 6, 2 / 6, 1 / 6)))


def test_of_tied_answers_the_one_seen_first_wins_and_the_tie_is_said() -> None:
    taken = vote(["9", "8", "8", "9"])
    assert (taken.answer, taken.tied) == ("9", True)
    assert not vote(["9", "8", "9"]).tied


def test_as_many_rollouts_without_an_answer_are_no_tie() -> None:
    assert not vote(["9", None]).tied


def test_no_answer_at_all_is_a_vote_that_says_so() -> None:
    taken = vote([None, None])
    assert (taken.answer, taken.share, taken.entropy, taken.counts, taken.tied) == (None, 0.0, 0.0, ((None, 2),), False)


def test_agreement_of_all_has_no_entropy() -> None:
    taken = vote(["7", "7.0", "7"])
    assert (taken.share, taken.entropy) == (1.0, 0.0)


def test_a_vote_without_rollouts_is_refused() -> None:
    with pytest.raises(InputError, match="at least one rollout"):
        vote([])


def test_a_text_in_place_of_a_list_is_refused() -> None:
    with pytest.raises(InputError, match=r"'18'.*list"):
        vote("18")


@pytest.mark.parametrize("answers", [["50%", "0.5", "50"], ["0.5", "50", "50%"], ["50", "50%", "0.5"]])
def test_a_percent_never_joins_its_share_with_its_figure(answers: list[str]) -> None:
    assert sorted(count for _, count in vote(answers).counts) == [1, 2]


def test_another_equality_may_be_passed() -> None:
    assert vote(["a", "A", "b"], equal=lambda a, b: a.lower() == b.lower()).counts == (("a", 2), ("b", 1))


def test_equality_is_asked_once_for_each_pair_of_spellings_at_most() -> None:
    asked: Counter[tuple[str, str]] = Counter()

    def equal(a: str, b: str) -> bool:
        asked[min(a, b), max(a, b)] += 1
        return a[0] == b[0]

    vote([f"{n % 5}{n % 10}" for n in range(1000)], equal=equal)
    assert max(asked.values()) == 1
    assert len(asked) <= 10 * 9 / 2


@given(ANSWERS, st.randoms())
def test_counts_cover_every_rollout_in_any_order(answers: list[str | None], rng: random.Random) -> None:
    taken, shuffled = vote(answers), vote(rng.sample(answers, len(answers)))
    assert taken.total == len(answers)
    assert sorted(count for _, count in taken.counts) == sorted(count for _, count in shuffled.counts)
    assert (taken.share, taken.tied) == (shuffled.share, shuffled.tied)
    assert taken.entropy == pytest.approx(shuffled.entropy)


@given(ANSWERS)
def test_a_vote_is_what_counting_exact_values_gives(answers: list[str | None]) -> None:
    value = {"0.5": 1, "1/2": 1, "\\frac{1}{2}": 1, "7": 7, "7.0": 7, None: None}
    counts = Counter(value[answer] for answer in answers)
    taken = vote(answers)
    assert sorted(count for _, count in taken.counts) == sorted(counts.values())
    assert taken.share == max((n for answer, n in counts.items() if answer is not None), default=0) / len(answers)
    assert 0 <= taken.entropy <= math.log(len(counts)) + 1e-12


# -- how sure the winner is --------------------------------------------------------------------------------------------


def exact(ahead: int, behind: int) -> Fraction:
    """The integral of p^ahead (1-p)^behind over (1/2, 1), term by term, divided by that over (0, 1)."""
    upper = Fraction(0)
    for power in range(behind + 1):
        degree = ahead + power + 1
        upper += Fraction((-1) ** power * math.comb(behind, power), degree) * (1 - Fraction(1, 2**degree))
    return upper * (ahead + behind + 1) * math.comb(ahead + behind, ahead)


def counted(first: int, second: int = 0, blank: int = 0, *, confirmed: bool = False) -> Vote:
    return vote(["2"] * first + ["0"] * second + [None] * blank, confirmed=confirmed)


@pytest.mark.parametrize("ahead", range(1, 9))
def test_the_confidence_is_the_posterior_chance_that_the_winner_leads(ahead: int) -> None:
    for behind in range(ahead + 1):
        assert counted(ahead, behind).confidence == pytest.approx(float(exact(ahead, behind)), abs=1e-14)


def test_the_confidence_is_what_drawing_from_the_posterior_gives() -> None:
    rng = np.random.default_rng(0)
    for ahead, behind in [(3, 2), (12, 4), (40, 30), (300, 280)]:
        share = (rng.beta(ahead + 1, behind + 1, 200_000) > 0.5).mean()
        assert counted(ahead, behind).confidence == pytest.approx(share, abs=0.004)


def test_the_confidence_compares_the_two_leading_answers_and_no_others() -> None:
    crowd = vote(["2"] * 5 + ["0"] * 3 + ["1", "4", "6"] + [None] * 20)
    assert crowd.confidence == counted(5, 3).confidence


@given(st.integers(1, 24), st.integers(0, 60))
def test_the_confidence_grows_with_the_lead_and_with_the_count_at_one_share(ahead: int, behind: int) -> None:
    taken = counted(ahead + behind, behind)
    assert 0.5 <= taken.confidence < counted(ahead + behind + 1, behind).confidence
    assert taken.confidence < counted(2 * (ahead + behind), 2 * behind).confidence
    if behind:
        assert taken.confidence < counted(ahead + behind, behind - 1).confidence


def test_a_tie_has_even_odds_and_no_trust() -> None:
    for each in (1, 4, 32):
        assert (counted(each, each).confidence, counted(each, each).trust) == (0.5, 0.0)


def test_a_vote_without_an_answer_has_neither_confidence_nor_trust() -> None:
    for confirmed in (False, True):
        taken = counted(0, blank=4, confirmed=confirmed)
        assert (taken.confidence, taken.trust, taken.confirmed) == (0.0, 0.0, False)


def test_a_confirmed_vote_is_certain_however_few_agree() -> None:
    taken = counted(1, 1, 6, confirmed=True)
    assert (taken.confidence, taken.trust) == (1.0, 1.0)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 5))
def test_trust_is_what_the_confidence_has_over_even_odds(first: int, second: int, blank: int) -> None:
    taken = counted(first, second, blank + 1)
    assert taken.trust == pytest.approx(max(0.0, 2 * taken.confidence - 1))
    assert 0 <= taken.trust <= 1


# -- how many more -----------------------------------------------------------------------------------------------------


def stream(rng: random.Random, chance: float, config: VoteConfig) -> Vote:
    """The vote of a model that gives the first answer with this chance, sampled until no more rollouts are wanted."""
    answers: list[str | None] = []
    missing = config.rollouts
    while missing:
        answers += ["2" if rng.random() < chance else "0" for _ in range(missing)]
        missing = wanted(vote(answers), config)
    return vote(answers)


def test_a_clear_vote_wants_no_more() -> None:
    assert counted(8).confidence >= CONFIG.confidence > counted(6, 2).confidence
    assert wanted(counted(8), CONFIG) == 0
    assert wanted(counted(6, 2), CONFIG) == 8


def test_a_vote_is_clear_where_its_confidence_is_just_reached() -> None:
    taken = counted(5, 2)
    reached, above = (
        CONFIG.model_copy(update={"confidence": level}) for level in (taken.confidence, taken.confidence + 1e-12)
    )
    assert (wanted(taken, reached), wanted(taken, above)) == (0, above.rollouts)


def test_a_confirmed_vote_wants_no_more() -> None:
    assert wanted(counted(1, blank=7, confirmed=True), CONFIG) == 0


def test_a_vote_without_an_answer_wants_more_until_none_are_left() -> None:
    config = VoteConfig(rollouts=8, max_rollouts=20, confidence=0.95)
    assert [wanted(counted(0, blank=blank), config) for blank in (8, 16, 20)] == [8, 4, 0]


@given(st.integers(0, 70), st.integers(0, 70), st.integers(0, 70), st.floats(0.5, 0.999), st.integers(1, 30))
def test_more_are_wanted_only_where_the_leader_could_still_become_clear(
    first: int, second: int, blank: int, confidence: float, rollouts: int
) -> None:
    config = VoteConfig(rollouts=rollouts, max_rollouts=64, confidence=confidence)
    taken = counted(first, second, blank + 1)
    left = config.max_rollouts - taken.total
    ahead, behind = max(first, second), min(first, second)
    hopeful = left > 0 and counted(ahead + left, behind).confidence >= confidence
    expected = min(max(rollouts, taken.total), left) if hopeful and taken.confidence < confidence else 0
    assert wanted(taken, config) == expected


@given(st.randoms(use_true_random=False), st.floats(0, 1), st.integers(1, 12), st.integers(0, 40))
def test_sampling_ends_and_never_takes_more_than_allowed(
    rng: random.Random, chance: float, rollouts: int, more: int
) -> None:
    config = VoteConfig(rollouts=rollouts, max_rollouts=rollouts + more, confidence=0.95)
    assert rollouts <= stream(rng, chance, config).total <= rollouts + more


def test_a_clear_leader_costs_fewer_rollouts_than_a_close_race() -> None:
    rng = random.Random(0)
    clear, open_, close = (
        float(np.mean([stream(rng, chance, CONFIG).total for _ in range(200)])) for chance in (0.95, 0.75, 0.55)
    )
    assert clear < 10 < open_ < 24 < close


def test_the_votes_that_are_believed_name_the_likelier_answer_as_often_as_they_say() -> None:
    rng = random.Random(1)
    chances = [rng.random() for _ in range(3000)]  # of all models equally likely, as the posterior assumes
    taken = [(chance, stream(rng, chance, CONFIG)) for chance in chances]
    believed = [(one.answer == "2") == (chance > 0.5) for chance, one in taken if one.confidence >= CONFIG.confidence]
    assert np.mean(believed) >= CONFIG.confidence
