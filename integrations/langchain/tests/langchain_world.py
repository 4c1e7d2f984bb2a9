"""What the tests of the LangChain adapter share: a fake world with Latents, a model that calls tools by rule, doors."""

import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from langchain_latent_memory import LatentMemory

from latent_memory_plugin import Config, Latent, Rollout, Trial, Vote
from latent_memory_plugin import LatentMemory as Core
from latent_memory_plugin.config import LifeConfig, SamplingConfig
from latent_memory_plugin.engines.base import Conversation
from latent_memory_plugin.records import Dialogue
from latent_memory_plugin.testing import FakeModel

TOPICS = ("sum", "age", "box", "cup", "day", "egg", "fox", "gem")
"""Kinds of questions; the fake model's keys tell them apart."""
QUESTION = "sum: 3 and 4"
"""Has a Latent in the fixture `core`."""
OTHER = "age: 5 and 6"
"""Has none there."""
CONFIG = Config(life=LifeConfig(min_uses=4, confidence=0.95), sampling=SamplingConfig(temperature=0.0))


def questions(topic: str, number: int) -> list[str]:
    return [f"{topic}: {one} and {one + 1}" for one in range(1, number + 1)]


ANSWERS = {
    one: (str(100 * place + number), str(9000 + 100 * place + number))
    for place, topic in enumerate(TOPICS, 1)
    for number, one in enumerate(questions(topic, 9))
}
"""Question → what the plain model answers, and what it answers with a Latent."""


def plain_text(question: str) -> str:
    return f"#### {ANSWERS[question][0]}"


def latent_text(question: str) -> str:
    return f"#### {ANSWERS[question][1]}"


@dataclass(frozen=True)
class Recording(FakeModel):
    """The fake model, which keeps what it is shown and can be told to fail."""

    shown: list[Any] = field(default_factory=list[Any])
    """The conversations it has sampled for."""
    failures: list[Exception] = field(default_factory=list[Exception])
    """Raised one after another before it answers again."""
    pause_seconds: float = 0.0
    """How long it takes: calls of several threads overlap."""

    def sample(self, *given: Any, **named: Any) -> list[list[Rollout]]:
        self.shown.extend(given[0])
        time.sleep(self.pause_seconds)
        if self.failures:
            raise self.failures.pop(0)
        return super().sample(*given, **named)


def recording(**changes: Any) -> Recording:
    settings: dict[str, Any] = {"answers": ANSWERS, "bias": 2.0, **changes}
    return Recording(**settings)


def fake_core(root: Path, model: Any = None, namespace: str = "default", config: Config = CONFIG) -> Core:
    return Core(root, recording() if model is None else model, namespace, config)


def recorder(core: Core) -> Recording:
    """The model of a memory that `fake_core` made."""
    return cast(Recording, core.model)


def give_latent(core: Core, topic: str, mean: float = -1.0) -> str:
    """A live Latent for the topic's questions, which turns the answers of the fake model round."""
    opened = core.opened
    tensor = np.full((2, opened.model.hidden_size), mean, np.float32)  # (P, H)
    latent = Latent(
        namespace=core.namespace,
        shape=(len(tensor), opened.model.hidden_size),
        model=opened.model.name,
        fingerprint=opened.model.fingerprint,
        encoder=opened.encoder.name,
        problem_hash="0" * 64,
        vote=Vote(answer="1", share=1.0, entropy=0.0, counts=(("1", 4),)),
        trial=Trial(
            episode_ids=("a",), agreement_before=0.9, agreement_after=1.0, answers=4, passed=True, reason="By hand."
        ),
        parents=("a",),
        objective="imitate",
        seed=0,
        version="0.1.0",
    )
    opened.store.put(latent, tensor, opened.encoder.keys([f"{topic}: anything"])[0])
    return latent.id


def only_latent(core: Core) -> str:
    [latent] = core.latents()
    return latent.id


