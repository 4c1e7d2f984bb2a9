"""`keep_text=False`: no question and no completion reaches the disk; what only texts allow ends with the process."""

from pathlib import Path

import pytest
from memory_world import ANSWERS, CONFIG, SUMS, config, fake_memory, rollouts
from store_builders import ENCODER, MODEL, episode, key, latent, tensor, use

from latent_memory_plugin import LatentMemory
from latent_memory_plugin.config import Config, StoreConfig
from latent_memory_plugin.learning.neighbourhood import neighbourhood
from latent_memory_plugin.records import NOT_KEPT, Problem, Rollout, Vote
from latent_memory_plugin.store import Store
from latent_memory_plugin.store.access import Access

SILENT = CONFIG.model_copy(update={"store": StoreConfig(keep_text=False)})
LONG = "Zyx lives at 7 Long Lane, and nobody who reads the disk of this machine shall know it."


def silent(root: Path, settings: Config = SILENT) -> LatentMemory:
    return fake_memory(root, config=settings)


def hold(root: Path, *words: str) -> set[str]:
    contents = [path.read_bytes() for path in root.rglob("*") if path.is_file()]
    return {word for word in words if any(word.encode() in content for content in contents)}


def test_nothing_of_a_text_is_written_while_learning_works_within_the_process(tmp_path: Path) -> None:
    with silent(tmp_path) as memory:
        assert any(outcome.status == "live" for outcome in memory.learn(SUMS[:8]))
        memory.ask(SUMS[20])
        memory.observe("age: 1", answer=LONG, rollouts=[LONG, LONG, LONG], when="manual")
        memory.observe("age: 2", error=f"ValueError: {LONG}")
        assert [one.question for one in memory.episodes()][:8] == SUMS[:8]
        assert next(iter(memory.episodes("failed"))).reason.endswith(LONG)
        assert hold(tmp_path, "sum:", "age:", "####", "Zyx", "Long Lane") == set()
        memory.export_to(tmp_path / "all.tar")
    assert hold(tmp_path, "sum:", "age:", "####", "Zyx", "Long Lane") == set()


def test_what_only_its_text_allows_ends_with_the_process(tmp_path: Path) -> None:
    with silent(tmp_path) as memory:
        memory.learn(SUMS[:6])
        waiting = memory.observe(SUMS[6], rollouts=rollouts(SUMS[6], 3), when="manual").episode_id
    with silent(tmp_path) as memory:
        episodes = list(memory.episodes())
        assert {one.question for one in episodes} == {NOT_KEPT}
        assert [one.problem.hash for one in episodes] == [Problem(question=one).hash for one in SUMS[:7]]
        assert all(one.vote is not None and one.rollouts == () for one in episodes[:6])
        [latent] = memory.latents()
        assert memory.ask(SUMS[20]).latent_ids == (latent.id,)
        assert memory.learn(SUMS[21]).status == "skipped"
        memory.consolidate()
        lost = memory.opened.store.episode(str(waiting))
        assert (lost.state, lost.reason) == ("failed", "Its text was not kept.")
        store = memory.opened.store
        around = neighbourhood(store, episodes[0], store.episode_key(episodes[0].id), CONFIG)
        assert around.known and around.teachers == around.held_out == ()
        assert memory.forget(question=SUMS[0]).episodes == 1


def test_a_latent_on_probation_is_tried_though_its_parents_have_no_text(tmp_path: Path) -> None:
    easy = config(trial={"confidence": 0.6}, store={"keep_text": False})
    with silent(tmp_path, easy) as memory:
        outcomes = [memory.learn(one) for one in SUMS[:2]]
        assert outcomes[-1].status == "probation"
        [first] = memory.latents()
    with silent(tmp_path, easy) as memory:
        assert next(one for one in map(memory.learn, SUMS[2:]) if one.status == "live")
        [latent] = memory.latents()
        assert latent.previous == first.id
        assert (latent.parents, latent.problem_hash) == (first.parents, first.problem_hash)


def test_an_episode_written_with_its_text_loses_it_when_it_changes(tmp_path: Path) -> None:
    with fake_memory(tmp_path) as memory:
        memory.observe(SUMS[0], rollouts=[Rollout(text=f"#### {ANSWERS[SUMS[0]][0]}")], when="manual")
    with silent(tmp_path) as memory:
        [one] = memory.episodes()
        assert one.question == SUMS[0]
        memory.consolidate()
    assert hold(tmp_path, SUMS[0], "####") == set()


def test_no_door_of_the_store_lets_a_text_through(tmp_path: Path) -> None:
    access = Access(keep_text=False)
    with Store.open(tmp_path, "default", MODEL, ENCODER, access) as store:
        rollouts = (Rollout(text=LONG, answer=LONG),)
        vote = Vote(answer=LONG, share=1.0, entropy=0.0, counts=((LONG, 1),))
        for number, state in enumerate(("refused", "failed", "pending")):
            one = episode(f"{LONG} {number}", id=f"e{number}", rollouts=rollouts, vote=vote)
            store.commit(one, key())
            store.update(one.model_copy(update={"reason": "its own"}))
            store.enqueue(one.id, 9)
            store.broke_off(one.id, LONG)
            assert state == "pending" or store.settle(one.id, state, "split" if state == "refused" else LONG, "a1")
            assert (store.episode(one.id).reason, store.episode(one.id).rollouts) == (
                "split" if state == "refused" else LONG,
                rollouts,
            )
        assert store.give_up("e2", LONG)
        assert [one.vote for one in store.neighbours(key(), 0.5)] == [vote] * 3
        assert all(one.has_text for one in store.neighbours(key(), 0.5))
        store.put(made := latent(vote=vote), tensor(), key())
        store.record_uses([use("a", made.id, answer=LONG, text=LONG)])
        store.export_to(tmp_path / "all.tar")
        assert hold(tmp_path, "Zyx", "Long Lane") == set()
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        assert [(one.state, one.attempt) for one in store.episodes()] == [
            ("refused", "a1"),
            ("failed", "a1"),
            ("failed", None),
        ]
        assert next(store.episodes()).reason == "split"
        assert {(one.has_text, one.vote and one.vote.answer) for one in store.neighbours(key(), 0.5)} == {
            (False, NOT_KEPT)
        }
        assert [(one.answer, one.text) for one in store.uses()] == [(NOT_KEPT, None)]


@pytest.mark.parametrize("answer", ["12", None, LONG])
def test_short_answers_stay_and_long_ones_do_not(tmp_path: Path, answer: str | None) -> None:
    with silent(tmp_path) as memory:
        memory.observe("age: 1", rollouts=[Rollout(text="…", answer=answer)] * 3, when="manual")
        memory.consolidate()
    with silent(tmp_path) as memory:
        vote = next(memory.episodes()).vote
        assert vote is not None and (NOT_KEPT if answer == LONG else answer, 3) in vote.counts
