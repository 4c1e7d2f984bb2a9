"""Rows of learning one Latent by GRPO: wall time and peak memory, beside TRL."""

import itertools
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Literal

import torch

from latent_memory_plugin.bench.resident import peak_mib, resident_mib
from latent_memory_plugin.bench.speed import reference
from latent_memory_plugin.bench.speed.pairs import Row, Wanted, compare, skipped
from latent_memory_plugin.bench.speed.share import model_share
from latent_memory_plugin.bench.speed.subject import Dtype, Shape, Subject, build
from latent_memory_plugin.config import DistilConfig, GrpoConfig, SamplingConfig
from latent_memory_plugin.objectives import Attempt, Lesson
from latent_memory_plugin.objectives.grpo import GRPO
from latent_memory_plugin.records import Problem

LEARNING = Row(
    "learning one Latent: 8 rollouts of 32 tokens, 10 steps of GRPO",
    "TRL GRPOTrainer, PEFT prompt tuning, plain generate",
    "steps/s",
    Wanted(5.0, "at least"),
)
MEMORY = Row(
    "peak memory of learning: 8 rollouts of 64 tokens, prompt of 128",
    "the same with TRL",
    "MiB",
    Wanted(0.7, "at most"),
)
ROLLOUTS, STEPS, NEW_TOKENS = 8, 10, 32
MEMORY_STEPS, MEMORY_NEW_TOKENS, MEMORY_PROMPT_TOKENS = 1, 64, 128

Side = Literal["ours", "trl"]


def learning(subject: Subject, theirs: Subject, pairs: int) -> dict[str, Any]:
    """Steps per second, TRL on a copy of its own. Ours samples once more than it has steps, to judge the last."""
    if not reference.is_installed():
        return skipped(LEARNING, reference.MISSING)
    question = subject.questions[0]
    return compare(
        LEARNING,
        lambda: STEPS / learn(subject, question, STEPS, NEW_TOKENS),
        lambda: STEPS / reference.learn(theirs, question, ROLLOUTS, STEPS, NEW_TOKENS),
        pairs,
        lambda: {
            "model_share": model_share(subject, lambda: learn(subject, question, STEPS, NEW_TOKENS)),
            "model": subject.model.name,
        },
    )


def memory(shape: Shape, dtype: Dtype, pairs: int) -> dict[str, Any]:
    """Peaks of fresh processes, the weights included; `added` is what learning took beside them."""
    if not reference.is_installed():
        return skipped(MEMORY, reference.MISSING)
    added: dict[Side, list[float]] = {"ours": [], "trl": []}

    def peak(side: Side) -> float:
        before, most = _apart(side, shape, dtype)
        added[side].append(most - before)
        return most

    report = compare(MEMORY, lambda: peak("ours"), lambda: peak("trl"), pairs)
    return report | {"model": f"random {shape}, {dtype}", "added_mib": {name: max(all) for name, all in added.items()}}


def learn(subject: Subject, question: str, steps: int, new_tokens: int) -> float:
    """Seconds that ours takes, every second rollout rewarded."""
    turns = itertools.count()
    attempt = Attempt(
        model=subject.endless,
        form="soft_prompt",
        lessons=(Lesson(Problem(question=question), "1", (), 1.0),),
        config=DistilConfig(objective=GrpoConfig(rollouts=ROLLOUTS), steps=steps, patience=steps + 1),
        sampling=SamplingConfig(max_new_tokens=new_tokens),
        score=lambda _, __, ___: float(next(turns) % 2),
        seed=0,
    )
    began = time.perf_counter()
    GRPO.train(attempt, {"latent": subject.latent(question)})
    subject.wait()
    return time.perf_counter() - began


def peak(side: Side, shape: Shape, dtype: Dtype) -> tuple[float, float]:
    """MiB of this process before learning, and at its peak; of the GPU, where the model is on one."""
    subject = build(shape, dtype)
    question = subject.long(MEMORY_PROMPT_TOKENS)
    on_gpu = subject.device.type == "cuda"
    before = torch.cuda.memory_allocated() / 2**20 if on_gpu else resident_mib()
    if side == "ours":
        learn(subject, question, MEMORY_STEPS, MEMORY_NEW_TOKENS)
    else:
        reference.learn(subject, question, ROLLOUTS, MEMORY_STEPS, MEMORY_NEW_TOKENS)
    return before, torch.cuda.max_memory_allocated() / 2**20 if on_gpu else peak_mib()


def _apart(side: Side, shape: Shape, dtype: Dtype) -> tuple[float, float]:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(peak, side, shape, dtype).result()
