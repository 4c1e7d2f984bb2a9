"""Learning through `LatentMemory`: on a fake world in which learning is real, and once on the embedded one."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from memory_world import AGES, ANSWERS, CONFIG, SUMS, Gated, config, fake, fake_memory, pending, rollouts, said

import latent_memory_plugin
from latent_memory_plugin import Candidate, LatentMemory, NotFoundError, Progress
from latent_memory_plugin.answering.ask import Asker
from latent_memory_plugin.answers.judge import Judge
from latent_memory_plugin.config import Config, SamplingConfig
from latent_memory_plugin.errors import ContextLengthError, InputError
from latent_memory_plugin.keys import make_encoder
from latent_memory_plugin.records import Outcome, Problem, Rollout
from latent_memory_plugin.testing import InMemoryStore

WEIGHTS = Path(latent_memory_plugin.__file__).parent / "sandbox" / "weights" / "model.safetensors"
needs_weights = pytest.mark.skipif(not WEIGHTS.exists(), reason="the embedded model is missing")
FEW = SUMS[:3]
ENOUGH = SUMS[:8]


def taught(root: Path, **named: Any) -> LatentMemory:
    memory = fake_memory(root, **named)
    outcomes = memory.learn(ENOUGH)
    assert any(outcome.status == "live" for outcome in outcomes)
    return memory


def test_what_one_topic_taught_is_read_by_its_next_question_and_by_no_other_topic(tmp_path: Path) -> None:
    with taught(tmp_path) as memory:
        [latent] = memory.latents()
        near, far = memory.ask([SUMS[20], AGES[0]])
        assert near.latent_ids == (latent.id,) and latent.id in near.reason
        assert near.usage.latent_tokens == latent.shape[0]
        assert far.latent_ids == () and "below the threshold" in far.reason and far.usage.latent_tokens == 0


def test_a_latent_raises_the_share_of_the_voted_answer(tmp_path: Path) -> None:
    with taught(tmp_path) as memory:
        reads = memory.ask(SUMS[20], n=64, seed=0)
        memory.off()
        plain = memory.ask(SUMS[20], n=64, seed=0)
    shares = [sum(one.answer == "42" for one in asked.rollouts) / 64 for asked in (reads, plain)]
    assert shares[0] > shares[1]


def test_one_question_gives_one_outcome_and_a_list_gives_a_list(tmp_path: Path) -> None:
    told: list[Progress] = []
    with fake_memory(tmp_path) as memory:
        single = memory.learn(SUMS[0], told.append)
        several = memory.learn(FEW[1:], told.append)
        assert isinstance(single, Outcome) and single.status == "waiting" and single.vote is not None
        assert [one.question for one in several] == FEW[1:]
        assert [one.outcome for one in told if one.stage == "done"] == [single, *several]
        assert memory.learn([]) == []


def test_episodes_are_listed_oldest_first_and_by_state(tmp_path: Path) -> None:
    with taught(tmp_path) as memory:
        memory.learn(AGES[0])
        assert [episode.question for episode in memory.episodes()] == [*ENOUGH, AGES[0]]
        assert pending(memory) == [AGES[0]]
        assert all(episode.state == "learnt" and episode.reason for episode in memory.episodes("learnt"))


def test_a_forgotten_latent_is_gone_and_its_id_unknown(tmp_path: Path) -> None:
    with taught(tmp_path) as memory:
        [latent] = memory.latents()
        assert memory.latent(latent.id) == latent
        memory.forget(latent.id)
        assert list(memory.latents()) == []
        assert memory.ask(SUMS[20]).latent_ids == ()
        for call in (memory.forget, memory.latent):
            with pytest.raises(NotFoundError, match=latent.id):
                call(latent.id)


def test_a_latent_forgotten_between_lookup_and_reading_does_not_break_the_answer() -> None:
    class Forgetful(InMemoryStore):
        def nearest(self, key: Any, limit: int = 1) -> list[tuple[str, float]]:
            return [("gone", 0.9)]

    encoder = make_encoder(fake(), CONFIG.retrieve)
    asker = Asker(fake(), Forgetful(), encoder, CONFIG, Judge(lambda text: text))
    [answer] = asker.ask([Problem(question=SUMS[0])], 1, SamplingConfig(), 0)
    assert answer.latent_ids == () and "forgotten" in answer.reason and answer.usage.latent_tokens == 0


def test_namespaces_are_walls(tmp_path: Path) -> None:
    with taught(tmp_path, namespace="a") as first, fake_memory(tmp_path, "b") as second:
        assert len(list(first.latents())) == 1
        assert list(second.latents()) == list(second.episodes()) == []
        assert second.ask(SUMS[20]).reason == "No Latent is stored yet."
        assert second.learn(SUMS[20]).status == "waiting"
        with pytest.raises(NotFoundError):
            second.forget(next(first.latents()).id)


# -- observing ---------------------------------------------------------------------------------------------------------


def test_an_observed_answer_joins_the_vote_of_the_models_own_rollouts(tmp_path: Path) -> None:
    with fake_memory(tmp_path) as memory:
        outcome = memory.observe(SUMS[0], answer="It is 2.")
        assert outcome.vote is not None and outcome.vote.total > CONFIG.vote.rollouts
        [episode] = memory.episodes()
        assert (episode.rollouts[0].answer, episode.rollouts[0].finished) == ("2", False)


def test_observed_rollouts_that_make_a_clear_vote_are_voted_on_as_they_are(tmp_path: Path) -> None:
    with fake_memory(tmp_path) as memory:
        seen = ["#### 2", Rollout(text="#### 2"), *["2"] * 4, "#### 5"]
        outcome = memory.observe(SUMS[0], answer="#### 2", rollouts=seen)
        assert outcome.vote is not None
        assert outcome.vote.counts == (("2", 7), ("5", 1))


def test_observed_rollouts_that_leave_the_vote_open_are_joined_by_the_models_own(tmp_path: Path) -> None:
    with fake_memory(tmp_path) as memory:
        outcome = memory.observe(SUMS[0], rollouts=["#### 2", "#### 2", "#### 5"])
        assert outcome.vote is not None and outcome.vote.total > 3
        assert [one.text for one in next(memory.episodes()).rollouts[:3]] == ["#### 2", "#### 2", "#### 5"]


def test_episodes_observed_together_are_learnt_from_in_their_order_and_sampled_together(tmp_path: Path) -> None:
    given = [rollouts(question, 12, 4) for question in ENOUGH]
    with fake_memory(tmp_path) as memory:
        outcomes = memory.observe_all(ENOUGH, given)
        assert [outcome.question for outcome in outcomes] == ENOUGH
        assert any(outcome.status == "live" for outcome in outcomes)
        [later] = memory.observe_all(AGES[:1], [()], when="manual")
        assert later.status == "waiting" and pending(memory)[-1] == AGES[0]


@pytest.mark.parametrize(("questions", "given"), [("one text", [()]), (["a", "b"], [()]), (["a", ""], [(), ()])])
def test_episodes_that_do_not_belong_together_are_refused_and_none_is_journaled(
    tmp_path: Path, questions: Any, given: Any
) -> None:
    with fake_memory(tmp_path) as memory:
        with pytest.raises(InputError):
            memory.observe_all(questions, given)
        assert not list(memory.episodes())


def test_observing_for_later_learns_nothing_until_consolidate(tmp_path: Path) -> None:
    with fake_memory(tmp_path) as memory:
        outcomes = [memory.observe(question, when="manual") for question in ENOUGH]
        assert {one.status for one in outcomes} == {"waiting"} and "consolidate()" in outcomes[0].reason
        assert pending(memory) == ENOUGH and list(memory.latents()) == []
        assert "live" in {outcome.status for outcome in memory.consolidate()}
        assert pending(memory) == []


def test_the_background_learns_while_the_agent_goes_on_observing(tmp_path: Path) -> None:
    model = Gated(ANSWERS, bias=1.5)
    with fake_memory(tmp_path, model=model) as memory:
        memory.observe(ENOUGH[0], when="background")
        assert model.wanted.wait(timeout=30)
        for question in ENOUGH[1:]:
            assert memory.observe(question, when="background").status == "waiting"
        assert pending(memory) == ENOUGH
        model.gate.set()
        memory.consolidate()
        assert len(list(memory.latents())) == 1 and pending(memory) == []
    assert not model.closed, "observing waited for learning"


def test_closing_leaves_what_the_background_had_not_begun_pending_and_reopening_learns_it(tmp_path: Path) -> None:
    model = Gated(ANSWERS, bias=1.5)
    memory = fake_memory(tmp_path, model=model)
    for question in ENOUGH:
        memory.observe(question, when="background")
    assert model.wanted.wait(timeout=30)
    closing = threading.Thread(target=memory.close)
    closing.start()
    model.gate.set()
    closing.join(timeout=30)
    assert not closing.is_alive()
    with fake_memory(tmp_path) as again:
        assert pending(again) == ENOUGH
        again.consolidate()
        assert len(list(again.latents())) == 1 and pending(again) == []


def test_a_reopened_root_has_its_latents_and_answers_as_before(tmp_path: Path) -> None:
    with taught(tmp_path) as memory:
        before, latents = memory.ask(SUMS[20], seed=5), list(memory.latents())
    with fake_memory(tmp_path) as again:
        assert list(again.latents()) == latents
        assert said(again.ask(SUMS[20], seed=5)) == said(before)


# -- what becomes of a latent ------------------------------------------------------------------------------------------


def observed(memory: LatentMemory, start: int, end: int) -> list[Outcome]:
    """Outcomes of episodes whose votes teach, with their rollouts handed over."""
    return [memory.observe(question, rollouts=rollouts(question, 12, 4)) for question in SUMS[start:end]]


def test_probation_promotion_and_standing_are_seen_from_outside(tmp_path: Path) -> None:
    with fake_memory(tmp_path, model=fake(bias=1.0)) as memory:
        assert [outcome.status for outcome in observed(memory, 0, 2)] == ["waiting", "probation"]
        [careful] = memory.latents()
        assert memory.standing(careful.id).state == "probation"
        answer = memory.ask(SUMS[20], seed=0)
        assert "on probation" in answer.reason
        assert observed(memory, 2, 5)[-1].status == "live"
        [live] = memory.latents()
        assert (live.previous, memory.standing(live.id).state) == (careful.id, "live")
        assert memory.standing(careful.id).state == "superseded" and memory.latent(careful.id) == careful
    with fake_memory(tmp_path, model=fake(bias=1.0)) as again:
        assert [latent.id for latent in again.latents()] == [live.id]


def test_feedback_takes_a_losing_latent_back_and_says_so_once(tmp_path: Path) -> None:
    with taught(tmp_path) as memory:
        [latent] = memory.latents()
        answers = memory.ask(SUMS[10:18], seed=0)
        changed = [memory.feedback(answer, correct=False) for answer in answers[:4]]
        changed += [memory.feedback(answer.id, correct=False) for answer in answers[4:]]
        assert changed == [[], [], [], [memory.standing(latent.id)], [], [], [], []]
        assert memory.standing(latent.id).state == "suspended" and "It lost" in memory.standing(latent.id).reason
        assert list(memory.latents()) == [] and memory.latent(latent.id) == latent
        assert memory.ask(SUMS[20]).latent_ids == ()


def test_good_feedback_and_feedback_on_an_answer_without_a_latent_change_nothing(tmp_path: Path) -> None:
    with taught(tmp_path) as memory:
        [latent] = memory.latents()
        read, plain = memory.ask(SUMS[10:18], seed=0), memory.ask(AGES, seed=0)
        assert [memory.feedback(answer, correct=True) for answer in read] == [[]] * 8
        assert [memory.feedback(answer, correct=False) for answer in plain] == [[]] * 4
        assert memory.feedback("unheard of", correct=False) == []
        assert memory.standing(latent.id).state == "live"


def test_a_later_vote_takes_a_losing_latent_back(tmp_path: Path) -> None:
    with taught(tmp_path) as memory:
        [latent] = memory.latents()
        for seed in range(6):
            memory.ask(SUMS[20], seed=seed)
        memory.observe(SUMS[20], rollouts=rollouts(SUMS[20], 4, 12))
        assert memory.standing(latent.id).state == "suspended"


def test_a_latent_is_rolled_back_to_the_last_version_that_passed_a_trial_then_to_none(tmp_path: Path) -> None:
    with fake_memory(tmp_path, model=fake(bias=1.0), config=config(distil={"steps": 6})) as memory:
        observed(memory, 0, 5)
        [old] = memory.latents()
    with fake_memory(tmp_path, model=fake(bias=1.0)) as memory:
        assert observed(memory, 5, 8)[-1].status == "live"
        [new] = memory.latents()
        assert new.previous == old.id and memory.standing(old.id).state == "superseded"
        assert memory.roll_back(new.id).state == "retired"
        assert list(memory.latents()) == [old] and memory.ask(SUMS[20]).latent_ids == (old.id,)
        assert memory.roll_back(old.id) == memory.standing(old.id)
        assert memory.standing(old.id).state == "suspended" and "by hand" in memory.standing(old.id).reason
        assert list(memory.latents()) == [] and memory.ask(SUMS[20]).latent_ids == ()


def test_every_candidate_is_watched_with_its_tensor(tmp_path: Path) -> None:
    tried: list[Candidate] = []
    with fake_memory(tmp_path, watch=tried.append) as memory:
        memory.learn(ENOUGH)
        [latent] = memory.latents()
    assert tried[-1].latent == latent and tried[-1].tensor.shape == latent.shape


def test_a_reward_in_place_of_the_vote_decides_what_is_learnt(tmp_path: Path) -> None:
    def second(question: str, text: str) -> float:
        return float(text.endswith(" 0"))

    with fake_memory(tmp_path, model=fake(bias=1.0), reward=second) as memory:
        outcomes = memory.learn(ENOUGH)
        assert {outcome.vote.answer for outcome in outcomes if outcome.vote} == {"0"}
        assert "live" in {outcome.status for outcome in outcomes}
        assert memory.ask(SUMS[20], n=64, seed=0).answer == "0"


def test_as_in_the_paper_one_problem_makes_a_latent_that_is_read_at_once(tmp_path: Path) -> None:
    with fake_memory(tmp_path, model=fake(bias=0.3), config=Config.preset("paper")) as memory:
        assert memory.learn(SUMS[0]).status == "live"
        [latent] = memory.latents()
        assert memory.ask(SUMS[20]).latent_ids == (latent.id,)


def test_the_same_stream_gives_bit_identical_latents_in_another_root(tmp_path: Path) -> None:
    tensors: list[list[bytes]] = []
    for name in ("a", "b"):
        with fake_memory(tmp_path / name) as memory:
            for question in SUMS[:14]:
                memory.learn(question)
            store = memory.opened.store
            tensors.append([store.tensors(latent.id)["latent"].tobytes() for latent in store.latents()])
    assert tensors[0] == tensors[1] and tensors[0]


# -- bad input learns nothing ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", ["", "  \n", "x" * 100_000, None, 5])
def test_one_bad_question_in_a_list_and_nothing_is_learnt_or_journaled(tmp_path: Path, bad: Any) -> None:
    with fake_memory(tmp_path) as memory:
        with pytest.raises(InputError):
            memory.learn([*SUMS[:20], bad])
        assert list(memory.episodes()) == []


def test_a_question_too_long_to_learn_from_is_refused_before_anything_is_journaled(tmp_path: Path) -> None:
    room = CONFIG.distil.latent_tokens + CONFIG.sampling.max_new_tokens
    with fake_memory(tmp_path, model=fake(context_tokens=room + 4)) as memory:
        for call in (memory.learn, memory.observe):
            with pytest.raises(ContextLengthError, match=r"5 tokens .* leaves room for 4"):
                call("sum: 1 and 1 more")
        with pytest.raises(ContextLengthError):
            memory.learn([*SUMS[:20], "sum: 1 and 1 more"])
        assert list(memory.episodes()) == []
        assert memory.learn(SUMS[0]).status == "waiting"


@pytest.mark.parametrize(
    "given",
    [
        {"rollouts": "#### 2"},
        {"rollouts": [5]},
        {"answer": 5},
        {"when": "later"},
        {"question": ""},
        {"question": ["sum: 1 and 1"]},
    ],
)
def test_an_episode_that_cannot_be_used_is_refused_by_value_and_not_journaled(
    tmp_path: Path, given: dict[str, Any]
) -> None:
    with fake_memory(tmp_path) as memory:
        arguments: dict[str, Any] = {"question": SUMS[0], **given}
        with pytest.raises(InputError) as refused:
            memory.observe(**arguments)
        assert repr(next(iter(given.values()))) in str(refused.value) or "5" in str(refused.value)
        assert list(memory.episodes()) == []


@pytest.mark.slow
@needs_weights
def test_a_process_that_ends_while_it_learns_in_the_background_ends_well_and_keeps_the_episodes(tmp_path: Path) -> None:
    script = (
        "from latent_memory_plugin import LatentMemory\n"
        "memory = LatentMemory()\n"
        "for number in range(2, 5):\n"
        "    question = f'A fence is {number * 8} m long and has a post every {number} m. How many posts are there?'\n"
        "    memory.observe(question, when='background')\n"
    )
    environment = {**os.environ, "LATENT_MEMORY_ROOT": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")  # a thread inside torch would have aborted it
    with LatentMemory(root=tmp_path) as memory:
        assert len(list(memory.episodes())) == 3
        assert list(memory.episodes("pending"))
