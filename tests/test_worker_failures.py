"""What breaks off in the background: it is tried again, then failed with its reason, and the others go on meanwhile."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from memory_world import SUMS, config, fake_memory, pending
from worker_world import FIVE, QUICK, observe, order, queue, until, untouched, worker_config

from latent_memory_plugin import InputError, LatentMemory, WorkerError
from latent_memory_plugin.learning import pool


def test_what_breaks_off_once_is_tried_again_and_learnt_while_the_others_go_on(tmp_path: Path) -> None:
    model = order(q0=1)
    with fake_memory(tmp_path, model=model, config=worker_config(backoff=600.0)) as memory:
        memory.pause()
        observe(memory, *FIVE)
        memory.resume()
        until(lambda: memory.progress().done == 4)
        [first, *_] = memory.episodes()
        assert first.state == "pending" and "no luck" in first.reason and "(attempt 1 of 3)" in first.reason
        assert queue(memory) == [(FIVE[0], 1)] and memory.progress().error == first.reason
        memory.resume()  # does not wait for the ten minutes
        memory.drain()
        assert model.seen[:6] == [*FIVE, FIVE[0]]
        assert (memory.progress().done, memory.progress().failed) == (5, 0)


def test_what_breaks_off_every_time_fails_with_its_reason_after_as_many_attempts_as_allowed(tmp_path: Path) -> None:
    model = order(q1=10)
    with fake_memory(tmp_path, model=model, config=worker_config()) as memory:
        observe(memory, *FIVE)
        memory.drain()
        [failed] = memory.episodes("failed")
        assert failed.question == FIVE[1] and model.seen.count(FIVE[1]) == 3
        assert failed.reason == f"RuntimeError: no luck with {FIVE[1]} (attempt 3 of 3)"
        assert memory.progress().failed == 1 and memory.progress().done == 4


def test_attempts_survive_the_memory(tmp_path: Path) -> None:
    with fake_memory(tmp_path, model=order(q0=9), config=worker_config(backoff=60.0)) as memory:
        observe(memory, FIVE[0])
        until(lambda: queue(memory) == [(FIVE[0], 1)])
    model = order(q0=9)
    with fake_memory(tmp_path, model=model, config=worker_config(attempts=2)) as again:
        again.drain()
        assert len(model.seen) == 1 and "(attempt 2 of 2)" in next(again.episodes("failed")).reason


def test_what_this_library_refuses_is_not_tried_twice(tmp_path: Path) -> None:
    model = order(InputError, q0=9)
    with fake_memory(tmp_path, model=model, config=worker_config()) as memory:
        observe(memory, FIVE[0])
        memory.drain()
        assert len(model.seen) == 1 and "(attempt 1 of 1)" in next(memory.episodes("failed")).reason


def test_a_full_disk_costs_no_attempt_holds_the_worker_up_and_is_got_over(tmp_path: Path) -> None:
    with fake_memory(tmp_path, config=worker_config()) as memory:
        memory.pause()
        observe(memory, *SUMS[:20])
        database = memory.opened.store._database
        [(pages,)] = database.rows("PRAGMA page_count")
        database.run(f"PRAGMA max_page_count = {pages}")
        memory.resume()
        until(lambda: "full" in memory.progress().error)
        with pytest.raises(WorkerError, match=r"held up with .* free some space"):
            memory.drain()
        assert not list(memory.episodes("failed")) and all(attempts == 0 for _, attempts in queue(memory))
        database.run("PRAGMA max_page_count = 1000000")
        until(lambda: memory.progress().waiting == 0)
        assert not list(memory.episodes("failed")) and untouched(memory) == []


def test_an_episode_deleted_while_it_waits_is_passed_over(tmp_path: Path) -> None:
    with fake_memory(tmp_path, config=worker_config()) as memory:
        memory.pause()
        observe(memory, *FIVE)
        memory.opened.store._database.run("DELETE FROM episodes WHERE question = ?", FIVE[2])
        memory.resume()
        memory.drain()
        assert memory.progress().done == 4 and memory.progress().error == ""


def test_an_episode_that_cannot_be_read_fails_and_the_rest_goes_on(tmp_path: Path) -> None:
    with fake_memory(tmp_path, config=worker_config()) as memory:
        memory.pause()
        observe(memory, *FIVE)
        database = memory.opened.store._database
        database.run("UPDATE episodes SET rollouts = 'garbage' WHERE question = ?", FIVE[2])
        memory.resume()
        memory.drain()
        assert database.rows("SELECT question FROM episodes WHERE state = 'failed'") == [(FIVE[2],)]
        assert memory.progress().done == 4 and "CorruptError" in memory.progress().error


def test_the_waits_for_the_store_double_and_end_at_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_memory(tmp_path, config=worker_config(backoff=1.0)) as memory:
        memory.pause()
        lane, learner = memory._lane, memory._learner
        monkeypatch.setattr(pool.time, "monotonic", lambda: 1000.0)
        waits: list[float] = []
        for _ in range(200):
            lane._hold(learner, OSError("no space"))
            waits.append(lane._held_until - 1000)
        monkeypatch.undo()
    assert waits[:7] == [1, 2, 4, 8, 16, 32, 60] and max(waits) == 60


CHILD = """
import sys, time
sys.path.insert(0, sys.argv[2])
from memory_world import SUMS, config, fake, fake_memory
from latent_memory_plugin.testing import FakeModel

