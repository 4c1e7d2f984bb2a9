"""From a conversation to the token ids of a prompt: chat template, beginning-of-sequence token, plain-text fallback."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from latent_memory_plugin.engines.base import Conversation
from latent_memory_plugin.errors import InputError, ModelLoadError
from latent_memory_plugin.records import Dialogue

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


REMEMBERED_QUESTIONS = 512
"""Learning reads the same few questions at every step."""

_MARK = "\ue000\ue001\ue000"
"""Stands for a question while its place is looked for: nothing writes it, and no filter of a template changes it."""
_TURNS = Dialogue([{"role": role, "content": "?"} for role in ("user", "assistant", "user")])


class Prompt(NamedTuple):
    """A conversation as the model reads it."""

    ids: tuple[int, ...]
    """Token ids, the beginning-of-sequence token included where there is one."""
    bos_tokens: int
    """1 where `ids` starts with a beginning-of-sequence token that marks no turn, else 0: a Latent stands after it."""
    question: slice
    """The tokens of the last user message; all tokens where they cannot be told apart."""


class Prompts:
    """The tokenizer's side of a model. A tokenizer without a chat template is warned of once, here.

    Raises ModelLoadError where the template cannot be compiled, or does not know one of `template_arguments`.
    """

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        name: str,
        template_arguments: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self.tokenizer = tokenizer
        self._name = name
        self._arguments = dict(template_arguments)
        self.has_chat_template = bool(cast(Any, tokenizer).chat_template)
        if not self.has_chat_template:
            warnings.warn(
                f"The tokenizer of {name!r} has no chat template: prompts are the plain text of the messages. Set "
                "tokenizer.chat_template, or use an instruction-tuned model.",
                stacklevel=4,
            )
        if unknown := [argument for argument in self._arguments if argument not in self.template]:
            raise ModelLoadError(
                f"The chat template of {name!r} knows no {unknown!r}, which template_arguments set; name only "
                "variables of the template."
            )
        self._read_question = lru_cache(REMEMBERED_QUESTIONS)(self._read)
        _ = self.bos_marks_turns

    def read(self, conversation: Conversation) -> Prompt:
        """The prompt of a conversation, ready for the model to answer.

        What the chat template writes is taken as it is: it decides about the beginning-of-sequence token. Plain text
        gets the one the tokenizer adds by itself, and no end token. Raises InputError, also where the template leaves
        the question out.
        """
        return self._read_question(conversation) if isinstance(conversation, str) else self._read(conversation)

    @cached_property
    def bos_marks_turns(self) -> bool:
        """True where every message begins with the beginning-of-sequence token: it is a part of the template then, and
        a Latent stands before the first."""
        try:
            ids, _ = self._encode(self._render(_TURNS))
        except InputError:  # a template that says why when it is used
            return False
        return ids.count(cast(int, self.tokenizer.bos_token_id)) >= len(_TURNS.messages)

    def _read(self, conversation: Conversation) -> Prompt:
        dialogue = _dialogue(conversation)
        text, place = self._rendered(dialogue)
        ids, offsets = self._encode(text)
        starts = bool(ids) and ids[0] == self.tokenizer.bos_token_id and not self.bos_marks_turns
        question = dialogue.messages[_asked(dialogue)]["content"].strip()
        found = text.find(question, place) if place >= 0 and question else -1
        inside = [] if found < 0 or offsets is None else _overlapping(offsets, found, found + len(question))
        return Prompt(tuple(ids), int(starts), slice(inside[0], inside[-1] + 1) if inside else slice(starts, len(ids)))

    def _rendered(self, dialogue: Dialogue) -> tuple[str, int]:
        """The prompt's text, and the first place where the last user message can stand in it; -1 where nobody knows.

        A template writes its own words too, and a short question may occur in them, so a mark is put in its place. Some
        templates read nothing but lists of parts.
        """
        number, refusal = _asked(dialogue), None
        for as_parts in (False, True):
            marked = [*dialogue.messages]
            marked[number] = {**marked[number], "content": _MARK}
            try:
                text = self._render(dialogue, as_parts)
                place = self._render(replace(dialogue, messages=marked), as_parts).find(_MARK)
            except InputError as exc:
                refusal = refusal or exc
                continue
            last = dialogue.messages[number]
            if place >= 0 or last["role"] != "user" or not last["content"].strip():
                return text, place
        asked = dialogue.messages[number]["content"]
        raise refusal or InputError(
            f"The chat template of {self._name!r} leaves the question {asked!r:.80} out of the prompt; use a model "
            "whose template reads it, or correct tokenizer.chat_template."
        )

    def text_ids(self, text: str) -> tuple[int, ...]:
        """Token ids of a bare text, without any special token that is not written in it."""
        return tuple(self._encode_bare(_text(text))[0])

    @property
    def template(self) -> str:
        """The chat template's text; of several, the one for tools; empty where there is none."""
        found = cast(Any, self.tokenizer).chat_template or ""
        return found if isinstance(found, str) else found.get("tool_use") or found.get("default", "")

    def _render(self, dialogue: Dialogue, as_parts: bool = False) -> str:
        messages: Any = dialogue.messages
        if dialogue.tools and "tools" not in self.template:
            raise InputError(
                f"The chat template of {self._name!r} knows no tools, so the {len(dialogue.tools)} given cannot be "
                "shown to it; use a model whose template does, or call it without tools."
            )
        if not self.has_chat_template:
            return _plain(messages) + dialogue.opening
        from jinja2.exceptions import TemplateError, TemplateRuntimeError, TemplateSyntaxError

        if as_parts:
            messages = [{**one, "content": [{"type": "text", "text": one["content"]}]} for one in messages]
        tools: Any = list(dialogue.tools) or None
        try:
            text = self.tokenizer.apply_chat_template(
                messages, tools=tools, tokenize=False, add_generation_prompt=True, **self._arguments
            )
        except TemplateSyntaxError as exc:
            raise ModelLoadError(
                f"The chat template of {self._name!r} is no valid Jinja (line {exc.lineno}: {exc.message}); correct "
                "tokenizer.chat_template."
            ) from exc
        except Exception as exc:
            roles = [message["role"] for message in messages]
            if isinstance(exc, TemplateError) and not isinstance(exc, TemplateRuntimeError):
                raise InputError(
                    f"The model's chat template refuses messages with the roles {roles!r}: {exc}. Use roles and an "
                    "order it knows."
                ) from exc
            raise InputError(
                f"The chat template of {self._name!r} fails on messages with the roles {roles!r} "
                f"({type(exc).__name__}: {exc}); correct tokenizer.chat_template."
            ) from exc
        return cast(str, text) + dialogue.opening

    def _encode(self, text: str) -> tuple[list[int], list[tuple[int, int]] | None]:
        """As `_encode_bare`, with the beginning-of-sequence token that plain text gets."""
        ids, offsets = self._encode_bare(text)
        bos_id = cast("int | None", self.tokenizer.bos_token_id)
        if self.has_chat_template or bos_id is None or ids[:1] == [bos_id]:
            return ids, offsets
        whole = cast(list[int], self.tokenizer(text, verbose=False)["input_ids"])
        if whole[:1] != [bos_id]:
            return ids, offsets
        return [bos_id, *ids], offsets and [(0, 0), *offsets]

    def _encode_bare(self, text: str) -> tuple[list[int], list[tuple[int, int]] | None]:
        """Token ids and, where the tokenizer can tell, the characters (start, stop) each came from."""
        fast = bool(self.tokenizer.is_fast)
        encoded = cast(Any, self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=fast, verbose=False))
        return encoded["input_ids"], encoded["offset_mapping"] if fast else None


