"""Trial, retrieval and the consolidator, with a fake model whose learning is real."""

import threading
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch

from latent_memory_plugin.answers import agree, extract
from latent_memory_plugin.config import (
    Config,
    DistilConfig,
    NeighbourConfig,
    RetrieveConfig,
    SamplingConfig,
    TrialConfig,
    VoteConfig,
)
from latent_memory_plugin.consolidate import Consolidator
from latent_memory_plugin.errors import ContextLengthError, InputError
from latent_memory_plugin.learner import Learner
from latent_memory_plugin.records import Episode, Outcome, Problem, Rollout, Vote
from latent_memory_plugin.retrieve import retrieve
from latent_memory_plugin.testing import FakeModel, InMemoryStore
from latent_memory_plugin.trial import Court, trial

SUMS = {f"sum: {number}+{number}": (str(2 * number), str(number)) for number in range(1, 31)}
OTHERS = {f"age: {number}": (str(number), "0") for number in range(1, 5)}
MODEL = FakeModel({**SUMS, **OTHERS}, bias=1.5)
CONFIG = Config(
    distil=DistilConfig(steps=30, learning_rate=0.05),
    trial=TrialConfig(min_episodes=3, answers=16),
    neighbours=NeighbourConfig(min_parents=2, max_parents=4),
)


def learner(config: Config = CONFIG, model: FakeModel = MODEL) -> Learner:
    return Learner(Consolidator(model, InMemoryStore(), "default", config, extract), threading.RLock())


def ask_all(one: Learner, questions: list[str]) -> list[Outcome]:
    return one.learn([Problem(question=question) for question in questions], None)


def one_by_one(one: Learner, questions: list[str]) -> list[Outcome]:
    return [outcome for question in questions for outcome in ask_all(one, [question])]


def rollouts(first: int, second: int, question: str = "sum: 1+1") -> tuple[Rollout, ...]:
    good, bad = MODEL.answers[question]
    return tuple(Rollout(text=f"#### {answer}") for answer in (good,) * first + (bad,) * second)


def episode(number: int, share: float) -> Episode:
    good, _ = SUMS[f"sum: {number}+{number}"]
    taken = Vote(answer=good, share=share, entropy=0.5, counts=((good, 16),))
    return Episode(problem=Problem(question=f"sum: {number}+{number}"), vote=taken)


COURT = Court(replace(MODEL, bias=0.4), TrialConfig(answers=64), SamplingConfig(), extract, agree, seed=0)


def test_a_trial_passes_a_helpful_candidate_and_refuses_an_idle_and_a_harmful_one() -> None:
    episodes = [episode(number, share=0.6) for number in (1, 2, 3)]
    helpful, idle, harmful = (trial(COURT, torch.full((2, 4), value), episodes) for value in (1.0, 0.0, -1.0))
    assert helpful.passed and helpful.gain > 0.3
    assert not idle.passed and abs(idle.gain) < 0.1
    assert not harmful.passed and harmful.gain < -0.3
    assert "must rise" in harmful.reason


def test_a_trial_on_too_few_episodes_does_not_pass() -> None:
    verdict = trial(COURT, torch.ones(2, 4), [episode(1, 0.6), episode(2, 0.6)])
    assert not verdict.passed
    assert "at least 3 episodes" in verdict.reason


def test_a_trial_weighs_an_episode_by_the_share_of_its_vote() -> None:
    verdict = trial(COURT, torch.ones(2, 4), [episode(1, 0.9), episode(2, 0.3), episode(3, 0.3)])
    assert verdict.agreement_before == pytest.approx((0.81 + 0.09 + 0.09) / 1.5)


def test_a_trial_needs_votes() -> None:
    with pytest.raises(InputError, match="no vote"):
        trial(COURT, torch.ones(2, 4), [Episode(problem=Problem(question="sum: 1+1"))])


def test_retrieval_says_why_there_is_no_latent() -> None:
    store = InMemoryStore()
    key = np.array([1.0, 0.0], dtype=np.float32)
    assert "No Latent is stored" in retrieve(store, key, RetrieveConfig()).reason
    store._latents["a"], store._latent_keys["a"] = cast(Any, None), np.array([0.6, 0.8], dtype=np.float32)
    missed = retrieve(store, key, RetrieveConfig(threshold=0.7))
    assert missed.latent_id is None and missed.similarity == pytest.approx(0.6) and "below" in missed.reason
    assert retrieve(store, key, RetrieveConfig(threshold=0.5)).latent_id == "a"


