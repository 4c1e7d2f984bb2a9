"""Life after the trial: answers judged by later votes and by feedback, and Latents that lose taken back."""

from typing import Any

import numpy as np
import pytest
from memory_world import JUDGE, SUMS, episode
from store_builders import TRIAL, key, latent, tensor, use

from latent_memory_plugin.config import LifeConfig
from latent_memory_plugin.errors import NotFoundError
from latent_memory_plugin.learning.lifecycle import Lifecycle, looks, loss
from latent_memory_plugin.records import LatentState, Standing, Trial, Use, of_look, question_hash
from latent_memory_plugin.testing import InMemoryStore

CONFIG = LifeConfig(min_uses=4, confidence=0.95)
FIRST, SECOND, THIRD = "1" * 32, "2" * 32, "3" * 32
"""Three versions of a Latent."""
RIGHT, WRONG = "2", "0"
"""Answers to the first question: the one its vote agrees on, and another."""
BORN, USED = 10.0, 20.0


def life(*versions: tuple[str, LatentState], passed: bool = True, **settings: Any) -> Lifecycle:
    """A store with these versions of one Latent, each the next one's predecessor."""
    store, previous = InMemoryStore(), None
    for number, (one, state) in enumerate(versions):
        trial = TRIAL if passed else Trial.untried("No trial yet.")
        store.put(latent(id=one, previous=previous, trial=trial, created=float(number)), {"latent": tensor()}, key())
        store.stand(Standing(latent_id=one, state=state, known=7, since=BORN))
        previous = one
    return Lifecycle(store, CONFIG.model_copy(update=settings))


def used(one: Lifecycle, answer: str | None, count: int = 1, latent_id: str = FIRST, **changes: Any) -> list[str]:
    """Journals so many answers to the first question; their ids."""
    begun = len(one.store.uses())
    fields = {"problem_hash": question_hash(SUMS[0]), "answer": answer, "created": USED, **changes}
    uses = [use(f"answer {number}", latent_id, **fields) for number in range(begun, begun + count)]
    one.store.record_uses(uses)
    return [made.answer_id for made in uses]


def state(one: Lifecycle, latent_id: str = FIRST) -> LatentState:
    return one.store.standing(latent_id).state


def verdicts(one: Lifecycle) -> list[tuple[bool | None, str | None]]:
    return [(made.correct, made.source) for made in one.store.uses()]


# -- who judges --------------------------------------------------------------------------------------------------------


def test_a_later_vote_judges_the_answers_given_to_its_question() -> None:
    one = life((FIRST, "live"))
    used(one, RIGHT)
    used(one, WRONG)
    used(one, None)
    used(one, RIGHT, problem_hash=question_hash(SUMS[1]))
    assert one.witness(episode(SUMS[0], 9, 3), JUDGE) == []
    assert verdicts(one) == [(True, "vote"), (False, "vote"), (False, "vote"), (None, None)]
    assert [made.expected for made in one.store.uses()] == [0.75, 0.75, 0.75, None]


def test_equal_answers_in_other_spellings_are_right() -> None:
    one = life((FIRST, "live"))
    used(one, "4/2")
    one.witness(episode(SUMS[0], 8), JUDGE)
    assert verdicts(one) == [(True, "vote")]


@pytest.mark.parametrize("counts", [(), (0, 0, 8)])
def test_an_episode_without_an_answer_judges_nothing(counts: tuple[int, ...]) -> None:
    one = life((FIRST, "live"))
    used(one, WRONG, 20)
    assert one.witness(episode(SUMS[0], *counts), JUDGE) == []
    assert set(verdicts(one)) == {(None, None)}


def test_feedback_judges_an_answer_by_its_id_and_no_other() -> None:
    one = life((FIRST, "live"))
    right, wrong, _ = used(one, RIGHT, 3)
    assert one.feedback(right, True) == one.feedback(wrong, False) == one.feedback("unheard of", False) == []
    assert verdicts(one) == [(True, "feedback"), (False, "feedback"), (None, None)]


