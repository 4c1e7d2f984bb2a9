"""Feedback finds an answer by its message, its id, and by the id of every run around it, through every door."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from langchain.agents import create_agent
from langchain_classic.chains import LLMChain
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from langchain_latent_memory import ChatLatent, LatentMemoryMiddleware
from langchain_world import OTHER, PROMPT, QUESTION, ids, joined, memory, only_latent, questions

from latent_memory_plugin import InputError
from latent_memory_plugin import LatentMemory as Core

pytestmark = pytest.mark.filterwarnings("ignore:The class")

DOORS: dict[str, Any] = {
    "LCEL with a memory": lambda mine: PROMPT | mine | ChatLatent(),
    "LCEL with a model that has one": lambda mine: PROMPT | ChatLatent(memory=mine),
    "classic chain": lambda mine: LLMChain(llm=ChatLatent(), prompt=PROMPT, memory=mine),
    "agent": lambda mine: (
        RunnableLambda(lambda told: {"messages": [("human", told["question"])]})
        | create_agent(ChatLatent(), middleware=[LatentMemoryMiddleware(mine)])
    ),
}


class Listening(BaseCallbackHandler):
    """Keeps the runs of models."""

    def __init__(self) -> None:
        self.runs: list[UUID] = []

    def on_chat_model_start(self, serialized: Any, messages: Any, *, run_id: UUID, **kwargs: Any) -> None:
        self.runs.append(run_id)


def judged(core: Core) -> list[bool | None]:
    """What the uses of the only Latent were judged to be, oldest first."""
    return [one.correct for one in core.opened.store.uses(latent_id=only_latent(core))]


@pytest.mark.parametrize("door", DOORS)
async def test_the_id_of_the_root_run_finds_the_answer(core: Core, door: str) -> None:
    mine = memory(core)
    chain: Any = DOORS[door](mine)
    first, second = uuid4(), uuid4()
    chain.invoke({"question": QUESTION}, {"run_id": first})
    await chain.ainvoke({"question": QUESTION}, {"run_id": second})
    mine.feedback(first, correct=True)
    mine.feedback(str(second), correct=False)
    assert judged(core) == [True, False]


@pytest.mark.parametrize("door", DOORS)
def test_the_id_of_the_models_run_finds_the_answer(core: Core, door: str) -> None:
    mine, heard = memory(core), Listening()
    chain: Any = DOORS[door](mine)
    chain.invoke({"question": QUESTION}, {"callbacks": [heard]})
    list(chain.stream({"question": QUESTION}, {"callbacks": [heard]}))
    first, second = heard.runs
    mine.feedback(first, correct=True)
    mine.feedback(second, correct=False)
    assert judged(core) == [True, False]


@pytest.mark.parametrize("door", DOORS)
def test_the_runs_of_a_batch_are_told_apart(core: Core, door: str) -> None:
    mine, runs = memory(core), [uuid4() for _ in range(3)]
    chain: Any = DOORS[door](mine)
    chain.batch([{"question": one} for one in questions("sum", 3)], [{"run_id": one} for one in runs])
    mine.feedback(runs[1], correct=False)
    assert sorted(judged(core), key=str) == [False, None, None]
    [use] = [one for one in core.opened.store.uses(latent_id=only_latent(core)) if one.correct is not None]
    assert use.answer == "9101"


def test_a_message_and_its_answers_id_find_the_answer_also_after_a_stream(core: Core) -> None:
    mine = memory(core)
    chain: Any = PROMPT | mine | ChatLatent()
    mine.feedback(chain.invoke({"question": QUESTION}), correct=True)
    mine.feedback(joined(chain.stream({"question": QUESTION})), correct=False)
    said = chain.invoke({"question": QUESTION})
    mine.feedback(said.response_metadata["latent"]["answer_id"], correct=True)
    assert judged(core) == [True, False, True]


def test_a_message_that_was_kept_finds_the_answer_in_another_process(core: Core) -> None:
    said = (PROMPT | memory(core) | ChatLatent()).invoke({"question": QUESTION})
    kept = AIMessage.model_validate_json(said.model_dump_json())
    memory(core).feedback(kept, correct=False)
    assert judged(core) == [False]


def test_an_answer_of_the_core_is_taken_too(core: Core) -> None:
    memory(core).feedback(core.ask(QUESTION), correct=False)
    assert judged(core) == [False]


def test_a_later_word_overrules_an_earlier_one(core: Core) -> None:
    mine = memory(core)
    said = ChatLatent(memory=mine).invoke(QUESTION)
    mine.feedback(said, correct=True)
    mine.feedback(said, correct=False)
    assert judged(core) == [False]


@pytest.mark.parametrize("wrong", ["", "an answer", 5, None])
def test_what_is_no_id_is_refused(core: Core, wrong: Any) -> None:
    with pytest.raises(InputError, match="is no answer, message or id of a run"):
        memory(core).feedback(wrong, correct=True)


def test_a_message_of_another_model_is_refused(core: Core) -> None:
    with pytest.raises(InputError, match=r"'Good day\.' is no answer of ChatLatent"):
        memory(core).feedback(AIMessage("Good day."), correct=True)


def test_an_unknown_id_and_an_answer_without_a_latent_change_nothing(core: Core) -> None:
    mine = memory(core)
    assert mine.feedback(uuid4(), correct=False) == []
    assert mine.feedback(ChatLatent(memory=mine).invoke(OTHER), correct=False) == []


@pytest.mark.parametrize("correct", ["yes", 1, None])
def test_a_verdict_is_true_or_false(core: Core, correct: Any) -> None:
    mine = memory(core)
    said = ChatLatent(memory=mine).invoke(QUESTION)
    with pytest.raises(InputError, match="correct="):
        mine.feedback(said, correct=correct)


@pytest.mark.parametrize("door", DOORS)
def test_a_latent_whose_answers_are_wrong_is_suspended_and_no_longer_read(core: Core, door: str) -> None:
    mine, latent = memory(core), only_latent(core)
    chain: Any = DOORS[door](mine)
    changed: list[Any] = []
    for _ in range(4):
        run = uuid4()
        chain.invoke({"question": QUESTION}, {"run_id": run})
        changed += mine.feedback(run, correct=False)
    assert [(one.latent_id, one.state) for one in changed] == [(latent, "suspended")]
    assert ids(ChatLatent(memory=mine).invoke(QUESTION)) == []
