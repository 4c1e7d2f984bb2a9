"""`LatentMemory`: LlamaIndex's memory whose long-term part is a Latent."""

from collections.abc import Sequence
from typing import Any, cast

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, MessageRole
from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.llms import LLM
from llama_index.core.memory import BaseMemory
from llama_index.memory.latent.messages import (
    ANSWER,
    answer_to,
    carrying,
    chat_messages,
    final_answer,
    last_question,
    text_of,
)
from llama_index.memory.latent.rooted import Rooted
from llama_index.memory.latent.sitting import Learn, Sitting, check_learn

from latent_memory_plugin import Answer, ChatModel, Config, InputError, Reference, Reply, Standing
from latent_memory_plugin import LatentMemory as CoreMemory


class LatentMemory(Rooted, BaseMemory):
    """The messages of one conversation, one of them with a reference to the Latent that applies to the question.

    Only `LatentLLM` reads the reference. `get` for a new question opens an episode, the assistant's final message ends
    it, and the core learns from it. Saved and restored by its fields (dict, JSON, pickle, `Context.to_dict`); one
    object is one conversation, `session()` makes another on the same store. Usable from several threads.
    """

    learn: Learn = "background"
    """When an episode is learnt from: `background`, `now`, `manual` (by `core.consolidate()`); None records none."""
    enabled: bool = True
    """False after `off()`."""
    token_limit: int | None = Field(default=None, ge=1)
    """`get` gives the latest turns that have no more tokens than this, the current one at least; None gives all."""
    messages: list[ChatMessage] = Field(default_factory=list[ChatMessage])
    """The conversation, as it was put."""
    sitting: Sitting = Field(default_factory=Sitting)
    """The question under way."""

    _chat: ChatModel = PrivateAttr()

    def __init__(self, **fields: Any) -> None:
        """All fields by name, and `core=` or `model=` as `from_defaults` has them. Raises InputError, ConfigError."""
        check_learn(fields.get("learn"))
        super().__init__(**fields)
        self._chat = ChatModel(self._core)
        if not self.enabled:
            self._core.off()

    @classmethod
    def class_name(cls) -> str:
        """The name it is saved under."""
        return "LatentMemory"

    @classmethod
    def from_defaults(  # pyright: ignore[reportIncompatibleMethodOverride]
        cls,
        root: Any = None,
        model: Any = None,
        namespace: str = "default",
        config: Config | None = None,
        learn: Learn = "background",
        chat_history: Sequence[ChatMessage] | None = None,
        token_limit: int | None = None,
        llm: LLM | None = None,
        core: CoreMemory | None = None,
    ) -> "LatentMemory":
        """A memory; nothing is loaded or opened before its first use.

        Args:
            root: folder of the store; by default `LATENT_MEMORY_ROOT`, else the user's data folder.
            model: path, hub id or `ModelConfig`; by default the embedded model.
            namespace: what is learnt here is found nowhere else.
            config: all settings of the core.
            learn: when an episode is learnt from.
            chat_history: what was said before.
            token_limit: of what `get` returns; by default three quarters of the context of `llm`, if one is given.
            llm: the model that will be asked.
            core: a core memory of your own, in place of root, model, namespace and config.

        Raises: InputError, ConfigError.
        """
        limit = llm.metadata.context_window * 3 // 4 if token_limit is None and llm is not None else token_limit
        named = {} if core is not None else {"root": root, "model": model, "namespace": namespace, "config": config}
        return cls(core=core, learn=learn, token_limit=limit, messages=list(chat_history or ()), **named)

    def session(self, chat_history: Sequence[ChatMessage] | None = None) -> "LatentMemory":
        """Another conversation on the same model, store and settings."""
        shared = {"learn": self.learn, "enabled": self.enabled, "token_limit": self.token_limit}
        return type(self)(core=self._core, messages=list(chat_history or ()), **shared)

    def get(self, input: str | None = None, **kwargs: Any) -> list[ChatMessage]:
        """The conversation, one message with the reference for `input`, by default for what the user said last.

        Where nothing was asked, none carries one. Other arguments are the callers' hints and change nothing.
        """
        said = list(self.messages)
        question = (input or "").strip() or last_question(said)
        if not question:
            return carrying(said, question, Reference())[: len(said)] if said else []
        answered = not input and answer_to(question, said) is not None
        found = self.sitting.reference(self._chat, question, self.learn, anew=bool(input), answered=answered)
        return carrying(self._within_limit(said), question, found if self._core.enabled else Reference())

    def get_all(self) -> list[ChatMessage]:
        """The conversation, as it was put."""
        return list(self.messages)

    def put(self, message: ChatMessage) -> None:
        """Remembers a message. The assistant's final one ends the episode and hands it to the core."""
        self.messages.append(message)
        if message.role == MessageRole.USER:
            self.sitting.move_on(text_of(message))
        elif (answer := final_answer(message)) is not None:
            self.sitting.finish(answer, self._core, self.learn)

    def set(self, messages: list[ChatMessage]) -> None:
        """Replaces the conversation."""
        self.messages = list(messages)
        self.sitting.move_on()

    def reset(self) -> None:
        """Forgets the conversation; what was learnt from it stays."""
        self.set([])

    def on(self) -> None:
        """Latents are read again."""
        self.enabled = True
        self._core.on()

    def off(self) -> None:
        """No Latent is read until `on()`, in all sessions of this memory: every answer is the plain model's."""
        self.enabled = False
        self._core.off()

    def feedback(self, answer: Any, *, correct: bool) -> list[Standing]:
        """Says whether an answer of `LatentLLM` was right; it reaches the Latent that was read for it.

        `answer` is a reply's message, a chat or completion response, an agent's output, or the answer's id. Returns the
        standings that changed. Raises InputError.
        """
        return self._core.feedback(answer_id(answer), correct=correct)

    def _within_limit(self, messages: list[ChatMessage]) -> list[ChatMessage]:
        if self.token_limit is None:
            return messages
        turns = [number for number, message in enumerate(messages) if message.role == MessageRole.USER]
        for start in [0, *turns]:
            if len(self._core.model.prompt_ids(chat_messages(messages[start:]))) <= self.token_limit:
                return messages[start:]
        return messages[turns[-1] :] if turns else messages


def answer_id(answer: Any) -> str:
    """The id of the answer that something of LlamaIndex's holds. Raises InputError."""
    if isinstance(answer, str):
        return answer
    if isinstance(answer, Answer | Reply):
        return answer.id if isinstance(answer, Answer) else answer.answer.id
    raw = getattr(answer, "raw", None)
    told: list[Any] = [cast(dict[str, Any], raw).get("latent")] if isinstance(raw, dict) else []
    for holder in (answer, getattr(answer, "message", None), getattr(answer, "response", None)):
        if isinstance(holder, ChatMessage | ChatResponse | CompletionResponse):
            told.append(holder.additional_kwargs.get(ANSWER))
    dicts = [cast(dict[str, Any], one) for one in told if isinstance(one, dict)]
    known = [str(one["answer_id"]) for one in dicts if "answer_id" in one]
    if not known:
        raise InputError(
            f"{answer!r:.80} holds no answer's id; pass LatentLLM's response or its message, an agent's output, or the "
            "id itself."
        )
    return known[0]
