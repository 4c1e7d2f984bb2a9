"""Real agents and engines on the embedded model, with every door: answers, references, episodes."""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core import Document, MockEmbedding, VectorStoreIndex
from llama_index.core.agent.react import ReActChatFormatter
from llama_index.core.agent.workflow import AgentWorkflow, FunctionAgent, ReActAgent
from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.chat_engine import CondensePlusContextChatEngine, ContextChatEngine, SimpleChatEngine
from llama_index.core.chat_engine.types import BaseChatEngine
from llama_index.core.memory import Memory
from llama_index.core.workflow import Context
from llama_index.memory.latent import EpisodeEnds, LatentLLM, LatentMemory, LatentMemoryBlock
from llama_world import Scripted, calc, states

from latent_memory_plugin import LatentMemory as CoreMemory

SHORT = ReActChatFormatter(system_header="Solve the problem step by step.")
"""LlamaIndex's own header fills half of the embedded model's context."""
Ask = Callable[[BaseChatEngine, str], str]


def chat(engine: BaseChatEngine, question: str) -> str:
    return str(engine.chat(question))


def achat(engine: BaseChatEngine, question: str) -> str:
    async def run() -> str:
        return str(await engine.achat(question))

    return asyncio.run(run())


def stream_chat(engine: BaseChatEngine, question: str) -> str:
    return "".join(engine.stream_chat(question).response_gen)


def astream_chat(engine: BaseChatEngine, question: str) -> str:
    async def run() -> str:
        streamed = await engine.astream_chat(question)
        return "".join([piece async for piece in streamed.async_response_gen()])

    return asyncio.run(run())


def simple(memory: Any, seed: int) -> SimpleChatEngine:
    return SimpleChatEngine.from_defaults(llm=LatentLLM(seed=seed), memory=memory)


def blocked(learn: Any = "manual") -> Memory:
    return Memory.from_defaults(memory_blocks=[LatentMemoryBlock(learn=learn)])


@pytest.mark.parametrize("ask", [chat, achat, stream_chat, astream_chat])
@pytest.mark.parametrize("door", ["memory", "block"])
def test_simple_chat_gives_what_the_core_gives(core: CoreMemory, question: str, door: str, ask: Ask) -> None:
    expected = core.ask(question, seed=1)
    memory = LatentMemory(learn=None) if door == "memory" else blocked(None)
    assert expected.latent_ids and ask(simple(memory, 1), question) == expected.text.strip()
    assert memory.get_all()[-1].additional_kwargs["latent_answer"]["ids"] == list(expected.latent_ids)


@pytest.mark.parametrize("door", ["memory", "block"])
def test_with_memory_off_every_door_is_the_plain_model(core: CoreMemory, question: str, door: str) -> None:
    core.off()
    adapter = LatentMemory(core=core, learn=None)
    memory = adapter if door == "memory" else Memory.from_defaults(memory_blocks=[LatentMemoryBlock(core=core)])
    assert chat(simple(memory, 1), question) == core.ask(question, seed=1).text.strip()


@pytest.mark.parametrize("watched", [False, True])
def test_simple_chat_ends_each_episode_once(
    core: CoreMemory, question: str, watched: bool, request: pytest.FixtureRequest
) -> None:
    if watched:
        request.getfixturevalue("watching")
    memory = LatentMemory(learn="manual")
    for number, ask in enumerate((chat, achat, stream_chat, astream_chat)):
        ask(simple(memory.session(), 1), f"{question} {number}")
    assert states(core) == [(f"{question} {number}", "pending") for number in range(4)]


def test_a_conversation_asks_memory_for_the_question_under_way(core: CoreMemory, question: str) -> None:
    memory = LatentMemory(learn="manual")
    engine = simple(memory, 1)
    chat(engine, "What is 2 + 2?")
    chat(engine, question)
    told = [one.additional_kwargs["latent_answer"]["ids"] for one in memory.get_all()[1::2]]
    assert told[0] == [] and told[1] == list(core.ask(question, seed=1).latent_ids)


@pytest.mark.parametrize("ask", [chat, achat, stream_chat, astream_chat])
@pytest.mark.parametrize("kind", [ContextChatEngine, CondensePlusContextChatEngine])
def test_engines_with_context_read_the_latent(core: CoreMemory, question: str, kind: Any, ask: Ask) -> None:
    index = VectorStoreIndex.from_documents([Document(text="Fences are high.")], embed_model=MockEmbedding(embed_dim=4))
    memory, llm = LatentMemory(learn="manual"), LatentLLM(seed=1, max_tokens=40)
    engine = kind.from_defaults(
        retriever=index.as_retriever(), llm=llm, memory=memory, context_template="{context_str}"
    )
    ask(engine, question)
    prompts = [(one.role.value, one.content) for one in memory.get_all()]
    assert [role for role, _ in prompts] == ["user", "assistant"] and prompts[0][1] == question
    assert states(core) == [(question, "pending")]
    latent = core.find(question).latent_id
    assert [use.latent_id for use in core.opened.store.uses(latent_id=latent)] == [latent], "read once"


