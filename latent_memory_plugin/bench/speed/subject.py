"""The model that is measured: the embedded one, a user's own, or one of a known shape with random weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor

from latent_memory_plugin.bench.shapes import PUBLISHED
from latent_memory_plugin.config import ModelConfig, SamplingConfig
from latent_memory_plugin.engines.hf import LanguageModel
from latent_memory_plugin.engines.hf.endings import Endings
from latent_memory_plugin.forms.soft_prompt import SOFT_PROMPT
from latent_memory_plugin.records import Problem
from latent_memory_plugin.sandbox.world import families, stream

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Shape = Literal["tiny", "0.5b", "1.7b", "8b"]
Dtype = Literal["bfloat16", "float32"]

LATENT_TOKENS = 20
SHAPES: dict[str, Mapping[str, Any]] = {
    # For the tests of this bench.
    "tiny": {"model_type": "qwen2", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
             "num_key_value_heads": 2, "intermediate_size": 128, "vocab_size": 2048, "tie_word_embeddings": True},
    "0.5b": PUBLISHED["Qwen/Qwen2.5-0.5B-Instruct"],
    "1.7b": PUBLISHED["Qwen/Qwen3-1.7B"],
    "8b": PUBLISHED["meta-llama/Llama-3.1-8B-Instruct"],
}  # fmt: skip
"""Architecture and sizes."""


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
        return SOFT_PROMPT.start(self.model, Problem(question=question), LATENT_TOKENS)["latent"]  # (P, H)

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
    embedded = LanguageModel.load()
    module: Any = _random(shape, getattr(torch, dtype), embedded._engine.device)  # pyright: ignore[reportPrivateUsage]
    return _subject(LanguageModel.wrap(module, embedded._tokenizer, f"random {shape}"), questions)  # pyright: ignore[reportPrivateUsage]


def _random(shape: Shape, dtype: torch.dtype, device: torch.device) -> "PreTrainedModel":
    from transformers import AutoConfig, AutoModelForCausalLM

    sizes: dict[str, Any] = {**SHAPES[shape], "max_position_embeddings": 4096, "bos_token_id": 1, "eos_token_id": 2}
    config = AutoConfig.for_model(**sizes)
    state = torch.get_rng_state()
    torch.manual_seed(0)
    with device:
        model: Any = cast(Any, AutoModelForCausalLM).from_config(config, dtype=dtype)
    torch.set_rng_state(state)
    return model.requires_grad_(False).eval()


def _subject(model: LanguageModel, questions: int) -> Subject:
    endless = Endless(model._engine.model, model._tokenizer, model.name)  # pyright: ignore[reportPrivateUsage]
    drawn = stream(families("tuning"), questions, 0)
    return Subject(model, endless, tuple(problem.question for problem in drawn))
