"""What LlamaIndex expects of every memory, and what this one adds: a reference on one message, episodes."""

import asyncio
import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, MessageRole, ToolCallBlock
from llama_index.core.memory import BaseMemory
from llama_index.memory.latent import LatentMemory
from llama_world import states

from latent_memory_plugin import Config, InputError, LatentMemoryError, ModelConfig, Reference, SamplingConfig
from latent_memory_plugin import LatentMemory as CoreMemory
from latent_memory_plugin.testing import FakeModel

USER, ASSISTANT = MessageRole.USER, MessageRole.ASSISTANT
HELLO = ChatMessage(role=USER, content="hello: there")
REPLY = ChatMessage(role=ASSISTANT, content="general")


def texts(messages: list[ChatMessage]) -> list[str | None]:
    return [message.content for message in messages]


def carried(messages: list[ChatMessage]) -> list[dict[str, Any]]:
    return [one.additional_kwargs["latent"] for one in messages if "latent" in one.additional_kwargs]


def user(text: str) -> ChatMessage:
    return ChatMessage(role=USER, content=text)


def said(text: str) -> ChatMessage:
    return ChatMessage(role=ASSISTANT, content=text)


def test_it_is_a_memory_of_llama_index() -> None:
    assert BaseMemory in LatentMemory.__mro__
    assert LatentMemory.class_name() == "LatentMemory"


def test_what_is_put_is_got(fake: LatentMemory) -> None:
    fake.put(HELLO)
    fake.put_messages([REPLY, HELLO])
    assert texts(fake.get()) == ["hello: there", "general", "hello: there"]
    assert fake.get_all() == [HELLO, REPLY, HELLO]


def test_set_replaces_and_reset_forgets(fake: LatentMemory) -> None:
    fake.put(HELLO)
    fake.set([REPLY])
    assert texts(fake.get_all()) == ["general"]
    fake.reset()
    assert fake.get_all() == fake.get() == []


def test_the_asynchronous_twins_do_the_same(fake: LatentMemory) -> None:
    async def run() -> None:
        await fake.aput(HELLO)
        await fake.aput_messages([REPLY])
        assert texts(await fake.aget()) == ["hello: there", "general"]
        assert await fake.aget_all() == [HELLO, REPLY]
        await fake.aset([REPLY])
        assert await fake.aget_all() == [REPLY]
        await fake.areset()
        assert await fake.aget_all() == []

    asyncio.run(run())


def test_from_defaults_takes_a_history_and_what_engines_pass(fake: LatentMemory) -> None:
    memory = LatentMemory.from_defaults(chat_history=[HELLO], token_limit=100, core=fake.core)
    assert memory.get_all() == [HELLO] and memory.token_limit == 100


@pytest.mark.parametrize("way", ["dict", "json", "pickle", "validate", "deepcopy"])
def test_it_survives_every_round_trip(tmp_path: Path, way: str) -> None:
    config = Config(sampling=SamplingConfig(max_new_tokens=7))
    memory = LatentMemory(root=str(tmp_path / "one"), namespace="two", config=config, learn="manual", token_limit=9)
    called = ToolCallBlock(tool_call_id="1", tool_name="calc", tool_kwargs={"expression": "1+1"})
    memory.put_messages([HELLO, ChatMessage(role=ASSISTANT, blocks=[called]), REPLY])
    ways: dict[str, Any] = {
        "dict": lambda: LatentMemory.from_dict(memory.to_dict()),
        "json": lambda: LatentMemory.from_json(memory.to_json()),
        "pickle": lambda: pickle.loads(pickle.dumps(memory)),
        "validate": lambda: LatentMemory.model_validate(json.loads(memory.model_dump_json())),
        "deepcopy": lambda: copy.deepcopy(memory),
    }
    restored = ways[way]()
    assert restored.model_dump() == memory.model_dump()
    assert restored.get_all() == memory.get_all()
    assert (restored.core.root, restored.core.namespace) == (memory.core.root, "two")
    assert restored.core.config == config


