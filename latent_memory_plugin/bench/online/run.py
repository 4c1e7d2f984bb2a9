"""`bench online`: every method along every stream; what is finished is taken from its file."""

from typing import TYPE_CHECKING, Any

from latent_memory_plugin.bench.online.plan import Plan, Progress, Steps
from latent_memory_plugin.bench.online.stream import open_stream
from latent_memory_plugin.bench.online.stretch import Stretch
from latent_memory_plugin.config import ModelConfig

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def measure(plan: Plan, progress: Progress | None = None) -> list[list[dict[str, Any]]]:
    """For each seed the results of its methods. Raises `InputError` for what cannot be measured."""
    from latent_memory_plugin.model import LanguageModel

    names = plan.names
    streams = [open_stream(plan.problems, plan.split, seed, plan.first) for seed in plan.seeds]
    steps = Steps(progress, sum(len(one.asked) * len(names) for one in streams))
    model = LanguageModel.load(plan.model)
    return [Stretch(plan, model, lambda: weights(plan.model), steps, one).results() for one in streams]


def weights(config: ModelConfig) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase]":
    """A fresh copy of a model's weights, with its tokenizer."""
    from latent_memory_plugin.model import load

    module, tokenizer, _ = load.read(config)
    return module, tokenizer
