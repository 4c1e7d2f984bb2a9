"""The consolidator: what becomes of an episode, with a fake model whose learning is real."""

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from memory_world import (
    AGES,
    ANSWERS,
    CONFIG,
    JUDGE,
    SUMS,
    ask_all,
    config,
    episode,
    fake,
    learner,
    observe,
    rollouts,
)

from latent_memory_plugin.answering.find import retrieve
from latent_memory_plugin.answers import extract
from latent_memory_plugin.answers.judge import Judge
from latent_memory_plugin.config import Config
from latent_memory_plugin.engines.cancellation import Cancellation
from latent_memory_plugin.errors import ContextLengthError, ModelError
from latent_memory_plugin.executors.thread import ThreadExecutor
from latent_memory_plugin.learning.learner import Learner
from latent_memory_plugin.learning.street import plan, run
from latent_memory_plugin.learning.work import Candidate, Plan, Scope
from latent_memory_plugin.memory import LatentMemory
from latent_memory_plugin.records import Latent, LatentState, Outcome, Problem, Rollout, Standing, Use
from latent_memory_plugin.testing import FakeModel, InMemoryStore

MODEL = fake(bias=1.0)
TEACHING, UNANIMOUS, SPLIT = (12, 4), (16, 0), (9, 7)
"""Counts of votes that teach, that have nothing to teach, and that nobody believes."""
NO_PROBATION = config(trial={"probation": False})
NO_TRIAL = config(trial={"required": False})


def observed(one: Learner, count: int, counts: tuple[int, int] = TEACHING, start: int = 0) -> list[Outcome]:
    return [observe(one, question, *counts) for question in SUMS[start : start + count]]


def statuses(outcomes: Sequence[Outcome]) -> list[str]:
    return [outcome.status for outcome in outcomes]


def latents(one: Learner) -> list[Latent]:
    return list(one.store.latents())


def states(one: Learner) -> list[LatentState]:
    return [one.store.standing(latent.id).state for latent in latents(one)]


def journal(one: Learner) -> dict[str, str]:
    return {kept.question: kept.state for kept in one.store.episodes()}


def weaken(one: Learner, mean: float = 0.0) -> Latent:
    """Puts another tensor in the place of the only usable Latent's."""
    store = one.store
    [current] = [latent for latent in latents(one) if store.standing(latent.id).state in ("live", "probation")]
    tensor = np.full(current.shape, mean, dtype=np.float32)  # (P, H)
    store.put(current, {"latent": tensor}, store.latent_key(current.id))
    return current


# -- waiting, refusing, skipping ---------------------------------------------------------------------------------------


def test_with_too_few_near_episodes_an_episode_waits_and_says_for_how_many() -> None:
    one = learner(config(neighbours={"min_parents": 3}), MODEL)
    outcomes = observed(one, 2)
    assert statuses(outcomes) == ["waiting"] * 2 and set(journal(one).values()) == {"pending"}
    assert outcomes[0].reason.startswith("2 more near episodes") and outcomes[1].reason.startswith("1 more near")


def test_episodes_of_another_topic_are_no_neighbours() -> None:
    one = learner(NO_TRIAL, MODEL)
    assert statuses([observe(one, SUMS[0], *TEACHING), observe(one, AGES[0], *TEACHING)]) == ["waiting"] * 2


def test_the_same_question_again_is_no_second_parent_and_no_witness() -> None:
    one = learner(NO_PROBATION, MODEL)
    assert set(statuses([observe(one, SUMS[0], *TEACHING) for _ in range(8)])) == {"waiting"}


def test_a_vote_that_is_too_split_is_refused_with_its_numbers() -> None:
    one = learner(model=MODEL)
    [outcome] = observed(one, 1, (33, 31))
    assert outcome.status == "refused" and outcome.latent_id is None
    assert "too split" in outcome.reason and "after 64 rollouts" in outcome.reason and "below 0.95" in outcome.reason
    assert journal(one) == {SUMS[0]: "refused"}