def test_feedback_overrules_a_vote_before_and_after() -> None:
    one = life((FIRST, "live"))
    before, after = used(one, WRONG, 2)
    one.feedback(before, True)
    one.witness(episode(SUMS[0], 9, 3), JUDGE)
    one.feedback(after, True)
    one.witness(episode(SUMS[0], 9, 3), JUDGE)
    assert verdicts(one) == [(True, "feedback"), (True, "feedback")]


def test_the_first_vote_stands_and_feedback_may_change_its_mind() -> None:
    one = life((FIRST, "live"))
    [answered] = used(one, RIGHT)
    one.witness(episode(SUMS[0], 9, 3), JUDGE)
    one.witness(episode(SUMS[0], 3, 9), JUDGE)
    assert verdicts(one) == [(True, "vote")]
    one.feedback(answered, False)
    one.feedback(answered, True)
    assert verdicts(one) == [(True, "feedback")]


@pytest.mark.parametrize("correct", [True, False])
def test_feedback_on_a_plain_answer_says_nothing_of_the_latents(correct: bool) -> None:
    one = life((FIRST, "live"))
    [answered] = used(one, RIGHT, returned=False)
    assert one.feedback(answered, correct) == []
    assert verdicts(one) == [(None, None)]
    one.witness(episode(SUMS[0], 9, 3), JUDGE)
    assert verdicts(one) == [(True, "vote")]


# -- what becomes of it ------------------------------------------------------------------------------------------------


def test_a_latent_that_loses_is_suspended_with_the_numbers_in_words() -> None:
    one = life((FIRST, "live"))
    used(one, WRONG, 5)
    [changed] = one.witness(episode(SUMS[0], 9, 3), JUDGE)
    assert changed == one.store.standing(FIRST)
    assert (changed.state, changed.known) == ("suspended", 7)
    assert "0 of 5 judged answers were right, 3.8 were to be expected" in changed.reason
    assert "No earlier version" in changed.reason and changed.since > USED


@pytest.mark.parametrize("begun", ["live", "probation"])
@pytest.mark.parametrize(("right", "wrong"), [(20, 0), (15, 5), (13, 7)])
def test_a_latent_that_wins_or_is_about_as_good_stays(begun: LatentState, right: int, wrong: int) -> None:
    one = life((FIRST, begun))
    used(one, RIGHT, right)
    used(one, WRONG, wrong)
    assert one.witness(episode(SUMS[0], 9, 3), JUDGE) == [] and state(one) == begun


def test_a_latent_on_probation_that_loses_is_suspended_too() -> None:
    one = life((FIRST, "probation"))
    used(one, WRONG, 5)
    assert [changed.state for changed in one.witness(episode(SUMS[0], 9, 3), JUDGE)] == ["suspended"]


def test_feedback_alone_takes_a_latent_back_that_answers_worse_than_was_usual_before_it() -> None:
    one = life((FIRST, "live"))  # 0.4 of the answers agreed before its trial
    answered = used(one, WRONG, 8)
    changed = [one.feedback(answer_id, False) for answer_id in answered]
    assert [bool(some) for some in changed] == [False] * 7 + [True]
    assert state(one) == "suspended"
    assert verdicts(one) == [(False, "feedback")] * 8


def test_too_few_judged_answers_tell_nothing() -> None:
    one = life((FIRST, "live"), min_uses=6)
    used(one, WRONG, 5)
    assert one.witness(episode(SUMS[0], 15, 1), JUDGE) == []
    used(one, WRONG)
    assert len(one.witness(episode(SUMS[0], 15, 1), JUDGE)) == 1


def test_uses_before_its_present_standing_do_not_count() -> None:
    one = life((FIRST, "live"))
    used(one, WRONG, 20, created=BORN - 1)
    assert one.witness(episode(SUMS[0], 9, 3), JUDGE) == [] and state(one) == "live"
    used(one, WRONG, 5, created=BORN)
    assert [changed.latent_id for changed in one.witness(episode(SUMS[0], 9, 3), JUDGE)] == [FIRST]


