"""Executors: the same outcomes wherever plans run, and a process that dies, is cancelled or cannot be used."""

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from memory_world import fake_memory

from latent_memory_plugin import CancelledError, Config, ConfigError, LatentMemory, WorkerConfig, executors
from latent_memory_plugin.config import (
    DistilConfig,
    NeighbourConfig,
    SamplingConfig,
    TrialConfig,
    VoteConfig,
)

FENCE = "A fence is {} m long and has a post every {} m, with a post at both ends. How many posts are there?"
QUESTIONS = [FENCE.format(gap * (gap + 4), gap) for gap in range(2, 8)]
LONG = 180.0


def settings(executor: str) -> Config:
    return Config(
        sampling=SamplingConfig(max_new_tokens=64),
        vote=VoteConfig(rollouts=8, max_rollouts=16, confidence=0.7),
        neighbours=NeighbourConfig(min_parents=2, max_parents=3),
        trial=TrialConfig(min_episodes=2, answers=4),
        distil=DistilConfig(steps=6),
        worker=WorkerConfig(executor=executor, backoff=0.05),
    )


def learnt(root: Path, executor: str) -> tuple[list[str], list[dict[str, np.ndarray]]]:
    with LatentMemory(root, config=settings(executor)) as memory:
        outcomes = memory.learn(QUESTIONS)
        store = memory.opened.store
        return [one.reason for one in outcomes], [store.tensors(latent.id) for latent in store.latents()]


@pytest.mark.slow
def test_a_process_gives_the_same_outcomes_and_latents_bit_for_bit_as_a_thread(tmp_path: Path) -> None:
    (reasons, tensors), (others, theirs) = (learnt(tmp_path / name, name) for name in ("thread", "process"))
    # Ids differ from run to run.
    assert [reason.split(" Latent ")[0] for reason in reasons] == [reason.split(" Latent ")[0] for reason in others]
    assert len(tensors) == len(theirs) > 0
    for one, other in zip(tensors, theirs, strict=True):
        assert all(np.array_equal(one[name], other[name]) for name in one)


def children() -> set[int]:
    found = " ".join(one.read_text(encoding="utf-8") for one in Path("/proc/self/task").glob("*/children"))
    return {int(one) for one in found.split() if b"resource_tracker" not in Path(f"/proc/{one}/cmdline").read_bytes()}


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="asks Linux for child processes")
def test_a_process_that_dies_is_started_again_and_the_episode_tried_again(tmp_path: Path) -> None:
    before = children()
    with LatentMemory(tmp_path, config=settings("process")) as memory:
        memory.observe(QUESTIONS[0], when="background")
        end = time.monotonic() + LONG
        while not children() - before:
            assert time.monotonic() < end
            time.sleep(0.01)
        for pid in children() - before:
            os.kill(pid, signal.SIGKILL)
        memory.drain(timeout=LONG)
        [episode] = memory.episodes()
        assert episode.vote is not None and memory.progress().done == 1
    assert not children() - before


@pytest.mark.slow
def test_what_a_process_is_doing_can_be_cancelled(tmp_path: Path) -> None:
    raised: list[BaseException] = []

    def learn(memory: LatentMemory) -> None:
        try:
            memory.learn(QUESTIONS, seen.append)
        except CancelledError as exc:
            raised.append(exc)

    seen: list[Any] = []
    with LatentMemory(tmp_path, config=settings("process")) as memory:
        thread = threading.Thread(target=learn, args=(memory,))
        thread.start()
        end = time.monotonic() + LONG
        while not seen:
            assert time.monotonic() < end
            time.sleep(0.01)
        memory.cancel()
        thread.join(timeout=20)
        assert not thread.is_alive() and len(raised) == 1 and "consolidate() goes on" in str(raised[0])
        assert all(one.state == "pending" for one in memory.episodes())


def test_a_loaded_model_cannot_be_loaded_again_elsewhere(tmp_path: Path) -> None:
    config = Config(worker=WorkerConfig(executor="process"))
    with (
        fake_memory(tmp_path, config=config) as memory,
        pytest.raises(ConfigError, match=r"'process' loads the model 'fake' again.*executor='thread'"),
    ):
        memory.learn("sum: 1 and 1")


@pytest.mark.slow
def test_functions_that_cannot_be_sent_are_named(tmp_path: Path) -> None:
    with (
        LatentMemory(tmp_path, config=settings("process"), extract=lambda text: text) as memory,
        pytest.raises(ConfigError, match=r"extract=, equal= and reward= must stand in a module"),
    ):
        memory.learn(QUESTIONS[0])


def test_an_unknown_executor_names_the_known_ones_and_how_to_register() -> None:
    with pytest.raises(ConfigError, match=r"no executor 'cloud'; known are .*'process', 'thread'.*executors\.register"):
        WorkerConfig(executor="cloud")


def test_two_registrations_of_one_name_are_refused() -> None:
    def first(*given: Any) -> Any:
        return given

    executors.register("mine", first)  # pyright: ignore[reportArgumentType]
    executors.register("mine", first)  # a module that is imported again registers the same
    for taken in ("mine", "thread"):
        with pytest.raises(ConfigError, match=f"another executor '{taken}' already"):
            executors.register(taken, lambda *given: given)  # pyright: ignore[reportArgumentType]
