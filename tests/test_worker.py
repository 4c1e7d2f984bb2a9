"""The background worker: its queue is in the journal, it keeps the order, and it can be watched and steered."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from memory_world import SUMS, fake_memory, pending
from worker_world import FIVE, LONG, gated, observe, order, queue, until, untouched, worker_config

from latent_memory_plugin import LatentMemory, WorkerError
from latent_memory_plugin.records import WorkerState


def learners() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "latent-memory-learner"]


# -- the queue ---------------------------------------------------------------------------------------------------------


def test_a_full_queue_leaves_the_episode_to_consolidate_and_says_so(tmp_path: Path) -> None:
    with gated(tmp_path, worker_config(queue=3)) as (memory, model):
        reasons = observe(memory, *FIVE)
        assert all("background worker learns" in reason for reason in reasons[:3])
        assert all("queue of 3 is full" in reason and "consolidate()" in reason for reason in reasons[3:])
        assert memory.progress().waiting == 3 and pending(memory) == FIVE
        model.gate.set()
        memory.drain()
        assert [question for question, _ in queue(memory)] == []
        assert untouched(memory) == FIVE[3:]
        memory.consolidate()
        assert untouched(memory) == []


def test_with_wait_observing_blocks_until_there_is_room_and_loses_none(tmp_path: Path) -> None:
    with gated(tmp_path, worker_config(queue=2, full="wait")) as (memory, model):
        observing = threading.Thread(target=observe, args=(memory, *FIVE), daemon=True)
        observing.start()
        until(lambda: len(list(memory.episodes())) == 3)
        time.sleep(0.1)
        assert observing.is_alive() and memory.progress().waiting == 2
        model.gate.set()
        observing.join(timeout=LONG)
        memory.drain()
        assert not observing.is_alive() and len(list(memory.episodes())) == 5 and untouched(memory) == []


def test_with_wait_a_paused_worker_keeps_nobody_waiting(tmp_path: Path) -> None:
    with fake_memory(tmp_path, config=worker_config(queue=1, full="wait")) as memory:
        memory.pause()
        first, second = observe(memory, *FIVE[:2])
        assert "background worker learns" in first and "queue of 1 is full" in second


def test_episodes_are_learnt_from_in_the_order_they_were_observed(tmp_path: Path) -> None:
    model = order()
    with fake_memory(tmp_path, model=model, config=worker_config()) as memory:
        memory.pause()
        observe(memory, *reversed(FIVE))
        memory.resume()
        memory.drain()
        assert model.seen == list(reversed(FIVE))


WAKES: list[Callable[[LatentMemory], object]] = [
    lambda one: one.learn(SUMS[7]),
    lambda one: one.observe(SUMS[7], when="background"),
    LatentMemory.resume,
    LatentMemory.drain,
]


@pytest.mark.parametrize("wake", WAKES)
def test_what_a_closed_memory_left_in_the_queue_is_taken_up_by_the_next_that_learns(
    tmp_path: Path, wake: Callable[[LatentMemory], object]
) -> None:
    with fake_memory(tmp_path, config=worker_config()) as memory:
        memory.pause()
        observe(memory, *FIVE)
    with fake_memory(tmp_path, config=worker_config()) as again:
        assert again.progress() == WorkerState(status="stopped", waiting=5, done=0, failed=0)
        wake(again)
        until(lambda: again.progress().waiting == 0)
        assert queue(again) == untouched(again) == []


def test_consolidating_learns_what_a_paused_worker_has_queued_and_takes_it_out(tmp_path: Path) -> None:
    with fake_memory(tmp_path, config=worker_config()) as memory:
        memory.pause()
        observe(memory, *SUMS[:8])
        assert "live" in {outcome.status for outcome in memory.consolidate()}
        assert (queue(memory), memory.progress().status) == ([], "paused")


def test_a_question_settled_by_a_neighbours_attempt_leaves_the_queue_with_it(tmp_path: Path) -> None:
    with fake_memory(tmp_path, config=worker_config()) as memory:
        memory.pause()
        observe(memory, *FIVE)
        first = next(memory.episodes())
        memory.opened.store.update(first.model_copy(update={"state": "refused", "reason": "Enough."}))
        assert [question for question, _ in queue(memory)] == FIVE[1:]


# -- pause, resume, drain, progress ------------------------------------------------------------------------------------


def test_pausing_finishes_the_episode_under_way_and_takes_no_further(tmp_path: Path) -> None:
    with gated(tmp_path) as (memory, model):
        assert memory.progress() == WorkerState(status="stopped", waiting=0, done=0, failed=0)
        observe(memory, *FIVE)
        assert model.wanted.wait(LONG)
        memory.pause()
        [first, *_] = memory.episodes()
        running = memory.progress()
        assert (running.status, running.waiting, running.episode_id) == ("running", 5, first.id)
        model.gate.set()
        until(lambda: memory.progress().status == "paused")
        assert memory.progress() == WorkerState(status="paused", waiting=4, done=1, failed=0)
        with pytest.raises(WorkerError, match=r"paused with 4 queued; call resume\(\)"):
            memory.drain()
        memory.resume()
        memory.drain(timeout=LONG)
        assert memory.progress() == WorkerState(status="idle", waiting=0, done=5, failed=0)


def test_draining_gives_up_after_its_timeout_and_leaves_the_queue_as_it_is(tmp_path: Path) -> None:
    with gated(tmp_path) as (memory, _):
        observe(memory, *FIVE)
        with pytest.raises(WorkerError, match=r"5 queued after 0\.1 seconds"):
            memory.drain(timeout=0.1)
        assert memory.progress().waiting == 5


@pytest.mark.parametrize("wait", [True, False])
def test_closing_waits_for_the_queue_or_leaves_it_as_asked(tmp_path: Path, wait: bool) -> None:
    with gated(tmp_path) as (memory, model):
        observe(memory, *FIVE)
        memory.pause()
        assert model.wanted.wait(LONG)
        closing = threading.Thread(target=memory.close, args=(wait,))
        closing.start()
        if wait:
            model.gate.set()
        closing.join(timeout=LONG)
        assert not closing.is_alive()
    with fake_memory(tmp_path) as again:
        assert again.progress().status == "stopped"
        assert again.progress().waiting == (0 if wait else 5)
        assert untouched(again) == ([] if wait else FIVE)


def test_two_memories_of_a_namespace_share_one_worker_which_outlives_either(tmp_path: Path) -> None:
    model, other = order(), order()
    with fake_memory(tmp_path, model=model, config=worker_config()) as first:
        with fake_memory(tmp_path, model=other, config=worker_config()) as second:
            first.pause()
            assert second.progress().status == "paused"
            observe(first, *FIVE[:3])
            observe(second, *FIVE[3:])
            second.resume()
            first.drain()
            assert len(learners()) == 1 and first.progress().done == second.progress().done == 5
            assert (model.seen[:3], other.seen[:2]) == (FIVE[:3], FIVE[3:])  # each learns what it has observed
        observe(first, SUMS[6])
        first.drain()
        assert first.progress().done == 6
    until(lambda: not learners())


def test_a_watcher_may_use_the_memory_that_is_being_closed(tmp_path: Path) -> None:
    seen: list[WorkerState] = []
    memory = fake_memory(tmp_path, config=worker_config(), watch=lambda candidate: seen.append(memory.progress()))
    observe(memory, *SUMS[:8])
    closing = threading.Thread(target=memory.close, args=(True,), daemon=True)
    closing.start()
    closing.join(timeout=LONG)
    assert not closing.is_alive() and {one.status for one in seen} == {"running"}
