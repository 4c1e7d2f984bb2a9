"""The street: plans and candidates travel, and the same plan gives the same candidate anywhere."""

import dataclasses
import multiprocessing
import pickle
import threading
from typing import Any

import numpy as np
import pytest
from memory_world import ANSWERS, JUDGE, SUMS, config, episode, fake, learner, observe
from store_builders import latent

from latent_memory_plugin import Config, ConfigError, LatentMemory, ModelConfig, PluginError, WrongModelError
from latent_memory_plugin.config import SamplingConfig
from latent_memory_plugin.engines.cancellation import Cancellation, Cancelled, cancellable, check, report, reported
from latent_memory_plugin.engines.hf import LanguageModel
from latent_memory_plugin.learning.learner import Learner
from latent_memory_plugin.learning.street import plan, publish, run
from latent_memory_plugin.learning.work import Candidate, Draw, Plan, Progress, Scope
from latent_memory_plugin.records import Episode, Outcome, Use
from latent_memory_plugin.testing import FakeModel, InMemoryStore

MODEL = fake(bias=1.0)
SETTINGS = config(trial={"probation": False})


def committed(one: Learner, question: str) -> Episode:
    new = episode(question, 12, 4)
    one.store.commit(new, MODEL.keys([question])[0])
    return new


def planned(one: Learner | None = None) -> Plan:
    """The plan that five episodes give reason for."""
    street = one or learner(SETTINGS, MODEL)
    episodes = [committed(street, question) for question in SUMS[:5]]
    made = plan(street.store, episodes[-1], street.scope)
    assert isinstance(made, Plan)
    return made


def same(one: Candidate, other: Candidate) -> bool:
    tensors = [np.array_equal(one.tensors[name], other.tensors[name]) for name in one.tensors]
    return all(tensors) and one.latent == other.latent and one.tensors.keys() == other.tensors.keys()


# -- plan --------------------------------------------------------------------------------------------------------------


def test_a_plan_holds_all_that_is_needed_and_making_it_writes_nothing() -> None:
    one = learner(SETTINGS, MODEL)
    episodes = [committed(one, question) for question in SUMS[:5]]
    before = list(one.store.episodes())
    first, second = (plan(one.store, episodes[-1], one.scope) for _ in range(2))
    assert isinstance(first, Plan) and isinstance(second, Plan)
    assert list(one.store.episodes()) == before and list(one.store.latents()) == []
    assert first.attempt != second.attempt and first.seed == second.seed
    assert not {one.problem.hash for one in first.teachers} & {one.problem.hash for one in first.held_out}
    assert all(one.rollouts for one in (*first.teachers, *first.held_out))


def test_where_there_is_nothing_to_do_the_outcome_says_why() -> None:
    one = learner(SETTINGS, MODEL)
    outcome = plan(one.store, committed(one, SUMS[0]), one.scope)
    assert isinstance(outcome, Outcome)
    assert outcome.status == "waiting" and "1 more near episodes" in outcome.reason


def test_a_latent_on_probation_is_not_examined_on_a_question_it_was_learnt_from() -> None:
    """Input L1: three parents, two near questions, and one of the parents asked again."""
    one = learner(config(neighbours={"min_parents": 3}), MODEL)
    for question in SUMS[:3]:
        observe(one, question, 12, 4)
    [careful] = one.store.latents()
    observe(one, SUMS[3], 12, 4)
    observe(one, SUMS[4], 12, 4)
    again = committed(one, SUMS[0])
    outcome = plan(one.store, again, one.scope)
    assert isinstance(outcome, Outcome) and "on probation" in outcome.reason
    made = plan(one.store, committed(one, SUMS[5]), one.scope)
    assert isinstance(made, Plan) and made.current == careful
    assert {one.question for one in made.held_out} == set(SUMS[3:6])


# -- run ---------------------------------------------------------------------------------------------------------------


