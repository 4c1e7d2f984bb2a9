"""What the model says, as LangChain's messages, chunks and objects."""

from operator import itemgetter
from typing import Any, cast

from langchain_core.messages import AIMessage, AIMessageChunk, InvalidToolCall, ToolCall, ToolCallChunk
from langchain_core.messages.ai import InputTokenDetails, UsageMetadata
from langchain_core.messages.tool import invalid_tool_call
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
from pydantic import BaseModel

from langchain_latent_memory.messages import CARRIER
from latent_memory_plugin import ChatModel, Choice, Reply


def message_of(chat: ChatModel, reply: Reply, choice: Choice, number: int) -> AIMessage:
    """One completion as a message; the first one's carries the tokens of all."""
    return AIMessage(
        content=choice.text,
        tool_calls=[ToolCall(name=call.name, args=call.arguments, id=call.id) for call in choice.tool_calls],
        invalid_tool_calls=[_invalid(written) for written in choice.invalid_calls],
        usage_metadata=_usage(reply) if number == 0 else None,
        response_metadata=_metadata(chat, reply),
    )


def last_chunk(chat: ChatModel, reply: Reply) -> ChatGenerationChunk:
    """The end of a stream: chunks are joined by adding up, so what is said once is said here."""
    choice = reply.choices[0]
    calls = [
        ToolCallChunk(name=call.name, args=call.as_json(), id=call.id, index=number)
        for number, call in enumerate(choice.tool_calls)
    ]
    calls += [
        # LangChain reads as a call what is JSON, begun or whole, so the mark stays before it.
        ToolCallChunk(name=None, args=f"<tool_call>{written}", id=None, index=number)
        for number, written in enumerate(choice.invalid_calls, len(calls))
    ]
    message = AIMessageChunk(
        content="",
        tool_call_chunks=calls,
        usage_metadata=_usage(reply),
        response_metadata=_metadata(chat, reply),
        chunk_position="last",
    )
    return ChatGenerationChunk(message=message, generation_info={"finish_reason": choice.finish_reason})


def json_of(model: Runnable[Any, Any], schema: dict[str, Any] | type, include_raw: bool) -> Runnable[Any, Any]:
    """The model with the JSON in its text read as that shape; with `include_raw` a dict of the message, what was read,
    and the parser's error in place of raising it."""
    shaped = isinstance(schema, type) and issubclass(schema, BaseModel)
    parser: Any = PydanticOutputParser(pydantic_object=cast(Any, schema)) if shaped else JsonOutputParser()
    if not include_raw:
        return model | parser
    parsed = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    return RunnableMap(raw=model) | parsed.with_fallbacks([failed], exception_key="parsing_error")


def _metadata(chat: ChatModel, reply: Reply) -> dict[str, Any]:
    answer = reply.answer
    return {
        "model_name": chat.memory.model.name,
        "model_provider": "latent",
        CARRIER: {
            "ids": list(answer.latent_ids),
            "similarity": answer.similarity,
            "reason": answer.reason,
            "answer_id": answer.id,
            "answer": answer.answer,
            "seed": answer.seed,
        },
    }


def _usage(reply: Reply) -> UsageMetadata:
    """Tokens; those of the Latent are counted among the input and told apart."""
    usage = reply.answer.usage
    read = usage.prompt_tokens + usage.latent_tokens
    details: Any = InputTokenDetails()
    details["latent"] = usage.latent_tokens
    return UsageMetadata(
        input_tokens=read,
        output_tokens=usage.completion_tokens,
        total_tokens=read + usage.completion_tokens,
        input_token_details=details,
    )


def _invalid(written: str) -> InvalidToolCall:
    return invalid_tool_call(args=written, error="It is no JSON with a name and arguments.")
