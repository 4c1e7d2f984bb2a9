"""`ChatModel`: messages and tools in, text and calls of tools out, read with the Latent that a reference names.

    question → Reference            once per problem: `refer`
    messages + Reference → Reply    as often as the agent speaks: `reply`, `stream`

The adapters of the frameworks are thin clothes of this class.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from latent_memory_plugin.answering import intake
from latent_memory_plugin.answering.ask import Asker
from latent_memory_plugin.answering.tools import Parsed, Parser, chosen_parser, opening_of
from latent_memory_plugin.answering.turn import Messages, Turn, tensor_hash
from latent_memory_plugin.answers.judge import Judge
from latent_memory_plugin.config import SamplingConfig
from latent_memory_plugin.errors import ContextLengthError, InputError, NotFoundError
from latent_memory_plugin.records import MAX_QUESTION_CHARACTERS, Reference, Reply, Rollout

if TYPE_CHECKING:
    from latent_memory_plugin.memory import LatentMemory


class ChatModel:
    """The model of a memory as a chat model. Usable from several threads."""

    def __init__(self, memory: "LatentMemory", parser: "Parser | str | Callable[[str], Parsed] | None" = None) -> None:
        """`parser` reads the calls of tools: a name from `tools.PARSERS`, a function of the completion, or by default
        the one for the model's chat template."""
        self.memory = memory
        self._chosen = parser

    @cached_property
    def parser(self) -> Parser | None:
        """Reads the calls of tools; None where the template teaches no way that is known. Raises InputError."""
        return chosen_parser(self._chosen, self.memory.model.chat_template)

    def refer(self, question: str) -> Reference:
        """The reference to the Latent that applies to a question; one without an id where none does.

        None does to a question that the model cannot read: it says so itself when it is asked.
        """
        question = question.strip()[-MAX_QUESTION_CHARACTERS:]
        if not question:
            return Reference()
        try:
            latent_id = self.memory.find(question).latent_id
            if latent_id is None:
                return Reference()
            tensors = self.memory.opened.store.tensors(latent_id)
        except (ContextLengthError, NotFoundError):  # too long, or forgotten meanwhile
            return Reference()
        return Reference(ids=(latent_id,), hash=tensor_hash(tensors))

    def reply(
        self,
        messages: Messages,
        *,
        latent: Reference | Mapping[str, Any] | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
        tool_choice: str | None = None,
        n: int = 1,
        seed: int | None = None,
        answer_id: str | None = None,
        **sampling: Any,
    ) -> Reply:
        """Answers a chat.

        Args:
            messages: the chat, or one question.
            latent: what `refer` gave; None and one without an id read none. A Latent that is gone, has changed or was
                taken back is not read, and the answer's reason says so.
            tools: JSON schemas of functions, for a chat template that knows tools.
            tool_choice: name of the tool that must be called, or `any`, only where a call can be begun for the model;
                `auto` leaves it to the model, and with `none` it does not see the tools.
            n: completions.
            seed: the same seed gives the same answer; by default a fresh one.
            answer_id: the answer's id, for `feedback`; by default a fresh one.
            sampling: `temperature`, `top_p`, `max_new_tokens`, `stop`.

        Raises: `InputError`, `ConfigError`, `ContextLengthError`.
        """
        intake.check_count(n)
        return self._turn(messages, latent, tools, tool_choice, seed, sampling).reply(n, answer_id)

    def stream(
        self,
        messages: Messages,
        *,
        latent: Reference | Mapping[str, Any] | None = None,
        tools: Sequence[Mapping[str, Any]] = (),
        tool_choice: str | None = None,
        seed: int | None = None,
        answer_id: str | None = None,
        **sampling: Any,
    ) -> Iterator[str | Reply]:
        """As `reply`, the text piece by piece as it is sampled, and the whole reply last.

        What is said where tools are given, and what is compared with the plain model's answer (a Latent on probation,
        `agree` routing), comes in one piece, once it is known. Raises as `reply`, before anything is sampled.
        """
        return self._turn(messages, latent, tools, tool_choice, seed, sampling).pieces(answer_id)

    def _turn(
        self,
        messages: Messages,
        latent: Reference | Mapping[str, Any] | None,
        tools: Sequence[Mapping[str, Any]],
        tool_choice: str | None,
        seed: int | None,
        sampling: Mapping[str, Any],
    ) -> Turn:
        _check_tools(tools)
        tools = () if tool_choice == "none" else tools
        memory, opened = self.memory, self.memory.opened
        parser = self.parser if tools else None
        if tools and parser is None:
            raise InputError(
                f"How {opened.model.name!r} writes calls of tools cannot be told from its chat template; pass parser=, "
                "a function of the completion or the name of a known way."
            )
        opening = opening_of(parser, tools, tool_choice)
        judge = _TurnJudge(**vars(memory.judge), parser=parser, opening=opening)
        return Turn(
            Asker(opened.model, opened.store, opened.encoder, memory.config, judge, memory.enabled, memory.verifier),
            _listed(messages),
            Reference() if latent is None else Reference.of(latent),
            tuple(tools),
            parser,
            opening,
            SamplingConfig(**{**memory.config.sampling.model_dump(), **sampling}),
            intake.chosen_seed(seed),
        )


@dataclass(frozen=True)
class _TurnJudge(Judge):
    """Judges the turns of an agent: a call of tools is no answer."""

    parser: Parser | None = None
    """Reads calls out of completions."""
    opening: str = ""
    """What stands before every completion."""

    def answer(self, rollout: Rollout) -> str | None:
        if self.parser is not None and self.parser.read(self.opening + rollout.text).calls:
            return None
        return super().answer(rollout)


def _listed(messages: Messages) -> tuple[Mapping[str, Any], ...]:
    """The chat's messages; of one question, the message that `LatentMemory.ask` would make of it. Raises InputError."""
    if isinstance(messages, str):
        return ({"role": "user", "content": messages.strip()},)
    if not isinstance(messages, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"messages={messages!r:.80} is neither a question nor a list of messages; pass one of them.")
    return tuple(messages)


def _check_tools(tools: Sequence[Any]) -> None:
    """Raises InputError where a tool is no schema with a name."""
    for tool in tools:
        inner: Any = cast(Mapping[str, Any], tool).get("function", tool) if isinstance(tool, Mapping) else None
        if not isinstance(inner, Mapping) or not isinstance(cast(Mapping[str, Any], inner).get("name"), str):
            raise InputError(
                f"The tool {tool!r:.120} is no JSON schema of a function; pass "
                '{"type": "function", "function": {"name": ..., "description": ..., "parameters": ...}}.'
            )
