"""`LatentMemory` as the memory of classic chains, and what remains without langchain-classic and without langchain."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from langchain_classic.chains import ConversationChain, LLMChain, SequentialChain
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.prompts import ChatPromptTemplate, MessagesPlaceholder, PromptTemplate
from langchain_latent_memory import ChatLatent, LatentChatMessageHistory
from langchain_world import (
    OTHER,
    PROMPT,
    QUESTION,
    Heard,
    fake_core,
    give_latent,
    ids,
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

from latent_memory_plugin import InputError
from latent_memory_plugin import LatentMemory as Core

pytestmark = pytest.mark.filterwarnings("ignore:The class")  # LangChain deprecates its classic chains
TALK = ChatPromptTemplate([MessagesPlaceholder("history"), ("human", "{input}")])
TEXT = PromptTemplate.from_template("{question}")


def chain(core: Core, prompt: Any = PROMPT, **named: Any) -> Any:
    return LLMChain(llm=ChatLatent(), prompt=prompt, memory=memory(core), **named)


# -- chains ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prompt", [PROMPT, TEXT], ids=["chat prompt", "text prompt"])
async def test_a_chain_reads_the_latent_and_is_observed_once_in_every_way_of_calling(core: Core, prompt: Any) -> None:
    made, heard = chain(core, prompt), Heard()
    told: Any = {"callbacks": [heard]}
    made.invoke({"question": QUESTION}, told)
    await made.ainvoke({"question": QUESTION}, told)
    list(made.stream({"question": QUESTION}, told))
    made.batch([{"question": QUESTION}, {"question": OTHER}], told)
    assert sorted((ids(one), one.text) for one in heard.messages) == [
        ([], plain_text(OTHER)),
        *[([only_latent(core)], latent_text(QUESTION))] * 4,
    ]
    assert sorted(seen(core)) == [(OTHER, "pending", (plain_text(OTHER),)), *[(QUESTION, "pending", ())] * 4]


def test_a_question_with_space_around_it_is_the_same_question(tmp_path: Path) -> None:
    with scripted_core(tmp_path / "root") as core:
        latent, heard = give_latent(core, "sum"), Heard()
        chain(core, TEXT).invoke({"question": f"  {QUESTION}\n"}, {"callbacks": [heard]})
        assert [ids(one) for one in heard.messages] == [[latent]]
        assert seen(core) == [(QUESTION, "pending", ())]


def test_a_conversation_is_shown_the_turns_before(core: Core) -> None:
    made: Any = ConversationChain(llm=ChatLatent(), prompt=TALK, memory=memory(core))
    made.invoke({"input": QUESTION})
    made.invoke({"input": OTHER})
    shown = [(one["role"], one["content"]) for one in recorder(core).shown[-1].messages]
    assert shown == [("user", QUESTION), ("assistant", latent_text(QUESTION)), ("user", OTHER)]
    assert seen(core) == [(QUESTION, "pending", ()), (OTHER, "pending", (plain_text(OTHER),))]


def test_a_text_prompt_writes_the_conversation_as_a_dialogue(core: Core) -> None:
    told = memory(core)
    told.save_context({"input": QUESTION}, {"output": "#### 7"})
    prompt = PromptTemplate.from_template("{history}\n{input}")
    written = prompt.format(**told.load_memory_variables({"input": OTHER}), input=OTHER)
    assert written == f"Human: {QUESTION}\nAI: #### 7\n{OTHER}"


def test_the_steps_of_a_longer_chain_are_problems_of_their_own(core: Core) -> None:
    first = LLMChain(llm=ChatLatent(), prompt=PROMPT, memory=memory(core, input_key="question"), output_key="said")
    second = LLMChain(
        llm=ChatLatent(),
        prompt=PromptTemplate.from_template("{other}"),
        memory=memory(core, input_key="other", memory_key="earlier"),
    )
    whole: Any = SequentialChain(chains=[first, second], input_variables=["question", "other"])
    assert whole.invoke({"question": QUESTION, "other": OTHER})["text"] == plain_text(OTHER)
    assert seen(core) == [(QUESTION, "pending", ()), (OTHER, "pending", (plain_text(OTHER),))]


def test_a_chain_that_fails_is_one_failed_episode_and_adds_nothing_to_the_conversation(core: Core) -> None:
    made = chain(core)
    recorder(core).failures.append(RuntimeError("out of order"))
    with pytest.raises(RuntimeError):
        made.invoke({"question": OTHER})
    assert seen(core) == [(OTHER, "failed", ())]
    assert made.memory.load_memory_variables({"question": OTHER}) == {"history": []}


def test_a_foreign_model_in_a_classic_chain_works_and_nothing_is_observed(core: Core) -> None:
    made: Any = LLMChain(llm=FakeListChatModel(responses=["Good day."]), prompt=PROMPT, memory=memory(core))
    assert made.invoke({"question": QUESTION})["text"] == "Good day."
    assert seen(core) == []


def test_what_memory_was_asked_by_hand_belongs_to_no_other_chain(core: Core) -> None:
    memory(core).load_memory_variables({"question": QUESTION})
    broken: Any = PROMPT | ChatLatent(memory=memory(core, learn=None))
    recorder(core).failures.append(RuntimeError("out of order"))
    with pytest.raises(RuntimeError):
        broken.invoke({"question": OTHER})
    assert seen(core) == []


# -- the methods -------------------------------------------------------------------------------------------------------


async def test_what_is_saved_is_loaded_with_its_reference_until_it_is_cleared(core: Core) -> None:
    told = memory(core)
    assert told.memory_variables == ["history"]
    assert told.load_memory_variables({"input": QUESTION}) == {"history": []}
    told.save_context({"input": QUESTION}, {"output": "#### 7"})
    asked, answered = (await told.aload_memory_variables({"input": OTHER}))["history"]
    assert asked.additional_kwargs["latent"]["ids"] == [only_latent(core)]
    assert (asked.text, answered.text, answered.type) == (QUESTION, "#### 7", "ai")
    await told.asave_context({"input": OTHER}, {"output": "#### 11"})
    assert [one.text for one in told.load_memory_variables({"input": OTHER})["history"]][2:] == [OTHER, "#### 11"]
    told.clear()
    assert told.load_memory_variables({"input": OTHER}) == {"history": []}
    assert only_latent(core)


def test_what_a_chain_is_given_does_not_change_with_the_next_turn(core: Core) -> None:
    told = memory(core)
    given = told.load_memory_variables({"input": QUESTION})["history"]
    told.save_context({"input": QUESTION}, {"output": "#### 7"})
    assert given == []


def test_a_conversation_can_be_kept_on_disk(core: Core, tmp_path: Path) -> None:
    kept = LatentChatMessageHistory("1", root=tmp_path / "kept")
    made: Any = ConversationChain(llm=ChatLatent(), prompt=TALK, memory=memory(core, chat_memory=kept))
    made.invoke({"input": QUESTION})
    assert [one.text for one in kept.messages] == [QUESTION, latent_text(QUESTION)]
    again = memory(core, chat_memory=LatentChatMessageHistory("1", root=tmp_path / "kept"))
    assert len(again.load_memory_variables({"input": OTHER})["history"]) == 2
    again.clear()
    assert kept.messages == []


def test_of_several_inputs_one_must_be_named(core: Core) -> None:
    with pytest.raises(InputError, match=r"\['question', 'style'\].*input_key="):
        memory(core).load_memory_variables({"question": QUESTION, "style": "brief"})
    with pytest.raises(InputError, match=r"\['text', 'log'\].*output_key="):
        memory(core).save_context({"question": QUESTION}, {"text": "7", "log": "-"})
    with pytest.raises(InputError, match="input_key='query' is not among"):
        memory(core, input_key="query").load_memory_variables({"question": QUESTION})
    named = memory(core, input_key="question", output_key="text")
    named.save_context({"question": QUESTION, "style": "brief"}, {"text": "7", "log": "-"})
    assert [one.text for one in named.load_memory_variables({"question": OTHER, "style": ""})["history"]] == [
        QUESTION,
        "7",
    ]


def test_what_the_memory_itself_fills_in_and_stop_are_no_questions(core: Core) -> None:
    given = {"history": [HumanMessage("a"), AIMessage("b")], "stop": ["."], "input": questions("sum", 1)[0]}
    memory(core).load_memory_variables(given)
    memory(core, memory_key="talk").load_memory_variables({"talk": [], "input": QUESTION})


def test_a_slow_chain_of_another_thread_is_not_given_this_ones_question(tmp_path: Path) -> None:
    with fake_core(tmp_path / "slow", recording(pause_seconds=0.1)) as slow:
        asked = questions("age", 8)
        given = chain(slow, TEXT).batch([{"question": one} for one in asked])
        assert [one["text"] for one in given] == [plain_text(one) for one in asked]
        assert sorted(seen(slow)) == [(one, "pending", (plain_text(one),)) for one in asked]


# -- what is not installed ---------------------------------------------------------------------------------------------

WITHOUT_CLASSIC = """
import sys
sys.modules["langchain_classic"] = None
from langchain_core.prompts import ChatPromptTemplate
from langchain_latent_memory import ChatLatent, LatentMemory
from latent_memory_plugin.testing import FakeModel