@pytest.mark.parametrize("gone", ["suspended", "superseded", "retired"])
def test_a_latent_that_is_not_read_any_more_cannot_lose(gone: LatentState) -> None:
    one = life((FIRST, gone))
    used(one, WRONG, 20)
    assert one.witness(episode(SUMS[0], 9, 3), JUDGE) == [] and state(one) == gone


def test_a_latent_forgotten_meanwhile_has_nothing_to_lose() -> None:
    one = life()
    used(one, WRONG, 20)
    assert one.witness(episode(SUMS[0], 9, 3), JUDGE) == []


def test_each_latent_is_reckoned_by_its_own_uses() -> None:
    one = life((FIRST, "superseded"), (SECOND, "live"))
    one.store.put(latent(id=THIRD), {"latent": tensor()}, key())
    one.store.stand(Standing(latent_id=THIRD, since=BORN))
    used(one, WRONG, 6, SECOND)
    used(one, RIGHT, 6, THIRD)
    assert [changed.latent_id for changed in one.witness(episode(SUMS[0], 9, 3), JUDGE)] == [SECOND]
    assert state(one, THIRD) == "live"


# -- earlier versions --------------------------------------------------------------------------------------------------


def test_where_an_earlier_version_passed_a_trial_it_lives_again_and_the_loser_is_retired() -> None:
    one = life((FIRST, "superseded"), (SECOND, "superseded"), (THIRD, "live"))
    used(one, WRONG, 6, THIRD)
    [changed] = one.witness(episode(SUMS[0], 9, 3), JUDGE)
    assert (changed.latent_id, changed.state) == (THIRD, "retired")
    assert (state(one, FIRST), state(one, SECOND), state(one, THIRD)) == ("superseded", "live", "retired")
    assert SECOND in changed.reason and THIRD in one.store.standing(SECOND).reason
    assert "It lost: 0 of 6" in changed.reason


def test_a_version_that_lives_again_begins_with_a_clean_slate() -> None:
    one = life((FIRST, "superseded"), (SECOND, "live"))
    used(one, WRONG, 6, FIRST)
    one.roll_back(SECOND, "By hand.")
    assert state(one, FIRST) == "live" and one.store.standing(FIRST).since > USED
    assert one.witness(episode(SUMS[0], 9, 3), JUDGE) == [] and state(one, FIRST) == "live"


def test_a_version_that_never_passed_a_trial_is_passed_over() -> None:
    one = life((FIRST, "superseded"), (SECOND, "superseded"), (THIRD, "live"))
    one.store.put(latent(id=SECOND, previous=FIRST, trial=Trial.untried("No trial yet.")), {"latent": tensor()}, key())
    assert one.roll_back(THIRD, "By hand.").state == "retired"
    assert (state(one, FIRST), state(one, SECOND)) == ("live", "superseded")


@pytest.mark.parametrize("earlier", ["retired", "suspended"])
def test_a_version_that_was_taken_back_itself_does_not_live_again(earlier: LatentState) -> None:
    one = life((FIRST, earlier), (SECOND, "live"))
    assert one.roll_back(SECOND, "By hand.").state == "suspended"
    assert state(one, FIRST) == earlier


def test_versions_are_gone_back_one_after_the_other_to_the_first() -> None:
    one = life((FIRST, "superseded"), (SECOND, "superseded"), (THIRD, "live"))
    assert [one.roll_back(which, "By hand.").state for which in (THIRD, SECOND, FIRST)] == [
        "retired",
        "retired",
        "suspended",
    ]


@pytest.mark.parametrize("gone", ["suspended", "superseded", "retired"])
def test_rolling_back_what_is_not_read_changes_nothing(gone: LatentState) -> None:
    one = life((FIRST, "superseded"), (SECOND, gone), (THIRD, "live"))
    before = one.store.standing(SECOND)
    assert one.roll_back(SECOND, "By hand.") == before == one.store.standing(SECOND)
    assert (state(one, FIRST), state(one, THIRD)) == ("superseded", "live")