def test_enough_near_episodes_make_a_live_latent_that_covers_the_next_question() -> None:
    one = learner()
    outcomes = one_by_one(one, list(SUMS)[:5])
    assert [outcome.status for outcome in outcomes] == ["waiting"] * 4 + ["live"]
    [latent] = one.consolidator.store.latents()
    live = outcomes[4]
    assert (live.latent_id, live.trial) == (latent.id, latent.trial)
    shares = {episode.id: episode.vote.share for episode in one.consolidator.store.episodes() if episode.vote}
    assert sorted(shares.values(), reverse=True)[:2] == [shares[parent] for parent in latent.parents]
    assert not set(latent.parents) & set(latent.trial.episode_ids)
    assert one.consolidator.store.tensor(latent.id).mean() > 0.1
    assert ask_all(one, ["sum: 20+20"])[0].latent_id == latent.id


def test_questions_learnt_together_know_each_other_at_once() -> None:
    outcomes = ask_all(learner(), list(SUMS)[:8])
    assert [outcome.status for outcome in outcomes] == ["live"] + ["skipped"] * 7
    assert all(outcome.episode_id for outcome in outcomes)


def test_a_covered_question_costs_no_sample_and_no_episode() -> None:
    one = learner()
    one_by_one(one, list(SUMS)[:5])
    before = len(list(one.consolidator.store.episodes()))
    [outcome] = ask_all(one, ["sum: 20+20"])
    assert outcome.status == "skipped" and outcome.episode_id is None
    assert len(list(one.consolidator.store.episodes())) == before


def test_episodes_of_another_topic_are_no_neighbours() -> None:
    one = learner()
    outcomes = ask_all(one, [*list(SUMS)[:4], "age: 1"])
    assert {outcome.status for outcome in outcomes} == {"waiting"}


def test_the_same_question_again_is_no_second_witness() -> None:
    one = learner()
    outcomes = ask_all(one, ["sum: 1+1"] * 8)
    assert {outcome.status for outcome in outcomes} == {"waiting"}


def test_all_who_took_part_are_learnt_and_the_others_stay_pending() -> None:
    one = learner()
    one_by_one(one, ["age: 1", *list(SUMS)[:5]])
    states = {episode.question: episode.state for episode in one.consolidator.store.episodes()}
    assert states.pop("age: 1") == "pending"
    assert set(states.values()) == {"learnt"}


def test_a_refused_candidate_leaves_no_latent_and_says_why() -> None:
    one = learner(replace_trial(min_gain=0.9))
    outcome = one_by_one(one, list(SUMS)[:5])[-1]
    assert outcome.status == "refused"
    assert "must rise by at least 0.90" in outcome.reason
    assert not list(one.consolidator.store.latents())
    assert {episode.state for episode in one.consolidator.store.episodes()} == {"refused"}


def replace_trial(**changes: float) -> Config:
    return CONFIG.model_copy(update={"trial": CONFIG.trial.model_copy(update=changes)})


@pytest.mark.parametrize(
    ("seen", "words"),
    [((Rollout(text="hm"), Rollout(text="well")), "No rollout holds an answer"), (rollouts(1, 0) * 3, None)],
)
def test_a_vote_without_an_answer_is_refused(seen: tuple[Rollout, ...], words: str | None) -> None:
    one = learner()
    problem = Problem(question="sum: 1+1")
    [outcome] = one.consolidate([one.commit(problem, seen, one.keys([problem])[0])], None)
    assert outcome.status == ("refused" if words else "waiting")
    assert words is None or words in outcome.reason


def test_a_split_vote_is_refused() -> None:
    one = learner(CONFIG.model_copy(update={"vote": VoteConfig(min_share=0.7)}))
    problem = Problem(question="sum: 1+1")
    [outcome] = one.consolidate([one.commit(problem, rollouts(6, 4), one.keys([problem])[0])], None)
    assert outcome.status == "refused" and "too split" in outcome.reason and "0.60" in outcome.reason


