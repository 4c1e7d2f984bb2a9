"""`LatentMemoryMiddleware`: memory is asked once per problem, for every call of the agent's model; one episode."""

from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware, ModelFallbackMiddleware, ModelRetryMiddleware
from langchain.agents.structured_output import ToolStrategy
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool
from langchain_latent_memory import ChatLatent, LatentMemoryMiddleware
from langchain_world import (
    OTHER,
    QUESTION,
    Scripted,
    calc,
    fake_core,
    give_latent,
    ids,
    latent_text,
    memory,
    only_latent,
    plain_text,
    questions,
    recorder,
    scripted_core,
    seen,
)
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.errors import GraphRecursionError
from pydantic import BaseModel

from latent_memory_plugin import LatentMemory as Core

BROKEN = RuntimeError("the model is out of order")


@pytest.fixture
def tooled(tmp_path: Path) -> Any:
    """A memory over the model that calls tools, with a Latent for the topic `sum`."""
    with scripted_core(tmp_path / "tooled") as made:
        give_latent(made, "sum")
        yield made


def agent(core: Core, tools: Any = (), *others: AgentMiddleware, **named: Any) -> Any:
    own = LatentMemoryMiddleware(memory(core))
    return create_agent(ChatLatent(), list(tools), middleware=[*others, own], **named)


def ask(question: str) -> Any:
    return {"messages": [("human", question)]}


def thread(name: str = "1") -> Any:
    return {"configurable": {"thread_id": name}}


def answers(out: Any) -> list[AIMessage]:
    return [one for one in out["messages"] if isinstance(one, AIMessage)]


# -- one problem -------------------------------------------------------------------------------------------------------


async def test_the_model_reads_the_middlewares_memory_and_not_the_default_one(core: Core) -> None:
    made = agent(core)
    for out in (made.invoke(ask(QUESTION)), await made.ainvoke(ask(QUESTION))):
        assert out["messages"][-1].text == latent_text(QUESTION)
        assert ids(out["messages"][-1]) == [only_latent(core)]
    assert seen(core) == [(QUESTION, "pending", ())] * 2


async def test_a_plain_answer_of_the_agent_votes(core: Core) -> None:
    made = agent(core)
    assert made.invoke(ask(OTHER))["messages"][-1].text == plain_text(OTHER)
    assert (await made.ainvoke(ask(OTHER)))["messages"][-1].text == plain_text(OTHER)
    assert seen(core) == [(OTHER, "pending", (plain_text(OTHER),))] * 2


def test_every_call_of_the_model_reads_the_same_latent_and_only_the_end_is_observed(tooled: Core) -> None:
    out = agent(tooled, [calc]).invoke(ask(QUESTION))
    said = answers(out)
    assert [one.tool_calls[0]["name"] if one.tool_calls else one.text for one in said] == ["calc", "#### 7"]
    assert [ids(one) for one in said] == [[only_latent(tooled)]] * 2
    assert seen(tooled) == [(QUESTION, "pending", ())]


async def test_tools_work_from_the_event_loop(tooled: Core) -> None:
    out = await agent(tooled, [calc]).ainvoke(ask(OTHER))
    assert answers(out)[-1].text == "#### 7"
    assert seen(tooled) == [(OTHER, "pending", ("#### 7",))]


async def test_a_stream_of_messages_ends_with_clean_metadata_and_one_episode(core: Core) -> None:
    made = agent(core)
    there = [one for one, _ in made.stream(ask(QUESTION), stream_mode="messages")]
    asynchronous = [one async for one, _ in made.astream(ask(QUESTION), stream_mode="messages")]
    for chunks in (there, asynchronous):
        told = [one for one in chunks if one.response_metadata.get("latent")]
        assert "".join(one.text for one in chunks) == latent_text(QUESTION)
        assert [ids(one) for one in told] == [[only_latent(core)]]
    assert seen(core) == [(QUESTION, "pending", ())] * 2


def test_a_batch_of_agents_crosses_nothing(core: Core) -> None:
    asked = [*questions("sum", 3), *questions("age", 3)]
    out = agent(core).batch([ask(one) for one in asked])
    assert [one["messages"][-1].text for one in out] == [
        latent_text(one) if one.startswith("sum") else plain_text(one) for one in asked
    ]
    assert sorted(one for one, _, _ in seen(core)) == sorted(asked)


def test_every_turn_of_a_conversation_is_a_problem_of_its_own(core: Core) -> None:
    made = agent(core, checkpointer=InMemorySaver())
    first = made.invoke(ask(QUESTION), thread())["messages"][-1]
    second = made.invoke(ask(OTHER), thread())["messages"][-1]
    assert (ids(first), ids(second)) == ([only_latent(core)], [])
    assert seen(core) == [(QUESTION, "pending", ()), (OTHER, "pending", (plain_text(OTHER),))]