def test_a_function_agent_calls_its_tool_with_one_look_up(core: CoreMemory, question: str) -> None:
    memory = LatentMemory(core=core, learn="manual")
    agent = FunctionAgent(llm=LatentLLM(seed=4), tools=[calc])
    output: Any = asyncio.run(_run(agent, question, memory))
    roles = [one.role for one in memory.get_all()]
    assert output.tool_calls and roles[0] == MessageRole.USER and MessageRole.TOOL in roles
    assert str(output) == memory.get_all()[-1].content
    told = [one.additional_kwargs["latent_answer"] for one in memory.get_all() if one.role == MessageRole.ASSISTANT]
    assert {one["hash"] for one in told} == {told[0]["hash"]} and all(one["read"] for one in told)
    assert states(core) == [(question, "pending")]
    assert memory.feedback(output, correct=True) == []
    [use] = core.opened.store.uses(answer_id=output.raw["latent"]["answer_id"])
    assert use.correct is True and use.source == "feedback"
    assert len(core.opened.store.uses(latent_id=use.latent_id)) == 1, "calls of tools are no uses, the final answer is"


def test_a_workflow_of_two_agents_is_one_episode(core: CoreMemory, question: str, watching: EpisodeEnds) -> None:
    memory = LatentMemory(core=core, learn="manual")
    named: Any = {"llm": LatentLLM(seed=4), "tools": [calc]}
    agents: list[Any] = [FunctionAgent(name=name, description=name, **named) for name in ("one", "two")]
    agents[0].can_handoff_to = []
    asyncio.run(_run(AgentWorkflow(agents=agents, root_agent="one"), question, memory))
    assert states(core) == [(question, "pending")]


@pytest.mark.parametrize("system", [None, "You are a math tutor."])
def test_a_react_agent_reads_the_latent(core: CoreMemory, question: str, system: str | None) -> None:
    memory = LatentMemory(core=core, learn="manual")
    agent = ReActAgent(llm=LatentLLM(seed=1, max_tokens=60), tools=[calc], formatter=SHORT, system_prompt=system)
    output: Any = asyncio.run(_run(agent, question, memory))
    assert output.raw["latent"]["ids"] == [core.find(question).latent_id]
    assert states(core) == [(question, "pending")]
    memory.feedback(output, correct=True)


def test_the_answer_of_a_react_agent_votes_without_its_reasoning(fake: LatentMemory, watching: EpisodeEnds) -> None:
    lines = ["Thought: I add.\nAction: calc\nAction Input: {'expression': '1+1'}", "Thought: done\nAnswer: 2"]
    asyncio.run(_run(ReActAgent(llm=Scripted(lines=lines), tools=[calc]), "sum: 1", fake))
    [episode] = fake.core.episodes()
    assert [rollout.text for rollout in episode.rollouts] == ["2"]


def test_a_saved_context_keeps_the_memory(core: CoreMemory, question: str) -> None:
    async def run() -> None:
        memory = LatentMemory(learn="manual")
        agent: Any = FunctionAgent(llm=LatentLLM(seed=4), tools=[calc])
        context = Context(agent)
        await agent.run(user_msg=question, memory=memory, ctx=context)
        restored = Context.from_dict(agent, context.to_dict())
        kept: Any = await restored.store.get("memory")
        assert kept.model_dump() == memory.model_dump() and kept is not memory
        await agent.run(user_msg=f"{question} Again.", ctx=restored)
        after: Any = await restored.store.get("memory")
        assert after.get_all()[: len(memory.get_all())] == memory.get_all() != after.get_all()

    asyncio.run(run())
    assert states(core) == [(question, "pending"), (f"{question} Again.", "pending")]


def test_the_block_ends_the_episode_when_it_is_asked_again(core: CoreMemory, question: str) -> None:
    memory = blocked()
    asyncio.run(_run(FunctionAgent(llm=LatentLLM(seed=4), tools=[calc]), question, memory))
    assert states(core) == [(question, "pending")], "an agent asks again after its answer"
    engine = simple(blocked(), 1)
    chat(engine, f"{question} One.")
    assert len(states(core)) == 1, "a simple engine does not"
    chat(engine, f"{question} Two.")
    assert states(core)[1:] == [(f"{question} One.", "pending")]


def test_one_block_serves_several_sessions(core: CoreMemory, question: str, watching: EpisodeEnds) -> None:
    block = LatentMemoryBlock(core=core, learn="manual")
    for number in range(3):
        chat(simple(Memory.from_defaults(memory_blocks=[block]), 1), f"{question} {number}")
    assert states(core) == [(f"{question} {number}", "pending") for number in range(3)]


