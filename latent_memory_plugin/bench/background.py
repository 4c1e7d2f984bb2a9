"""`bench background`: what learning in the background costs whoever uses the memory meanwhile, and how it grows.

Waiting is measured on the embedded world. Memory is measured on a fake model with the real store, in a process of its
own, once through the worker and once with the journal and the index alone, so that the difference is the worker's.
"""

import multiprocessing
import os
import random
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from latent_memory_plugin import __version__
from latent_memory_plugin.answers.vote import vote
from latent_memory_plugin.bench.resident import resident_mib
from latent_memory_plugin.config import Config, DistilConfig, TrialConfig, VoteConfig, WorkerConfig
from latent_memory_plugin.engines.hf import LanguageModel
from latent_memory_plugin.memory import LatentMemory
from latent_memory_plugin.records import Latent, Problem, Rollout, Trial
from latent_memory_plugin.sandbox.world import families, stream
from latent_memory_plugin.testing import FakeModel

FIRST = 1000
"""Episodes after which growth is counted: by then everything is loaded and warm."""
KNOWN = 4
"""Latents that the calls beside learning have to do with."""
CALLS = ("feedback", "forget", "roll_back", "episodes", "latents", "import_from")
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
    """Seconds per answer, one question at a time, with nothing else going on and while the pool learns, and seconds of
    every other call while it learns."""
    problems = [problem.question for problem in stream(families("tuning"), 4 * asks, seed)]
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "known.tar"
        with LatentMemory(Path(folder) / "known", model) as known:
            for number in range(KNOWN):
                tensors = {"latent": np.zeros((1, model.hidden_size), np.float32)}
                [key] = known.opened.encoder.keys([problems[number]])  # (D,)
                known.opened.store.put(_latent(known, problems[number]), tensors, key)
            known.export_to(archive)
        with LatentMemory(Path(folder) / "root", model) as memory:
            memory.ask(problems[0], seed=seed)
            idle = [_seconds(lambda asked=one: memory.ask(asked, seed=seed)) for one in problems[:asks]]
            memory.pause()
            for question in problems:
                memory.observe(question, when="background")
            memory.resume()
            calls = _Calls(memory, archive, seed)
            busy: list[float] = []
            while len(busy) < asks and memory.progress().status == "running":
                busy.append(_seconds(lambda: memory.ask(problems[len(busy)], seed=seed)))
                calls.round(problems[-1 - len(busy)])
            done = memory.progress().done
        for _ in range(max(1, asks // 4)):
            calls.seconds["close"].append(_closing(LatentMemory(Path(folder) / "root", model), calls.rng.uniform(0, 2)))
    every = [seconds for taken in calls.seconds.values() for seconds in taken]
    return {
        "model": model.name,
        "idle": _summary(idle),
        "learning": _summary(busy),
        "learnt_meanwhile": done,
        "calls": {name: _summary(taken) for name, taken in calls.seconds.items()},
        "calls_p99": round(float(np.quantile(every, 0.99)), 3) if every else None,
    }


def _closing(memory: LatentMemory, after: float) -> float:
    """Seconds that closing takes, so many seconds after learning began."""
    memory.resume()
    while memory.progress().status != "running":
        time.sleep(0.01)
    time.sleep(after)
    return _seconds(memory.close)


class _Calls:
    """What a user calls beside `ask`, and how long each call took."""

    def __init__(self, memory: LatentMemory, archive: Path, seed: int) -> None:
        self.memory, self.archive, self.seed = memory, archive, seed
        self.rng = random.Random(seed)
        self.seconds: dict[str, list[float]] = {name: [] for name in (*CALLS, "close")}

    def round(self, question: str) -> None:
        """Each call once, at what an import brings anew."""
        memory = self.memory
        memory.observe(question, when="manual")
        self._take("import_from", lambda: memory.import_from(self.archive))
        latents = list(memory.latents())
        [answer] = memory.ask([question], seed=self.seed)
        self._take("feedback", lambda: memory.feedback(answer, correct=False))
        self._take("roll_back", lambda: memory.roll_back(latents[0].id))
        self._take("forget", lambda: memory.forget(latents[0].id))
        self._take("forget", lambda: memory.forget(question=question))
        self._take("episodes", lambda: list(memory.episodes()))
        self._take("latents", lambda: list(memory.latents()))

    def _take(self, name: str, call: Callable[[], object]) -> None:
        self.seconds[name].append(_seconds(call))


def _latent(memory: LatentMemory, question: str) -> Latent:
    """The record of a Latent that says nothing."""
    model, problem = memory.model, Problem(question=question)
    rollouts = (Rollout(text="", answer="1"),) * 2
    return Latent(
        namespace=memory.namespace,
        form=memory.config.form,
        shapes={"latent": (1, model.hidden_size)},
        model=model.name,
        fingerprint=model.fingerprint,
        encoder=memory.opened.encoder.name,
        problem_hash=problem.hash,
        vote=vote([one.answer for one in rollouts]),
        trial=Trial.untried("It stands for a Latent that says nothing."),
        parents=(),
        objective=memory.config.distil.objective.kind,
        seed=0,
        version=__version__,
    )


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


def _seconds(call: Callable[[], object]) -> float:
    began = time.monotonic()
    call()
    return time.monotonic() - began


def _summary(seconds: list[float]) -> dict[str, float | int]:
    if not seconds:
        return {"count": 0}
    return {
        "count": len(seconds),
        "median": round(float(np.median(seconds)), 3),
        "p95": round(float(np.quantile(seconds, 0.95)), 3),
        "max": round(max(seconds), 3),
    }
