"""`LatentLLM`: every way to call it gives what the core gives, and says what it read."""

import asyncio
import json
import pickle
import time
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, ImageBlock, MessageRole, ToolCallBlock
from llama_index.core.bridge.pydantic import Field
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler
from llama_index.core.instrumentation import get_dispatcher  # pyright: ignore[reportPrivateImportUsage]
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.tools import FunctionTool
from llama_index.memory.latent import LatentLLM, LatentMemory
from llama_world import calc, raw

from latent_memory_plugin import ChatModel, ConfigError, ContextLengthError, InputError
from latent_memory_plugin import LatentMemory as CoreMemory

SEEDS = range(3)
TOOLS = [FunctionTool.from_defaults(calc)]


def user(text: str, **carried: Any) -> ChatMessage:
    return ChatMessage(role=MessageRole.USER, content=text, additional_kwargs=carried)


def test_every_call_gives_the_text_of_the_core(core: CoreMemory, question: str) -> None:
    llm = LatentLLM(memory=core)

    async def asynchronous(seed: int) -> list[str | None]:
        chats = [one async for one in await llm.astream_chat([user(question)], seed=seed)]
        completions = [one async for one in await llm.astream_complete(question, seed=seed)]
        assert "".join(one.delta or "" for one in chats) == chats[-1].message.content
        return [
            (await llm.achat([user(question)], seed=seed)).message.content,
            (await llm.acomplete(question, seed=seed)).text,
            chats[-1].message.content,
            completions[-1].text,
        ]

    for seed in SEEDS:
        expected = core.ask(question, seed=seed)
        assert expected.latent_ids
        chats = list(llm.stream_chat([user(question)], seed=seed))
        completions = list(llm.stream_complete(question, seed=seed))
        told = [
            llm.chat([user(question)], seed=seed).message.content,
            llm.complete(question, seed=seed).text,
            chats[-1].message.content,
            completions[-1].text,
            *asyncio.run(asynchronous(seed)),
        ]
        assert told == [expected.text] * 8
        assert len(chats) > 3, "token by token"
        assert "".join(one.delta or "" for one in chats) == expected.text
        assert raw(chats[-1])["latent"]["ids"] == raw(completions[-1])["latent"]["ids"] == list(expected.latent_ids)


def test_without_a_memory_and_a_reference_it_is_the_plain_model(root: Path, core: CoreMemory, question: str) -> None:
    llm = LatentLLM()
    core.off()
    for seed in SEEDS:
        reply = llm.chat([user(question)], seed=seed)
        assert reply.message.content == core.ask(question, seed=seed).text
        assert raw(reply)["latent"]["ids"] == [] and not raw(reply)["latent"]["read"]
    llm.close()


def test_with_memory_off_it_is_the_plain_model_whatever_is_carried(core: CoreMemory, question: str) -> None:
    memory = LatentMemory(core=core)
    carried = ChatModel(core).refer(question).carried()
    memory.off()
    plain = core.ask(question, seed=1).text
    for message in (user(question), user(question, latent=carried)):
        assert LatentLLM(memory=memory, seed=1).chat([message]).message.content == plain


def test_the_last_reference_is_read_and_never_reaches_the_prompt(core: CoreMemory, question: str) -> None:
    carried = ChatModel(core).refer(question).carried()
    expected = core.ask(question, seed=2)
    llm = LatentLLM(core=core, seed=2)
    empty = {"ids": [], "hash": ""}
    for messages in (
        [user(question, latent=carried)],
        [user("", latent=carried), user(question)],
        [user("", latent=empty), user(question), user("", latent=carried)],
    ):
        reply = llm.chat(messages)
        assert reply.message.content == expected.text
        assert raw(reply)["usage"]["prompt_tokens"] == expected.usage.prompt_tokens
    assert raw(llm.chat([user(question, latent=carried), user("", latent=empty)]))["latent"]["ids"] == []
    looking = LatentLLM(memory=core, seed=2)
    assert raw(looking.chat([user(question, latent=empty)]))["latent"]["ids"] == [], "memory was asked: none applies"


def test_it_tells_what_it_read_and_what_it_took(core: CoreMemory, question: str) -> None:
    expected = core.ask(question, seed=1)
    reply = LatentLLM(memory=core, seed=1).chat([user(question)])
    usage = raw(reply)["usage"]
    assert raw(reply)["model"] == "embedded" and raw(reply)["seed"] == 1 and raw(reply)["finish_reason"] == "stop"
    assert {name: usage[name] for name in expected.usage.model_dump()} == expected.usage.model_dump()
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] and usage["latent_tokens"] == 20
    assert reply.additional_kwargs == usage
    told = reply.message.additional_kwargs["latent_answer"]
    assert told["read"] and told["similarity"] == pytest.approx(expected.similarity)
    assert json.loads(json.dumps([raw(reply), told])) == [raw(reply), told]


