"""`bench online`: every method along every stream; what is finished is taken from its file."""

from typing import TYPE_CHECKING, Any

from latent_memory_plugin.bench.online.plan import Plan, Progress, Steps
from latent_memory_plugin.bench.online.stream import Stream, open_stream
from latent_memory_plugin.bench.online.stretch import Stretch
from latent_memory_plugin.config import DistilConfig
from latent_memory_plugin.engines.base import Model
from latent_memory_plugin.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def measure(plan: Plan, progress: Progress | None = None) -> list[list[dict[str, Any]]]:
    """For each seed the results of its methods. Raises `InputError` for what cannot be measured."""
    from latent_memory_plugin.engines.hf import LanguageModel

    names = plan.names
    streams = [open_stream(plan.problems, plan.split, seed, plan.first, plan.world) for seed in plan.seeds]
    steps = Steps(progress, sum(len(one.asked) * len(names) for one in streams))
    model = LanguageModel.wrap(*weights(plan), plan.model.template_arguments)
    for one in streams:
        check_lengths(model, one, plan.asking.sampling.max_new_tokens)
    return [Stretch(plan, model, lambda: weights(plan)[:2], steps, one).results() for one in streams]


def weights(plan: Plan) -> "tuple[PreTrainedModel, PreTrainedTokenizerBase, str]":
    """A fresh copy of the model's weights, its tokenizer as the plan asks with it, and its name."""
    from latent_memory_plugin.engines.hf import load

    module, tokenizer, name = load.read(plan.model)
    return module, plan.asking.prepare(tokenizer, name), name


def check_lengths(model: Model, stream: Stream, max_new_tokens: int) -> None:
    """Raises `InputError` where a problem, a Latent and a completion do not fit the context: better now than after a
    day."""
    room = model.context_tokens - DistilConfig().latent_tokens - max_new_tokens
    longest = max(stream.asked, key=lambda one: len(model.prompt_ids(one.question)))
    tokens = len(model.prompt_ids(longest.question))
    if tokens > room:
        raise InputError(
            f"The longest of {len(stream.asked)} problems of {stream.name!r}, {longest.question!r:.60}, has {tokens} "
            f"tokens; {max_new_tokens} new ones leave room for {room} of the {model.context_tokens} that "
            f"{model.name!r} can read. Lower max_new_tokens to {max_new_tokens - tokens + room} or less."
        )