def memory(core: Core, **changes: Any) -> LatentMemory:
    return LatentMemory(**{"core": core, "learn": "manual", **changes})


def seen(core: Core) -> list[tuple[str, str, tuple[str, ...]]]:
    """What was observed: question, state, and the answers that vote."""
    return [
        (one.question, one.state, tuple(rollout.text for rollout in one.rollouts))
        for one in core.episodes()
        if not one.reason.startswith("By hand")
    ]


PROMPT = ChatPromptTemplate([("human", "{question}")])


def ids(message: AIMessage) -> list[str]:
    """The Latents that were read for a message."""
    return message.response_metadata["latent"]["ids"]


# -- a model that calls tools ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Scripted(Recording):
    """Calls the first tool it is given, or the one whose call is begun for it, with arguments that fit its schema; when
    a tool has answered, or there is none, it says what the last message says."""

    chat_template: str = "<tool_call>{{ tools }}"
    name: str = "scripted"
    special: dict[str, str] = field(default_factory=dict[str, str])
    """Question → what it says to it, whatever else."""

    def sample(
        self,
        conversations: Sequence[Conversation],
        latents: Any,
        n: int,
        sampling: SamplingConfig,
        seed: int,
    ) -> list[list[Rollout]]:
        self.shown.extend(conversations)
        if self.failures:
            raise self.failures.pop(0)
        return [[Rollout(text=self._says(one), token_ids=(1,))] * n for one in conversations]

    def prompt_ids(self, conversation: Conversation) -> tuple[int, ...]:
        return (1,)

    def _says(self, conversation: Conversation) -> str:
        assert not isinstance(conversation, str)
        talk = conversation if isinstance(conversation, Dialogue) else Dialogue(conversation)
        last = talk.messages[-1]
        query = str(last.get("content"))
        if query in self.special:
            return self.special[query]
        if last["role"] == "tool":
            return f"#### {query}"
        if talk.tools:
            return _call(talk, query)
        return json.dumps(dict.fromkeys(re.findall(r"'(\w+)'", query), "a cat")) if "JSON" in query else "#### 1"


def _call(talk: Dialogue, query: str) -> str:
    functions: list[Mapping[str, Any]] = [one.get("function", one) for one in talk.tools]
    begun = re.search(r'"name": "(\w+)",$', talk.opening)
    function = next((one for one in functions if begun and one["name"] == begun[1]), functions[0])
    properties = cast(dict[str, Any], function.get("parameters", {}).get("properties", {}))
    arguments = json.dumps({name: _value(name, schema, query) for name, schema in properties.items()})
    name = "" if begun else f'{function["name"]}",'
    start = "" if talk.opening else '<tool_call>{"name": "'
    return f'{start}{name} "arguments": {arguments}}}</tool_call>'


def _value(name: str, schema: Mapping[str, Any], query: str) -> Any:
    if schema.get("type") == "integer":
        return int((re.findall(r"\d+", query) or ["1"])[0])
    quoted = re.findall(r"'([^']+)'", query)
    return "3+4" if name == "expression" else quoted[0] if quoted else "something"


def scripted_core(root: Path, **changes: Any) -> Core:
    settings: dict[str, Any] = {"answers": ANSWERS, **changes}
    return fake_core(root, Scripted(**settings))


@tool
def calc(expression: str) -> str:
    """Calculates an arithmetic expression."""
    left, right = expression.split("+")
    return str(int(left) + int(right))


# -- what callbacks see ------------------------------------------------------------------------------------------------


class Heard(BaseCallbackHandler):
    """Keeps the messages that models end with, whatever door they were called through."""

    def __init__(self) -> None:
        self.messages: list[AIMessage] = []

    def on_llm_end(self, response: Any, **kwargs: Any) -> None:
        self.messages += [row[0].message for row in response.generations]


def joined(chunks: Iterator[Any] | Sequence[Any]) -> Any:
    """The sum of a stream."""
    first, *rest = chunks
    for one in rest:
        first = first + one
    return first
