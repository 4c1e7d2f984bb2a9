"""LangChain's messages as chat templates read them, and the references they carry."""

from collections.abc import Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ChatMessage, ToolMessage

from latent_memory_plugin import InputError, Reference, question_of

CARRIER = "latent"
"""The entry of a message's `additional_kwargs`, and the keyword of a model call, that holds a reference."""
ROLES = {"human": "user", "system": "system", "ai": "assistant", "tool": "tool", "function": "tool"}


def templated(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    """The messages as chat templates read them. Raises InputError for a kind that none knows."""
    return [_templated(message) for message in messages]


def _templated(message: BaseMessage) -> dict[str, Any]:
    if isinstance(message, AIMessage):
        calls = [
            {"id": call["id"], "type": "function", "function": {"name": call["name"], "arguments": call["args"]}}
            for call in message.tool_calls
        ]
        said = {"role": "assistant", "content": str(message.text)}
        return {**said, "tool_calls": calls} if calls else said
    role = message.role if isinstance(message, ChatMessage) else ROLES.get(message.type)
    if role is None:
        raise InputError(f"A message of type {message.type!r} cannot be shown to the model; pass one of {list(ROLES)}.")
    told: dict[str, Any] = {"role": role, "content": message.content}
    if isinstance(message, ToolMessage):
        told |= {"tool_call_id": message.tool_call_id, "name": message.name or ""}
    return told


def asked(messages: Sequence[BaseMessage]) -> tuple[int, str]:
    """The place of the last message of the user and its text; -1 and nothing where there is none."""
    place = max((number for number, one in enumerate(messages) if one.type == "human"), default=-1)
    return place, question_of(templated([messages[place]])) if place >= 0 else ""


def carried(messages: Sequence[BaseMessage]) -> Reference | None:
    """The reference that the last message of the user carries; None where memory was not asked."""
    place, _ = asked(messages)
    found = messages[place].additional_kwargs.get(CARRIER) if place >= 0 else None
    return None if found is None else Reference.of(found)


def carrying(messages: Sequence[BaseMessage], reference: Reference) -> list[BaseMessage]:
    """The messages with the reference in the last one of the user."""
    place, _ = asked(messages)
    if place < 0:
        return list(messages)
    old = messages[place]
    new = old.model_copy(update={"additional_kwargs": {**old.additional_kwargs, CARRIER: reference.carried()}})
    return [*messages[:place], new, *messages[place + 1 :]]