def test_a_handed_over_answer_joins_the_vote_of_sampled_rollouts() -> None:
    one = learner()
    problem = Problem(question="sum: 1+1")
    given = (Rollout(text="2", answer="2", finished=False),)
    [outcome] = one.consolidate([one.commit(problem, given, one.keys([problem])[0])], None)
    assert outcome.vote is not None and outcome.vote.total == 1 + CONFIG.vote.rollouts


def test_an_attempt_that_breaks_off_is_recorded_as_failed() -> None:
    class Broken(FakeModel):
        def log_probabilities(self, conversations, completions, latent):
            values, mask = super().log_probabilities(conversations, completions, latent)
            return values * float("nan"), mask

    one = learner(model=Broken(MODEL.answers, bias=1.5))
    outcome = one_by_one(one, list(SUMS)[:5])[-1]
    assert outcome.status == "failed" and "not finite" in outcome.reason
    assert [episode.state for episode in one.consolidator.store.episodes("failed")] == ["failed"]


class ShortContext(FakeModel):
    """Reads questions of at most two words."""

    def sample(self, conversations, latents, n, sampling, seed):
        for one in conversations:
            if len(str(one).split()) > 2:
                raise ContextLengthError(f"{one!r} is too long.")
        return super().sample(conversations, latents, n, sampling, seed)


def test_an_episode_that_cannot_be_sampled_fails_alone() -> None:
    one = learner(model=ShortContext(MODEL.answers, bias=1.5))
    outcomes = ask_all(one, [*list(SUMS)[:2], "sum: of many words", *list(SUMS)[2:4]])
    assert [outcome.status for outcome in outcomes] == ["waiting", "waiting", "failed", "waiting", "waiting"]
    assert "too long" in outcomes[2].reason
    assert not [
        outcome
        for outcome in one.consolidate(list(one.consolidator.store.episodes("pending")), None)
        if outcome.status == "failed"
    ]


def test_neighbours_of_a_refused_candidate_are_not_tried_again_on_the_same_episodes() -> None:
    one = learner(replace_trial(min_gain=0.9))
    outcomes = ask_all(one, list(SUMS)[:8])
    assert {outcome.status for outcome in outcomes} == {"refused"}
    assert len([outcome for outcome in outcomes if outcome.trial]) == 1


def test_the_same_stream_gives_the_same_tensor() -> None:
    tensors = []
    for _ in range(2):
        one = learner()
        outcome = one_by_one(one, list(SUMS)[:5])[-1]
        tensors.append(one.consolidator.store.tensor(str(outcome.latent_id)))
    assert np.array_equal(*tensors)


def test_another_seed_gives_other_rollouts() -> None:
    votes = []
    for seed in (0, 1):
        one = learner(CONFIG.model_copy(update={"seed": seed}))
        votes.append([outcome.vote.counts for outcome in one_by_one(one, list(SUMS)[:4]) if outcome.vote])
    assert votes[0] != votes[1]


def test_the_background_worker_learns_and_outlives_a_failing_episode() -> None:
    one = learner()
    unknown = Problem(question="sum: unknown to the model")
    for question in (unknown.question, *list(SUMS)[:5]):
        problem = Problem(question=question)
        one.consolidate_later(one.commit(problem, (), one.keys([problem])[0]))
    one.drain()
    one.close()
    [failed] = one.consolidator.store.episodes("failed")
    assert failed.question == unknown.question and "FakeModel knows no" in failed.reason
    assert len(list(one.consolidator.store.latents())) == 1


def test_closing_the_worker_leaves_the_rest_pending() -> None:
    one = learner()
    one.turn.acquire()  # the worker waits for its turn, so nothing is learnt before it is closed
    problems = [Problem(question=question) for question in list(SUMS)[:5]]
    for problem in problems:
        one.consolidate_later(one.commit(problem, (), one.keys([problem])[0]))
    closing = threading.Thread(target=one.close)
    closing.start()
    one.turn.release()
    closing.join(timeout=30)
    assert not closing.is_alive()
    assert len(list(one.consolidator.store.episodes("pending"))) == len(problems)
    assert not list(one.consolidator.store.latents())


def test_a_fake_with_another_bias_answers_otherwise() -> None:
    certain = replace(MODEL, bias=9.0)
    [group] = certain.sample(["sum: 1+1"], [None], 8, SamplingConfig(), seed=0)
    assert {rollout.text for rollout in group} == {"#### 2"}
