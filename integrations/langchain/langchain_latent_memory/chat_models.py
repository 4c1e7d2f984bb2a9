"""`ChatLatent`: a local causal language model as a LangChain chat model that reads the Latents messages refer to."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal
from uuid import UUID

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable, run_in_executor
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import ConfigDict, Field, PrivateAttr, model_validator
from typing_extensions import Self

from langchain_latent_memory.memory import LatentMemory
from langchain_latent_memory.messages import CARRIER, asked, carried, carrying, templated
from langchain_latent_memory.replies import json_of, last_chunk, message_of
from langchain_latent_memory.runs import model_run, runs
from latent_memory_plugin import ChatModel, ConfigError, ModelConfig, Occasion, Reference, Reply, Rollout
from latent_memory_plugin import LatentMemory as Core

SAMPLING = {"temperature": "temperature", "top_p": "top_p", "max_tokens": "max_new_tokens"}
"""LangChain's names of the sampling settings → ours."""
ELSEWHERE = {"stream", "strict", "parallel_tool_calls", "ls_structured_output_format", "structured_output_format"}
"""What LangChain passes along for other models and means nothing here."""
OF_A_CALL = {*SAMPLING, "n", "seed", "tools", "tool_choice", CARRIER}


class ChatLatent(BaseChatModel):
    """A chat model that reads the Latent that a message refers to.

    `ChatLatent()` reads what it is referred to, on the embedded model. `ChatLatent(memory=memory)` asks memory itself
    where nobody has, and observes what it answers.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid", populate_by_name=True)

    memory: Any = Field(default=None, exclude=True)
    """A `LatentMemory`, of this package or of `latent_memory_plugin`; by default references are looked up where they
    come from."""
    model: Any = None
    """Without a memory: path or hub id, `ModelConfig` or `LanguageModel`; by default the embedded model."""
    temperature: float | None = None
    """Divides the logits; 0 takes the likeliest token each time; by default the memory's setting, 1."""
    top_p: float | None = None
    """Nucleus: the smallest set of tokens whose probability reaches this."""
    max_tokens: int | None = None
    """Upper bound of tokens per completion; by default the memory's setting, 256."""
    stop: list[str] | None = None
    """A completion ends before the first of these."""
    seed: int | None = None
    """The same seed gives the same answer; by default a fresh one for each call."""
    n: int = Field(default=1, ge=1)
    """Completions per call; a stream has one."""
    streaming: bool = False
    """Samples as a stream also where the whole answer is asked for, so that callbacks see it grow."""
    parser: Any = Field(default=None, exclude=True)
    """Reads calls of tools: a name from `latent_memory_plugin.answering.tools.PARSERS`, or a function of the
    completion; by default the one for the model's chat template."""
    _own: LatentMemory = PrivateAttr()

    @model_validator(mode="after")
    def _make_memory(self) -> Self:
        if self.memory is not None and self.model is not None:
            raise ConfigError(f"model={self.model!r:.80} was given beside a memory, which has one; leave one of them.")
        self._own = LatentMemory(model=self.model) if self.memory is None else LatentMemory.wrap(self.memory)
        return self

    @property
    def _llm_type(self) -> str:
        return "latent"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        core: Core = self._own.core
        named = {"model": self._own.model_name, "root": str(core.root)}
        chosen = {name: getattr(self, name) for name in (*SAMPLING, "seed", "n", "stop")}
        return {**named, "namespace": core.namespace, **chosen}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> Any:
        told = super()._get_ls_params(stop=stop, **kwargs)
        return {**told, "ls_provider": "latent", "ls_model_name": kwargs.get("model") or self._own.model_name}

    def reading(self, memory: LatentMemory) -> "ChatLatent":
        """The same model on that memory, where it has neither a memory nor another model of its own."""
        if not self._reads(memory.core):
            return self
        told = self.model_copy(update={"memory": memory})
        told._own = memory
        return told

    def _reads(self, core: Core) -> bool:
        if self.memory is not None or self.model is None:
            return self.memory is None
        own: Any = self._own.core.loads
        named = isinstance(own, ModelConfig) and self._own.model_name == LatentMemory.wrap(core).model_name
        return named or own is core.loads

    def get_token_ids(self, text: str) -> list[int]:
        """The model's own token ids of a text."""
        return list(self._own.core.model.completion_ids(Rollout(text=text))[:-1])

    # One call

    def _generate_with_cache(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        # A cache knows an answer by the messages: the reference must be in them before it is asked.
        messages = self._referred(messages, run_manager.run_id if run_manager else None, kwargs)
        return super()._generate_with_cache(messages, stop=stop, run_manager=run_manager, **kwargs)

    async def _agenerate_with_cache(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        run_id = run_manager.run_id if run_manager else None
        messages = await run_in_executor(None, self._referred, messages, run_id, kwargs)
        return await super()._agenerate_with_cache(messages, stop=stop, run_manager=run_manager, **kwargs)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        run_id = run_manager.run_id if run_manager else None
        occasion = self._occasion(run_id, messages, kwargs)
        chat, options = self._request(messages, stop, run_id, occasion, kwargs)
        reply = chat.reply(templated(messages), n=kwargs.get("n") or self.n, **options)
        self._answered(run_id, occasion, reply)
        generations = [
            ChatGeneration(
                message=message_of(chat, reply, choice, number),
                generation_info={"finish_reason": choice.finish_reason},
            )
            for number, choice in enumerate(reply.choices)
        ]
        return ChatResult(generations=generations)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        run_id = run_manager.run_id if run_manager else model_run.get()
        messages = self._referred(messages, run_id, kwargs)
        occasion = self._occasion(run_id, messages, kwargs)
        chat, options = self._request(messages, stop, run_id, occasion, kwargs)
        for piece in chat.stream(templated(messages), **options):
            if isinstance(piece, str):
                yield ChatGenerationChunk(message=AIMessageChunk(content=piece))
                continue
            self._answered(run_id, occasion, piece)
            yield last_chunk(chat, piece)

    def _request(
        self,
        messages: Sequence[BaseMessage],
        stop: list[str] | None,
        run_id: UUID | None,
        occasion: Occasion | None,
        kwargs: dict[str, Any],
    ) -> tuple[ChatModel, dict[str, Any]]:
        """Who answers, and how. Raises ConfigError for an argument that means nothing."""
        unknown = set(kwargs) - OF_A_CALL - ELSEWHERE
        if unknown:
            raise ConfigError(
                f"ChatLatent knows no {sorted(unknown)!r}; a call takes {sorted(OF_A_CALL)!r} and 'stop'."
            )
        chosen = {ours: kwargs.get(theirs, getattr(self, theirs)) for theirs, ours in SAMPLING.items()}
        chosen["stop"] = tuple(self.stop or ()) if stop is None else tuple(stop)
        options = {name: value for name, value in chosen.items() if value is not None}
        options |= {
            "latent": Reference.of(kwargs[CARRIER]) if kwargs.get(CARRIER) is not None else carried(messages),
            "tools": kwargs.get("tools") or (),
            "tool_choice": kwargs.get("tool_choice"),
            "seed": kwargs.get("seed", self.seed),
            "answer_id": None if run_id is None else run_id.hex,
        }
        core = occasion.memory if occasion is not None and self._reads(occasion.memory) else self._own.core
        return ChatModel(core, self.parser), options

    def _occasion(
        self, run_id: UUID | None, messages: Sequence[BaseMessage], kwargs: dict[str, Any]
    ) -> Occasion | None:
        """The problem under way that is asked here; with a memory of its own, of that memory."""
        _, question = asked(messages)
        referred = kwargs.get(CARRIER) is not None or carried(messages) is not None
        return runs.occasion(run_id, question, None if self.memory is None else self._own.core, referred=referred)

    def _referred(self, messages: list[BaseMessage], run_id: UUID | None, kwargs: dict[str, Any]) -> list[BaseMessage]:
        """The messages with a reference, where memory has one or is asked here."""
        _, question = asked(messages)
        if not question or kwargs.get(CARRIER) is not None or carried(messages) is not None:
            return messages
        occasion = self._occasion(run_id, messages, kwargs)
        if occasion is None and self.memory is not None:
            occasion = self._own.occasion(question)
            if run_id is not None:
                runs.open(runs.parent(run_id) or run_id, occasion)
        return messages if occasion is None else carrying(messages, occasion.reference)

    def _answered(self, run_id: UUID | None, occasion: Occasion | None, reply: Reply) -> None:
        runs.answered(run_id, reply.answer.id)
        if occasion is not None and not reply.choices[0].tool_calls:
            occasion.answer = reply.answer.text

    # Tools and structure

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: dict[str, Any] | str | bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """The model with tools, for a chat template that knows them.

        `tool_choice` is a tool's name, `any` (or True) for some tool, `auto` or None to leave it to the model.
        """
        if isinstance(tool_choice, dict):
            tool_choice = str(tool_choice.get("function", tool_choice).get("name"))
        choice = "any" if tool_choice is True else tool_choice or None
        return self.bind(tools=[convert_to_openai_tool(tool) for tool in tools], tool_choice=choice, **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        *,
        include_raw: bool = False,
        method: Literal["function_calling", "json_mode", "json_schema"] = "function_calling",
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Answers of that shape: by a call of a tool of that shape, or with `json_mode` and `json_schema` as JSON that
        the prompt has to ask for; what does not fit raises the parser's error."""
        if method == "function_calling":
            return super().with_structured_output(schema, include_raw=include_raw, **kwargs)
        return json_of(self, schema, include_raw)