def test_the_model_is_saved_with_the_rest(tmp_path: Path) -> None:
    memory = LatentMemory(root=str(tmp_path), model="some/model")
    assert LatentMemory.from_json(memory.to_json()).config.model == ModelConfig(name="some/model")


def test_exactly_one_message_carries_the_reference_and_stale_ones_are_stripped(fake: LatentMemory) -> None:
    stale = ChatMessage(role=USER, content="old: 1", additional_kwargs={"latent": {"ids": ["gone"], "hash": "x"}})
    fake.put_messages([stale, REPLY, user("new: 2")])
    got = fake.get()
    assert carried(got) == [{"ids": [], "hash": ""}]
    assert "latent" in got[-1].additional_kwargs and got[-1].content == "new: 2"
    assert "latent" in stale.additional_kwargs, "what was put is not touched"


def test_a_question_that_is_not_there_yet_is_carried_by_an_empty_message_of_the_user(fake: LatentMemory) -> None:
    fake.put_messages([HELLO, REPLY])
    got = fake.get(input="new: 2")
    assert (got[-1].role, got[-1].content) == (USER, "")
    assert len(carried(got)) == 1 and "latent" in got[-1].additional_kwargs
    assert len(fake.get_all()) == 2, "the carrier is not remembered"


def test_agents_may_write_into_what_they_are_given(fake: LatentMemory) -> None:
    fake.put(user("sum: 1"))
    got: Any = fake.get()
    got[0].blocks[0].text = "state and question"
    assert texts(fake.get_all()) == ["sum: 1"]


class Counted(CoreMemory):
    """Counts look-ups."""

    looked_up: int = 0

    def find(self, question: str) -> Any:
        self.looked_up += 1
        return super().find(question)


@pytest.fixture
def counted(tmp_path: Path) -> LatentMemory:
    model: Any = FakeModel({})
    return LatentMemory(core=Counted(tmp_path / "counted", model), learn="manual")


def test_a_question_is_looked_up_once_in_an_episode(counted: LatentMemory) -> None:
    core: Any = counted.core
    counted.put(user("sum: 1"))
    for asked in (None, "sum: 1", None):
        counted.get(input=asked)
    assert core.looked_up == 1
    counted.put(said("2"))
    counted.get()
    assert core.looked_up == 1, "an agent fetches its messages after the answer, too"
    counted.put(user("sum: 2"))
    counted.get()
    assert core.looked_up == 2


def test_an_episode_that_records_nothing_is_looked_up_once_too(counted: LatentMemory) -> None:
    core: Any = counted.core
    silent = LatentMemory(core=core, learn=None)
    silent.put(user("sum: 1"))
    silent.get()
    silent.get(input="sum: 1")
    silent.put(said("2"))
    assert core.looked_up == 1 and states(silent) == []


def test_the_final_message_ends_the_episode_once(fake: LatentMemory) -> None:
    fake.put(user("sum: 1"))
    fake.get()
    called = ToolCallBlock(tool_call_id="1", tool_name="calc", tool_kwargs={})
    fake.put(ChatMessage(role=ASSISTANT, blocks=[called]))
    assert states(fake) == [], "a call of tools ends nothing"
    fake.put(ChatMessage(role=MessageRole.TOOL, content="2"))
    fake.put(said("It is 2. #### 2"))
    fake.put(said("and so on"))
    [episode] = fake.core.episodes()
    assert (episode.question, episode.state) == ("sum: 1", "pending")
    assert [rollout.answer for rollout in episode.rollouts] == ["2"], "without a Latent the answer votes"


def test_of_reasoning_only_the_answer_counts(fake: LatentMemory) -> None:
    fake.put(user("sum: 1"))
    fake.get()
    fake.put(said("Thought: I add.\nAction: calc\nAction Input: {}\nObservation: 3\nThought: done\nAnswer: 2"))
    [episode] = fake.core.episodes()
    assert [rollout.text for rollout in episode.rollouts] == ["2"]