def test_a_model_with_a_memory_of_its_own_keeps_it(core: Core, tmp_path: Path) -> None:
    with fake_core(tmp_path / "own") as own:
        made = create_agent(ChatLatent(memory=own), middleware=[LatentMemoryMiddleware(memory(core, learn=None))])
        said = made.invoke(ask(QUESTION))["messages"][-1]
    assert ids(said) == [] and "not here" in said.response_metadata["latent"]["reason"]


def test_a_model_of_its_own_is_not_exchanged_for_the_memorys(core: Core) -> None:
    told = Scripted({}, special={OTHER: "#### mine"})
    made = create_agent(ChatLatent(model=told), middleware=[LatentMemoryMiddleware(memory(core))])
    assert made.invoke(ask(OTHER))["messages"][-1].text == "#### mine"


@pytest.mark.parametrize("door", ["agent", "LCEL"])
def test_the_memorys_own_model_named_once_more_reads_that_memory(core: Core, door: str) -> None:
    mine, model = memory(core), ChatLatent(model=core.model)
    if door == "agent":
        made: Any = create_agent(model, middleware=[LatentMemoryMiddleware(mine)])
        said = made.invoke(ask(QUESTION))["messages"][-1]
    else:
        said = (mine | model).invoke(QUESTION)
    assert ids(said) == [only_latent(core)]
    assert seen(core) == [(QUESTION, "pending", ())]


def test_the_agents_state_holds_the_question_and_the_reference_and_does_not_show_them(core: Core) -> None:
    saver = InMemorySaver()
    made = agent(core, checkpointer=saver)
    out = made.invoke(ask(QUESTION), thread())
    kept = made.get_state(thread()).values["latent_memory"]
    assert set(out) == {"messages"}
    assert set(kept) == {"episode", "question", "reference"} and kept["question"] == QUESTION
    assert set(kept["reference"]) == {"ids", "hash"} and kept["reference"]["ids"] == [only_latent(core)]


# -- structure ---------------------------------------------------------------------------------------------------------


class Sum(BaseModel):
    """The expression that gives the answer."""

    expression: str


def test_a_structured_answer_votes_where_there_are_no_words(tooled: Core) -> None:
    out = agent(tooled, response_format=ToolStrategy(Sum)).invoke(ask(OTHER))
    assert out["structured_response"] == Sum(expression="3+4")
    assert seen(tooled) == [(OTHER, "pending", (str(Sum(expression="3+4")),))]


# -- interruptions -----------------------------------------------------------------------------------------------------


def test_an_agent_that_is_interrupted_and_resumed_is_observed_once(tooled: Core) -> None:
    made = agent(tooled, [calc], checkpointer=InMemorySaver(), interrupt_before=["tools"])
    made.invoke(ask(OTHER), thread())
    assert seen(tooled) == []
    assert made.invoke(None, thread())["messages"][-1].text == "#### 7"
    assert seen(tooled) == [(OTHER, "pending", ("#### 7",))]


async def test_an_interrupted_agent_can_be_resumed_from_the_event_loop(tooled: Core) -> None:
    made = agent(tooled, [calc], checkpointer=InMemorySaver(), interrupt_before=["tools"])
    await made.ainvoke(ask(OTHER), thread())
    await made.ainvoke(None, thread())
    assert seen(tooled) == [(OTHER, "pending", ("#### 7",))]


def test_an_agent_resumed_in_another_process_reads_the_same_latent_and_is_observed_once(tmp_path: Path) -> None:
    def started(saver: SqliteSaver, core: Core) -> Any:
        return agent(core, [calc], checkpointer=saver, interrupt_before=["tools"])

    with SqliteSaver.from_conn_string(str(tmp_path / "saved.sqlite")) as saver, scripted_core(tmp_path / "r") as core:
        latent = give_latent(core, "sum")
        started(saver, core).invoke(ask(QUESTION), thread())
    with SqliteSaver.from_conn_string(str(tmp_path / "saved.sqlite")) as saver, scripted_core(tmp_path / "r") as core:
        out = started(saver, core).invoke(None, thread())
        assert [ids(one) for one in answers(out)] == [[latent], [latent]]
        assert seen(core) == [(QUESTION, "pending", ())]


@pytest.mark.parametrize("restarted", [False, True])
def test_a_resumed_agent_that_fails_is_one_failed_episode(tooled: Core, restarted: bool) -> None:
    saver = InMemorySaver()
    made = agent(tooled, [calc], checkpointer=saver, interrupt_before=["tools"])
    made.invoke(ask(OTHER), thread())
    if restarted:
        made = agent(tooled, [calc], checkpointer=saver, interrupt_before=["tools"])
    recorder(tooled).failures.append(BROKEN)
    with pytest.raises(RuntimeError):
        made.invoke(None, thread())
    assert seen(tooled) == [(OTHER, "failed", ())]


