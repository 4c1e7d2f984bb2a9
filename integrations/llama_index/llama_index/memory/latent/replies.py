"""What the model says, as LlamaIndex's messages and responses, made at once or one after the other in threads."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from typing import Any, TypeVar

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    MessageRole,
    TextBlock,
    ToolCallBlock,
)
from llama_index.memory.latent.messages import ANSWER

from latent_memory_plugin import Choice

Piece = TypeVar("Piece")


def message(choice: Choice, told: dict[str, Any], one_call: bool) -> ChatMessage:
    """What the model says, calls that cannot be read as they were written, so that nothing is lost, then its calls."""
    text = "\n".join(part for part in (choice.text, *choice.invalid_calls) if part)
    calls = [
        ToolCallBlock(tool_call_id=call.id, tool_name=call.name, tool_kwargs=call.arguments)
        for call in choice.tool_calls[: 1 if one_call else None]
    ]
    return ChatMessage(
        role=MessageRole.ASSISTANT, blocks=[TextBlock(text=text), *calls], additional_kwargs={ANSWER: told}
    )


def completion(response: ChatResponse) -> CompletionResponse:
    """The same response to a prompt in place of a chat."""
    return CompletionResponse(
        text=response.message.content or "",
        delta=response.delta,
        raw=response.raw,
        additional_kwargs=response.additional_kwargs | response.message.additional_kwargs,
    )


async def in_threads(pieces: Iterator[Piece]) -> AsyncGenerator[Piece, None]:
    """Each piece is made in a thread, so that others may go on meanwhile."""
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        yield piece
