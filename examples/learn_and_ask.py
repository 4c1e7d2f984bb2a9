"""Learns from ten problems of one kind without their answers, then asks an eleventh."""

import tempfile

from latent_memory_plugin import LatentMemory, Progress
from latent_memory_plugin.sandbox.world import families, stream


def show(progress: Progress) -> None:
    """One line for each problem learnt from."""
    if progress.outcome is not None:
        print(f"{progress.outcome.status:8} {progress.outcome.reason}")


one_family = families("tuning")[1:2]
*studied, asked = stream(one_family, problems=11, seed=0)

with tempfile.TemporaryDirectory() as root, LatentMemory(root=root) as memory:
    memory.learn([problem.question for problem in studied], progress=show)
    answer = memory.ask(asked.question, seed=0)

print(f"\n{asked.question}\n{answer.text}")
print(f"Right: {asked.answer}. Memory: {answer.reason}")