def test_a_forgotten_earlier_version_ends_the_search() -> None:
    one = life((FIRST, "superseded"), (SECOND, "superseded"), (THIRD, "live"))
    one.store.remove(SECOND)
    assert one.roll_back(THIRD, "By hand.").state == "suspended" and state(one, FIRST) == "superseded"


def test_rolling_back_what_is_unknown_is_an_error() -> None:
    with pytest.raises(NotFoundError, match=FIRST):
        life().roll_back(FIRST, "By hand.")


# -- the test ----------------------------------------------------------------------------------------------------------


def judged(right: list[bool], chances: list[float | None]) -> list[Use]:
    return [use("a", FIRST, correct=ok, expected=chance) for ok, chance in zip(right, chances, strict=True)]


def test_a_loss_is_a_shortfall_beyond_the_one_sided_bound_of_a_z_test() -> None:
    """16 answers with a chance of 0.5 have mean 8 and deviation 2; the bound at 95 % lies 3.29 below, at 4.71."""
    found = [bool(loss(judged([True] * n + [False] * (16 - n), [0.5] * 16), 0.9, 0.95)) for n in range(17)]
    assert found == [True] * 5 + [False] * 12


def test_what_is_not_known_of_an_answer_is_what_is_usual() -> None:
    wrong = [False] * 6
    assert loss(judged(wrong, [None] * 6), 0.6, 0.95) == loss(judged(wrong, [0.6] * 6), 0.0, 0.95) != ""
    assert loss(judged(wrong, [None] * 6), 0.1, 0.95) == ""


def test_more_confidence_asks_for_a_greater_loss() -> None:
    uses = judged([True] * 4 + [False] * 12, [0.5] * 16)
    found = [bool(loss(uses, 0.5, level)) for level in (0.5, 0.9, 0.95, 0.99)]
    assert found == [True, True, True, False]


@pytest.mark.parametrize("chance", [0.0, 1.0])
def test_a_single_mistake_where_the_plain_model_was_certain_is_no_division_by_zero(chance: float) -> None:
    assert loss(judged([True] * 5, [chance] * 5), 0.5, 0.95) == ""
    assert bool(loss(judged([False] * 5, [chance] * 5), 0.5, 0.95)) == (chance == 1.0)


@pytest.mark.parametrize("count", [4, 10, 25, 60])
def test_a_latent_as_good_as_the_plain_model_is_found_guilty_about_as_rarely_as_stated(count: int) -> None:
    rng = np.random.default_rng(count)
    alarms: list[bool] = []
    for _ in range(1500):
        chances: list[float | None] = list(rng.uniform(0.3, 0.95, count))
        right = [bool(rng.random() < (chance or 0)) for chance in chances]
        alarms.append(bool(loss(judged(right, chances), 0.5, 0.95)))
    assert np.mean(alarms) == pytest.approx(0.05, abs=0.025)


def test_a_latent_that_halves_the_right_answers_is_found_guilty_soon() -> None:
    rng = np.random.default_rng(0)
    found = [bool(loss(judged([bool(one) for one in rng.random(20) < 0.4], [0.8] * 20), 0.5, 0.95)) for _ in range(200)]
    assert np.mean(found) > 0.95


def test_uses_are_looked_at_when_there_are_enough_and_whenever_they_have_doubled() -> None:
    counts = [looks(number, LifeConfig(min_uses=4)) for number in range(33)]
    assert [number for number in range(1, 33) if counts[number] > counts[number - 1]] == [4, 8, 16, 32]


def test_looking_again_and_again_finds_little_more_by_chance_than_looking_once() -> None:
    rng = np.random.default_rng(1)
    alarms: list[bool] = []
    for _ in range(600):
        right = [bool(one) for one in rng.random(64) < 0.6]
        seen = [judged(right[:count], [0.6] * count) for count in (4, 8, 16, 32, 64)]
        alarms.append(any(loss(uses, 0.6, of_look(0.95, number)) for number, uses in enumerate(seen, start=1)))
    assert np.mean(alarms) < 0.12