def test_plans_draws_and_candidates_can_be_sent_anywhere() -> None:
    made = planned()
    draw = Draw(made.scope, (SUMS[0],), 4, 3)
    candidate = run(MODEL, made)
    for one in (made, draw, candidate):
        assert pickle.loads(pickle.dumps(one)) is not one
    again = pickle.loads(pickle.dumps(made))
    assert same(run(MODEL, again), candidate)
    assert run(MODEL, pickle.loads(pickle.dumps(draw))) == run(MODEL, draw)
    assert isinstance(next(iter(candidate.tensors.values())), np.ndarray)


def test_plans_draws_and_candidates_are_frozen() -> None:
    made = planned()
    for one in (made, Draw(made.scope, (SUMS[0],), 4, 3), run(MODEL, made), made.scope):
        with pytest.raises(dataclasses.FrozenInstanceError):
            one.version = "0"  # pyright: ignore[reportAttributeAccessIssue]


def test_the_latent_of_a_candidate_has_the_id_of_its_attempt() -> None:
    made = planned()
    candidate = run(MODEL, made)
    assert candidate.latent.id == made.attempt and candidate.latent.created == made.created
    assert candidate.latent.problems == tuple(one.problem.hash for one in made.teachers)


@pytest.mark.parametrize("work", ["plan", "draw"])
def test_work_of_another_version_or_model_is_refused(work: str) -> None:
    made: Any = planned()
    if work == "draw":
        made = Draw(made.scope, (SUMS[0],), 4, 3)
    with pytest.raises(ConfigError, match=r"version '9\.9\.9'"):
        run(MODEL, dataclasses.replace(made, version="9.9.9"))
    other = FakeModel(ANSWERS, fingerprint="e" * 64, name="other")
    with pytest.raises(WrongModelError, match=r"for the model 'fake'.*not for 'other'"):
        run(other, made)


def test_a_plug_in_that_raises_is_named_and_the_episode_says_so() -> None:
    from latent_memory_plugin import objectives
    from latent_memory_plugin.config import ObjectiveConfig
    from latent_memory_plugin.objectives import Objective

    class Brittle(ObjectiveConfig):
        kind: str = "brittle"

    def fails(attempt: Any, start: Any) -> Any:
        raise ZeroDivisionError("by nought")

    objectives.register("brittle", Objective(Brittle, fails))
    one = learner(config(trial={"probation": False}, distil={"objective": "brittle"}), MODEL)
    with pytest.raises(PluginError, match="objective 'brittle' raised ZeroDivisionError: by nought"):
        run(MODEL, planned(one))
    outcome = one.consolidate([committed(one, SUMS[6])])[0]
    assert outcome.status == "failed" and "'brittle'" in outcome.reason
    assert list(one.store.latents()) == []


# -- anywhere ----------------------------------------------------------------------------------------------------------

FENCE = "A fence is {} m long and has a post every {} m, with a post at both ends. How many posts are there?"
QUICK = Config(
    sampling=SamplingConfig(max_new_tokens=64),
    vote=SETTINGS.vote,
    trial=SETTINGS.trial,
    neighbours=SETTINGS.neighbours,
    distil=SETTINGS.distil,
)


def embedded_plan(model: LanguageModel) -> tuple[Plan, InMemoryStore]:
    """A plan over the embedded model's own rollouts."""
    scope = Scope("default", model.name, model.fingerprint, model.encoder, QUICK, JUDGE)
    store = InMemoryStore()
    questions = [FENCE.format(gap * (gap + 4), gap) for gap in range(2, 12)]
    draw = Draw(scope, tuple(questions), 12, 5)
    made: Any = None
    for question, rollouts, key in zip(questions, run(model, draw), model.keys(questions), strict=True):
        read = tuple(JUDGE.read(question, one) for one in rollouts)
        new = episode(question).model_copy(update={"rollouts": read, "vote": JUDGE.vote(read)})
        store.commit(new, key)
        made = found if isinstance(found := plan(store, new, scope), Plan) else made
    assert isinstance(made, Plan)
    return made, store


