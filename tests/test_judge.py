"""The judge: rollouts read, votes with and without an external reward, scores, and rewards that are no use."""

import math
from typing import Any

import pytest

from latent_memory_plugin.answers import extract
from latent_memory_plugin.answers.judge import Judge, Reward
from latent_memory_plugin.errors import RewardError
from latent_memory_plugin.records import Rollout

QUESTION = "What is 6 times 7?"
PLAIN = Judge(extract)


def even(question: str, text: str) -> float:
    """Accepts completions whose last digit is even."""
    return float(text[-1] in "02468")


def read(judge: Judge, *texts: str) -> tuple[Rollout, ...]:
    return tuple(judge.read(QUESTION, Rollout(text=text)) for text in texts)


def modes(reward: Reward) -> list[Judge]:
    return [Judge(extract, reward, "replace"), Judge(extract, reward, "join")]


# -- without a reward --------------------------------------------------------------------------------------------------


def test_reading_fills_in_the_answer_and_keeps_the_rest() -> None:
    seen = Rollout(text="6*7=42.\n#### 42\n", token_ids=(1, 2), finished=False)
    assert PLAIN.read(QUESTION, seen) == seen.model_copy(update={"answer": "42"})


def test_an_answer_that_is_known_is_not_extracted_again() -> None:
    assert PLAIN.read(QUESTION, Rollout(text="#### 42", answer="41")).answer == "41"


def test_without_a_reward_the_vote_is_over_the_answers_and_confirmed_by_none() -> None:
    taken = PLAIN.vote(read(PLAIN, "#### 42", "#### 42.0", "#### 13", "hm"))
    assert taken.counts == (("42", 2), ("13", 1), (None, 1))
    assert not taken.confirmed


@pytest.mark.parametrize(("text", "worth"), [("#### 42", 1.0), ("#### 84/2", 1.0), ("#### 13", 0.0), ("hm", 0.0)])
def test_without_a_reward_the_score_is_agreement_with_the_vote(text: str, worth: float) -> None:
    assert PLAIN.score(QUESTION, "42", Rollout(text=text)) == worth


def test_a_completion_without_an_answer_does_not_agree_with_a_vote_without_one() -> None:
    assert PLAIN.score(QUESTION, None, Rollout(text="hm")) == 0.0


def test_judging_twice_gives_the_same() -> None:
    for judge in (PLAIN, *modes(even)):
        [once] = read(judge, "#### 42")
        assert judge.read(QUESTION, once) == once
        assert judge.score(QUESTION, "42", once) == judge.score(QUESTION, "42", Rollout(text="#### 42"))


# -- with a reward -----------------------------------------------------------------------------------------------------


def test_a_rejected_rollout_loses_its_vote_in_both_modes() -> None:
    for judge in modes(even):
        taken = judge.vote(read(judge, "#### 13", "#### 13", "#### 13", "#### 42", "#### 42"))
        assert (taken.answer, taken.share) == ("42", 2 / 5)
        assert taken.counts == ((None, 3), ("42", 2))


def test_a_reward_that_replaces_the_vote_vouches_for_its_winner_and_one_that_joins_does_not() -> None:
    replaces, joins = modes(even)
    texts = ["#### 42", "#### 13", "#### 15"]
    vouched, joined = replaces.vote(read(replaces, *texts)), joins.vote(read(joins, *texts))
    assert (vouched.answer, vouched.confirmed, vouched.confidence) == ("42", True, 1.0)
    assert (joined.answer, joined.confirmed, joined.confidence) == ("42", False, 0.75)


def test_a_reward_that_rejects_everything_leaves_no_answer_and_confirms_nothing() -> None:
    for judge in modes(even):
        taken = judge.vote(read(judge, "#### 13", "#### 15"))
        assert (taken.answer, taken.confirmed, taken.trust) == (None, False, 0.0)


