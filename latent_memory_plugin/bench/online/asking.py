"""How the model of a run is asked, and how it answers: an instruction in its chat template, and sampling."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from latent_memory_plugin.config import SamplingConfig
from latent_memory_plugin.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

INSTRUCTED = (
    "{{%- set messages = messages[:-1] + [dict(messages[-1], content=messages[-1]['content'] ~ {instruction})] -%}}"
)
"""Jinja: whatever template follows sees the instruction at the end of the last message."""
THINKING = "{{%- set enable_thinking = {thinking} -%}}"


@dataclass(frozen=True)
class Asking:
    """How the model is asked, and how it answers."""

    sampling: SamplingConfig = SamplingConfig()
    """How completions are sampled."""
    instruction: str = ""
    """Stands behind every question, on a line of its own."""
    thinking: bool | None = None
    """What the chat template reads as `enable_thinking`; None leaves it to the template."""

    @property
    def fields(self) -> dict[str, Any]:
        """All of it, as JSON holds it."""
        return asdict(self) | {"sampling": self.sampling.model_dump()}

    def prepare(self, tokenizer: "PreTrainedTokenizerBase", name: str) -> "PreTrainedTokenizerBase":
        """The tokenizer with the instruction in its chat template.

        There, and not in the questions: the questions by which keys are centred get it too, so that keys do not differ
        less for what all prompts share. Raises `InputError` where there is no chat template.
        """
        before = ""
        if self.thinking is not None:
            before += THINKING.format(thinking=str(self.thinking).lower())
        if self.instruction:
            before += INSTRUCTED.format(instruction=_quoted(f"\n{self.instruction}"))
        if before:
            template = getattr(tokenizer, "chat_template", None)
            if not isinstance(template, str):
                raise InputError(
                    f"The tokenizer of {name!r} has no single chat template, so the instruction {self.instruction!r} "
                    "cannot be put into it; pass none, or give the tokenizer a template."
                )
            tokenizer.chat_template = before + template
        return tokenizer


PLAIN = Asking()
"""No instruction, and the library's own sampling."""


def _quoted(text: str) -> str:
    """A Jinja string literal."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{escaped}'"
