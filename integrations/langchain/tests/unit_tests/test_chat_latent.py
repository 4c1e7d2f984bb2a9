"""`ChatLatent`: settings, streams, tools, structured output, caches, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, ChatMessage, HumanMessage, RemoveMessage, SystemMessage, ToolMessage
from langchain_latent_memory import ChatLatent, LatentMemory
from langchain_world import (
    OTHER,
    QUESTION,
    Heard,
    Scripted,
    calc,
    fake_core,
    give_latent,
    ids,
    joined,
    latent_text,
    memory,
    only_latent,
    plain_text,
    questions,
    recorder,
    recording,
    scripted_core,
    seen,
)
from pydantic import BaseModel, ValidationError

from latent_memory_plugin import Config, ConfigError, InputError, ModelConfig, ToolCall
from latent_memory_plugin import LatentMemory as Core
from latent_memory_plugin.answering.tools import Parsed


@pytest.fixture
def tooled(tmp_path: Path) -> Any:
    with scripted_core(tmp_path / "tooled") as made:
        yield made


def model(core: Core, **named: Any) -> ChatLatent:
    return ChatLatent(memory=memory(core, learn=None), **named)


# -- settings ----------------------------------------------------------------------------------------------------------


def test_the_models_settings_reach_the_sampler_and_a_calls_own_overrule_them(tmp_path: Path) -> None:
    kept: list[Any] = []

    class Watched(Scripted):
        def sample(self, conversations: Any, latents: Any, n: int, sampling: Any, seed: int) -> Any:
            kept.append((sampling.temperature, sampling.top_p, sampling.max_new_tokens, sampling.stop, n, seed))
            return super().sample(conversations, latents, n, sampling, seed)

    with fake_core(tmp_path / "watched", Watched({})) as core:
        told = model(core, temperature=0.5, top_p=0.9, max_tokens=7, stop=["a"], n=2, seed=3)
        told.invoke(OTHER)
        told.invoke(OTHER, temperature=0.0, top_p=0.8, max_tokens=9, stop=["b", "c"], n=1, seed=4)
        told.bind(seed=5, temperature=0.1).invoke(OTHER)
        model(core, seed=1).invoke(OTHER)
    assert kept == [
        (0.5, 0.9, 7, ("a",), 2, 3),
        (0.0, 0.8, 9, ("b", "c"), 1, 4),
        (0.1, 0.9, 7, ("a",), 2, 5),
        (0.0, 1.0, 256, (), 1, 1),
    ]


def test_a_setting_that_is_set_to_none_is_the_memorys(core: Core) -> None:
    assert model(core, temperature=1.0).invoke(OTHER, temperature=None).text == plain_text(OTHER)


@pytest.mark.parametrize(
    "wrong", [{"temperature": -1.0}, {"top_p": 0.0}, {"max_tokens": 0}, {"seed": "one"}, {"n": -1}]
)
def test_a_value_that_is_out_of_range_is_refused(core: Core, wrong: Any) -> None:
    with pytest.raises((ConfigError, InputError)):
        model(core).invoke(OTHER, **wrong)


@pytest.mark.parametrize("unknown", ["temprature", "logprobs", "model", "reasoning_effort"])
async def test_an_unknown_argument_is_named_with_those_that_exist(core: Core, unknown: str) -> None:
    with pytest.raises(ConfigError, match=f"no \\['{unknown}'\\].*'max_tokens'"):
        model(core).invoke(OTHER, **{unknown: 1})
    with pytest.raises(ConfigError, match=unknown):
        await model(core).bind(**{unknown: 1}).ainvoke(OTHER)
    with pytest.raises(ConfigError, match=unknown):
        list(model(core).stream(OTHER, **{unknown: 1}))


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(ValidationError, match="temprature"):
        ChatLatent(**{"temprature": 0.0})


def test_a_model_beside_a_memory_is_refused(core: Core) -> None:
    with pytest.raises(ValidationError, match="beside a memory"):
        ChatLatent(memory=core, model="Qwen/Qwen3-1.7B")


@pytest.mark.parametrize("wrong", ["memory", 5])
def test_what_is_no_memory_is_refused(wrong: Any) -> None:
    with pytest.raises((InputError, ValidationError), match="pass one, or nothing"):
        ChatLatent(memory=wrong)


def test_the_same_seed_gives_the_same_answer_and_a_fresh_one_is_told(core: Core) -> None:
    told = model(core, temperature=1.0, n=8)
    first = told.generate([[HumanMessage(OTHER)]])
    seed = first.generations[0][0].message.response_metadata["latent"]["seed"]  # type: ignore[attr-defined]
    again = told.generate([[HumanMessage(OTHER)]], seed=seed)
    assert [one.text for one in first.generations[0]] == [one.text for one in again.generations[0]]
    drawn = {tuple(one.text for one in told.generate([[HumanMessage(OTHER)]]).generations[0]) for _ in range(20)}
    assert len(drawn) > 1


def test_several_completions_are_several_generations_and_their_tokens_are_counted_once(core: Core) -> None:
    [row] = model(core, temperature=1.0, n=6, seed=0).generate([[HumanMessage(OTHER)]]).generations
    told: list[Any] = [one.message for one in row]  # type: ignore[attr-defined]
    assert len(row) == 6 and len({one.text for one in row}) == 2
    assert [one.usage_metadata is None for one in told] == [False] + [True] * 5
    assert told[0].usage_metadata["output_tokens"] == 6


def test_a_stream_has_one_completion(core: Core) -> None:
    assert joined(model(core, n=3).stream(OTHER)).text == plain_text(OTHER)


# -- what comes back ---------------------------------------------------------------------------------------------------


def test_tokens_of_the_latent_are_counted_among_the_input_and_told_apart(core: Core) -> None:
    read, plain = model(core).invoke(QUESTION).usage_metadata, model(core).invoke(OTHER).usage_metadata
    assert read == {
        "input_tokens": 6,
        "output_tokens": 1,
        "total_tokens": 7,
        "input_token_details": {"latent": 2},
    }
    assert plain and (plain["input_tokens"], plain["input_token_details"]) == (4, {"latent": 0})


def test_an_answer_says_where_it_comes_from(core: Core) -> None:
    told = model(core, seed=3).invoke(QUESTION).response_metadata
    latent = told.pop("latent")
    assert told == {"finish_reason": "stop", "model_name": "fake", "model_provider": "latent"}
    assert (latent["ids"], latent["answer"], latent["seed"]) == ([only_latent(core)], latent_text(QUESTION)[5:], 3)
    assert set(latent) == {"ids", "similarity", "reason", "answer_id", "answer", "seed"}
    assert latent["similarity"] == pytest.approx(1.0) and only_latent(core) in latent["reason"]
    json.dumps(latent)


@pytest.mark.parametrize("question", [QUESTION, OTHER])
async def test_the_chunks_of_a_stream_add_up_to_what_invoke_gives(core: Core, question: str) -> None:
    told = model(core, seed=2)
    whole = told.invoke(question)
    chunks = list(told.stream(question))
    for added in (joined(chunks), joined([one async for one in told.astream(question)])):
        assert added.text == whole.text and added.usage_metadata == whole.usage_metadata
        mine, yours = dict(added.response_metadata), dict(whole.response_metadata)
        latents = mine.pop("latent"), yours.pop("latent")
        assert mine == yours
        assert {**latents[0], "answer_id": ""} == {**latents[1], "answer_id": ""}
    assert chunks[-1].chunk_position == "last"


def test_a_model_that_streams_inside_gives_the_same_message_and_calls_back_with_tokens(core: Core) -> None:
    tokens: list[str] = []

    class Listening(Heard):
        def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
            tokens.append(token)

    said = model(core, streaming=True).invoke(QUESTION, {"callbacks": [Listening()]})
    assert said.text == "".join(tokens) == latent_text(QUESTION) and ids(said) == [only_latent(core)]
    assert said.response_metadata["latent"]["ids"] == [only_latent(core)]


def test_two_streams_that_are_read_in_turn_keep_their_own_runs(core: Core) -> None:
    mine = memory(core)
    told = ChatLatent(memory=mine)
    first, second = told.stream(OTHER), told.stream(questions("box", 1)[0])
    pairs = list(zip(first, second, strict=True))
    assert [joined([one[place] for one in pairs]).text for place in (0, 1)] == [
        plain_text(OTHER),
        plain_text(questions("box", 1)[0]),
    ]
    assert sorted(seen(core)) == sorted((one, "pending", (plain_text(one),)) for one in (OTHER, questions("box", 1)[0]))


def test_the_name_of_the_model_is_told_without_loading_it(elsewhere: Path) -> None:
    named = ChatLatent(model="some/model-7b", temperature=0.5, stop=["x"])
    told = named._get_ls_params()
    assert (told["ls_provider"], told["ls_model_name"], told["ls_temperature"]) == ("latent", "some/model-7b", 0.5)
    assert ChatLatent()._identifying_params["model"] == "embedded"
    assert LatentMemory(settings=Config(model=ModelConfig(name="other/model"))).model_name == "other/model"
    assert not elsewhere.exists()


def test_the_name_of_a_model_that_came_in_a_memory_is_asked_of_it(tmp_path: Path) -> None:
    with fake_core(tmp_path / "named", Scripted({}, name="mine")) as core:
        assert ChatLatent(memory=core)._identifying_params["model"] == "mine"


# -- tools -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("choice", [None, "auto", "any", True, "calc", {"function": {"name": "calc"}}])
def test_a_tool_is_called_however_it_is_chosen(tooled: Core, choice: Any) -> None:
    said = model(tooled).bind_tools([calc], tool_choice=choice).invoke("What is 3+4?")
    [call] = said.tool_calls
    assert (call["name"], call["args"], said.text) == ("calc", {"expression": "3+4"}, "")
    assert said.response_metadata["finish_reason"] == "tool_calls"
    assert said.response_metadata["latent"]["answer"] is None


def test_the_tool_that_is_named_is_called_and_not_the_first(tooled: Core) -> None:
    def add(left: int, right: int) -> int:
        """Adds."""
        return left + right

    assert model(tooled).bind_tools([calc, add]).invoke("3?").tool_calls[0]["name"] == "calc"
    chosen = model(tooled).bind_tools([calc, add], tool_choice="add").invoke("3?").tool_calls[0]
    assert (chosen["name"], chosen["args"]) == ("add", {"left": 3, "right": 3})


def test_a_tool_that_is_not_given_cannot_be_chosen(tooled: Core) -> None:
    with pytest.raises(InputError, match="tool_choice='divide'"):
        model(tooled).bind_tools([calc], tool_choice="divide").invoke("3?")


def test_a_streamed_call_is_the_same_call(tooled: Core) -> None:
    told = model(tooled).bind_tools([calc])
    added = joined(told.stream("3+4?"))
    [call] = added.tool_calls
    assert (call["name"], call["args"]) == ("calc", {"expression": "3+4"}) and len(call["id"] or "") == 9
    assert added.text == "" and added.invalid_tool_calls == []


@pytest.mark.parametrize("way", ["invoke", "stream"])
def test_a_call_that_cannot_be_read_is_an_invalid_one(tmp_path: Path, way: str) -> None:
    broken = 'Well. <tool_call>{"name": "calc", "arguments": {"expr'
    with scripted_core(tmp_path / "broken", special={"3+4?": broken}) as core:
        told: Any = model(core).bind_tools([calc])
        said = told.invoke("3+4?") if way == "invoke" else joined(told.stream("3+4?"))
    assert (said.tool_calls, said.text) == ([], "Well.")
    [invalid] = said.invalid_tool_calls
    assert (invalid["args"] or "").endswith('{"name": "calc", "arguments": {"expr')


def test_a_model_whose_template_teaches_no_tools_refuses_them(core: Core) -> None:
    with pytest.raises(InputError, match="parser="):
        model(core).bind_tools([calc]).invoke(OTHER)


def test_the_results_of_tools_are_shown_in_their_own_role(tooled: Core) -> None:
    call: Any = {"name": "calc", "args": {"expression": "3+4"}, "id": "123456789", "type": "tool_call"}
    talk = [
        SystemMessage("Be brief."),
        HumanMessage([{"type": "text", "text": "3+4?"}]),
        AIMessage([{"type": "text", "text": "gaps:"}], tool_calls=[call]),
        ToolMessage("7", tool_call_id="123456789", name="calc"),
        ChatMessage(role="critic", content="Sure?"),
    ]
    model(tooled).bind_tools([calc]).invoke(talk)
    system, human, ai, result, critic = recorder(tooled).shown[-1].messages
    assert [one["role"] for one in (system, human, ai, result, critic)] == [
        "system",
        "user",
        "assistant",
        "tool",
        "critic",
    ]
    assert ai["content"] == "gaps:" and ai["tool_calls"][0]["function"] == {
        "name": "calc",
        "arguments": {"expression": "3+4"},
    }
    assert (result["content"], result["tool_call_id"], result["name"]) == ("7", "123456789", "calc")


def test_a_message_that_no_template_knows_is_refused(core: Core) -> None:
    with pytest.raises(InputError, match="'remove'"):
        model(core).invoke([HumanMessage(OTHER), RemoveMessage(id="1")])


# -- structure ---------------------------------------------------------------------------------------------------------


class Calc(BaseModel):
    """Calculates an arithmetic expression."""

    expression: str


JOKE = "Tell a joke as JSON with 'setup' and 'punchline'."


class Joke(BaseModel):
    """A joke."""

    setup: str
    punchline: str


def test_structured_output_is_a_call_of_a_tool_of_that_shape(tooled: Core) -> None:
    assert model(tooled).with_structured_output(Calc).invoke("3+4?") == Calc(expression="3+4")
    assert model(tooled).with_structured_output(Calc.model_json_schema()).invoke("3+4?") == {"expression": "3+4"}
    raw: Any = model(tooled).with_structured_output(Calc, include_raw=True).invoke("3+4?")
    assert raw["parsed"] == Calc(expression="3+4") and raw["raw"].tool_calls and raw["parsing_error"] is None


@pytest.mark.parametrize("method", ["json_mode", "json_schema"])
def test_json_that_the_prompt_asks_for_is_parsed(tooled: Core, method: Any) -> None:
    told = model(tooled)
    assert told.with_structured_output(Joke, method=method).invoke(JOKE) == Joke(setup="a cat", punchline="a cat")
    plain = told.with_structured_output(Joke.model_json_schema(), method=method)
    assert plain.invoke(JOKE) == {"setup": "a cat", "punchline": "a cat"}
    raw: Any = told.with_structured_output(Joke, method=method, include_raw=True).invoke(JOKE)
    assert isinstance(raw["parsed"], Joke) and raw["parsing_error"] is None


def test_what_does_not_fit_the_shape_is_the_parsers_error(tooled: Core) -> None:
    told = model(tooled)
    with pytest.raises(OutputParserException):
        told.with_structured_output(Joke, method="json_mode").invoke("Good day.")
    raw: Any = told.with_structured_output(Joke, method="json_mode", include_raw=True).invoke("Good day.")
    assert raw["parsed"] is None and isinstance(raw["parsing_error"], OutputParserException)


# -- what it refuses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("question", ["", "   ", []])
def test_a_question_of_nothing_is_refused_by_the_embedded_model(question: Any) -> None:
    with pytest.raises((InputError, ValueError)):
        ChatLatent().invoke(question)


def test_an_image_is_refused_by_name() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    with pytest.raises(InputError, match=r"image_url.*only text parts can be read"):
        ChatLatent().invoke([HumanMessage([{"type": "text", "text": "What is this?"}, image])])


def test_tokens_are_counted_by_the_models_own_tokenizer() -> None:
    told = ChatLatent()
    assert told.get_num_tokens("12+7=19") == len(told.get_token_ids("12+7=19")) == 7
    assert told.get_num_tokens("") == 0
    assert told.get_num_tokens_from_messages([HumanMessage("12"), AIMessage("7")]) > 3


# -- caches ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["owner", "reader"])
async def test_a_cached_answer_is_given_again_until_another_latent_is_read(core: Core, way: str) -> None:
    told: Any = ChatLatent(memory=memory(core, learn=None), cache=InMemoryCache())
    if way == "reader":
        told = memory(core, learn=None) | ChatLatent(cache=InMemoryCache())
    shown = recorder(core).shown

    async def asked(question: str) -> tuple[str, int]:
        before = len(shown)
        said = (await told.ainvoke(question)) if len(shown) % 2 else told.invoke(question)
        return said.text, len(shown) - before

    assert await asked(OTHER) == (plain_text(OTHER), 1)
    assert await asked(OTHER) == (plain_text(OTHER), 0)
    latent = give_latent(core, "age")
    assert await asked(OTHER) == (latent_text(OTHER), 1)
    assert await asked(OTHER) == (latent_text(OTHER), 0)
    core.forget(latent)
    assert await asked(OTHER) == (plain_text(OTHER), 0)
    core.off()
    assert await asked(QUESTION) == (plain_text(QUESTION), 1)


def test_two_models_share_no_cached_answer(tmp_path: Path) -> None:
    cache = InMemoryCache()
    said: list[str] = []
    for name, answer in (("one", "#### 1"), ("two", "#### 2")):
        told = Scripted({}, name=name, special={"Who?": answer})
        said.append(ChatLatent(model=told, cache=cache).invoke("Who?").text)
    assert said == ["#### 1", "#### 2"]


def test_two_memories_share_no_cached_answer(core: Core, tmp_path: Path) -> None:
    cache = InMemoryCache()
    with fake_core(tmp_path / "other", recording(bias=-2.0)) as other:
        first = ChatLatent(memory=memory(core), cache=cache).invoke(OTHER).text
        assert ChatLatent(memory=memory(other), cache=cache).invoke(OTHER).text != first


def test_a_callers_own_parser_reads_the_calls(tmp_path: Path) -> None:
    def read(text: str) -> Parsed:
        return Parsed("", (ToolCall(name="calc", arguments={"expression": text}),))

    with fake_core(tmp_path / "own") as core:
        told = ChatLatent(memory=memory(core), parser=read).bind_tools([calc])
        assert told.invoke(OTHER).tool_calls[0]["args"] == {"expression": plain_text(OTHER)}