def test_the_same_question_asked_again_is_another_episode(fake: LatentMemory) -> None:
    for _ in range(2):
        fake.put(user("sum: 1"))
        fake.get()
        fake.put(said("2"))
    for _ in range(2):  # as ContextChatEngine does it
        fake.get(input="sum: 1")
        fake.put(user("sum: 1"))
        fake.put(said("2"))
    assert states(fake) == [("sum: 1", "pending")] * 4


def test_a_question_left_without_an_answer_is_recorded_as_failed(fake: LatentMemory) -> None:
    fake.put(user("sum: 1"))
    fake.get()
    fake.put(user("sum: 2"))
    [episode] = fake.core.episodes()
    assert episode.state == "failed" and "The next question came before an answer." in episode.reason


def test_a_history_that_was_answered_opens_no_episode(fake: LatentMemory) -> None:
    fake.set([user("sum: 1"), said("2")])
    assert len(carried(fake.get())) == 1
    fake.put(user("sum: 2"))
    assert states(fake) == []


def test_an_answer_without_a_word_ends_the_episode_and_does_not_vote(fake: LatentMemory) -> None:
    fake.put(user("sum: 1"))
    fake.get()
    fake.put(said(""))
    [episode] = fake.core.episodes()
    assert episode.state == "pending" and episode.rollouts == ()


@pytest.mark.parametrize("way", ["json", "pickle", "deepcopy"])
def test_an_episode_goes_on_in_a_restored_memory_and_is_observed_once(counted: LatentMemory, way: str) -> None:
    counted.put(user("sum: 1"))
    counted.get()
    restored = copy.deepcopy(counted) if way == "deepcopy" else counted.session()
    if way != "deepcopy":
        kept = json.loads(counted.to_json()) if way == "json" else pickle.loads(pickle.dumps(counted.model_dump()))
        restored = LatentMemory(core=counted.core, **kept)
    assert carried(restored.get()) == carried(counted.get())
    restored.put(said("2"))
    counted.put(said("2"))
    core: Any = counted.core
    assert states(counted) == [("sum: 1", "pending")] and core.looked_up == 1


def test_sessions_share_the_store_and_not_the_messages(fake: LatentMemory) -> None:
    fake.put(HELLO)
    other = fake.session()
    assert other.get_all() == [] and other.core is fake.core and other.learn == "manual"


def test_a_token_limit_keeps_the_latest_turns(fake: LatentMemory) -> None:
    fake.put_messages([user("a: b c d"), said("e f"), user("g: h"), said("i"), user("j: k")])
    fake.token_limit = 2  # the fake model counts the words of the last message
    assert texts(fake.get())[-1] == "j: k"
    model: Any = fake.core.model
    assert len(model.prompt_ids([{"role": "user", "content": "j: k"}])) == 2
    fake.token_limit = 1
    assert texts(fake.get()) == ["j: k"], "the current turn stays, however long"


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"learn": "later"}, "'later'"),
        ({"lern": "now"}, "'lern'"),
        ({"namespace": 3}, "3"),
        ({"root": 3}, "3"),
        ({"model": object()}, "model="),
        ({"core": "memory"}, "'memory'"),
    ],
)
def test_wrong_settings_are_named(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(LatentMemoryError, match=named):
        LatentMemory(**fields)


@pytest.mark.parametrize("wrong", [3, said("x"), ChatResponse(message=said("x")), None])
def test_feedback_on_what_holds_no_answer_is_refused(fake: LatentMemory, wrong: Any) -> None:
    with pytest.raises(InputError, match="holds no answer's id"):
        fake.feedback(wrong, correct=True)


def test_off_gives_empty_references_until_on_and_is_saved(root: Path, question: str) -> None:
    memory = LatentMemory(learn=None)
    memory.put(user(question))
    found = carried(memory.get())
    assert found[0]["ids"]
    memory.off()
    assert carried(memory.get()) == [Reference().carried()]
    restored = LatentMemory.from_json(memory.to_json())
    assert carried(restored.get()) == [Reference().carried()] and not restored.core.enabled
    memory.on()
    assert carried(memory.get()) == found
    memory.close()
    restored.close()
