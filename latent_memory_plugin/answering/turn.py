"""One turn of a chat: what is known before the model speaks, and what becomes of what it says."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from latent_memory_plugin.answering.ask import NO_MEMORY, Asker, Route, Side
from latent_memory_plugin.answering.tools import Parser
from latent_memory_plugin.config import SamplingConfig
from latent_memory_plugin.engines.base import Model
from latent_memory_plugin.errors import NotFoundError
from latent_memory_plugin.records import (
    MAX_QUESTION_CHARACTERS,
    Answer,
    Choice,
    Dialogue,
    Hit,
    Problem,
    Reference,
    Reply,
    Rollout,
)
from latent_memory_plugin.store.base import AnyStore

if TYPE_CHECKING:
    import numpy as np

Messages = str | Sequence[Mapping[str, Any]]
"""One user message, or chat messages as chat templates read them."""


@dataclass(frozen=True)
class Turn:
    """One turn of a chat, from the messages to the reply."""

    asker: Asker
    """Samples with the Latent or without, or both, and records what was read; its answers are no calls of tools."""
    messages: tuple[Mapping[str, Any], ...]
    """The chat so far."""
    reference: Reference
    """The Latent to read."""
    tools: tuple[Mapping[str, Any], ...]
    """What may be called."""
    parser: Parser | None
    """Reads calls; None where there are no tools."""
    opening: str
    """How the reply begins."""
    sampling: SamplingConfig
    """How it is sampled."""
    seed: int
    """The same seed gives the same reply."""

    def reply(self, n: int, answer_id: str | None) -> Reply:
        """The reply from `n` completions. Raises InputError, ContextLengthError."""
        return self._reply(self.asker.sides([self._route], n, self.sampling, self.seed)[0], answer_id)

    def pieces(self, answer_id: str | None) -> Iterator[str | Reply]:
        """The reply's text as it is sampled, then the reply."""
        if self._route.compared:
            return iter(_whole(self.reply(1, answer_id)))
        drawn = self._model.stream(self._route.conversation, self._route.latent, self.sampling, self.seed)
        return self._pieces(drawn, answer_id)

    @cached_property
    def _route(self) -> Route:
        problem = Problem(question=_remembered(self.messages))
        return self.asker.route(problem, self._hit(problem), Dialogue(self.messages, self.tools, self.opening))

    @property
    def _model(self) -> Model:
        return self.asker.model

    @property
    def _store(self) -> AnyStore:
        return self.asker.store

    def _hit(self, problem: Problem) -> Hit:
        """The Latent that the reference names, where it may be read."""
        if not self.asker.enabled:
            return NO_MEMORY
        if not self.reference.ids:
            return Hit(latent_id=None, similarity=None, reason="No Latent is named.")
        [latent_id] = self.reference.ids
        try:
            same = tensor_hash(self._store.tensors(latent_id)) == self.reference.hash
            similarity = float(self._store.latent_key(latent_id) @ self.asker.encoder.keys([problem.question])[0])
        except NotFoundError:
            return Hit(latent_id=None, similarity=None, reason=f"Latent {latent_id} is not here, or no longer.")
        reason = f"Latent {latent_id} with a similarity of {similarity:.2f}."
        if same:
            return Hit(latent_id=latent_id, similarity=similarity, reason=reason)
        return Hit(latent_id=None, similarity=similarity, reason=f"{reason} It is not the one that was referred to.")

    def _pieces(self, drawn: Iterator[Rollout], answer_id: str | None) -> Iterator[str | Reply]:
        told, last = "", Rollout(text="")
        for last in drawn:
            settled = _settled(last.text, self.sampling.stop) if self.parser is None else ""
            if len(settled) > len(told):
                yield settled[len(told) :]
                told = settled
        reply = self._reply([self.asker.side([last])], answer_id)
        if rest := reply.choices[0].text[len(told) :]:
            yield rest
        yield reply

    def _reply(self, sides: Sequence[Side], answer_id: str | None) -> Reply:
        [(answer, uses)] = self.asker.conclude([self._route], [sides], self.sampling, self.seed)
        choices = tuple(self._choice(rollout) for rollout in answer.rollouts)
        # A call of tools is not yet an answer that could be right or wrong.
        final = not any(choice.tool_calls or choice.invalid_calls for choice in choices)
        if answer_id is not None:
            answer = answer.model_copy(update={"id": answer_id})
        if uses and final:
            self._store.record_uses([use.model_copy(update={"answer_id": answer.id}) for use in uses])
        return Reply(answer=_said(answer, choices), choices=choices)

    def _choice(self, rollout: Rollout) -> Choice:
        ended = "stop" if rollout.finished else "length"
        if self.parser is None:
            return Choice(text=rollout.text, finish_reason=ended)
        parsed = self.parser.read(self.opening + self._model.written(rollout))
        if not parsed.calls and not parsed.invalid:  # special tokens mark calls and are said to nobody
            parsed = self.parser.read(self.opening + rollout.text)
        ended = "tool_calls" if parsed.calls else ended
        return Choice(text=parsed.text, tool_calls=parsed.calls, invalid_calls=parsed.invalid, finish_reason=ended)


def tensor_hash(tensors: "Mapping[str, np.ndarray]") -> str:
    """The first 16 hexadecimal digits of the SHA-256 of a Latent's tensors, of several with their names."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(b"" if len(tensors) == 1 else name.encode())
        digest.update(tensor.tobytes())
    return digest.hexdigest()[:16]


def question_of(messages: Messages) -> str:
    """The text of the last user message, by which memory is asked; empty where there is none."""
    if isinstance(messages, str):
        return messages.strip()
    texts = [_plain(message.get("content")) for message in _mappings(messages) if message.get("role") == "user"]
    return texts[-1].strip() if texts else ""


def _remembered(messages: Sequence[Mapping[str, Any]]) -> str:
    """What a use is recorded by: the user's last words, else whoever's, of any length and never nothing."""
    spoken = question_of(messages) or " ".join(_plain(one.get("content")) for one in _mappings(messages)).strip()
    return spoken[-MAX_QUESTION_CHARACTERS:] or "(nothing)"


def _mappings(messages: Sequence[Any]) -> list[Mapping[str, Any]]:
    """The messages that are some; the model refuses the others."""
    return [message for message in messages if isinstance(message, Mapping)]


def _plain(content: Any) -> str:
    """The text of a message's content, which may come in parts."""
    if isinstance(content, list):
        return "".join(map(_plain, cast(list[Any], content)))
    if isinstance(content, Mapping):
        return _plain(cast(Mapping[str, Any], content).get("text"))
    return content if isinstance(content, str) else ""


def _settled(text: str, stop: Sequence[str]) -> str:
    """The part of a text under way that will stay: no half character, no beginning of a stop string."""
    text = text.rstrip("\ufffd")
    held = (size for one in stop for size in range(len(one) - 1, 0, -1) if text.endswith(one[:size]))
    return text[: len(text) - max(held, default=0)]


def _whole(reply: Reply) -> list[str | Reply]:
    return [reply.choices[0].text, reply] if reply.choices[0].text else [reply]


def _said(answer: Answer, choices: Sequence[Choice]) -> Answer:
    """The answer with the text of the rollout that is shown, calls of tools left out; a call answers nothing."""
    number = next(number for number, rollout in enumerate(answer.rollouts) if rollout.text == answer.text)
    shown = choices[number]
    found = None if shown.tool_calls or shown.invalid_calls else answer.answer
    return answer.model_copy(update={"text": shown.text, "answer": found})