def test_feedback_reaches_the_latent_that_answered(core: CoreMemory, question: str) -> None:
    memory = LatentMemory(core=core)
    llm = LatentLLM(memory=memory)
    replies = [llm.chat([user(question)], seed=seed) for seed in range(3)]
    completion = llm.complete(question, seed=4)
    given = [replies[0], replies[1].message, raw(replies[2])["latent"]["answer_id"], completion]
    changed = [memory.feedback(one, correct=False) for one in given]
    assert [len(one) for one in changed] == [0, 0, 0, 1], "four wrong answers take a Latent back"
    assert changed[-1][0].latent_id == raw(replies[0])["latent"]["ids"][0]


@pytest.mark.parametrize("carried", ["abc", {"id": "x"}, {"ids": "x"}, {"ids": ["a", "b"], "hash": ""}, 3])
def test_a_malformed_reference_is_refused(core: CoreMemory, carried: Any) -> None:
    with pytest.raises(InputError):
        LatentLLM(core=core).chat([user("What is 1 + 1?", latent=carried)])


def test_a_latent_of_another_namespace_is_not_read(root: Path, core: CoreMemory, question: str) -> None:
    carried = ChatModel(core).refer(question).carried()
    walled = LatentLLM(namespace="other", seed=1)
    told = raw(walled.chat([user(question, latent=carried)]))["latent"]
    assert not told["read"] and "not here" in told["reason"]
    walled.close()


def test_settings_of_the_model_and_of_the_call(core: CoreMemory, question: str) -> None:
    llm = LatentLLM(memory=core, temperature=0, max_tokens=3, stop=["cm"], top_p=0.9, seed=5)
    short = llm.chat([user(question)])
    assert raw(short)["usage"]["completion_tokens"] == 3 and raw(short)["finish_reason"] == "length"
    longer = llm.chat([user(question)], max_tokens=40, stop=" ", seed=6)
    assert raw(longer)["seed"] == 6 and " " not in (longer.message.content or "")
    assert short.message.content == core.ask(question, seed=5, temperature=0, max_new_tokens=3, top_p=0.9).text