def test_a_vote_without_an_answer_is_refused() -> None:
    outcome = observe(learner(model=MODEL), SUMS[0], 0, blank=64)
    assert outcome.status == "refused" and "No rollout holds an answer" in outcome.reason


def test_a_refused_vote_still_bears_witness_by_its_trust() -> None:
    one = learner(NO_PROBATION, MODEL)
    split = observed(one, 3, (36, 28))
    outcomes = observed(one, 2, start=3)
    assert statuses([*split, *outcomes]) == ["refused"] * 3 + ["waiting", "live"]
    assert outcomes[-1].trial is not None
    assert set(outcomes[-1].trial.episode_ids) == {str(outcome.episode_id) for outcome in split}


def test_unanimous_votes_alone_teach_nothing() -> None:
    one = learner(NO_TRIAL, MODEL)
    outcomes = observed(one, 8, UNANIMOUS)
    assert statuses(outcomes) == ["waiting"] + ["skipped"] * 7
    assert "Nothing to learn: 100% of the rollouts agree already" in outcomes[-1].reason
    assert latents(one) == []


def test_unanimous_votes_bear_witness() -> None:
    one = learner(model=MODEL)
    observed(one, 2)
    unanimous = observed(one, 3, UNANIMOUS, start=2)
    assert unanimous[-1].trial is not None
    assert set(unanimous[-1].trial.episode_ids) == {str(outcome.episode_id) for outcome in unanimous}
    assert unanimous[-1].trial.agreement_before == 1.0


# -- the first latent --------------------------------------------------------------------------------------------------


def test_a_passed_trial_makes_a_live_latent_that_covers_the_next_question() -> None:
    one = learner(NO_PROBATION, MODEL)
    outcomes = observed(one, 5)
    assert statuses(outcomes) == ["waiting"] * 4 + ["live"]
    [latent] = latents(one)
    live = outcomes[-1]
    assert (live.latent_id, live.trial) == (latent.id, latent.trial) and latent.trial.passed
    assert states(one) == ["live"] and set(journal(one).values()) == {"learnt"}
    assert not set(latent.parents) & set(latent.trial.episode_ids)
    assert one.store.tensors(latent.id)["latent"].mean() > 0.1
    assert one.store.latent_key(latent.id) == pytest.approx(MODEL.keys(SUMS[:1])[0])
    assert ask_all(one, [SUMS[20]])[0].latent_id == latent.id


def test_its_record_says_whence_it_came() -> None:
    one = learner(NO_PROBATION, MODEL)
    observed(one, 5)
    [latent] = latents(one)
    first = one.store.episode(latent.parents[0])
    assert (latent.problem_hash, latent.vote) == (first.problem.hash, first.vote)
    assert (latent.namespace, latent.objective, latent.previous) == ("default", "imitate", None)
    assert (latent.model, latent.fingerprint, latent.encoder) == (MODEL.name, MODEL.fingerprint, MODEL.encoder)
    assert latent.shape == one.store.tensors(latent.id)["latent"].shape


def test_questions_learnt_together_know_each_other_at_once() -> None:
    outcomes = ask_all(learner(), SUMS[:8])
    assert statuses(outcomes).count("live") == 1
    assert set(statuses(outcomes)) <= {"live", "skipped", "refused"}
    assert all(outcome.episode_id for outcome in outcomes)


def test_a_question_that_a_live_latent_covers_costs_no_sample_and_no_episode() -> None:
    one = learner(NO_PROBATION, MODEL)
    observed(one, 5)
    one.model = Mute(ANSWERS)
    one.executor = ThreadExecutor(one.model, None, run)
    [outcome] = ask_all(one, [SUMS[20]])
    assert outcome.status == "skipped" and outcome.episode_id is None and "Covered by" in outcome.reason
    assert len(journal(one)) == 5


