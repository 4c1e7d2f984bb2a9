"""The calls of tools that a model writes, in the three ways that chat templates teach it.

transformers' own `parse_response` does not serve: it reads what a tokenizer's `response_template` describes, which
hardly any brings, and one call that is cut off or malformed makes it raise, where here such a call is kept as it was
written.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from latent_memory_plugin.errors import InputError, LatentMemoryError
from latent_memory_plugin.records import ToolCall

NO_ARGUMENTS = "{}"


@dataclass(frozen=True)
class Parsed:
    """What a completion says and what it calls."""

    text: str
    """The completion without its calls."""
    calls: tuple[ToolCall, ...] = ()
    """The calls, in order."""
    invalid: tuple[str, ...] = ()
    """Calls that cannot be read, as they were written."""


@dataclass(frozen=True)
class Parser:
    """How a model writes calls of tools. A template that contains `mark` teaches this way."""

    mark: str
    """What every template that teaches this way contains."""
    read: Callable[[str], Parsed] = field(repr=False)
    """Completion, special tokens included → what it says and calls."""
    opening: str = ""
    """How a call begins, its name next; empty where a call cannot be begun for the model."""


def parser_of(template: str) -> Parser | None:
    """The parser for a chat template's text; None where it teaches no way that is known."""
    return next((parser for parser in PARSERS.values() if parser.mark in template), None)


def chosen_parser(parser: "Parser | str | Callable[[str], Parsed] | None", template: str) -> Parser | None:
    """The caller's parser, by name or as a function, else the template's. Raises InputError."""
    if parser is None:
        return parser_of(template)
    if isinstance(parser, Parser):
        return parser
    if callable(parser):
        return Parser("", parser)
    if parser not in PARSERS:
        raise InputError(f"parser={parser!r:.80} is unknown; choose one of {', '.join(PARSERS)}, or pass a function.")
    return PARSERS[parser]


def opening_of(parser: Parser | None, tools: Sequence[Mapping[str, Any]], choice: str | None) -> str:
    """How a reply has to begin for the tool of that name, or `any`, to be called; empty with `auto`. Raises InputError
    where there is no such tool, or no call can be begun."""
    if choice in (None, "auto", "none"):
        return ""
    names = [str(tool.get("function", tool).get("name")) for tool in tools]
    if choice not in ("any", "required", *names):
        raise InputError(f"tool_choice={choice!r} is none of the tools given, {names!r}; choose one, 'any' or 'auto'.")
    if parser is None or not parser.opening:
        raise InputError(f"tool_choice={choice!r} cannot be granted: a call cannot be begun for this model.")
    named = choice if choice in names else names[0] if len(names) == 1 else None
    return parser.opening if named is None else f'{parser.opening}{named}",'


def _hermes(text: str) -> Parsed:
    """`<tool_call>{"name": ..., "arguments": {...}}</tool_call>`: Qwen 2.5 and 3, Hermes, the embedded model."""
    pattern = re.compile(r"<tool_call>(.*?)(?:</tool_call>|(?=<tool_call>)|\Z)", re.DOTALL)
    return _collected(pattern.sub("", text), (match[1] for match in pattern.finditer(text)))


def _mistral(text: str) -> Parsed:
    """`[TOOL_CALLS][{"name": ..., "arguments": {...}}, ...]`, or `[TOOL_CALLS]name[ARGS]{...}` for each call; some
    models write `[CALL_ID]` and an id after the name."""
    said, *written = text.split("[TOOL_CALLS]")
    return _collected(said, (one for part in written for one in _mistral_calls(part)))


def _mistral_calls(part: str) -> Iterator[str]:
    name, marked, arguments = part.partition("[ARGS]")
    if marked:
        called = json.dumps(name.partition("[CALL_ID]")[0].strip())
        yield f'{{"name": {called}, "arguments": {arguments.strip() or NO_ARGUMENTS}}}'
        return
    try:
        listed = json.loads(part)
    except (ValueError, RecursionError):
        listed = None
    if not isinstance(listed, list):
        yield part
        return
    yield from (json.dumps(one) for one in cast(list[Any], listed))


def _llama(text: str) -> Parsed:
    """`{"name": ..., "parameters": {...}}` and nothing else, several after one another with `;`: Llama 3."""
    bare = re.sub(r"<\|\w+\|>", "", text).strip()
    if not bare.startswith('{"name"'):
        return Parsed(text)
    return _collected("", re.split(r"(?<=\})\s*;\s*(?=\{)", bare))


def _collected(said: str, written: "Iterator[str] | list[str]") -> Parsed:
    calls: list[ToolCall] = []
    invalid: list[str] = []
    for one in written:
        call = _call(one)
        if call is None:
            invalid.append(one.strip())
        else:
            calls.append(call)
    return Parsed(said.strip(), tuple(calls), tuple(invalid))


def _call(written: str) -> ToolCall | None:
    try:
        read = json.loads(written)
        arguments = read.get("arguments", read.get("parameters", {}))
        return ToolCall(name=read["name"], arguments=json.loads(arguments) if isinstance(arguments, str) else arguments)
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError, LatentMemoryError):
        return None


PARSERS = {
    "mistral": Parser("[TOOL_CALLS]", _mistral),
    "hermes": Parser("<tool_call>", _hermes, '<tool_call>{"name": "'),
    "llama": Parser("Environment: ipython", _llama, '{"name": "'),
}
"""By name; the first whose mark a template contains is chosen."""