@pytest.mark.parametrize(
    ("fields", "error", "named"),
    [
        ({"temperature": -1}, ConfigError, "temperature"),
        ({"top_p": 2}, ConfigError, "top_p"),
        ({"max_tokens": 0}, ConfigError, "max_new_tokens"),
        ({"memory": "root"}, InputError, "'root'"),
        ({"temprature": 1}, InputError, "'temprature'"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, fields: dict[str, Any], error: type[Exception], named: str) -> None:
    with pytest.raises(error, match=named):
        LatentLLM(root=str(tmp_path), **fields)


def test_wrong_calls_are_named(core: CoreMemory, question: str) -> None:
    llm = LatentLLM(memory=core)
    with pytest.raises(ConfigError, match="frequency_penalty"):
        llm.chat([user(question)], frequency_penalty=1)
    with pytest.raises(InputError, match="'image' block"):
        llm.chat([ChatMessage(role=MessageRole.USER, blocks=[ImageBlock(image=b"")])])
    with pytest.raises(InputError, match="empty"):
        llm.chat([])
    with pytest.raises(ContextLengthError):
        llm.stream_chat([user(question * 100)])
    with pytest.raises(InputError, match="'hermess'"):
        LatentLLM(core=core, parser="hermess").chat_with_tools(TOOLS, question)


def test_it_calls_tools_and_goes_on_from_their_results(core: CoreMemory, question: str) -> None:
    llm = LatentLLM(memory=core, seed=4)
    assert isinstance(llm, FunctionCallingLLM) and llm.metadata.is_function_calling_model
    reply = llm.chat_with_tools(TOOLS, question)
    [call] = llm.get_tool_calls_from_response(reply)
    assert call.tool_name == "calc" and set(call.tool_kwargs) == {"expression"}
    assert raw(reply)["finish_reason"] == "tool_calls"
    result = ChatMessage(
        role=MessageRole.TOOL, content=calc(**call.tool_kwargs), additional_kwargs={"tool_call_id": call.tool_id}
    )
    after = llm.chat_with_tools(TOOLS, chat_history=[user(question), reply.message, result])
    assert raw(after)["latent"]["ids"] == raw(reply)["latent"]["ids"]
    assert raw(after)["usage"]["prompt_tokens"] > raw(reply)["usage"]["prompt_tokens"]


def test_streams_of_tool_calls_end_with_the_call(core: CoreMemory, question: str) -> None:
    llm = LatentLLM(memory=core, seed=4)
    whole = llm.chat_with_tools(TOOLS, question)
    *_, last = llm.stream_chat_with_tools(TOOLS, question)

    async def asynchronous() -> ChatResponse:
        return [one async for one in await llm.astream_chat_with_tools(TOOLS, question)][-1]

    expected = [(one.tool_name, one.tool_kwargs) for one in llm.get_tool_calls_from_response(whole)]
    for reply in (last, asyncio.run(asynchronous())):
        assert [(one.tool_name, one.tool_kwargs) for one in llm.get_tool_calls_from_response(reply)] == expected


def test_a_tool_can_be_required_and_no_call_is_an_error_where_it_must(core: CoreMemory, question: str) -> None:
    llm = LatentLLM(memory=core, seed=1)
    forced = llm.chat_with_tools(TOOLS, "What is 2 + 2?", tool_required=True)
    written = [block.tool_name for block in forced.message.blocks if isinstance(block, ToolCallBlock)]
    assert written == ["calc"] or raw(forced)["invalid_calls"]
    plain = llm.chat([user(question)])
    assert llm.get_tool_calls_from_response(plain, error_on_no_tool_call=False) == []
    with pytest.raises(InputError, match="called no tool"):
        llm.get_tool_calls_from_response(plain)


def test_an_own_parser_reads_the_calls(core: CoreMemory, question: str) -> None:
    from latent_memory_plugin.answering.tools import Parsed

    seen: list[str] = []

    def parser(text: str) -> Parsed:
        seen.append(text)
        return Parsed("nothing", (), ("broken",))

    reply = LatentLLM(core=core, parser=parser, seed=1).chat_with_tools(TOOLS, question)
    assert seen and reply.message.content == "nothing\nbroken" and raw(reply)["invalid_calls"] == ["broken"]


def test_only_one_call_is_given_where_parallel_ones_are_not_allowed(core: CoreMemory, question: str) -> None:
    from latent_memory_plugin import ToolCall
    from latent_memory_plugin.answering.tools import Parsed

    two = Parsed("", (ToolCall(name="calc", arguments={}), ToolCall(name="calc", arguments={})))
    llm = LatentLLM(core=core, parser=lambda text: two)
    for allowed, calls in ((True, 2), (False, 1)):
        reply = llm.chat_with_tools(TOOLS, question, allow_parallel_tool_calls=allowed)
        assert len(llm.get_tool_calls_from_response(reply)) == calls


class Heard(BaseEventHandler):
    """Keeps the names of events."""

    names: list[str] = Field(default_factory=list)

    @classmethod
    def class_name(cls) -> str:
        return "Heard"

    def handle(self, event: Any, **kwargs: Any) -> None:
        self.names.append(event.class_name())


def test_events_and_callbacks_fire_once_a_call(core: CoreMemory, question: str) -> None:
    debug, heard, dispatcher = LlamaDebugHandler(print_trace_on_end=False), Heard(), get_dispatcher()
    llm = LatentLLM(memory=core, seed=1, callback_manager=CallbackManager([debug]))
    dispatcher.add_event_handler(heard)
    try:
        llm.chat([user(question)])
        asyncio.run(llm.achat([user(question)]))
        list(llm.stream_chat([user(question)]))
    finally:
        dispatcher.event_handlers.remove(heard)
    assert heard.names.count("LLMChatStartEvent") == heard.names.count("LLMChatEndEvent") == 3
    assert len(debug.get_event_pairs(CBEventType.LLM)) == 3


def test_asynchronous_calls_leave_the_loop_free(core: CoreMemory, question: str) -> None:
    llm = LatentLLM(memory=core)
    ticks: list[float] = []

    async def tick() -> None:
        while True:
            ticks.append(time.monotonic())
            await asyncio.sleep(0.001)

    async def run() -> None:
        ticking = asyncio.create_task(tick())
        await asyncio.gather(*[llm.achat([user(question)], seed=seed) for seed in range(4)])
        during = len(ticks)
        pieces = [one async for one in await llm.astream_chat([user(question)], seed=1)]
        ticking.cancel()
        assert during > 3 and len(ticks) - during >= len(pieces) // 2

    asyncio.run(run())


def test_it_is_saved_without_its_live_parts(core: CoreMemory) -> None:
    llm = LatentLLM(memory=core, seed=3, stop=["x"])
    for restored in (LatentLLM.from_dict(llm.to_dict()), pickle.loads(pickle.dumps(llm))):
        assert (restored.root, restored.seed, restored.stop) == (str(core.root), 3, ["x"])
    assert llm.metadata.model_name == "embedded" and llm.metadata.context_window == 2048
    assert llm.to_payload()["class_name"] == "LatentLLM"