class Mute(FakeModel):
    """Cannot be sampled."""

    def sample(self, *given: Any, **named: Any) -> list[list[Rollout]]:
        raise ModelError("It was asked.")


def test_all_who_took_part_are_settled_with_the_reason_and_the_others_stay_pending() -> None:
    one = learner(NO_PROBATION, MODEL)
    observe(one, AGES[0], *TEACHING)
    live = observed(one, 5)[-1]
    assert journal(one).pop(AGES[0]) == "pending"
    near = [kept for kept in one.store.episodes() if kept.question != AGES[0]]
    assert {(kept.state, kept.reason) for kept in near} == {("learnt", live.reason)}


def test_a_candidate_that_fails_its_trial_leaves_no_latent_and_says_why() -> None:
    one = learner(config(trial={"probation": False, "min_gain": 0.9}), MODEL)
    outcome = observed(one, 5)[-1]
    assert outcome.status == "refused" and "must be above +0.90" in outcome.reason
    assert outcome.trial is not None and not outcome.trial.passed and outcome.latent_id is None
    assert latents(one) == [] and set(journal(one).values()) == {"refused"}


def test_neighbours_of_a_refused_candidate_are_not_tried_again_on_the_same_episodes() -> None:
    tried: list[Candidate] = []
    one = learner(config(trial={"min_gain": 0.9}), watch=tried.append)
    outcomes = ask_all(one, SUMS[:8])
    assert set(statuses(outcomes)) == {"refused"} and len(tried) == 1


def test_a_candidate_that_harms_episodes_nearby_is_refused() -> None:
    everywhere = config(trial={"probation": False}, retrieve={"threshold": -1.0})
    harmed, unmoved = (learner(everywhere, fake(bias=1.0, biases={AGES[0]: bias})) for bias in (-2.0, -20.0))
    for one in (harmed, unmoved):
        observe(one, AGES[0], 2, 14)
    outcome = observed(harmed, 5)[-1]
    assert outcome.status == "refused" and "harms 1 episodes of other neighbourhoods" in outcome.reason
    assert observed(unmoved, 5)[-1].status == "live"


# -- probation ---------------------------------------------------------------------------------------------------------


def test_before_a_trial_is_possible_a_candidate_is_on_probation_then_promoted_after_a_passed_one() -> None:
    one = learner(model=MODEL)
    outcomes = observed(one, 5)
    assert statuses(outcomes) == ["waiting", "probation", "skipped", "skipped", "live"]
    careful, live = latents(one)
    assert not careful.trial.passed and careful.trial.answers == 0 and "3 more near" in outcomes[1].reason
    assert [outcome.latent_id for outcome in outcomes[1:4]] == [careful.id] * 3
    assert live.trial.passed and live.previous == careful.id and live.parents == careful.parents
    assert states(one) == ["superseded", "live"]
    tensors = one.store.tensors
    assert np.array_equal(tensors(careful.id)["latent"], tensors(live.id)["latent"])
    assert retrieve(one.store, MODEL.keys(SUMS[:1])[0], CONFIG.retrieve).latent_id == live.id


def test_a_latent_on_probation_that_fails_its_trial_is_retired_and_nothing_is_read() -> None:
    one = learner(model=fake(bias=1.0, biases=dict.fromkeys(SUMS[2:5], -1.0)))
    observed(one, 2)
    outcome = observed(one, 3, (4, 12), start=2)[-1]
    assert outcome.status == "refused" and outcome.trial is not None and not outcome.trial.passed
    assert states(one) == ["retired"]
    standing = one.store.standing(latents(one)[0].id)
    assert "It failed its trial" in standing.reason and "must be above" in standing.reason
    assert retrieve(one.store, MODEL.keys(SUMS[:1])[0], CONFIG.retrieve).latent_id is None


def test_where_probation_is_off_episodes_wait_for_the_trial() -> None:
    outcomes = observed(learner(NO_PROBATION, MODEL), 4)
    assert statuses(outcomes) == ["waiting"] * 4 and "2 more near episodes are needed for a trial" in outcomes[2].reason