class Slow(FakeModel):
    def sample(self, *given, **named):
        time.sleep(0.05)
        return super().sample(*given, **named)

model = Slow(fake().answers, bias=1.5)
memory = fake_memory(sys.argv[1], model=model, config=config(worker={"backoff": 0.05}))
for number in range(24):
    memory.observe(SUMS[number], when="background")
    print(number, flush=True)
while True:
    print("done", memory.progress().done, flush=True)
    time.sleep(0.01)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="there is no SIGTERM")
def test_sigterm_ends_a_learning_process_at_once_and_leaves_a_whole_store_with_its_queue(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CHILD, str(tmp_path), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        while (line := child.stdout.readline().split())[0] != "done" or int(line[1]) < 3:
            pass
        began = time.monotonic()
        child.send_signal(signal.SIGTERM)
        child.stdout.read()
        assert child.wait(timeout=60) == -signal.SIGTERM and time.monotonic() - began < 20
    with fake_memory(tmp_path, config=config(worker=QUICK)) as memory:
        left = queue(memory)
        assert [one.question for one in memory.episodes()] == SUMS
        assert left and {question for question, _ in left} <= set(pending(memory))
        memory.drain()
        assert memory.progress().done == len(left) and queue(memory) == []
        assert memory.opened.store.problems == {}


MANY = """
import signal, sys
from contextlib import ExitStack
from latent_memory_plugin import LatentMemory
from latent_memory_plugin.engines.hf import LanguageModel
from latent_memory_plugin.sandbox.world import families, stream

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
model = LanguageModel.load()
questions = [one.question for one in stream(families("tuning"), 48, 0)]
with ExitStack() as stack:
    memories = [stack.enter_context(LatentMemory(sys.argv[1], model, f"n{number}")) for number in range(16)]
    for number, memory in enumerate(memories):
        for question in questions[3 * number : 3 * number + 3]:
            memory.observe(question, when="background")
    while True:
        print(sum(memory.progress().status == "running" for memory in memories), flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="there is no SIGTERM")
def test_sixteen_namespaces_end_within_five_seconds_of_sigterm_and_lose_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MANY, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        while (line := child.stdout.readline()) == "0\n":
            pass
        assert line, "it ended by itself"
        time.sleep(2)
        began = time.monotonic()
        child.send_signal(signal.SIGTERM)
        child.stdout.read()
        assert child.wait(timeout=60) == 0
        took = time.monotonic() - began
    assert took < 5, f"it took {took:.1f} s"
    for number in range(16):
        with LatentMemory(tmp_path, namespace=f"n{number}", read_only=True) as memory:
            assert len(list(memory.episodes())) == 3
            settled = sum(one.state != "pending" for one in memory.episodes())
            assert memory.progress().waiting == 3 - settled
