"""A LlamaIndex agent with a calculator that gets better at its own kinds of problems, without labels:

    python examples/llama_index_math_agent.py
    python examples/llama_index_math_agent.py --model Qwen/Qwen3-1.7B

It solves a stream of word problems, learns from what it has been through, and solves fresh problems of the same kinds.
"""

import asyncio
import tempfile
from typing import Annotated, Any

import typer
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.memory.latent import EpisodeEnds, LatentLLM, LatentMemory

from latent_memory_plugin.answers import agree, extract
from latent_memory_plugin.sandbox.calculator import calculate
from latent_memory_plugin.sandbox.world import WordProblem, families, stream

KINDS = ("two ages", "animal legs", "profit", "round trip")


def calc(expression: str) -> str:
    """Calculates an arithmetic expression such as 12+7."""
    return calculate(expression)


async def share_right(agent: Any, memory: LatentMemory, asked: list[WordProblem]) -> float:
    """The share of problems that the agent answers right, each in a conversation of its own."""
    said = [str(await agent.run(user_msg=problem.question, memory=memory.session())) for problem in asked]
    return sum(agree(extract(text), problem.answer) for text, problem in zip(said, asked, strict=True)) / len(asked)


def main(
    model: Annotated[str | None, typer.Option(help="Folder or hub id [default: the embedded model].")] = None,
    problems: Annotated[int, typer.Option(min=1, help="Problems in each of the two passes.")] = 48,
    seed: Annotated[int, typer.Option(help="Draws the problems and the answers.")] = 0,
) -> None:
    """Two passes of an agent over problems of the same kinds, with learning between them."""
    chosen = tuple(family for family in families("tuning") if family.name in KINDS)
    EpisodeEnds.attach()
    with tempfile.TemporaryDirectory() as root:
        memory = LatentMemory(root=root, model=model, learn="manual")
        agent = FunctionAgent(llm=LatentLLM(core=memory.core, seed=seed), tools=[calc])
        before = asyncio.run(share_right(agent, memory, stream(chosen, problems, seed)))
        learnt = memory.core.consolidate()
        live = sum(one.status == "live" for one in learnt)
        print(f"{live} Latents live after {len(learnt)} episodes without a label.")
        after = asyncio.run(share_right(agent, memory, stream(chosen, problems, seed + 1)))
        memory.off()  # the same problems without memory: some streams are easier than others
        plain = asyncio.run(share_right(agent, memory, stream(chosen, problems, seed + 1)))
        print(f"Right in the first pass: {before:.0%}, in the second: {after:.0%}, there without memory: {plain:.0%}.")
        memory.close()


if __name__ == "__main__":
    typer.run(main)
