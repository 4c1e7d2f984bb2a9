"""Many threads and many tasks through one memory: no Latent crosses, no episode is lost."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_latent_memory import ChatLatent, LatentMemoryMiddleware
from langchain_world import (
    PROMPT,
    TOPICS,
    fake_core,
    give_latent,
    ids,
    latent_text,
    memory,
    plain_text,
    questions,
    recording,
    seen,
)

ASKED = [one for topic in TOPICS for one in questions(topic, 4)]
"""32 questions of 8 topics."""


@pytest.fixture
def many(tmp_path: Path) -> Any:
    """A memory with a Latent for each other topic, by topic, whose model takes a while."""
    with fake_core(tmp_path / "many", recording(pause_seconds=0.02)) as core:
        yield core, {topic: give_latent(core, topic) for topic in TOPICS[::2]}


def through(door: str, mine: Any) -> Any:
    if door == "agent":
        made: Any = create_agent(ChatLatent(), middleware=[LatentMemoryMiddleware(mine)])
        return (lambda one: {"messages": [("human", one)]}), made, (lambda out: out["messages"][-1])
    chain = PROMPT | mine | ChatLatent() if door == "reader" else PROMPT | ChatLatent(memory=mine)
    return (lambda one: {"question": one}), chain, (lambda out: out)


@pytest.mark.parametrize("door", ["reader", "owner", "agent"])
@pytest.mark.parametrize("how", ["threads", "tasks"])
async def test_no_latent_crosses_and_no_episode_is_lost(many: Any, door: str, how: str) -> None:
    core, latents = many
    given, chain, last = through(door, memory(core))
    if how == "threads":
        with ThreadPoolExecutor(32) as threads:
            out = list(threads.map(lambda one: chain.invoke(given(one)), ASKED))
    else:
        out = await asyncio.gather(*[chain.ainvoke(given(one)) for one in ASKED])
    for question, said in zip(ASKED, map(last, out), strict=True):
        latent = latents.get(question.split(":")[0])
        assert (ids(said), said.text) == (([latent], latent_text(question)) if latent else ([], plain_text(question)))
    expected = [(one, "pending", () if one.split(":")[0] in latents else (plain_text(one),)) for one in ASKED]
    assert sorted(seen(core)) == sorted(expected)
