"""What chats carry and give back: `Dialogue`, `Reference`, `ToolCall`, `Choice`, `Reply`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

from pydantic import Field

from latent_memory_plugin.errors import InputError
from latent_memory_plugin.frozen import Frozen
from latent_memory_plugin.records.answer import Answer
from latent_memory_plugin.records.base import new_id


@dataclass(frozen=True)
class Dialogue:
    """Chat messages and what the model may do beside speaking."""

    messages: Sequence[Mapping[str, Any]]
    """With `role` and `content`, and whatever else the chat template reads: `tool_calls`, `name`."""
    tools: Sequence[Mapping[str, Any]] = ()
    """Functions the model may call, each as its JSON schema, for the chat template."""
    opening: str = ""
    """How the answer begins; the model goes on from there."""


class Reference(Frozen):
    """What travels in place of a Latent: `{"ids": [...], "hash": "..."}`. Only the model turns it into a tensor."""

    ids: tuple[Annotated[str, Field(min_length=1)], ...] = Field(default=(), max_length=1)
    """The Latent to read; empty where memory was asked and none applies."""
    hash: str = ""
    """First 16 hexadecimal digits of the SHA-256 of its tensor; empty without an id."""

    @classmethod
    def of(cls, carried: Any) -> "Reference":
        """The reference that a message carries. Raises InputError where it is none."""
        if isinstance(carried, Reference):
            return carried
        if not isinstance(carried, Mapping):
            raise InputError(f'latent={carried!r:.80} is no reference; pass {{"ids": ["..."], "hash": "..."}}.')
        return cls(**{str(name): value for name, value in cast("Mapping[Any, Any]", carried).items()})

    def carried(self) -> dict[str, Any]:
        """As a message carries it."""
        return {"ids": list(self.ids), "hash": self.hash}


class ToolCall(Frozen):
    """A tool the model asks for."""

    name: str
    """The tool's name."""
    arguments: dict[str, Any]
    """What it is to be called with."""
    id: str = Field(default_factory=lambda: new_id()[:9])
    """9 hexadecimal digits, by which the tool's result is told from another's: some templates take no other length."""

    def templated(self) -> dict[str, Any]:
        """As chat templates read it."""
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}

    def as_json(self) -> str:
        """Its arguments as JSON text."""
        return json.dumps(self.arguments, ensure_ascii=False)


class Choice(Frozen):
    """One completion of a chat."""

    text: str
    """What the model says, calls of tools left out."""
    tool_calls: tuple[ToolCall, ...] = ()
    """The tools it asks for."""
    invalid_calls: tuple[str, ...] = ()
    """Calls that could not be read, as they were written."""
    finish_reason: Literal["stop", "length", "tool_calls"] = "stop"
    """`stop`: it ended by itself; `length`: it ran out of tokens; `tool_calls`: it waits for tools."""


class Reply(Frozen):
    """What `ChatModel.reply` returns."""

    answer: Answer
    """The answer with its usage and the Latents that were read."""
    choices: tuple[Choice, ...]
    """One for each rollout of the answer; the first is the one that was streamed."""
