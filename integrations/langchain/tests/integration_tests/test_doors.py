"""One problem through every door, with the embedded model: the answer is that of `LatentMemory.ask`, to the token."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from langchain.agents import create_agent
from langchain.agents.structured_output import ToolStrategy
from langchain_classic.chains import ConversationChain, LLMChain
from langchain_core.chat_history import InMemoryChatMessageHistory
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder, PromptTemplate
from langchain_core.runnables import RunnableLambda
from langchain_core.runnables.history import RunnableWithMessageHistory
from langchain_core.tools import tool
from langchain_latent_memory import ChatLatent, LatentMemory, LatentMemoryMiddleware
from langchain_world import Heard, ids, joined, seen
from pydantic import BaseModel

from latent_memory_plugin import ContextLengthError, ModelConfig
from latent_memory_plugin.sandbox.world import families, stream

if TYPE_CHECKING:
    from conftest import Learnt

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:The class"),  # LangChain deprecates its classic chains
    pytest.mark.filterwarnings("ignore:RunnableWithMessageHistory"),
]

PROMPT = ChatPromptTemplate([("human", "{input}")])
TALK = ChatPromptTemplate([MessagesPlaceholder("history"), ("human", "{input}")])
TEXT = PromptTemplate.from_template("{input}")


def in_agent(mine: LatentMemory, seed: int) -> Any:
    made: Any = create_agent(ChatLatent(seed=seed), middleware=[LatentMemoryMiddleware(mine)])
    return RunnableLambda(lambda told: {"messages": [("human", told["input"])]}) | made


def with_history(mine: LatentMemory, seed: int) -> Any:
    chain: Any = TALK | mine | ChatLatent(seed=seed)
    kept: dict[str, InMemoryChatMessageHistory] = {}
    made = RunnableWithMessageHistory(
        chain,
        lambda session_id: kept.setdefault(session_id, InMemoryChatMessageHistory()),
        input_messages_key="input",
        history_messages_key="history",
    )
    return made


DOORS: dict[str, Callable[[LatentMemory, int], Any]] = {
    "agent": in_agent,
    "LCEL with a memory": lambda mine, seed: PROMPT | mine | ChatLatent(seed=seed),
    "LCEL with a model that has one": lambda mine, seed: PROMPT | ChatLatent(memory=mine, seed=seed),
    "LLMChain, text prompt": lambda mine, seed: LLMChain(llm=ChatLatent(seed=seed), prompt=TEXT, memory=mine),
    "LLMChain, chat prompt": lambda mine, seed: LLMChain(llm=ChatLatent(seed=seed), prompt=PROMPT, memory=mine),
    "ConversationChain": lambda mine, seed: ConversationChain(llm=ChatLatent(seed=seed), prompt=TALK, memory=mine),
    "message history": with_history,
}
WAYS = ("invoke", "ainvoke", "stream", "astream", "batch")


async def said(door: str, way: str, mine: LatentMemory, seed: int, question: str) -> AIMessage:
    """What the model answers, through that door and in that way."""
    heard = Heard()
    told: Any = {"callbacks": [heard], "configurable": {"session_id": str(uuid4())}}
    made, given = DOORS[door](mine, seed), {"input": question}
    if way == "invoke":
        made.invoke(given, told)
    elif way == "ainvoke":
        await made.ainvoke(given, told)
    elif way == "stream":
        list(made.stream(given, told))
    elif way == "astream":
        [one async for one in made.astream(given, told)]
    else:
        made.batch([given], told)
    [message] = heard.messages
    return message


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("door", DOORS)
async def test_every_door_reads_the_latent_and_answers_as_ask_does(learnt_once: "Learnt", door: str, way: str) -> None:
    with reading(learnt_once.root) as mine:
        message = await said(door, way, mine, learnt_once.seed, learnt_once.question)
    assert (str(message.text), ids(message)) == (learnt_once.read, [learnt_once.latent_id])


@pytest.mark.parametrize("way", ["invoke", "astream"])
@pytest.mark.parametrize("door", DOORS)
async def test_memory_that_is_off_and_an_empty_root_give_the_plain_answer(
    learnt_once: "Learnt", tmp_path: Path, door: str, way: str
) -> None:
    with reading(learnt_once.root) as mine, reading(tmp_path / "empty") as empty:
        mine.off()
        for one in (mine, empty):
            message = await said(door, way, one, learnt_once.seed, learnt_once.question)
            assert (str(message.text), ids(message)) == (learnt_once.plain, [])


def test_a_model_that_is_named_like_the_memorys_reads_that_memory(learnt_once: "Learnt") -> None:
    with reading(learnt_once.root) as mine:
        named = ChatLatent(model=ModelConfig(), seed=learnt_once.seed)
        assert ids((mine | named).invoke(learnt_once.question)) == [learnt_once.latent_id]


def test_a_bare_model_gives_the_plain_answer(learnt_once: "Learnt") -> None:
    assert learnt_once.plain != learnt_once.read
    assert ChatLatent(seed=learnt_once.seed).invoke(learnt_once.question).text == learnt_once.plain


@contextmanager
def reading(root: Path) -> Iterator[LatentMemory]:
    """A memory that records nothing, so that one root serves every test."""
    mine = LatentMemory(root=root, learn=None)
    try:
        yield mine
    finally:
        mine.on()
        mine.close()


# -- the embedded model's own tool -------------------------------------------------------------------------------------


@tool
def calc(expression: str) -> str:
    """Calculates an arithmetic expression such as 12+7."""
    return str(int(eval(expression)))


class Calc(BaseModel):
    """Calculates an arithmetic expression."""

    expression: str


Calc.__name__ = "calc"


async def test_an_agent_with_a_calculator_reads_the_latent_at_every_step_and_is_observed_once(learnt: "Learnt") -> None:
    mine = LatentMemory(root=learnt.root, learn="manual")
    made: Any = create_agent(ChatLatent(seed=learnt.seed), [calc], middleware=[LatentMemoryMiddleware(mine)])
    asked = {"messages": [("human", learnt.question)]}
    first, second = made.invoke(asked), await made.ainvoke(asked)
    pieces = [one for one, _ in made.stream(asked, stream_mode="messages") if one.type == "AIMessageChunk"]
    answers = [one for one in first["messages"] if isinstance(one, AIMessage)]
    assert [one.text for one in first["messages"]] == [one.text for one in second["messages"]]
    assert len(answers) > 1 and answers[0].tool_calls[0]["name"] == "calc"
    assert [ids(one) for one in answers] == [[learnt.latent_id]] * len(answers)
    assert "".join(str(one.text) for one in pieces) == "".join(str(one.text) for one in answers)
    assert seen(mine.core)[-3:] == [(learnt.question, "pending", ())] * 3
    mine.close()


def test_a_forced_call_and_structured_output_have_the_shape_that_was_asked_for(learnt: "Learnt") -> None:
    with reading(learnt.root) as mine:
        told = ChatLatent(memory=mine, seed=learnt.seed)
        for choice in ("any", "calc"):
            [call] = told.bind_tools([calc], tool_choice=choice).invoke(learnt.question).tool_calls
            assert call["name"] == "calc" and set(call["args"]) == {"expression"}
        made: Any = told.with_structured_output(Calc).invoke(learnt.question)
        assert isinstance(made, Calc) and any(digit in made.expression for digit in "0123456789")
        agent: Any = create_agent(
            ChatLatent(seed=learnt.seed),
            middleware=[LatentMemoryMiddleware(mine)],
            response_format=ToolStrategy(Calc),
        )
        out = agent.invoke({"messages": [("human", learnt.question)]})
        assert isinstance(out["structured_response"], Calc)


# -- real limits -------------------------------------------------------------------------------------------------------


def test_a_question_longer_than_the_models_context_stops_no_foreign_model(learnt: "Learnt") -> None:
    mine = LatentMemory(root=learnt.root, learn="manual")
    asked = "How many posts are there? " * 2000
    chain: Any = PROMPT | mine | FakeListChatModel(responses=["Many."])
    assert chain.invoke({"input": asked}).text == "Many."
    made: Any = create_agent(FakeListChatModel(responses=["Many."]), middleware=[LatentMemoryMiddleware(mine)])
    assert made.invoke({"messages": [("human", asked)]})["messages"][-1].text == "Many."
    with pytest.raises(ContextLengthError):
        (PROMPT | mine | ChatLatent()).invoke({"input": asked})
    mine.close()


def test_stop_temperature_and_length_are_those_of_the_core(learnt: "Learnt") -> None:
    with reading(learnt.root) as mine:
        told = ChatLatent(memory=mine, temperature=0.0)
        greedy = mine.core.ask(learnt.question, temperature=0.0)
        assert [told.invoke(learnt.question).text for _ in range(2)] == [greedy.text] * 2
        assert told.invoke(learnt.question, stop=["####"]).text == greedy.text.partition("####")[0]
        cut = told.invoke(learnt.question, max_tokens=4)
        assert cut.usage_metadata and cut.usage_metadata["output_tokens"] == 4
        assert cut.response_metadata["finish_reason"] == "length"
        streamed: Any = joined(told.stream(learnt.question, stop=["####"]))
        assert streamed.text == told.invoke(learnt.question, stop=["####"]).text
        usage: Any = told.invoke(learnt.question).usage_metadata
        assert usage["input_token_details"]["latent"] == greedy.usage.latent_tokens > 0
        assert usage["input_tokens"] == greedy.usage.prompt_tokens + greedy.usage.latent_tokens


async def test_many_at_once_give_each_what_it_gets_alone(learnt: "Learnt") -> None:
    mine = LatentMemory(root=learnt.root, learn="manual")
    before = len(seen(mine.core))
    asked = [one.question for one in stream(families("tuning")[:8], problems=32, seed=1)]
    alone = dict(zip(asked, mine.core.ask(asked, seed=3), strict=True))
    chain: Any = PROMPT | mine | ChatLatent(seed=3)
    with ThreadPoolExecutor(32) as threads:
        there = list(threads.map(lambda one: chain.invoke({"input": one}), asked))
    here = await asyncio.gather(*[chain.ainvoke({"input": one}) for one in asked])
    for out in (there, here):
        told = [(str(one.text), tuple(ids(one))) for one in out]
        assert told == [(alone[one].text, alone[one].latent_ids) for one in asked]
    assert 0 < sum(bool(one.latent_ids) for one in alone.values()) < 32
    votes = [(one, "pending", () if alone[one].latent_ids else (alone[one].text,)) for one in asked]
    assert sorted(seen(mine.core)[before:]) == sorted(votes * 2)
    mine.close()