def test_a_resumed_agent_whose_model_succeeds_at_the_second_try_has_not_failed(tooled: Core) -> None:
    saver = InMemorySaver()
    again = ModelRetryMiddleware(max_retries=2, initial_delay=0.0)
    agent(tooled, [calc], checkpointer=saver, interrupt_before=["tools"]).invoke(ask(OTHER), thread())
    recorder(tooled).failures.append(BROKEN)
    agent(tooled, [calc], again, checkpointer=saver, interrupt_before=["tools"]).invoke(None, thread())
    assert seen(tooled) == [(OTHER, "pending", ("#### 7",))]


# -- failures ----------------------------------------------------------------------------------------------------------


def test_a_model_that_raises_leaves_one_failed_episode_with_the_reason(core: Core) -> None:
    recorder(core).failures.append(BROKEN)
    with pytest.raises(RuntimeError, match="out of order"):
        agent(core).invoke(ask(OTHER))
    [episode] = core.episodes()
    assert episode.state == "failed" and "RuntimeError: the model is out of order" in episode.reason


async def test_a_model_that_raises_is_recorded_from_the_event_loop_too(core: Core) -> None:
    recorder(core).failures.append(BROKEN)
    with pytest.raises(RuntimeError, match="out of order"):
        await agent(core).ainvoke(ask(OTHER))
    assert seen(core) == [(OTHER, "failed", ())]


def test_a_tool_that_raises_leaves_one_failed_episode(tooled: Core) -> None:
    @tool
    def broken(expression: str) -> str:
        """Calculates."""
        raise OSError("no calculator")

    with pytest.raises(OSError, match="no calculator"):
        agent(tooled, [broken]).invoke(ask(OTHER))
    [episode] = tooled.episodes()
    assert episode.state == "failed" and "no calculator" in episode.reason


def test_an_agent_that_never_comes_to_an_end_leaves_one_failed_episode(tmp_path: Path) -> None:
    again = '<tool_call>{"name": "calc", "arguments": {"expression": "3+4"}}</tool_call>'
    with scripted_core(tmp_path / "loop", special={"7": again}) as core:
        with pytest.raises(GraphRecursionError):
            agent(core, [calc]).invoke(ask(OTHER), {"recursion_limit": 12})
        assert [state for _, state, _ in seen(core)] == ["failed"]


@pytest.mark.parametrize("inside", [False, True])
async def test_a_model_that_succeeds_at_the_second_try_has_not_failed(core: Core, inside: bool) -> None:
    again = ModelRetryMiddleware(max_retries=2, initial_delay=0.0)
    own = LatentMemoryMiddleware(memory(core))
    made: Any = create_agent(ChatLatent(), middleware=[own, again] if inside else [again, own])
    recorder(core).failures.append(BROKEN)
    assert made.invoke(ask(OTHER))["messages"][-1].text == plain_text(OTHER)
    recorder(core).failures.append(BROKEN)
    await made.ainvoke(ask(QUESTION))
    assert recorder(core).failures == []
    assert seen(core) == [(OTHER, "pending", (plain_text(OTHER),)), (QUESTION, "pending", ())]


def test_an_agent_in_a_chain_that_tries_again_is_observed_once(core: Core) -> None:
    chain: Any = RunnableLambda(ask) | agent(core)
    recorder(core).failures.append(BROKEN)
    chain.with_retry(wait_exponential_jitter=False).invoke(OTHER)
    assert seen(core) == [(OTHER, "pending", (plain_text(OTHER),))]


# -- strangers ---------------------------------------------------------------------------------------------------------


class Strict(GenericFakeChatModel):
    """A model that takes no argument it does not know, as real ones."""

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
        assert not kwargs, f"unknown: {kwargs}"
        return super()._generate(messages, stop, run_manager)


def strict(text: str) -> Strict:
    return Strict(messages=iter([AIMessage(text)]))


async def test_a_foreign_model_works_and_nothing_is_observed(core: Core) -> None:
    for way in ("sync", "async"):
        made: Any = create_agent(strict("Good day."), middleware=[LatentMemoryMiddleware(memory(core))])
        out = made.invoke(ask(QUESTION)) if way == "sync" else await made.ainvoke(ask(QUESTION))
        assert out["messages"][-1].text == "Good day."
    assert seen(core) == []


def test_a_foreign_model_that_steps_in_works_and_nothing_is_observed(core: Core) -> None:
    """The memory's middleware is the inner one: it sees which model is called."""
    recorder(core).failures.append(BROKEN)
    made = agent(core, (), ModelFallbackMiddleware(strict("I can do it.")))
    assert made.invoke(ask(OTHER))["messages"][-1].text == "I can do it."
    assert seen(core) == []


def test_an_agent_that_is_given_no_question_works(core: Core) -> None:
    recorder(core).failures.append(BROKEN)
    with pytest.raises(RuntimeError):
        agent(core).invoke({"messages": [("system", "Speak.")]})
    assert seen(core) == []


def test_a_bare_core_memory_is_taken_too(core: Core) -> None:
    own = LatentMemoryMiddleware(core)
    own.memory.learn = "manual"
    made: Any = create_agent(ChatLatent(), middleware=[own])
    assert ids(made.invoke(ask(QUESTION))["messages"][-1]) == [only_latent(core)]