def in_another_process(pipe: Any, made: bytes) -> None:
    import torch

    torch.set_num_threads(1)
    pipe.send_bytes(pickle.dumps(run(LanguageModel.load(ModelConfig()), pickle.loads(made))))


@pytest.mark.slow
def test_the_same_plan_gives_the_same_candidate_bit_for_bit_again_in_another_thread_and_in_another_process() -> None:
    model = LanguageModel.load(ModelConfig())
    made, _ = embedded_plan(model)
    first = run(model, made)
    others: list[Candidate] = [run(model, made)]
    thread = threading.Thread(target=lambda: others.append(run(model, made)))
    thread.start()
    thread.join()
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    child = context.Process(target=in_another_process, args=(there, pickle.dumps(made)))
    child.start()
    others.append(pickle.loads(here.recv_bytes()))
    child.join()
    assert len(others) == 3 and all(same(first, other) for other in others)


# -- publish -----------------------------------------------------------------------------------------------------------


def test_all_who_took_part_carry_the_attempt_that_settled_them() -> None:
    one = learner(config(trial={"probation": False, "min_gain": 0.9}), MODEL)
    made = planned(one)
    outcome = publish(one.store, run(MODEL, made))
    assert outcome.status == "refused"
    took_part = {one.id for one in (made.episode, *made.teachers, *made.held_out)}
    assert {kept.id for kept in one.store.episodes() if kept.attempt == made.attempt} == took_part
    assert {kept.state for kept in one.store.episodes()} == {"refused"}


def test_an_episode_that_was_covered_when_it_was_sampled_is_sampled_once_it_is_not() -> None:
    """Input L6: uses that lose, then two episodes in one call, of which the first takes the Latent back."""
    one, (first, second), latent_id = learner(SETTINGS, MODEL), SUMS[:2], "a" * 32
    key, tensors = MODEL.keys([first])[0], {"latent": np.zeros((3, 4), dtype=np.float32)}
    one.store.put(latent(id=latent_id, shape=(3, 4)), tensors, key)
    told: Any = {"latent_id": latent_id, "problem_hash": episode(first).problem.hash, "answer": ANSWERS[first][1]}
    one.store.record_uses([Use(answer_id=str(number), **told) for number in range(6)])
    losing, covered = committed(one, first), episode(second)
    one.store.commit(covered, key)
    outcomes = one.consolidate([losing, covered])
    assert one.store.standing(latent_id).state == "suspended"
    assert outcomes[1].vote is not None and "No rollout holds an answer" not in outcomes[1].reason


# -- cancelling and progress -------------------------------------------------------------------------------------------


def test_what_is_cancelled_ends_at_the_next_step_and_only_there() -> None:
    cancellation = Cancellation()
    check()  # nothing is under way
    with cancellable(cancellation):
        check()
        cancellation.cancel()
        with pytest.raises(Cancelled):
            check()
    check()


def test_steps_are_reported_where_somebody_listens() -> None:
    seen: list[tuple[int, int]] = []
    report(1, 2)
    with reported(lambda done, total: seen.append((done, total))):
        for step in range(1, 101):
            report(step, 100)
    report(2, 2)
    assert seen[0] == (1, 100) and seen[-1] == (100, 100) and len(seen) < 20


@pytest.mark.slow
def test_progress_tells_stage_done_total_seconds_left_and_each_outcome(tmp_path: Any) -> None:
    seen: list[Progress] = []
    with LatentMemory(tmp_path, config=QUICK) as memory:
        outcomes = memory.learn([FENCE.format(gap * (gap + 4), gap) for gap in range(2, 8)], seen.append)
    stages = {one.stage for one in seen}
    assert stages == {"sampling", "distilling", "examining", "done"}
    assert [one.outcome for one in seen if one.stage == "done"] == outcomes
    for one in seen:
        assert 0 <= one.done <= one.total and (one.seconds_left is None or one.seconds_left >= 0)
    assert [one.done for one in seen if one.stage == "done"] == list(range(1, 7))