def test_an_accepted_text_without_an_answer_is_its_own_answer_where_the_reward_replaces_the_vote() -> None:
    code = "def f(): return x"
    replaces, joins = modes(lambda question, text: 1.0)
    assert read(replaces, f"  {code}\n")[0].answer == code
    assert read(joins, code)[0].answer is None
    assert replaces.vote(read(replaces, code, code)).answer == code
    assert read(Judge(extract, lambda question, text: 0.4), code)[0].answer is None
    assert read(replaces, "  ")[0].answer is None


def test_the_score_is_the_reward_where_it_replaces_the_vote() -> None:
    judge = Judge(extract, lambda question, text: 0.625)
    assert judge.score(QUESTION, "42", Rollout(text="#### 13")) == 0.625
    assert judge.score(QUESTION, "42", Rollout(text="#### 42")) == 0.625


@pytest.mark.parametrize(("text", "worth"), [("#### 42", 1.0), ("#### 44", 0.0), ("#### 43", 0.0)])
def test_where_it_joins_the_vote_the_score_needs_agreement_and_acceptance(text: str, worth: float) -> None:
    _, joins = modes(even)
    assert joins.score(QUESTION, "42", Rollout(text=text)) == worth
    assert joins.score(QUESTION, "43", Rollout(text="#### 43")) == 0.0


def test_half_a_reward_is_acceptance_and_less_is_not() -> None:
    for worth, kept in ((0.5, 1), (0.499, 0)):
        judge = Judge(extract, lambda question, text, worth=worth: worth, "join")
        assert sum(count for answer, count in judge.vote(read(judge, "#### 42")).counts if answer) == kept


def test_a_reward_is_asked_once_about_a_rollout_and_sees_the_question_and_the_text() -> None:
    asked: list[tuple[str, str]] = []

    def reward(question: str, text: str) -> float:
        asked.append((question, text))
        return 1.0

    judge = Judge(extract, reward)
    [once] = read(judge, "#### 42")
    judge.read(QUESTION, once)
    judge.score(QUESTION, "42", once)
    judge.vote((once, once))
    assert asked == [(QUESTION, "#### 42")]


def test_a_reward_that_came_with_a_rollout_is_believed() -> None:
    given = Rollout(text="#### 13", answer="13", reward=1.0)
    assert [judge.read(QUESTION, given).reward for judge in modes(even)] == [1.0, 1.0]
    rejected = given.model_copy(update={"reward": 0.0})
    assert PLAIN.vote((rejected, rejected)).answer is None
    assert PLAIN.score(QUESTION, "13", rejected) == 0.0 < PLAIN.score(QUESTION, "13", given)


@pytest.mark.parametrize("worth", [True, 1, 0.25, "0.5"])
def test_whatever_is_a_number_from_0_to_1_is_a_reward(worth: Any) -> None:
    assert read(Judge(extract, lambda question, text: worth), "#### 42")[0].reward == float(worth)


# -- rewards that are no use -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("worth", [1.5, -0.1, math.nan, math.inf])
def test_a_reward_out_of_range_is_refused_by_value_with_the_completion(worth: float) -> None:
    for judge in modes(lambda question, text: worth):
        with pytest.raises(RewardError, match=r"must be from 0 to 1") as refused:
            judge.score(QUESTION, "42", Rollout(text="#### 42"))
        assert repr(worth) in str(refused.value) and "'#### 42'" in str(refused.value)


@pytest.mark.parametrize("worth", [None, "good", [1.0]])
def test_a_reward_that_is_no_number_is_refused(worth: Any) -> None:
    for judge in modes(lambda question, text: worth):
        with pytest.raises(RewardError, match="must return a number"):
            read(judge, "#### 42")


def test_a_reward_that_raises_is_named_with_its_error_and_the_completion() -> None:
    def reward(question: str, text: str) -> float:
        raise KeyError("tests")

    with pytest.raises(RewardError, match=r"KeyError.*tests.*'#### 42'") as refused:
        read(Judge(extract, reward), "#### 42")
    assert isinstance(refused.value.__cause__, KeyError)
