"""What travels in place of a Latent: small, JSON, the same after every way of keeping a message, and never shown."""

import json
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.chat_history import InMemoryChatMessageHistory
from langchain_core.load import dumpd, dumps, load, loads
from langchain_core.messages import AIMessage, HumanMessage, message_to_dict, messages_from_dict, trim_messages
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder, PromptTemplate
from langchain_core.runnables.history import RunnableWithMessageHistory
from langchain_latent_memory import ChatLatent, LatentChatMessageHistory, LatentMemoryMiddleware
from langchain_world import (
    OTHER,
    PROMPT,
    QUESTION,
    calc,
    give_latent,
    ids,
    latent_text,
    memory,
    only_latent,
    recorder,
    scripted_core,
)
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver

from latent_memory_plugin import InputError
from latent_memory_plugin import LatentMemory as Core

TALK = ChatPromptTemplate([MessagesPlaceholder("history"), ("human", "{question}")])


def referred(core: Core) -> HumanMessage:
    [message] = (PROMPT | memory(core)).invoke({"question": QUESTION}).to_messages()
    return message


def test_a_reference_is_an_id_and_a_hash_and_nothing_else(core: Core) -> None:
    carried = referred(core).additional_kwargs
    assert set(carried) == {"latent"} and set(carried["latent"]) == {"ids", "hash"}
    assert carried["latent"]["ids"] == [only_latent(core)] and len(carried["latent"]["hash"]) == 16
    assert json.loads(json.dumps(carried)) == carried


KEEPINGS: dict[str, Any] = {
    "dumpd and load": lambda one: load(dumpd(one), allowed_objects="all"),
    "dumps and loads": lambda one: loads(dumps(one), allowed_objects="all"),
    "JSON of pydantic": lambda one: HumanMessage.model_validate_json(one.model_dump_json()),
    "message_to_dict": lambda one: messages_from_dict([json.loads(json.dumps(message_to_dict(one)))])[0],
    "a placeholder": lambda one: TALK.invoke({"history": [one], "question": "and?"}).to_messages()[0],
    "trim_messages": lambda one: trim_messages([one], max_tokens=5, token_counter=len)[0],
}


@pytest.mark.parametrize("keeping", KEEPINGS)
def test_a_kept_message_is_read_with_its_latent(core: Core, keeping: str) -> None:
    kept = KEEPINGS[keeping](referred(core))
    assert kept.additional_kwargs == referred(core).additional_kwargs
    said = ChatLatent(memory=memory(core, learn=None)).invoke([kept])
    assert (said.text, ids(said)) == (latent_text(QUESTION), [only_latent(core)])


@pytest.mark.parametrize("saver", ["memory", "sqlite"])
def test_messages_of_a_checkpoint_keep_their_references_and_answers(core: Core, tmp_path: Path, saver: str) -> None:
    thread: Any = {"configurable": {"thread_id": "1"}}
    path = str(tmp_path / "saved.sqlite")

    def turn(kept: Any, messages: list[Any]) -> Any:
        made: Any = create_agent(ChatLatent(memory=memory(core)), checkpointer=kept)
        return made.invoke({"messages": messages}, thread)["messages"]

    if saver == "memory":
        kept = InMemorySaver()
        turn(kept, [referred(core)])
        messages = turn(kept, [HumanMessage(OTHER)])
    else:
        with SqliteSaver.from_conn_string(path) as kept:
            turn(kept, [referred(core)])
        with SqliteSaver.from_conn_string(path) as kept:
            messages = turn(kept, [HumanMessage(OTHER)])
    assert messages[0].additional_kwargs == referred(core).additional_kwargs
    assert [ids(one) for one in messages if isinstance(one, AIMessage)] == [[only_latent(core)], []]


@pytest.mark.parametrize("kind", ["in memory", "on disk"])
def test_a_history_keeps_the_references_of_messages_and_what_an_answer_read(core: Core, kind: str) -> None:
    history: Any = InMemoryChatMessageHistory() if kind == "in memory" else LatentChatMessageHistory("1")
    chain: Any = RunnableWithMessageHistory(memory(core) | ChatLatent(), lambda _: history)
    chain.invoke([referred(core)], {"configurable": {"session_id": "1"}})
    asked, answered = history.messages
    assert asked.additional_kwargs == referred(core).additional_kwargs
    assert ids(answered) == [only_latent(core)]


def test_memory_is_asked_anew_for_every_question_of_a_conversation(core: Core) -> None:
    chain: Any = TALK | memory(core) | ChatLatent()
    history = [referred(core), AIMessage("#### 7")]
    assert ids(chain.invoke({"history": history, "question": OTHER})) == []
    assert ids(chain.invoke({"history": [HumanMessage(OTHER)], "question": QUESTION})) == [only_latent(core)]


def test_a_reference_to_a_latent_that_is_gone_reads_none_and_says_why(core: Core) -> None:
    kept = referred(core)
    core.forget(only_latent(core))
    said = ChatLatent(memory=memory(core)).invoke([kept])
    assert ids(said) == [] and "is not here" in said.response_metadata["latent"]["reason"]


@pytest.mark.parametrize("wrong", ["a1", ["a1"], {"ids": ["a", "b"], "hash": ""}, {"name": 1}])
def test_what_is_no_reference_is_refused(core: Core, wrong: Any) -> None:
    with pytest.raises(InputError):
        ChatLatent(memory=memory(core)).invoke([HumanMessage(OTHER, additional_kwargs={"latent": wrong})])


# -- never shown -------------------------------------------------------------------------------------------------------


def test_nothing_of_a_reference_is_ever_shown_to_the_model(core: Core) -> None:
    marks = [only_latent(core), referred(core).additional_kwargs["latent"]["hash"], "'latent'", "ids"]
    text: Any = PromptTemplate.from_template("{history}{question}")
    kept = [referred(core), AIMessage("#### 7", additional_kwargs=referred(core).additional_kwargs)]
    (TALK | memory(core) | ChatLatent()).invoke({"history": kept, "question": QUESTION})
    (text | memory(core) | ChatLatent()).invoke({"history": "", "question": QUESTION})
    create_agent(ChatLatent(), middleware=[LatentMemoryMiddleware(memory(core))]).invoke({"messages": kept[:1]})
    shown = [str(list(one.messages)) for one in recorder(core).shown]
    assert len(shown) == 3 and all(QUESTION in one for one in shown)
    assert [mark for mark in marks for one in shown if mark in one] == []


def test_tools_and_their_results_are_shown_without_the_reference(tmp_path: Path) -> None:
    with scripted_core(tmp_path / "tooled") as core:
        latent = give_latent(core, "sum")
        made: Any = create_agent(ChatLatent(), [calc], middleware=[LatentMemoryMiddleware(memory(core))])
        made.invoke({"messages": [("human", QUESTION)]})
        shown = [str(one) for one in recorder(core).shown]
        assert len(shown) == 2 and "calc" in shown[0] and latent not in "".join(shown)
