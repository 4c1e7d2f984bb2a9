"""Answers → Vote: merging, share, entropy, ties, and votes without any answer."""

import math
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latent_memory_plugin.errors import InputError
from latent_memory_plugin.vote import vote

SPELLINGS = ["0.5", "1/2", "\\frac{1}{2}", "7", "7.0", None]
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
