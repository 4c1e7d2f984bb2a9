"""The model under test, in its own number format and in copies of wider ones, beside the plain transformers model."""

import copy
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from typing_extensions import Self

from latent_memory_plugin.engines.hf import LanguageModel
from latent_memory_plugin.engines.hf.engine import Engine
from latent_memory_plugin.engines.hf.prompts import Prompt, Prompts
from latent_memory_plugin.engines.hf.rows import Row

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

COPY_BYTES = 8 * 2**30
"""A copy in another number format is made where it takes no more."""
QUESTIONS = (
    "What is 17 plus 25?",
    "A train travels 60 kilometres in 45 minutes. What is its speed in kilometres per hour?",
    "How many posts does a fence of 20 metres have, with one every 4 metres?",
    "Maria has 12 apples and gives a third of them to her brother, then buys 5 more and eats 2. How many has she now?",
)
WORDS = " First add the numbers, then divide by how many there are."

LOGIT_LIMITS = {torch.float64: 1e-4, torch.float32: 1e-3, torch.float16: 0.05, torch.bfloat16: 0.3}
"""Largest error of a logit in standard deviations of the logits. transformers computes norms and rotary positions in
float32 whatever the model's format, so float64 is not exact to its own last digits."""
NAT_LIMITS = {torch.float64: 1e-4, torch.float32: 1e-3, torch.float16: 0.05, torch.bfloat16: 0.3}
"""The same for log-probabilities, nats."""


class Form(NamedTuple):
    """The model in one number format."""

    model: LanguageModel
    """The library's view of it."""
    engine: Engine
    """What that is made of; its `model` is the plain model of transformers."""

    @property
    def dtype(self) -> torch.dtype:
        """The number format of the embeddings."""
        return self.engine.embedding.dtype

    @property
    def format(self) -> str:
        """Its name."""
        quantised = "quantised, " if getattr(self.engine.model, "is_quantized", False) else ""
        return quantised + str(self.dtype).removeprefix("torch.")

    @property
    def coarse(self) -> bool:
        """True where rounding may turn a sampled token: narrow formats, and weights that are quantised, whose
        activations may be too."""
        return self.dtype not in (torch.float32, torch.float64) or bool(getattr(self.engine.model, "is_quantized", 0))

    @property
    def logit_limit(self) -> float:
        """Largest error of a logit that rounding explains, in standard deviations of the logits."""
        return LOGIT_LIMITS[self._limits_of]

    @property
    def nat_limit(self) -> float:
        """Largest error of a log-probability that rounding explains, nats."""
        return NAT_LIMITS[self._limits_of]

    @property
    def _limits_of(self) -> torch.dtype:
        return self.dtype if self.dtype == torch.float16 or not self.coarse else torch.bfloat16

    def latent(self, tokens: int, seed: int) -> Tensor:
        """A random Latent (tokens, H) float32 as large as the embeddings of a question."""
        like = self.model.token_embeddings(self.model.prompt_ids(QUESTIONS[0]))  # (T, H)
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(tokens, like.shape[1], generator=generator)  # (tokens, H)
        return drawn * like.square().mean().sqrt()

    def reference(self, ids: list[int], keep: int = 1) -> Tensor:
        """Logits (keep, V) of the last tokens of one row, by transformers alone."""
        plain: Any = self.engine.model
        with torch.no_grad():
            logits = plain(input_ids=torch.tensor([ids], device=self.engine.device)).logits
        return logits[0, -keep:]  # (keep, V)


@dataclass(frozen=True)
class Subject:
    """What every check is given."""

    tokenizer: "PreTrainedTokenizerBase"
    """As it was loaded."""
    loaded: Form
    """The model as it was loaded."""
    precise: Form
    """In float32 or wider; the loaded one where a copy would be too large."""
    exact: Form | None
    """In float64, for finite differences; None where a copy would be too large."""
    prompts: Prompts
    """The prompts of the tokenizer."""

    @classmethod
    def of(cls, plain: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", name: str) -> Self:
        """The subject of a plain model. Raises ModelLoadError where the library refuses it."""
        loaded = form(plain, tokenizer, name)
        wide = loaded.dtype in (torch.float32, torch.float64)
        precise = loaded if wide else copied(loaded, tokenizer, torch.float32)
        exact = loaded if loaded.dtype == torch.float64 else copied(loaded, tokenizer, torch.float64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            prompts = Prompts(tokenizer, name)
        return cls(tokenizer, loaded, precise or loaded, exact, prompts)

    def row(self, question: int, latent: Tensor | None = None) -> Row:
        """A question with a Latent or none."""
        return Row(self.prompts.read(QUESTIONS[question]), latent)

    def words(self, count: int) -> list[int]:
        """`count` token ids of running text."""
        ids = self.prompts.text_ids(WORDS)
        return [ids[number % len(ids)] for number in range(count)]


def form(plain: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", name: str) -> Form:
    """The library's view of a plain model. Raises ModelLoadError."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Form(LanguageModel.wrap(plain, tokenizer, name), Engine(plain))


def copied(source: Form, tokenizer: "PreTrainedTokenizerBase", dtype: torch.dtype) -> Form | None:
    """The model in another number format; None where the copy would be too large or the weights are quantised."""
    plain: Any = source.engine.model
    numbers = sum(weight.numel() for weight in plain.parameters())
    if numbers * dtype.itemsize > COPY_BYTES or getattr(plain, "is_quantized", False):
        return None
    other = copy.deepcopy(plain).to(dtype)
    if dtype == torch.float64 and hasattr(other, "set_experts_implementation"):
        _loop_over_experts(other)
    return form(other, tokenizer, source.model.name)


def _loop_over_experts(plain: Any) -> None:
    """Grouped matrix products know no float64."""
    if getattr(plain.config.get_text_config(), "num_experts_per_tok", None):
        plain.set_experts_implementation("eager")


def joined(prompt: Prompt, between: list[int]) -> list[int]:
    """The ids of a prompt with others where a Latent would stand."""
    return [*prompt.ids[: prompt.bos_tokens], *between, *prompt.ids[prompt.bos_tokens :]]


def apart(found: Tensor, reference: Tensor) -> float:
    """Largest error of logits (..., V) in standard deviations of the reference; infinite where one is no number."""
    error = (found.double() - reference.double()).abs().amax(-1) / reference.double().std(-1).clamp(min=1e-9)
    worst = float(error.max())
    return worst if worst == worst else float("inf")