def _asked(dialogue: Dialogue) -> int:
    """The number of the last user message; -1, the last of all, where there is none."""
    return max((i for i, message in enumerate(dialogue.messages) if message["role"] == "user"), default=-1)


def _overlapping(offsets: Sequence[tuple[int, int]], start: int, stop: int) -> list[int]:
    """The tokens that hold one of these characters."""
    return [i for i, (begin, end) in enumerate(offsets) if begin < stop and end > start]


def _dialogue(conversation: Conversation) -> Dialogue:
    """The conversation with messages of text content, checked."""
    if isinstance(conversation, Dialogue):
        return replace(conversation, messages=_messages(conversation.messages))
    if isinstance(conversation, str):
        conversation = [{"role": "user", "content": conversation}]
    return Dialogue(_messages(conversation))


def _messages(conversation: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    if not conversation:
        raise InputError(f"The conversation {conversation!r} is empty; pass a question or chat messages.")
    messages: list[dict[str, Any]] = []
    for message in conversation:
        if not isinstance(message, Mapping) or "role" not in message:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(
                f"The message {message!r:.200} is no mapping with 'role' and 'content'; pass chat messages."
            )
        messages.append({**message, "content": _text(message.get("content"))})
    if not any(message["content"].strip() for message in messages):
        raise InputError(f"The conversation {conversation!r:.200} holds no text; pass a question.")
    return messages


def _text(content: Any) -> str:
    """Content as text: a string, None, or a list of strings and text parts. Lone surrogates become U+FFFD."""
    if content is None:
        return ""
    if isinstance(content, list):
        return "".join(_text(_part(part)) for part in cast(list[Any], content))
    if not isinstance(content, str):
        raise InputError(f"The content {content!r:.200} is no text; pass a string or a list of text parts.")
    return content.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _part(part: Any) -> Any:
    if not isinstance(part, Mapping):
        return part
    fields = cast(Mapping[str, Any], part)
    if fields.get("type", "text") != "text" or "text" not in fields:
        raise InputError(f"The content part {part!r:.200} is no text; only text parts can be read.")
    return fields["text"]


def _plain(messages: Sequence[Mapping[str, Any]]) -> str:
    """One user message as it is; several as labelled lines that end where the answer begins."""
    if len(messages) == 1 and messages[0]["role"] == "user":
        return messages[0]["content"]
    lines = [f"{message['role']}: {message['content']}" for message in messages]
    return "\n\n".join([*lines, "assistant:"])