@pytest.mark.parametrize("kind", [FunctionAgent, ReActAgent, AgentWorkflow])
@pytest.mark.parametrize("door", ["memory", "block"])
def test_a_run_that_breaks_off_is_recorded_as_failed(
    fake: LatentMemory, watching: EpisodeEnds, kind: Any, door: str
) -> None:
    block = LatentMemoryBlock(core=fake.core, learn="manual")
    memory = fake if door == "memory" else Memory.from_defaults(memory_blocks=[block])
    failing: Any = Failing
    broken = RuntimeError("no power")
    llm: Any = failing(core=fake.core) if kind is not ReActAgent else Scripted(lines=[broken])
    agent = ReActAgent if kind is ReActAgent else FunctionAgent
    runs: Any = agent(name="a", description="a", llm=llm, tools=[calc])
    with pytest.raises(RuntimeError, match="no power"):
        asyncio.run(_run(AgentWorkflow(agents=[runs]) if kind is AgentWorkflow else runs, "sum: 1", memory))
    [episode] = fake.core.episodes()
    assert (episode.question, episode.state) == ("sum: 1", "failed") and "RuntimeError: no power" in episode.reason


@pytest.mark.parametrize("ask", [chat, achat, stream_chat, astream_chat])
@pytest.mark.parametrize("door", ["memory", "block"])
def test_a_chat_that_breaks_off_is_recorded_as_failed(
    fake: LatentMemory, watching: EpisodeEnds, ask: Ask, door: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    block = LatentMemoryBlock(core=fake.core, learn="manual")
    memory = fake if door == "memory" else Memory.from_defaults(memory_blocks=[block])
    engine = SimpleChatEngine.from_defaults(llm=Scripted(lines=[RuntimeError("no power")]), memory=memory)
    with pytest.raises(RuntimeError, match="no power"):
        ask(engine, "sum: 1")
    [episode] = fake.core.episodes()
    assert episode.state == "failed" and "no power" in episode.reason


def test_a_failure_without_the_hook_is_noticed_with_the_next_question(fake: LatentMemory) -> None:
    lines = [RuntimeError("no power"), "#### 2"]
    engine = SimpleChatEngine.from_defaults(llm=Scripted(lines=lines), memory=fake)
    with pytest.raises(RuntimeError):
        engine.chat("sum: 1")
    engine.chat("sum: 2")
    assert states(fake) == [("sum: 1", "failed"), ("sum: 2", "pending")]


def test_too_many_steps_are_a_failure(fake: LatentMemory, watching: EpisodeEnds) -> None:
    lines = ["Thought: again\nAction: calc\nAction Input: {'expression': '1+1'}"]
    agent = ReActAgent(llm=Scripted(lines=lines), tools=[calc])
    with pytest.raises(Exception, match="Max iterations"):
        asyncio.run(_run(agent, "sum: 1", fake, max_iterations=2))
    assert states(fake) == [("sum: 1", "failed")]


def test_a_cancelled_run_has_not_ended(fake: LatentMemory, watching: EpisodeEnds) -> None:
    async def run() -> None:
        agent: Any = ReActAgent(llm=Scripted(lines=["Answer"]), tools=[calc])
        handler = agent.run(user_msg="sum: 1", memory=fake)
        async for event in handler.stream_events():
            if type(event).__name__ == "AgentInput":
                await handler.cancel_run()
        with pytest.raises(BaseException):  # noqa: B017 (its type is LlamaIndex's affair)
            await handler

    asyncio.run(run())
    assert [state for _, state in states(fake)] in ([], ["pending"])


def test_the_hook_is_attached_once(watching: EpisodeEnds) -> None:
    assert EpisodeEnds.attach() is watching


def test_the_hook_leaves_nothing_behind(fake: LatentMemory, watching: EpisodeEnds) -> None:
    engine = SimpleChatEngine.from_defaults(llm=Scripted(lines=["#### 2"]), memory=fake)
    for ask in (chat, achat, stream_chat, astream_chat):
        ask(engine, f"sum: {ask.__name__}")
    asyncio.run(_run(ReActAgent(llm=Scripted(lines=["2"]), tools=[calc]), "sum: 5", fake))
    assert watching.open_spans == {} and watching.completed_spans == [] and watching.dropped_spans == []
    assert len(states(fake)) == 5


class Failing(LatentLLM):
    """Breaks off when it is asked."""

    @property
    def metadata(self) -> Any:
        from llama_index.core.llms import LLMMetadata

        return LLMMetadata(is_chat_model=True, is_function_calling_model=True)

    def _replied(self, messages: Any, options: Any) -> Any:
        raise RuntimeError("no power")

    def _streamed(self, messages: Any, options: Any) -> Any:
        raise RuntimeError("no power")


async def _run(agent: Any, question: str, memory: Any, **options: Any) -> Any:
    return await agent.run(user_msg=question, memory=memory, **options)


def test_a_memory_class_can_be_given_to_an_engine(root: Any, question: str) -> None:
    engine: Any = SimpleChatEngine.from_defaults(llm=LatentLLM(seed=1), memory_cls=LatentMemory)
    engine.chat(question)
    assert isinstance(engine._memory, LatentMemory) and engine._memory.token_limit == 2048 - 256
    assert [one.role.value for one in engine.chat_history] == ["user", "assistant"]
    assert isinstance(engine.chat_history[0], ChatMessage)