def test_questions_that_come_one_at_a_time_bring_the_witnesses_a_latent_on_probation_waits_for() -> None:
    one = learner(model=fake(bias=1.0))
    outcomes = [outcome for question in SUMS[:12] for outcome in ask_all(one, [question])]
    assert "probation" in statuses(outcomes) and "live" in statuses(outcomes)
    settled = statuses(outcomes).index("live")
    assert all(outcome.episode_id for outcome in outcomes[:settled])
    assert {outcome.episode_id for outcome in outcomes[settled + 1 :]} == {None}


# -- growth ------------------------------------------------------------------------------------------------------------


def test_a_grown_neighbourhood_learns_a_better_version_and_the_old_one_is_superseded() -> None:
    one = learner(NO_PROBATION, MODEL)
    observed(one, 5)
    old = weaken(one)
    outcomes = observed(one, 3, start=5)
    assert statuses(outcomes) == ["skipped", "skipped", "live"]  # 8 episodes are 1.5 times 5
    new = latents(one)[-1]
    assert new.previous == old.id and len(new.parents) == 4 and states(one) == ["superseded", "live"]
    assert outcomes[-1].latent_id == new.id
    assert ask_all(one, [SUMS[20]])[0].latent_id == new.id


def test_a_refused_renewal_leaves_the_current_latent_live_and_waits_for_more_growth() -> None:
    one = learner(NO_PROBATION, MODEL)
    observed(one, 5)
    [current] = latents(one)
    since = one.store.standing(current.id).since
    weaken(one, 5.0)
    outcomes = observed(one, 7, start=5)
    assert statuses(outcomes) == ["skipped", "skipped", "refused", *["skipped"] * 3, "refused"]  # at 8, then at 12
    assert "the Latent in its place reaches 1.00" in outcomes[2].reason
    assert [latent.id for latent in latents(one)] == [current.id] and states(one) == ["live"]
    assert one.store.standing(current.id).since == since
    assert ask_all(one, [SUMS[20]])[0].latent_id == current.id


def test_a_neighbourhood_grows_by_new_questions_and_not_by_old_ones() -> None:
    one = learner(NO_PROBATION, MODEL)
    observed(one, 5)
    weaken(one)
    assert {observe(one, SUMS[0], *TEACHING).status for _ in range(12)} == {"skipped"}


def test_a_version_that_is_taken_back_makes_room_for_the_one_before() -> None:
    one = learner(NO_PROBATION, MODEL)
    observed(one, 5)
    old = weaken(one)
    observed(one, 3, start=5)
    store, new = one.store, latents(one)[-1]
    wrong = [used(str(number), new.id, SUMS[10], ANSWERS[SUMS[10]][1]) for number in range(6)]
    store.record_uses(wrong)
    observe(one, SUMS[10], *TEACHING)
    assert store.standing(new.id).state == "retired" and store.standing(old.id).state == "live"


def used(answer_id: str, latent_id: str, question: str, answer: str) -> Use:
    return Use(answer_id=answer_id, latent_id=latent_id, problem_hash=Problem(question=question).hash, answer=answer)


def test_the_vote_of_an_episode_judges_what_was_answered_before() -> None:
    one = learner(NO_PROBATION, MODEL)
    observed(one, 5)
    [latent] = latents(one)
    one.store.record_uses([used("a", latent.id, SUMS[10], ANSWERS[SUMS[10]][0])])
    observe(one, SUMS[10], *TEACHING)
    [judged] = one.store.uses()
    assert (judged.correct, judged.source, judged.expected) == (True, "vote", 0.75)
    assert states(one) == ["live"]


def test_a_suspended_latent_leaves_its_neighbourhood_to_learn_anew() -> None:
    one = learner(NO_PROBATION, MODEL)
    observed(one, 5)
    [lost] = latents(one)
    wrong = [used(str(number), lost.id, SUMS[10], ANSWERS[SUMS[10]][1]) for number in range(6)]
    one.store.record_uses(wrong)
    outcome = observe(one, SUMS[10], *TEACHING)
    assert states(one) == ["suspended", "live"] and outcome.status == "live"
    assert outcome.latent_id == latents(one)[-1].id != lost.id


