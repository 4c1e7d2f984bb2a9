"""LCEL: a problem is observed once, with the plain answer as its vote, at the end of the chain that it was asked in."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda, RunnableParallel, RunnablePassthrough
from langchain_latent_memory import ChatLatent
from langchain_world import (
    ANSWERS,
    OTHER,
    PROMPT,
    QUESTION,
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
    seen,
)

from latent_memory_plugin import Config
from latent_memory_plugin import LatentMemory as Core
from latent_memory_plugin.config import DistilConfig, TrialConfig, VoteConfig

BROKEN = RuntimeError("the model is out of order")


def foreign(*texts: str) -> GenericFakeChatModel:
    return GenericFakeChatModel(messages=iter([AIMessage(text) for text in texts]))


def unparsable(text: Any) -> Any:
    raise ValueError("cannot be parsed")


# -- once, at the end --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["reader", "owner"])
def test_a_plain_answer_votes_and_one_read_with_a_latent_does_not(core: Core, way: str) -> None:
    mine = memory(core)
    chain = PROMPT | mine | ChatLatent() if way == "reader" else PROMPT | ChatLatent(memory=mine)
    assert chain.invoke({"question": OTHER}).text == plain_text(OTHER)
    assert chain.invoke({"question": QUESTION}).text == latent_text(QUESTION)
    assert seen(core) == [(OTHER, "pending", (plain_text(OTHER),)), (QUESTION, "pending", ())]


@pytest.mark.parametrize("way", ["reader", "owner"])
async def test_every_way_of_calling_observes_once(core: Core, way: str) -> None:
    mine = memory(core)
    chain: Any = (PROMPT | mine | ChatLatent() if way == "reader" else PROMPT | ChatLatent(memory=mine)).with_config()
    chain.invoke({"question": OTHER})
    await chain.ainvoke({"question": OTHER})
    assert joined(chain.stream({"question": OTHER})).text == plain_text(OTHER)
    assert joined([one async for one in chain.astream({"question": OTHER})]).text == plain_text(OTHER)
    chain.batch([{"question": OTHER}] * 2)
    await chain.abatch([{"question": OTHER}] * 2)
    assert seen(core) == [(OTHER, "pending", (plain_text(OTHER),))] * 8


def test_a_bare_model_with_a_memory_observes_once_however_it_is_called(core: Core) -> None:
    model = ChatLatent(memory=memory(core))
    model.invoke(OTHER)
    joined(model.stream(OTHER))
    model.batch([OTHER, QUESTION])
    assert sorted(seen(core)) == [(OTHER, "pending", (plain_text(OTHER),))] * 3 + [(QUESTION, "pending", ())]


def test_a_memory_that_records_nothing_observes_nothing(core: Core) -> None:
    (PROMPT | memory(core, learn=None) | ChatLatent()).invoke({"question": OTHER})
    assert seen(core) == []


def test_a_batch_of_different_questions_crosses_no_answer(core: Core) -> None:
    asked = [*questions("sum", 4), *questions("age", 4)]
    given = (PROMPT | memory(core) | ChatLatent() | StrOutputParser()).batch([{"question": one} for one in asked])
    assert given == [latent_text(one) if one.startswith("sum") else plain_text(one) for one in asked]
    votes = {one: () if one.startswith("sum") else (plain_text(one),) for one in asked}
    assert sorted(seen(core)) == sorted((one, "pending", votes[one]) for one in asked)


def test_a_step_that_calls_the_model_for_many_questions_gives_each_its_own_vote(tmp_path: Path) -> None:
    with fake_core(tmp_path / "slow", recording(pause_seconds=0.1)) as slow:
        asked, model = questions("age", 9), ChatLatent(memory=memory(slow))
        together = RunnableLambda(lambda some: model.batch(some))
        assert [one.text for one in together.invoke(asked)] == [plain_text(one) for one in asked]
        assert sorted(seen(slow)) == [(one, "pending", (plain_text(one),)) for one in asked]


def test_a_chain_inside_a_chain_is_observed_once(core: Core) -> None:
    inner = PROMPT | memory(core) | ChatLatent() | StrOutputParser()
    outer: Any = RunnablePassthrough.assign(said=inner) | (lambda told: told["said"].upper()) | RunnablePassthrough()
    assert outer.invoke({"question": OTHER}) == plain_text(OTHER)
    assert seen(core) == [(OTHER, "pending", (plain_text(OTHER),))]


def test_two_branches_have_each_its_own_memory(core: Core, tmp_path: Path) -> None:
    with fake_core(tmp_path / "second") as second:
        latent = give_latent(second, "age")
        branches: Any = RunnableParallel(
            a=PROMPT | memory(core) | ChatLatent(), b=PROMPT | memory(second) | ChatLatent()
        )
        said = branches.invoke({"question": OTHER})
        assert (ids(said["a"]), ids(said["b"])) == ([], [latent])
        assert (said["a"].text, said["b"].text) == (plain_text(OTHER), latent_text(OTHER))
        assert seen(core) == [(OTHER, "pending", (plain_text(OTHER),))]
        assert seen(second) == [(OTHER, "pending", ())]


def test_two_models_with_memories_side_by_side_ask_each_its_own(core: Core, tmp_path: Path) -> None:
    with fake_core(tmp_path / "second") as second:
        latent = give_latent(second, "age")
        branches: Any = PROMPT | RunnableParallel(
            a=ChatLatent(memory=memory(core)), b=ChatLatent(memory=memory(second))
        )
        said = branches.invoke({"question": OTHER})
        assert (ids(said["a"]), ids(said["b"])) == ([], [latent])
        assert seen(core) == [(OTHER, "pending", (plain_text(OTHER),))]
        assert seen(second) == [(OTHER, "pending", ())]


def test_words_that_a_step_adds_to_the_question_do_not_lose_it(core: Core) -> None:
    """A message keeps its reference where its text is written anew."""

    def trimmed(prompt: Any) -> list[Any]:
        [message] = prompt.to_messages()
        return [message.model_copy(update={"content": message.text.replace(" please", "")})]

    asked = f"{OTHER} please"
    (PROMPT | memory(core) | RunnableLambda(trimmed) | ChatLatent()).invoke({"question": asked})
    assert seen(core) == [(asked, "pending", (plain_text(OTHER),))]


def test_a_second_model_that_answers_something_else_does_not_vote(core: Core) -> None:
    again = RunnableLambda(lambda message: [HumanMessage(questions("box", 1)[0])])
    chain: Any = PROMPT | memory(core) | ChatLatent() | again | ChatLatent(memory=memory(core, learn=None))
    assert chain.invoke({"question": OTHER}).text == plain_text(questions("box", 1)[0])
    assert seen(core) == [(OTHER, "pending", (plain_text(OTHER),))]


def test_a_foreign_model_in_the_chain_works_and_nothing_is_observed(core: Core) -> None:
    chain = PROMPT | memory(core) | foreign("Good day.")
    assert chain.invoke({"question": QUESTION}).text == "Good day."
    assert seen(core) == []


@pytest.mark.parametrize("given", [OTHER, [HumanMessage(OTHER)], [("system", "Be brief."), ("human", OTHER)]])
def test_memory_takes_text_and_messages_too(core: Core, given: Any) -> None:
    messages = memory(core).invoke(given).to_messages()
    assert messages[-1].text == OTHER and messages[-1].additional_kwargs["latent"] == {"ids": [], "hash": ""}


@pytest.mark.parametrize("given", ["", "  ", [SystemMessage("Be brief.")], []])
def test_where_the_user_says_nothing_memory_is_not_asked(core: Core, given: Any) -> None:
    messages = memory(core).invoke(given).to_messages()
    assert all(one.additional_kwargs.get("latent", {"ids": []})["ids"] == [] for one in messages)
    assert seen(core) == []


# -- failures ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["invoke", "stream", "batch"])
def test_a_model_that_raises_leaves_one_failed_episode_with_the_reason(core: Core, way: str) -> None:
    chain: Any = PROMPT | memory(core) | ChatLatent() | StrOutputParser()
    recorder(core).failures.append(BROKEN)
    with pytest.raises(RuntimeError, match="out of order"):
        given = {"question": OTHER}
        list(getattr(chain, way)([given] if way == "batch" else given))
    [episode] = core.episodes()
    assert (episode.state, episode.rollouts) == ("failed", ())
    assert "RuntimeError: the model is out of order" in episode.reason


async def test_a_model_that_raises_is_recorded_from_async_chains_too(core: Core) -> None:
    chain: Any = PROMPT | ChatLatent(memory=memory(core))
    recorder(core).failures.extend([BROKEN, BROKEN])
    with pytest.raises(RuntimeError):
        await chain.ainvoke({"question": OTHER})
    with pytest.raises(RuntimeError):
        [one async for one in chain.astream({"question": QUESTION})]
    assert seen(core) == [(OTHER, "failed", ()), (QUESTION, "failed", ())]


def test_a_step_after_the_model_that_raises_makes_the_episode_a_failed_one(core: Core) -> None:
    chain: Any = PROMPT | memory(core) | ChatLatent() | RunnableLambda(unparsable)
    with pytest.raises(ValueError, match="cannot be parsed"):
        chain.invoke({"question": OTHER})
    assert seen(core) == [(OTHER, "failed", ())]


@pytest.mark.parametrize("around", ["model", "chain"])
@pytest.mark.parametrize("way", ["reader", "owner"])
def test_a_second_attempt_that_succeeds_is_the_one_that_is_observed(core: Core, around: str, way: str) -> None:
    mine = memory(core)
    model: Any = ChatLatent() if way == "reader" else ChatLatent(memory=mine)
    steps: Any = PROMPT | mine if way == "reader" else PROMPT
    retried = {"stop_after_attempt": 3, "wait_exponential_jitter": False}
    chain: Any = steps | model.with_retry(**retried) if around == "model" else (steps | model).with_retry(**retried)
    recorder(core).failures.append(BROKEN)
    assert chain.invoke({"question": OTHER}).text == plain_text(OTHER)
    assert seen(core) == [(OTHER, "pending", (plain_text(OTHER),))]


def test_attempts_that_all_fail_are_one_failed_episode(core: Core) -> None:
    chain: Any = (PROMPT | memory(core) | ChatLatent()).with_retry(stop_after_attempt=3, wait_exponential_jitter=False)
    recorder(core).failures.extend([BROKEN] * 3)
    with pytest.raises(RuntimeError):
        chain.invoke({"question": OTHER})
    assert recorder(core).failures == [] and seen(core) == [(OTHER, "failed", ())]


@pytest.mark.parametrize("around", ["model", "chain"])
def test_where_a_foreign_model_steps_in_nothing_is_observed(core: Core, around: str) -> None:
    steps: Any = PROMPT | memory(core)
    instead = foreign("I can do it.")
    chain: Any = (
        steps | ChatLatent().with_fallbacks([instead])
        if around == "model"
        else (steps | ChatLatent()).with_fallbacks([PROMPT | instead])
    )
    recorder(core).failures.append(BROKEN)
    assert chain.invoke({"question": OTHER}).text == "I can do it."
    assert seen(core) == []


@pytest.mark.parametrize("question", [OTHER, QUESTION])
@pytest.mark.parametrize("first", ["foreign", "own"])
def test_where_chat_latent_steps_in_its_answer_is_observed(core: Core, question: str, first: str) -> None:
    failing: Any = RunnableLambda(unparsable) if first == "foreign" else ChatLatent()
    if first == "own":
        recorder(core).failures.append(BROKEN)
    chain: Any = PROMPT | memory(core) | failing.with_fallbacks([ChatLatent(seed=1)])
    said = chain.invoke({"question": question}).text
    assert said == (plain_text(question) if question == OTHER else latent_text(question))
    assert seen(core) == [(question, "pending", (plain_text(question),) if question == OTHER else ())]


def test_a_chain_that_is_tried_again_after_its_parser_failed_votes_once(core: Core) -> None:
    tries: list[int] = []

    def late(message: Any) -> Any:
        tries.append(1)
        return message.text if len(tries) > 1 else unparsable(message)

    chain: Any = (PROMPT | memory(core) | ChatLatent() | RunnableLambda(late)).with_retry(wait_exponential_jitter=False)
    assert chain.invoke({"question": OTHER}) == plain_text(OTHER) and len(tries) == 2
    assert seen(core) == [(OTHER, "pending", (plain_text(OTHER),))]


@pytest.mark.parametrize("way", ["reader", "owner", "bare"])
def test_a_stream_that_is_abandoned_is_neither_an_answer_nor_a_failure(core: Core, way: str) -> None:
    mine = memory(core)
    chain: Any = {
        "reader": PROMPT | mine | ChatLatent(),
        "owner": PROMPT | ChatLatent(memory=mine),
        "bare": ChatLatent(memory=mine),
    }[way]
    stream = chain.stream(OTHER if way == "bare" else {"question": OTHER})
    next(stream)
    stream.close()
    assert seen(core) == []


async def test_an_async_stream_that_is_abandoned_is_neither(core: Core) -> None:
    stream: Any = (PROMPT | memory(core) | ChatLatent()).astream({"question": OTHER})
    await anext(stream)
    await stream.aclose()
    assert seen(core) == []


async def test_recording_an_episode_does_not_hold_up_the_event_loop(core: Core, monkeypatch: Any) -> None:
    here, there = threading.get_ident(), list[int]()
    observe = core.observe

    def noted(*given: Any, **named: Any) -> Any:
        there.append(threading.get_ident())
        return observe(*given, **named)

    monkeypatch.setattr(core, "observe", noted)
    await (PROMPT | memory(core) | ChatLatent()).ainvoke({"question": OTHER})
    recorder(core).failures.append(BROKEN)
    with pytest.raises(RuntimeError):
        await ChatLatent(memory=memory(core)).ainvoke(OTHER)
    assert len(there) == 2 and here not in there


# -- strangers ---------------------------------------------------------------------------------------------------------


def test_a_latent_learnt_meanwhile_is_read_by_the_next_question(core: Core) -> None:
    chain: Any = ChatPromptTemplate([("system", "Be brief."), ("human", "{question}")]) | memory(core) | ChatLatent()
    assert ids(chain.invoke({"question": OTHER})) == []
    latent = give_latent(core, "age")
    assert ids(chain.invoke({"question": OTHER})) == [latent]
    core.forget(latent)
    assert ids(chain.invoke({"question": OTHER})) == []
    assert ids(chain.invoke({"question": QUESTION})) == [only_latent(core)]


def test_memory_that_is_off_gives_the_plain_models_answer(core: Core) -> None:
    mine = memory(core)
    chain: Any = PROMPT | mine | ChatLatent()
    mine.off()
    said = chain.invoke({"question": QUESTION})
    assert (said.text, ids(said)) == (f"#### {ANSWERS[QUESTION][0]}", [])
    mine.on()
    assert ids(chain.invoke({"question": QUESTION})) == [only_latent(core)]


async def test_questions_asked_at_the_same_time_on_one_loop_do_not_cross(core: Core) -> None:
    chain: Any = PROMPT | memory(core) | ChatLatent()
    asked = [*questions("sum", 8), *questions("age", 8)]
    said = await asyncio.gather(*[chain.ainvoke({"question": one}) for one in asked])
    assert [one.text for one in said] == [latent_text(one) if one[:3] == "sum" else plain_text(one) for one in asked]
    assert sorted(one for one, _, _ in seen(core)) == sorted(asked)


LEARNING = Config(
    vote=VoteConfig(rollouts=8, max_rollouts=64, confidence=0.95, max_share=0.95),
    distil=DistilConfig(steps=30, learning_rate=0.05, patience=10),
    trial=TrialConfig(min_episodes=3, max_episodes=6, answers=16, confidence=0.9, min_gain=0.0),
)


def test_what_chains_were_asked_is_learnt_from_and_read_by_the_next_one(tmp_path: Path) -> None:
    with fake_core(tmp_path / "learning", recording(bias=1.5), config=LEARNING) as core:
        mine = memory(core)
        chain: Any = PROMPT | mine | ChatLatent(seed=0)
        assert [ids(one) for one in chain.batch([{"question": one} for one in questions("sum", 9)])] == [[]] * 9
        assert "live" in [one.status for one in mine.consolidate()]
        assert ids(chain.invoke({"question": questions("sum", 9)[8]})) == [only_latent(core)]
