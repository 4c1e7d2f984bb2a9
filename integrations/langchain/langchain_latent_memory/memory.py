"""`LatentMemory`: asks memory once per problem and hands the reference on, in LCEL and in classic chains."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, convert_to_messages, get_buffer_string
from langchain_core.prompt_values import ChatPromptValue, PromptValue
from langchain_core.runnables import RunnableConfig, RunnableSerializable, run_in_executor
from pydantic import ConfigDict, Field, PrivateAttr, model_validator
from typing_extensions import Self, override

from langchain_latent_memory.messages import CARRIER, asked, carrying
from langchain_latent_memory.runs import Offer, offered, runs
from latent_memory_plugin import (
    Answer,
    ChatModel,
    Config,
    InputError,
    Occasion,
    Outcome,
    Standing,
    When,
)
from latent_memory_plugin import LatentMemory as Core

if TYPE_CHECKING:
    from langchain_core.callbacks import CallbackManagerForChainRun

    from langchain_latent_memory.without_classic import BaseMemory
else:
    try:
        from langchain_classic.base_memory import BaseMemory
    except ModuleNotFoundError:
        from langchain_latent_memory.without_classic import BaseMemory


Given = PromptValue | str | Sequence[Any]


class Conversation(list[BaseMessage]):
    """Messages that a chat prompt takes as they are, and that a text prompt writes as a dialogue."""

    def __str__(self) -> str:
        return get_buffer_string(self)

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)


class LatentMemory(RunnableSerializable[Given, PromptValue], BaseMemory):
    """Memory of one namespace: `prompt | LatentMemory() | ChatLatent()`, `LLMChain(..., memory=LatentMemory())`, and
    behind `LatentMemoryMiddleware` and `ChatLatent(memory=...)`.

    Objects with the same root, namespace and model share one loaded model and one store. Usable from several threads.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    root: str | Path | None = None
    """Folder of the store; by default `LATENT_MEMORY_ROOT`, else the user's data folder."""
    namespace: str = "default"
    """What is learnt here is found nowhere else."""
    model: Any = None
    """Path or hub id, `ModelConfig` or `LanguageModel`; by default the embedded model."""
    settings: Config | None = None
    """All settings of the memory: `latent_memory_plugin.Config(...)`."""
    core: Any = Field(default=None, exclude=True)
    """A `latent_memory_plugin.LatentMemory` to use in place of the four above; `learn`, `latents`, `forget` and the
    rest are its methods."""
    learn: When | None = "background"
    """When an episode is learnt from: `background`, `now`, `manual` (at the next `consolidate()`); None records
    nothing."""
    memory_key: str = "history"
    """Classic chains: the variable of the prompt that gets the conversation."""
    input_key: str | None = None
    """Classic chains: the input that is the question; by default the only one."""
    output_key: str | None = None
    """Classic chains: the output that is the answer; by default the only one."""
    chat_memory: BaseChatMessageHistory | None = Field(default=None, exclude=True)
    """Classic chains: where the conversation is kept; by default in this object."""
    _chat: ChatModel = PrivateAttr()
    _said: list[BaseMessage] = PrivateAttr(default_factory=list[BaseMessage])

    @model_validator(mode="after")
    def _make_core(self) -> Self:
        if self.core is None:
            self.core = Core(self.root, self.model, self.namespace, self.settings)
        elif not isinstance(self.core, Core):
            raise InputError(f"core={self.core!r:.80} is no latent_memory_plugin.LatentMemory; pass one, or nothing.")
        self._chat = ChatModel(self.core)
        return self

    @classmethod
    def wrap(cls, memory: "LatentMemory | Core | None") -> "LatentMemory":
        """This class's memory of whatever was given. Raises InputError."""
        if isinstance(memory, LatentMemory):
            return memory
        return cls() if memory is None else cls(core=memory)

    def occasion(self, question: str) -> Occasion:
        """A question under way, memory asked."""
        question = question.strip()
        return Occasion(self.core, question, self._chat.refer(question), self.learn)

    @property
    def model_name(self) -> str:
        """Path or hub id of the model, or `embedded`; nothing is loaded to tell."""
        return str(self.core.loads.name or "embedded")

    # LCEL

    @override
    def invoke(self, input: Given, config: RunnableConfig | None = None, **kwargs: Any) -> PromptValue:
        """The prompt with a reference in the user's last message; what the chain answers is observed at its end."""
        return self._call_with_config(self._referred, input, config)

    def _referred(self, given: Given, run_manager: "CallbackManagerForChainRun") -> PromptValue:
        messages = _messages(given)
        _, question = asked(messages)
        occasion = self.occasion(question)
        if run_manager.parent_run_id is not None:
            runs.open(run_manager.parent_run_id, occasion)
        return ChatPromptValue(messages=carrying(messages, occasion.reference))

    # Classic chains

    @property
    def memory_variables(self) -> list[str]:
        """The variable that gets the conversation."""
        return [self.memory_key]

    def load_memory_variables(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The conversation so far; memory is asked for the question among the inputs. Raises InputError."""
        offered.set(self._offer(inputs))
        return {self.memory_key: Conversation(self._conversation)}

    async def aload_memory_variables(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """As `load_memory_variables`; the event loop is not held up."""
        offered.set(await run_in_executor(None, self._offer, inputs))
        return {self.memory_key: Conversation(self._conversation)}

    def save_context(self, inputs: dict[str, Any], outputs: dict[str, str]) -> None:
        """Adds a question with its reference and the answer to the conversation. Raises InputError."""
        question = self._question(inputs)
        answer = _only(outputs, self.output_key, (), "output_key")
        offer = offered.get()
        known = offer is not None and offer.occasion.question == question.strip()
        extra = {CARRIER: offer.occasion.reference.carried()} if known and offer is not None else {}
        said = [HumanMessage(question, additional_kwargs=extra), AIMessage(answer)]
        if self.chat_memory is None:
            self._said.extend(said)
        else:
            self.chat_memory.add_messages(said)

    def clear(self) -> None:
        """Forgets the conversation; Latents stay."""
        self._said.clear()
        if self.chat_memory is not None:
            self.chat_memory.clear()

    @property
    def _conversation(self) -> Sequence[BaseMessage]:
        return self._said if self.chat_memory is None else self.chat_memory.messages

    def _offer(self, inputs: dict[str, Any]) -> Offer:
        return Offer(self.occasion(self._question(inputs)))

    def _question(self, inputs: dict[str, Any]) -> str:
        return _only(inputs, self.input_key, (self.memory_key, "stop"), "input_key")

    # The memory itself

    def feedback(self, given: "Answer | AIMessage | UUID | str", *, correct: bool) -> list[Standing]:
        """Says whether an answer was right; the standings of Latents that changed by it.

        `given` is the message, or the id of its answer, of the model's run or of any run around it that this process
        has seen: LangSmith's run and trace ids. Raises InputError where a message is not of `ChatLatent`.
        """
        return [standing for one in _answer_ids(given) for standing in self.core.feedback(one, correct=correct)]

    def consolidate(self) -> list[Outcome]:
        """Learns from every episode that waits, once the background worker has done its own."""
        return self.core.consolidate()

    def on(self) -> None:
        """Latents are read again."""
        self.core.on()

    def off(self) -> None:
        """No Latent is read until `on()`: every answer is exactly the plain model's."""
        self.core.off()

    def close(self) -> None:
        """Ends learning after the episode under way, leaves the rest pending, and releases model and store."""
        self.core.close()


def _messages(given: Given) -> list[BaseMessage]:
    if isinstance(given, PromptValue):
        return given.to_messages()
    return [HumanMessage(given)] if isinstance(given, str) else convert_to_messages(given)


def _only(values: dict[str, Any], key: str | None, others: tuple[str, ...], setting: str) -> str:
    """The value of that key, by default of the only key there is beside `others`, as text. Raises InputError."""
    keys = [one for one in values if one not in others]
    if key is None and len(keys) != 1:
        raise InputError(f"The chain has {keys!r}, and memory needs one of them; name it: LatentMemory({setting}=...).")
    if key is not None and key not in values:
        raise InputError(f"{setting}={key!r} is not among {list(values)!r}; name one of them.")
    return str(values[key or keys[0]])


def _answer_ids(given: "Answer | AIMessage | UUID | str") -> list[str]:
    if isinstance(given, Answer):
        return [given.id]
    if isinstance(given, AIMessage):
        told = given.response_metadata.get(CARRIER, {})
        if "answer_id" not in told:
            raise InputError(f"The message {given.text!r:.60} is no answer of ChatLatent; pass one, or a run's id.")
        return [told["answer_id"]]
    try:
        run_id = given if isinstance(given, UUID) else UUID(str(given))
    except ValueError as exc:
        raise InputError(f"{given!r:.80} is no answer, message or id of a run; pass one of them.") from exc
    return runs.answers(run_id)