# -- without a trial ---------------------------------------------------------------------------------------------------


def test_where_no_trial_is_required_the_parents_are_enough() -> None:
    one = learner(NO_TRIAL, MODEL)
    outcomes = observed(one, 2)
    assert statuses(outcomes) == ["waiting", "live"]
    assert states(one) == ["live"] and not latents(one)[0].trial.passed
    assert set(latents(one)[0].parents) == {str(outcome.episode_id) for outcome in outcomes}


@pytest.mark.parametrize("counts", [(6, 2), (4, 4), (1, 1)])
def test_as_in_the_paper_every_vote_of_a_single_problem_makes_a_latent_at_once(counts: tuple[int, int]) -> None:
    one = learner(Config.preset("paper"), MODEL)
    outcomes = [observe(one, question, *counts) for question in (SUMS[0], AGES[0])]
    assert statuses(outcomes) == ["live", "live"]
    assert [latent.parents for latent in latents(one)] == [(outcome.episode_id,) for outcome in outcomes]
    assert {latent.objective for latent in latents(one)} == {"grpo"}
    assert {latent.shape for latent in latents(one)} == {(20, MODEL.hidden_size)}


def test_as_in_the_paper_a_latent_has_no_second_version_and_is_not_taken_back() -> None:
    one = learner(Config.preset("paper"), MODEL)
    first = observe(one, SUMS[0], 6, 2)
    wrong = [used(str(number), str(first.latent_id), SUMS[1], "0") for number in range(20)]
    one.store.record_uses(wrong)
    assert statuses(observed(one, 8, (6, 2), start=1)) == ["skipped"] * 8
    assert states(one) == ["live"]


def test_as_in_the_paper_eight_rollouts_are_sampled_and_no_more() -> None:
    one = learner(Config.preset("paper"), fake(bias=0.2))
    outcomes = ask_all(one, [SUMS[0], AGES[0]])
    assert statuses(outcomes) == ["live", "live"]
    assert [outcome.vote.total for outcome in outcomes if outcome.vote] == [8, 8]


# -- what is watched, and what plays no part ---------------------------------------------------------------------------


def test_every_tried_candidate_is_watched_passed_or_not() -> None:
    tried: list[Candidate] = []
    one = learner(model=MODEL, watch=tried.append)
    observed(one, 5)
    weaken(one, 5.0)
    observed(one, 3, start=5)
    assert [candidate.latent.trial.passed for candidate in tried] == [True, False]
    stored = latents(one)[-1]
    assert tried[0].latent == stored and np.array_equal(tried[0].tensor[:, 0], tried[0].tensor[:, 1])
    assert tried[1].latent.id not in {latent.id for latent in latents(one)}
    assert tried[1].tensor.shape == stored.shape


def test_a_watcher_that_raises_ends_the_attempt_and_nothing_is_stored() -> None:
    def refuse(candidate: Candidate) -> None:
        raise RuntimeError("enough")

    one = learner(NO_PROBATION, MODEL, watch=refuse)
    with pytest.raises(RuntimeError, match="enough"):
        observed(one, 5)
    assert latents(one) == []


def test_no_label_is_an_input() -> None:
    entrances = [LatentMemory.__init__, LatentMemory.learn, LatentMemory.consolidate, Learner.learn, Judge.__init__]
    names = {name for entrance in entrances for name in inspect.signature(entrance).parameters}
    assert names.isdisjoint({"label", "labels", "answer", "answers", "solution", "target", "expected", "truth"})


