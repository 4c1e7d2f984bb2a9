"""LoRA (Hu et al., arXiv 2106.09685) as the carrier: per problem like the paper's Latents, or one for the stream.

The adapter is peft's, on a copy of the weights; the plain model stays as it is. Rows are padded on the right and
nothing stands before the prompt, so peft's trouble with virtual tokens and left padding does not arise.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from latent_memory_plugin.bench.online.common import Common
from latent_memory_plugin.bench.online.method import Given, Reader, sourced
from latent_memory_plugin.bench.online.training import Example, Schedule, descend, examples, parts, weighted
from latent_memory_plugin.config import Config, RetrieveConfig, VoteConfig

if TYPE_CHECKING:
    from torch import Tensor

RANK = 8
ALPHA = 16
COMPLETIONS = 8
"""Distinct completions imitated per problem at most, as for Latents."""
ONE_PROBLEM = Schedule(steps=20, learning_rate=0.005)
WHOLE_STREAM = Schedule(steps=100, learning_rate=0.005)
PAPER = Config.preset("paper")

State = dict[str, "Tensor"]
"""The matrices of one adapter by name."""


class Adapter:
    """A copy of the model whose linear layers have a low-rank term beside them; one set of matrices at a time."""

    def __init__(self, common: Common) -> None:
        from peft import LoraConfig, inject_adapter_in_model

        from latent_memory_plugin.engines.hf import LanguageModel

        self._common = common
        module, tokenizer = common.weights()
        config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM")
        self.module: Any = inject_adapter_in_model(config, module)
        self.model = LanguageModel.wrap(self.module.eval(), tokenizer, common.plain.name)
        self._matrices: State = {
            name: weight for name, weight in self.module.named_parameters() if ".lora_A." in name or ".lora_B." in name
        }

    @property
    def state(self) -> State:
        """A copy of the matrices, on the CPU: one for each problem of a stream is more than a GPU holds beside a
        model."""
        return {name: weight.detach().to("cpu", copy=True) for name, weight in self._matrices.items()}

    def load(self, state: State) -> None:
        """Puts other matrices in their place."""
        for name, weight in self._matrices.items():
            weight.data.copy_(state[name])

    def reset(self, seed: int) -> None:
        """Matrices as LoRA begins: A uniform at random (Kaiming), B zero, so that nothing is changed yet."""
        import torch

        generator = torch.Generator().manual_seed(seed)
        for name, weight in self._matrices.items():
            drawn = torch.rand(weight.shape, generator=generator) * 2 - 1  # (r, in)
            bound = weight.shape[-1] ** -0.5
            weight.data.copy_(drawn * bound if ".lora_A." in name else torch.zeros_like(drawn))

    def train(self, learnt: Sequence[Example], schedule: Schedule, seed: int) -> int:
        """Trains fresh matrices on the examples; returns the completion tokens that were scored."""
        self.reset(seed)
        weights = list(self._matrices.values())
        for weight in weights:
            weight.requires_grad_(True)
        return descend(weights, self._loss, learnt, schedule, seed, partial(parts, self._common))

    def _loss(self, batch: list[Example]) -> "Tensor":
        prompts = [self.model.prompt_ids(example.question) for example in batch]
        values, mask = log_probabilities(self.module, prompts, [example.completion for example in batch])
        return weighted(values, mask, batch)


def log_probabilities(
    module: Any, prompts: Sequence[Sequence[int]], completions: Sequence[Sequence[int]]
) -> "tuple[Tensor, Tensor]":
    """Log-probability (B, T) of each completion token after its prompt, with gradient to the weights, and the mask
    (B, T) of what is a completion token; T is the longest row less one."""
    import torch

    rows = [[*prompt, *completion] for prompt, completion in zip(prompts, completions, strict=True)]
    longest = max(map(len, rows))
    device = module.get_input_embeddings().weight.device
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=device)  # (B, T + 1)
    lengths = torch.tensor([len(row) for row in rows], device=device)[:, None]  # (B, 1)
    starts = torch.tensor([len(prompt) for prompt in prompts], device=device)[:, None]  # (B, 1)
    place = torch.arange(longest, device=device)  # (T + 1,)
    logits = module(input_ids=ids, attention_mask=(place < lengths).long(), use_cache=False).logits[:, :-1].float()
    chosen = logits.gather(-1, ids[:, 1:, None])[..., 0]  # (B, T)
    mask = (place[1:] >= starts) & (place[1:] < lengths)  # (B, T)
    return chosen - logits.logsumexp(-1), mask


@dataclass
class LoraPerProblem(Reader[str]):
    """An adapter for each problem that no stored one covers, as the preset `paper` does it with Latents."""

    stored: dict[str, State] = field(default_factory=dict[str, "State"])
    """Question → the adapter learnt from it."""
    vote: VoteConfig = PAPER.vote
    """How many rollouts a vote takes, and from which confidence it is believed."""
    retrieve: RetrieveConfig = PAPER.retrieve
    """When an adapter covers a question."""
    schedule: Schedule = ONE_PROBLEM
    """How an adapter is trained."""

    def __post_init__(self) -> None:
        self.adapter = Adapter(self.common)

    def read(self, question: str) -> str | None:
        """The question whose adapter is nearest, where it is near enough."""
        key = self.common.keys[question]
        nearest = max(self.stored, key=lambda other: float(self.common.keys[other] @ key), default=None)
        near = nearest is not None and float(self.common.keys[nearest] @ key) >= self.retrieve.threshold
        return nearest if near else None

    def learn(self, question: str) -> str:
        """Trains an adapter on what won the problem's own vote."""
        rollouts = self.common.pool[question][: self.vote.rollouts]
        self.cost.given_tokens += sum(len(rollout.token_ids) for rollout in rollouts)
        if self.read(question) is not None:
            return "skipped"
        taken = self.common.vote(question, self.vote.rollouts)
        learnt = examples(self.common, question, COMPLETIONS, 1.0, self.vote.rollouts)
        if not learnt or taken.confidence < self.vote.confidence:
            return "refused"
        self.cost.scored_tokens += self.adapter.train(learnt, self.schedule, self.common.settings.seed)
        self.stored[question] = self.adapter.state
        return "live"

    def sample(self, waiting: Sequence[tuple[str, str]]) -> list[list[Given]]:
        """Completions of the model with the adapter; those with one adapter together."""
        answers: dict[int, list[Given]] = {}
        for source in dict.fromkeys(read for _, read in waiting):
            places = [number for number, (_, read) in enumerate(waiting) if read == source]
            self.adapter.load(self.stored[source])
            some = self.sampled(self.adapter.model, [waiting[place][0] for place in places])
            answers |= dict(zip(places, sourced(some, [source] * len(places)), strict=True))
        return [answers[number] for number in range(len(waiting))]
