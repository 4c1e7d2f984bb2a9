"""`bench background`: what learning in the background costs whoever asks meanwhile, and how its memory grows.

Asking is measured on the embedded world. Memory is measured on a fake model with the real store, in a process of its
own, once through the worker and once with the journal and the index alone, so that the difference is the worker's.
"""

import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Literal, cast

import numpy as np

from latent_memory_plugin.bench.resident import resident_mib
from latent_memory_plugin.config import Config, DistilConfig, TrialConfig, VoteConfig, WorkerConfig
from latent_memory_plugin.engines.hf import LanguageModel
from latent_memory_plugin.memory import LatentMemory
from latent_memory_plugin.sandbox.world import families, stream
from latent_memory_plugin.testing import FakeModel

FIRST = 1000
"""Episodes after which growth is counted: by then everything is loaded and warm."""
EPISODES_PER_TOPIC = 50
"""Of the fake world: enough for a Latent of each topic, with its trial and a second version."""
CHEAP = Config(
    vote=VoteConfig(rollouts=8, max_rollouts=16, confidence=0.9),
    distil=DistilConfig(steps=10, patience=5),
    trial=TrialConfig(answers=8),
    worker=WorkerConfig(queue=100, full="wait"),
)
"""Settings under which the fake model learns fast."""

Progress = Callable[[int, int, str], None]
When = Literal["background", "manual"]


def measure(episodes: int, asks: int, seed: int, model: str | None, progress: Progress | None = None) -> dict[str, Any]:
    """Seconds per answer while idle and while learning, and resident MiB by number of episodes."""
    told = progress or _silent
    asking = latencies(LanguageModel.load(Config().model.model_copy(update={"name": model})), asks, seed)
    told(1, 3, "asking")
    worker = _in_a_process(episodes, "background")
    told(2, 3, "worker")
    journal = _in_a_process(episodes, "manual")
    told(3, 3, "journal and index alone")
    return {
        "asking": asking,
        "memory": {"episodes": episodes, "worker": worker, "journal_and_index": journal},
        "processors": os.cpu_count(),
        "seed": seed,
    }


def latencies(model: LanguageModel, asks: int, seed: int) -> dict[str, Any]:
    """Seconds per answer, one question at a time: with nothing else going on, and while the worker learns."""
    problems = [problem.question for problem in stream(families("tuning"), 4 * asks, seed)]
    with tempfile.TemporaryDirectory() as root, LatentMemory(root, model) as memory:
        memory.ask(problems[0], seed=seed)
        idle = [_seconds(memory, question, seed) for question in problems[:asks]]
        memory.pause()
        for question in problems:
            memory.observe(question, when="background")
        memory.resume()
        busy: list[float] = []
        while len(busy) < asks and memory.progress().status == "running":
            busy.append(_seconds(memory, problems[len(busy)], seed))
        done = memory.progress().done
    return {"model": model.name, "idle": _summary(idle), "learning": _summary(busy), "learnt_meanwhile": done}


def grow(root: str, episodes: int, when: When) -> dict[str, Any]:
    """Resident MiB after the first thousand episodes and after all of them, and what was learnt on the way."""
    questions = [f"topic {number // EPISODES_PER_TOPIC}: question {number}" for number in range(episodes)]
    answers = dict.fromkeys(questions, ("1", "2"))
    model = cast(LanguageModel, FakeModel(answers, bias=1.5))
    marks: dict[int, float] = {}
    began = time.monotonic()
    with LatentMemory(root, model, config=CHEAP) as memory:
        for number, question in enumerate(questions, 1):
            memory.observe(question, when=when)
            if number in (FIRST, episodes):
                if when == "background":
                    memory.drain()
                marks[number] = resident_mib()
        latents = sum(1 for _ in memory.latents())
        failed = memory.progress().failed
    first, last = marks[min(FIRST, episodes)], marks[episodes]
    return {
        "first_mib": round(first, 1),
        "last_mib": round(last, 1),
        "growth": round(last / first - 1, 4),
        "latents": latents,
        "failed": failed,
        "seconds": round(time.monotonic() - began, 1),
    }


def _silent(done: int, total: int, last: str) -> None:
    pass


def _in_a_process(episodes: int, when: When) -> dict[str, Any]:
    with (
        tempfile.TemporaryDirectory() as root,
        ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool,
    ):
        return pool.submit(grow, root, episodes, when).result()


def _seconds(memory: LatentMemory, question: str, seed: int) -> float:
    began = time.monotonic()
    memory.ask(question, seed=seed)
    return time.monotonic() - began


def _summary(seconds: list[float]) -> dict[str, float | int]:
    if not seconds:
        return {"asks": 0}
    return {
        "asks": len(seconds),
        "median": round(float(np.median(seconds)), 3),
        "p95": round(float(np.quantile(seconds, 0.95)), 3),
        "max": round(max(seconds), 3),
    }
