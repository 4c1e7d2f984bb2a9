"""A LangChain agent with a calculator that gets better at its own kinds of problems, without labels:

    python examples/langchain_math_agent.py
    python examples/langchain_math_agent.py --model Qwen/Qwen3-1.7B

It solves a stream of word problems, learns from what it has been through, and solves fresh problems of the same kinds.
"""

import tempfile
from typing import Annotated

import typer
from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_latent_memory import ChatLatent, LatentMemory, LatentMemoryMiddleware

from latent_memory_plugin.answers import agree, extract
from latent_memory_plugin.sandbox.calculator import calculate
from latent_memory_plugin.sandbox.world import WordProblem, families, stream

KINDS = ("two ages", "animal legs", "profit", "round trip")


@tool
def calc(expression: str) -> str:
    """Calculates an arithmetic expression such as 12+7."""
    return calculate(expression)


def main(
    model: Annotated[str | None, typer.Option(help="Folder or hub id [default: the embedded model].")] = None,
    problems: Annotated[int, typer.Option(min=1, help="Problems in each of the two passes.")] = 48,
    seed: Annotated[int, typer.Option(help="Draws the problems and the answers.")] = 0,
) -> None:
    """Two passes of an agent over problems of the same kinds, with learning between them."""
    chosen = tuple(family for family in families("tuning") if family.name in KINDS)
    with tempfile.TemporaryDirectory() as root:
        memory = LatentMemory(root=root, model=model, learn="manual")
        agent = create_agent(ChatLatent(memory=memory, seed=seed), [calc], middleware=[LatentMemoryMiddleware(memory)])

        def share_right(asked: list[WordProblem]) -> float:
            """The share of problems that the agent answers right."""
            said = [agent.invoke({"messages": [("human", one.question)]})["messages"][-1].text for one in asked]
            return sum(agree(extract(text), one.answer) for text, one in zip(said, asked, strict=True)) / len(asked)

        before = share_right(stream(chosen, problems, seed))
        learnt = memory.consolidate()
        live = sum(one.status == "live" for one in learnt)
        print(f"{live} Latents live after {len(learnt)} episodes without a label.")
        after = share_right(stream(chosen, problems, seed + 1))
        memory.off()  # the same problems without memory: some streams are easier than others
        plain = share_right(stream(chosen, problems, seed + 1))
        print(f"Right in the first pass: {before:.0%}, in the second: {after:.0%}, there without memory: {plain:.0%}.")
        memory.close()


if __name__ == "__main__":
    typer.run(main)