def test_which_answer_is_right_plays_no_part() -> None:
    """The same counts of other answers, right or wrong, give the same outcomes and bit-identical tensors."""
    right = learner(model=fake(bias=1.0))
    wrong = learner(model=fake(bias=1.0, answers={one: ("13", "12") for one in ANSWERS}))
    streams = [[outcome for question in SUMS[:10] for outcome in ask_all(one, [question])] for one in (right, wrong)]
    assert statuses(streams[0]) == statuses(streams[1]) and "live" in statuses(streams[0])
    assert {outcome.vote.answer for outcome in streams[1] if outcome.vote} <= {"13", "12"}
    assert same_tensors(right, wrong)


def same_tensors(first: Learner, second: Learner) -> bool:
    both = [[one.store.tensors(latent.id)["latent"] for latent in latents(one)] for one in (first, second)]
    return len(both[0]) > 0 and all(np.array_equal(*pair) for pair in zip(*both, strict=True))


@pytest.mark.parametrize("objective", ["imitate", "grpo", "imitate_then_grpo"])
def test_the_same_episodes_in_the_same_order_give_bit_identical_tensors(objective: str) -> None:
    settings = config(distil={"objective": objective})
    first, second = learner(settings), learner(settings)
    for one in (first, second):
        torch.manual_seed(id(one) % 1000)  # the global generator plays no part
        ask_all(one, SUMS[:8])
    assert same_tensors(first, second)


def test_another_seed_gives_other_rollouts() -> None:
    votes = [
        [outcome.vote for outcome in ask_all(learner(CONFIG.model_copy(update={"seed": seed})), SUMS[:4])]
        for seed in (0, 1)
    ]
    assert votes[0] != votes[1]


def test_an_external_reward_decides_what_is_learnt() -> None:
    second = Judge(extract, lambda question, text: float(text.endswith(" 0")))
    one = learner(NO_PROBATION, MODEL, judge=second)
    outcomes = observed(one, 5)
    assert outcomes[-1].status == "live"
    assert [outcome.vote.answer for outcome in outcomes if outcome.vote] == ["0"] * 5
    assert all(outcome.vote.confirmed for outcome in outcomes if outcome.vote)
    assert one.store.tensors(latents(one)[0].id)["latent"].mean() < -0.1


# -- failures ----------------------------------------------------------------------------------------------------------


def test_a_handed_over_answer_joins_the_vote_of_sampled_rollouts() -> None:
    one = learner(model=fake(bias=9.0))
    problem = Problem(question=SUMS[0])
    given = (Rollout(text="2", answer="2", finished=False),)
    [outcome] = one.consolidate([one.commit(problem, given, one.keys([problem])[0])])
    assert outcome.vote is not None and outcome.vote.total == 1 + CONFIG.vote.rollouts


class Broken(FakeModel):
    """Gives log-probabilities that are no numbers."""

    def log_probabilities(self, *given: Any, **named: Any) -> Any:
        values, mask = super().log_probabilities(*given, **named)
        return values * float("nan"), mask


def test_an_attempt_that_breaks_off_is_recorded_as_failed() -> None:
    one = learner(NO_PROBATION, Broken(ANSWERS, bias=1.0))
    outcome = observed(one, 5)[-1]
    assert outcome.status == "failed" and "not finite" in outcome.reason
    assert list(journal(one).values()) == ["pending"] * 4 + ["failed"] and latents(one) == []


def test_a_reward_that_fails_in_the_trial_is_recorded_as_failed() -> None:
    asked: list[str] = []

    def reward(question: str, text: str) -> float:
        asked.append(text)
        return 1.0 if len(asked) <= 5 * 16 else 2.0

    one = learner(NO_PROBATION, MODEL, judge=Judge(extract, reward))
    outcome = observed(one, 5)[-1]
    assert outcome.status == "failed" and "The reward gave 2.0" in outcome.reason and latents(one) == []


class ShortContext(FakeModel):
    """Reads questions of at most four words."""

    def sample(self, conversations: Sequence[Any], *given: Any, **named: Any) -> list[list[Rollout]]:
        for one in conversations:
            if len(str(one).split()) > 4:
                raise ContextLengthError(f"{one!r} is too long.")
        return super().sample(conversations, *given, **named)


