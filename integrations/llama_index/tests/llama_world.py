"""What several tests need: a calculator, a scripted language model, a family to learn, what the journal holds."""

from typing import Any

from llama_index.core.llms import CompletionResponse, CompletionResponseGen, CustomLLM, LLMMetadata
from llama_index.memory.latent import LatentMemory

from latent_memory_plugin import LatentMemory as CoreMemory
from latent_memory_plugin.sandbox.calculator import calculate
from latent_memory_plugin.sandbox.world import families

FAMILY = families("tuning")[1:2]
"""Fences and posts: a family with clear votes."""


def calc(expression: str) -> str:
    """Calculates an arithmetic expression such as 12+7."""
    return calculate(expression)


class Scripted(CustomLLM):
    """Says its lines one after the other; raises those that are errors."""

    lines: list[Any]
    said: int = 0

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata()

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        line = self.lines[self.said % len(self.lines)]
        self.said += 1
        if isinstance(line, Exception):
            raise line
        return CompletionResponse(text=line)

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        def pieces() -> CompletionResponseGen:
            yield CompletionResponse(text=(told := self.complete(prompt)).text, delta=told.text)

        return pieces()


def states(memory: "LatentMemory | CoreMemory") -> list[tuple[str, str]]:
    """Question and state of every episode but those the fixture learnt from."""
    core = memory.core if isinstance(memory, LatentMemory) else memory
    return [(one.question, one.state) for one in core.episodes() if one.state in ("pending", "failed")]


def raw(response: Any) -> dict[str, Any]:
    """What a response says of how it came about."""
    return response.raw
