"""The model that is measured: the embedded one, a user's own, or one of a known shape with random weights."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor

from latent_memory_plugin.config import ModelConfig, SamplingConfig
from latent_memory_plugin.forms import soft_prompt
from latent_memory_plugin.model import LanguageModel
from latent_memory_plugin.model.endings import Endings
from latent_memory_plugin.records import Problem
from latent_memory_plugin.sandbox.world import families, stream

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Shape = Literal["tiny", "0.5b", "1.7b", "8b"]
Dtype = Literal["bfloat16", "float32"]

LATENT_TOKENS = 20
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    # For the tests of this bench.
    "tiny": ("qwen2", {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
                       "intermediate_size": 128, "vocab_size": 2048, "tie_word_embeddings": True}),
    "0.5b": ("qwen2", {"hidden_size": 896, "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
                       "intermediate_size": 4864, "vocab_size": 151936, "tie_word_embeddings": True}),
    "1.7b": ("qwen3", {"hidden_size": 2048, "num_hidden_layers": 28, "num_attention_heads": 16, "head_dim": 128,
                       "num_key_value_heads": 8, "intermediate_size": 6144, "vocab_size": 151936,
                       "tie_word_embeddings": True}),
    "8b": ("llama", {"hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
                     "intermediate_size": 14336, "vocab_size": 128256, "tie_word_embeddings": False}),
}  # fmt: skip
"""Architecture and sizes of Qwen2.5-0.5B, Qwen3-1.7B and Llama-3.1-8B."""


class Endless(LanguageModel):
    """A model whose completions have all the tokens they may have, so that the work is known beforehand."""

    def _endings(self, sampling: SamplingConfig) -> Endings:
        beyond = len(self._engine.embedding)
        return Endings(self._tokenizer, (beyond,), sampling.stop)


@dataclass(frozen=True)
class Subject:
    """A model, and what it is asked."""

    model: LanguageModel
    """As it is used."""
    endless: Endless
    """The same without ends."""
    questions: tuple[str, ...]
    """Problems of the embedded world's tuning families."""

    @property
    def module(self) -> Any:
        """transformers' model."""
        return self.model._engine.model  # pyright: ignore[reportPrivateUsage]

    @property
    def tokenizer(self) -> Any:
        """transformers' tokenizer."""
        return self.model._tokenizer  # pyright: ignore[reportPrivateUsage]

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.model._engine.device  # pyright: ignore[reportPrivateUsage]

    def latent(self, question: str) -> Tensor:
        """A Latent (P, H) as learning starts from."""
        return soft_prompt.start(self.model, Problem(question=question), LATENT_TOKENS)  # (P, H)

    def long(self, tokens: int) -> str:
        """A question whose prompt has at most so many tokens, and nearly as many."""
        words = " ".join(self.questions).split()
        while len(self.model.prompt_ids(" ".join(words))) < tokens:
            words *= 2
        while len(self.model.prompt_ids(" ".join(words))) > tokens:
            words.pop()
        return " ".join(words)

    def wait(self) -> None:
        """Returns when the device has done what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def load(name: str | None, questions: int = 16) -> Subject:
    """The embedded model, or a user's own."""
    return _subject(LanguageModel.load(ModelConfig(name=name)), questions)


def build(shape: Shape, dtype: Dtype, questions: int = 16) -> Subject:
    """A model of that shape with random weights and the embedded model's tokenizer, on the best device there is."""
    embedded = LanguageModel.load(ModelConfig(device="cpu"))
    device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    module: Any = _random(shape, getattr(torch, dtype), device)
    return _subject(LanguageModel.wrap(module, embedded._tokenizer, f"random {shape}"), questions)  # pyright: ignore[reportPrivateUsage]


def _random(shape: Shape, dtype: torch.dtype, device: str) -> "PreTrainedModel":
    from transformers import AutoConfig, AutoModelForCausalLM

    kind, sizes = SHAPES[shape]
    config = AutoConfig.for_model(kind, **sizes, max_position_embeddings=4096, bos_token_id=1, eos_token_id=2)
    state = torch.get_rng_state()
    torch.manual_seed(0)
    with torch.device(device):
        model: Any = cast(Any, AutoModelForCausalLM).from_config(config, dtype=dtype)
    torch.set_rng_state(state)
    return model.requires_grad_(False).eval()


def _subject(model: LanguageModel, questions: int) -> Subject:
    endless = Endless(model._engine.model, model._tokenizer, model.name)  # pyright: ignore[reportPrivateUsage]
    drawn = stream(families("tuning"), questions, 0)
    return Subject(model, endless, tuple(problem.question for problem in drawn))