def test_an_episode_that_cannot_be_sampled_fails_alone() -> None:
    one = learner(config(neighbours={"min_parents": 6, "max_parents": 6}), ShortContext(ANSWERS, bias=1.0))
    outcomes = ask_all(one, [*SUMS[:2], "sum: of very many words", *SUMS[2:4]])
    assert statuses(outcomes) == ["waiting", "waiting", "failed", "waiting", "waiting"]
    assert "too long" in outcomes[2].reason
    again = one.consolidate(list(one.store.episodes("pending")))
    assert statuses(again) == ["waiting"] * 4


def test_an_episode_that_was_settled_before_its_turn_keeps_its_state_and_says_so() -> None:
    one = learner(NO_PROBATION, MODEL)
    live = observed(one, 5)[-1]
    [first, *_] = one.store.episodes()
    [outcome] = one.consolidate([first])
    assert outcome.status == "skipped" and live.reason in outcome.reason and "before its turn" in outcome.reason


# -- the background ----------------------------------------------------------------------------------------------------


def test_the_background_worker_learns_and_outlives_a_failing_episode() -> None:
    one = learner(NO_PROBATION, MODEL)
    unknown = Problem(question="sum: unknown to the model")
    one.consolidate_later(one.commit(unknown, (), one.keys([unknown])[0]))
    for question in SUMS[:5]:
        problem = Problem(question=question)
        one.consolidate_later(one.commit(problem, rollouts(question, *TEACHING), one.keys([problem])[0]))
    one.drain()
    one.close()
    [failed] = one.store.episodes("failed")
    assert failed.question == unknown.question and "FakeModel knows no" in failed.reason
    assert states(one) == ["live"]


def test_closing_the_worker_leaves_the_rest_pending() -> None:
    one = learner(model=MODEL)
    problems = [Problem(question=question) for question in SUMS[:5]]
    with one.lane.turn(Cancellation()):  # nothing is learnt in the background meanwhile
        for problem in problems:
            one.consolidate_later(one.commit(problem, (), one.keys([problem])[0]))
        one.close()
    assert len(list(one.store.episodes("pending"))) == len(problems)
    assert latents(one) == []


# -- publishing --------------------------------------------------------------------------------------------------------


class Killed(InMemoryStore):
    """Dies after so many writes of a Latent or its standing."""

    left = 10**6

    def put(self, latent: Any, tensors: Any, key: Any) -> None:
        self._write()
        super().put(latent, tensors, key)

    def stand(self, standing: Standing) -> None:
        self._write()
        super().stand(standing)

    def _write(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt


def test_a_process_killed_while_a_version_is_replaced_leaves_one_that_is_read() -> None:
    for left in range(5):
        store = Killed()
        one = learner(NO_PROBATION, MODEL, store=store)
        observed(one, 5)
        weaken(one)
        store.left = left
        try:
            observed(one, 3, start=5)
        except KeyboardInterrupt:
            store.left = 10**6
        assert retrieve(store, MODEL.keys(SUMS[:1])[0], CONFIG.retrieve).latent_id is not None
        assert states(one).count("live") in (1, 2)


def test_the_key_of_a_latent_is_the_mean_direction_of_its_parents() -> None:
    store = InMemoryStore()
    parents = [episode(question, *TEACHING) for question in SUMS[:2]]
    for parent, angle in zip(parents, (0.2, 0.6), strict=True):
        store.commit(parent, np.array([np.cos(angle), np.sin(angle)], dtype=np.float32))
    scope = Scope("default", MODEL.name, MODEL.fingerprint, "angle", NO_TRIAL, JUDGE)
    made = plan(store, parents[0], scope)
    assert isinstance(made, Plan)
    assert made.key == pytest.approx([np.cos(0.4), np.sin(0.4)], abs=1e-6)