memory = LatentMemory(model=FakeModel({"sum: 1": ("2", "3")}), learn="manual")
print((ChatPromptTemplate([("human", "{q}")]) | memory | ChatLatent(temperature=0.0)).invoke({"q": "sum: 1"}).text)
for call in (
    lambda: memory.load_memory_variables({"q": "sum: 1"}), lambda: memory.save_context({"q": "sum: 1"}, {"a": "2"})
):
    try:
        call()
    except ImportError as exc:
        print(exc)
"""
WITHOUT_LANGCHAIN = """
import sys
sys.modules["langchain"] = None
import langchain_latent_memory
print(langchain_latent_memory.LatentMemory().namespace)
try:
    langchain_latent_memory.LatentMemoryMiddleware
except ImportError as exc:
    print(exc)
try:
    langchain_latent_memory.Middleware
except AttributeError as exc:
    print(exc)
"""


def said(script: str) -> list[str]:
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


def test_without_langchain_classic_all_but_the_classic_methods_works() -> None:
    answer, loading, saving = said(WITHOUT_CLASSIC)
    assert answer == "#### 2"
    assert "load_memory_variables" in loading and "pip install 'langchain-latent-memory[classic]'" in loading
    assert "save_context" in saving and "langchain-classic" in saving


def test_without_langchain_all_but_the_middleware_works() -> None:
    namespace, missing, unknown = said(WITHOUT_LANGCHAIN)
    assert namespace == "default"
    assert "'langchain'" in missing and "pip install 'langchain-latent-memory[agents]'" in missing
    assert "has no attribute 'Middleware'" in unknown
