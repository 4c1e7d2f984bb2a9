"""`LatentLLM`: the model that reads Latents, as LlamaIndex's function calling language model."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar, cast

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
    MessageRole,
    ToolCallBlock,
)
from llama_index.core.bridge.pydantic import Field, PrivateAttr
from llama_index.core.llms import callbacks
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.tools import BaseTool
from llama_index.memory.latent.messages import ANSWER, chat_messages, reference_in
from llama_index.memory.latent.replies import completion, in_threads, message
from llama_index.memory.latent.rooted import Rooted

from latent_memory_plugin import ChatModel, InputError, Reference, Reply, SamplingConfig, question_of
from latent_memory_plugin import LatentMemory as CoreMemory

Method = TypeVar("Method", bound=Callable[..., Any])

OPTIONS = ("temperature", "max_tokens", "top_p", "stop", "seed")
NO_SAMPLING = ("seed", "tools", "tool_choice", "n", "answer_id")


def _chat_events(method: Method) -> Method:
    """A method of chats that LlamaIndex's callbacks and events tell of."""
    return cast(Any, callbacks).llm_chat_callback()(method)


def _completion_events(method: Method) -> Method:
    return cast(Any, callbacks).llm_completion_callback()(method)


class LatentLLM(Rooted, FunctionCallingLLM):
    """The model of a memory. It reads the Latent that the last reference in its messages names.

    With `memory` and no reference in the messages, it looks the question up itself; with neither it is the plain model.
    Calls of tools work where the model's chat template teaches them. Asynchronous calls run in threads.
    """

    temperature: float | None = None
    """Divides the logits; 0 takes the likeliest token each time. None: the core's default, as for all that follow."""
    max_tokens: int | None = None
    """Upper bound of tokens per completion."""
    top_p: float | None = None
    """Nucleus: the smallest set of tokens whose probability reaches this."""
    stop: list[str] | None = None
    """A completion ends before the first of these strings."""
    seed: int | None = None
    """The same seed gives the same answer; None: a fresh one each time."""
    memory: Any = Field(default=None, exclude=True)
    """A memory or block of this package, or a core one: where references are resolved and questions looked up."""
    parser: Any = Field(default=None, exclude=True)
    """Reads calls of tools: a name the core knows, or a function; None: by the chat template."""

    _chat: ChatModel = PrivateAttr()

    def __init__(self, *, memory: Any = None, **fields: Any) -> None:
        """All fields by name, and `model=` or `core=` as `LatentMemory.from_defaults` has them. Raises InputError,
        ConfigError."""
        if memory is not None:
            if not isinstance(memory, Rooted | CoreMemory):
                raise InputError(f"memory={memory!r:.80} is no latent memory; pass a LatentMemory or its block.")
            fields["core"] = memory.core if isinstance(memory, Rooted) else memory
        super().__init__(memory=memory, **fields)
        self._sampling({})
        self._chat = ChatModel(self._core, self.parser)

    @classmethod
    def class_name(cls) -> str:
        """The name it is saved under."""
        return "LatentLLM"

    @property
    def metadata(self) -> LLMMetadata:
        """What the model is; loads it."""
        model = self._core.model
        return LLMMetadata(
            context_window=model.context_tokens,
            num_output=self.max_tokens or self.config.sampling.max_new_tokens,
            is_chat_model=True,
            is_function_calling_model=self._chat.parser is not None,
            model_name=model.name,
        )

    @_chat_events
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answers a chat.

        `temperature`, `max_tokens`, `top_p`, `stop` and `seed` take the place of the model's own for this call. Which
        Latent was read, the answer's id and the tokens are in `raw`. Raises the core's errors.
        """
        return self._replied(messages, kwargs)

    @_chat_events
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """As `chat`, piece by piece; the last response has the whole message and `raw`."""
        return self._streamed(messages, kwargs)

    @_chat_events
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """As `chat`, in a thread."""
        return await asyncio.to_thread(self._replied, messages, kwargs)

    @_chat_events
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """As `stream_chat`, in threads."""
        return in_threads(await asyncio.to_thread(self._streamed, messages, kwargs))

    @_completion_events
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Answers a prompt: a chat of one user message, whether `formatted` or not."""
        return completion(self._replied(_said(prompt), kwargs))

    @_completion_events
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """As `complete`, piece by piece."""
        return (completion(one) for one in self._streamed(_said(prompt), kwargs))

    @_completion_events
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """As `complete`, in a thread."""
        return completion(await asyncio.to_thread(self._replied, _said(prompt), kwargs))

    @_completion_events
    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:
        """As `stream_complete`, in threads."""
        drawn = await asyncio.to_thread(self._streamed, _said(prompt), kwargs)
        return in_threads(completion(one) for one in drawn)

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **kwargs: Any
    ) -> list[ToolSelection]:
        """The tools that a response asks for. Raises InputError where it must and asks for none."""
        blocks = [block for block in response.message.blocks if isinstance(block, ToolCallBlock)]
        if not blocks and error_on_no_tool_call:
            raise InputError(f"The model called no tool and said {response.message.content!r:.80}; ask it again.")
        return [
            ToolSelection(
                tool_id=block.tool_call_id or "",
                tool_name=block.tool_name,
                tool_kwargs=cast(dict[str, Any], block.tool_kwargs),
            )
            for block in blocks
        ]

    def _prepare_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        said = _said(user_msg) if isinstance(user_msg, str) else [user_msg] if user_msg else []
        schemas = [tool.metadata.to_openai_tool(skip_length_check=True) for tool in tools]
        choice: dict[str, Any] = {"tool_choice": "any"} if tool_required else {}
        options = {"tools": schemas, "one_call": not allow_parallel_tool_calls, **choice}
        return {"messages": [*(chat_history or []), *said], **options, **kwargs}

    def _replied(self, messages: Sequence[ChatMessage], options: dict[str, Any]) -> ChatResponse:
        said, latent, one_call = chat_messages(messages), self._latent(messages), options.pop("one_call", False)
        reply = self._chat.reply(said, latent=latent, **self._sampling(options))
        return self._response(reply, latent, one_call)

    def _streamed(self, messages: Sequence[ChatMessage], options: dict[str, Any]) -> ChatResponseGen:
        said, latent, one_call = chat_messages(messages), self._latent(messages), options.pop("one_call", False)
        pieces = self._chat.stream(said, latent=latent, **self._sampling(options))
        return self._responses(pieces, latent, one_call)

    def _responses(self, pieces: Iterator[str | Reply], latent: Reference, one_call: bool) -> ChatResponseGen:
        told = ""
        for piece in pieces:
            if isinstance(piece, Reply):
                yield self._response(piece, latent, one_call).model_copy(update={"delta": ""})
            else:
                told += piece
                yield ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content=told), delta=piece)

    def _latent(self, messages: Sequence[ChatMessage]) -> Reference:
        """The reference in the messages, or the one looked up; between calls of tools it stays what it was."""
        carried = reference_in(messages)
        if carried is not None or self.memory is None:
            return Reference() if carried is None else Reference.of(carried)
        asked = max((i for i, one in enumerate(messages) if one.role == MessageRole.USER), default=0)
        told = [one.additional_kwargs[ANSWER] for one in messages[asked:] if ANSWER in one.additional_kwargs]
        if told:
            return Reference.of({"ids": told[0]["ids"], "hash": told[0]["hash"]})
        return self._chat.refer(question_of(chat_messages(messages)))

    def _sampling(self, options: dict[str, Any]) -> dict[str, Any]:
        """Arguments of the core, checked. Raises ConfigError."""
        own: dict[str, Any] = {name: getattr(self, name) for name in OPTIONS}
        given = {name: value for name, value in options.items() if value is not None or name not in OPTIONS}
        chosen = {name: value for name, value in (own | given).items() if value is not None}
        if "max_tokens" in chosen:
            chosen["max_new_tokens"] = chosen.pop("max_tokens")
        if isinstance(chosen.get("stop"), str):
            chosen["stop"] = (chosen["stop"],)
        SamplingConfig(**{name: value for name, value in chosen.items() if name not in NO_SAMPLING})
        return chosen

    def _response(self, reply: Reply, latent: Reference, one_call: bool) -> ChatResponse:
        answer = reply.answer
        choice = next(one for one in reply.choices if one.text == answer.text)
        told = latent.carried() | {
            "read": bool(answer.latent_ids),
            "answer_id": answer.id,
            "similarity": answer.similarity,
        }
        usage = answer.usage.model_dump()
        usage["total_tokens"] = usage["prompt_tokens"] + usage["completion_tokens"]
        raw = {
            "model": self._core.model.name,
            "latent": told | {"reason": answer.reason},
            "usage": usage,
            "finish_reason": choice.finish_reason,
            "invalid_calls": list(choice.invalid_calls),
            "seed": answer.seed,
        }
        return ChatResponse(message=message(choice, told, one_call), raw=raw, additional_kwargs=dict(usage))


def _said(text: str) -> list[ChatMessage]:
    return [ChatMessage(role=MessageRole.USER, content=text)]
