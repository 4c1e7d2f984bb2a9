"""LlamaIndex's messages ↔ what the core reads, and the reference that one of them carries."""

import json
from collections.abc import Sequence
from typing import Any

from llama_index.core.base.llms.types import (
    CachePoint,
    ChatMessage,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)

from latent_memory_plugin import InputError, Reference, ToolCall

LATENT = "latent"
"""Key in `additional_kwargs` of the one message that carries a reference."""
ANSWER = "latent_answer"
"""Key in `additional_kwargs` of a reply: which answer it is and what was read for it."""

ROLES = {"chatbot": "assistant", "model": "assistant", "developer": "system", "function": "tool"}
"""LlamaIndex's roles that chat templates know by another name."""


def chat_messages(messages: Sequence[ChatMessage]) -> list[dict[str, Any]]:
    """As chat templates read them; carriers are left out, the reference never reaches the prompt. Raises InputError."""
    return [_templated(message) for message in messages if not _is_carrier(message)]


def reference_in(messages: Sequence[ChatMessage]) -> Any:
    """What the last message that carries a reference carries; None where none does."""
    carried = [message.additional_kwargs[LATENT] for message in messages if LATENT in message.additional_kwargs]
    return carried[-1] if carried else None


def carrying(messages: Sequence[ChatMessage], question: str, reference: Reference) -> list[ChatMessage]:
    """Copies of the messages of which one carries the reference: the question, or where it is not there yet, an empty
    message at the end."""
    copies = [_bare(message) for message in messages]
    asked = next((message for message in reversed(copies) if message.role == MessageRole.USER), None)
    if asked is None or text_of(asked) != question:
        asked = carrier(reference)
        copies.append(asked)
    asked.additional_kwargs[LATENT] = reference.carried()
    return copies


def carrier(reference: Reference) -> ChatMessage:
    """A message that carries a reference and says nothing. Of the user: ReActAgent drops a system message."""
    return ChatMessage(role=MessageRole.USER, content="", additional_kwargs={LATENT: reference.carried()})


def text_of(message: ChatMessage) -> str:
    """What it says."""
    return (message.content or "").strip()


def last_question(messages: Sequence[ChatMessage]) -> str:
    """What the user said last; empty where nothing."""
    spoken = (text_of(message) for message in reversed(messages) if message.role == MessageRole.USER)
    return next((text for text in spoken if text), "")


def final_answer(message: ChatMessage) -> str | None:
    """The answer that a message ends an episode with; None where it does not, because it calls tools or is no reply.

    ReActAgent remembers its whole reasoning in one message, of which the answer is the last part.
    """
    calls = message.additional_kwargs.get("tool_calls") or [b for b in message.blocks if isinstance(b, ToolCallBlock)]
    if calls or ROLES.get(message.role.value, message.role.value) != "assistant":
        return None
    text = text_of(message)
    return text.rpartition("Answer:")[2].strip() if text.startswith("Thought:") else text


def answer_to(question: str, messages: Sequence[ChatMessage]) -> str | None:
    """The final answer that follows the last time the question was asked; None where there is none."""
    asked = [i for i, m in enumerate(messages) if m.role == MessageRole.USER and text_of(m) == question]
    later = [final_answer(message) for message in messages[asked[-1] + 1 :]] if asked else []
    return next((answer for answer in later if answer is not None), None)


def _is_carrier(message: ChatMessage) -> bool:
    says_nothing = all(isinstance(block, TextBlock) and not block.text for block in message.blocks)
    return LATENT in message.additional_kwargs and says_nothing


def _bare(message: ChatMessage) -> ChatMessage:
    """A copy that shares nothing, for agents write into what they are given; without a reference."""
    copied = message.model_copy(deep=True)
    copied.additional_kwargs.pop(LATENT, None)
    return copied


def _templated(message: ChatMessage) -> dict[str, Any]:
    role = message.role.value
    read: dict[str, Any] = {"role": ROLES.get(role, role), "content": "\n".join(_texts(message))}
    calls = [_call(block).templated() for block in message.blocks if isinstance(block, ToolCallBlock)]
    called = message.additional_kwargs.get("tool_call_id")
    return read | ({"tool_calls": calls} if calls else {}) | ({"tool_call_id": called} if called else {})


def _texts(message: ChatMessage) -> list[str]:
    for block in message.blocks:
        if not isinstance(block, TextBlock | ToolCallBlock | ThinkingBlock | CachePoint):
            raise InputError(
                f"A {message.role.value} message holds a {block.block_type!r} block; the model reads text only, so "
                "pass text blocks."
            )
    return [block.text for block in message.blocks if isinstance(block, TextBlock)]


def _call(block: ToolCallBlock) -> ToolCall:
    given = block.tool_kwargs
    try:
        arguments = json.loads(given or "{}") if isinstance(given, str) else given
    except ValueError as exc:
        raise InputError(
            f"The arguments {given!r:.80} of {block.tool_name!r} are no JSON; pass a JSON object."
        ) from exc
    named = {"id": block.tool_call_id} if block.tool_call_id else {}
    return ToolCall(name=block.tool_name, arguments=arguments, **named)
