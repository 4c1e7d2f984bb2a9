"""A model that counts what is asked of it: the same answers, and beside them tokens."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from latent_memory_plugin.config import SamplingConfig
from latent_memory_plugin.engines.base import Conversation, Model, Readable
from latent_memory_plugin.records import Rollout

if TYPE_CHECKING:
    from torch import Tensor


class Metered:
    """Passes every call on to a model and counts completion tokens, those sampled and those scored for learning."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.sampled_tokens = 0
        """Tokens sampled so far."""
        self.scored_tokens = 0
        """Completion tokens whose log-probability was computed so far, once per pass."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def sample(
        self,
        conversations: Sequence[Conversation],
        latents: Sequence[Readable],
        n: int,
        sampling: SamplingConfig,
        seed: int,
    ) -> list[list[Rollout]]:
        """As the model's own; the tokens are counted."""
        groups = self._model.sample(conversations, latents, n, sampling, seed)
        self.sampled_tokens += sum(len(rollout.token_ids) for group in groups for rollout in group)
        return groups

    def log_probabilities(
        self, conversations: Sequence[Conversation], completions: Sequence[Sequence[int]], latent: Readable
    ) -> "tuple[Tensor, Tensor]":
        """As the model's own; the tokens are counted."""
        self.scored_tokens += sum(map(len, completions))
        return self._model.log_probabilities(conversations, completions, latent)
