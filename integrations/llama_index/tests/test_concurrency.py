"""Thirty-two threads and thirty-two tasks through one memory: no Latent is crossed, no episode lost or doubled."""

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from llama_index.core.chat_engine import SimpleChatEngine
from llama_index.core.memory import Memory
from llama_index.memory.latent import EpisodeEnds, LatentLLM, LatentMemory, LatentMemoryBlock
from llama_world import states

from latent_memory_plugin import LatentMemory as CoreMemory

MANY = 32


def questions(applies: str) -> list[str]:
    """Every other one is a question to which the Latent applies."""
    return [f"{applies} ({number})" if number % 2 else f"What is {number} + 2?" for number in range(MANY)]


@pytest.mark.parametrize("door", ["memory", "block"])
@pytest.mark.parametrize("way", ["threads", "tasks"])
def test_many_sessions_at_once(core: CoreMemory, question: str, watching: EpisodeEnds, door: str, way: str) -> None:
    memory, block = LatentMemory(core=core, learn="manual"), LatentMemoryBlock(core=core, learn="manual")
    llm = LatentLLM(core=core, seed=1, max_tokens=12)
    asked = questions(question)
    expected = {one: core.ask(one, seed=1, max_new_tokens=12) for one in asked}
    read = [bool(expected[one].latent_ids) for one in asked]
    assert any(read) and not all(read), "the test would see a crossed Latent"

    def engine() -> SimpleChatEngine:
        own: Any = memory.session() if door == "memory" else Memory.from_defaults(memory_blocks=[block])
        return SimpleChatEngine.from_defaults(llm=llm, memory=own)

    async def tasks() -> list[str]:
        return [str(one) for one in await asyncio.gather(*[engine().achat(one) for one in asked])]

    if way == "tasks":
        told = asyncio.run(tasks())
    else:
        with ThreadPoolExecutor(MANY) as pool:
            told = list(pool.map(lambda one: str(engine().chat(one)), asked))
    assert told == [expected[one].text for one in asked]
    assert Counter(states(core)) == Counter((one, "pending") for one in asked)


def test_one_conversation_may_be_asked_from_many_threads(fake: LatentMemory) -> None:
    from llama_index.core.base.llms.types import ChatMessage, MessageRole

    fake.put(ChatMessage(role=MessageRole.USER, content="sum: 1"))
    with ThreadPoolExecutor(MANY) as pool:
        list(pool.map(lambda _: fake.get(), range(MANY)))
        list(pool.map(lambda _: fake.put(ChatMessage(role=MessageRole.ASSISTANT, content="2")), range(MANY)))
    assert states(fake) == [("sum: 1", "pending")]
