"""What is asked of a model, split by ability, so that an engine need only do what it can.

    Engine      knows its model, and turns conversations into token ids
    Sampler     writes completions, each row read after its own Latent or none
    Scorer      says how likely a completion is, with gradient to the Latent
    Reader      gives the embeddings and the keys of what it reads

A `Model` does all of it. Legend: B rows, T tokens, P latent tokens, H hidden size, N conversations, D key size.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from latent_memory_plugin.records.chat import Dialogue

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from latent_memory_plugin.config import SamplingConfig
    from latent_memory_plugin.records import Rollout

Conversation = str | Sequence[Mapping[str, Any]] | Dialogue
"""One user message as text, or chat messages with `role` and `content`, or these with tools."""


class Model(Protocol):
    """A frozen causal language model that reads Latents."""

    @property
    def name(self) -> str:
        """Path or hub id."""
        ...

    @property
    def fingerprint(self) -> str:
        """SHA-256 that identifies the weights and the tokenizer."""
        ...

    @property
    def hidden_size(self) -> int:
        """Width H of the input embeddings."""
        ...

    @property
    def chat_template(self) -> str:
        """The chat template's text; empty where there is none."""
        ...

    @property
    def context_tokens(self) -> int:
        """Tokens that prompt, Latent and completion may have together."""
        ...

    @property
    def encoder(self) -> str:
        """Name of the method that makes keys."""
        ...

    def prompt_ids(self, conversation: Conversation) -> tuple[int, ...]:
        """Token ids of the templated prompt."""
        ...

    def completion_ids(self, rollout: "Rollout") -> tuple[int, ...]:
        """Token ids of a completion with its end token."""
        ...

    def question_ids(self, conversation: Conversation) -> tuple[int, ...]:
        """The part of the prompt's token ids that is the question's own text."""
        ...

    def token_embeddings(self, token_ids: Sequence[int]) -> "Tensor":
        """Input embeddings (T, H) float32."""
        ...

    def sample(
        self,
        conversations: Sequence[Conversation],
        latents: "Sequence[Tensor | None]",
        n: int,
        sampling: "SamplingConfig",
        seed: int,
    ) -> "list[list[Rollout]]":
        """`n` rollouts for each conversation, each read after its own Latent (P, H) or none."""
        ...

    def stream(
        self, conversation: Conversation, latent: "Tensor | None", sampling: "SamplingConfig", seed: int
    ) -> "Iterator[Rollout]":
        """What has been sampled so far, again and again; the last one is what `sample` gives."""
        ...

    def written(self, rollout: "Rollout") -> str:
        """The text of a rollout, special tokens included, without its end token."""
        ...

    def log_probabilities(
        self, conversations: Sequence[Conversation], completions: Sequence[Sequence[int]], latent: "Tensor | None"
    ) -> "tuple[Tensor, Tensor]":
        """Log-probability of every completion token, (B, T) float32, and a mask (B, T) that is True on them."""
        ...

    def graph_tokens(self) -> int:
        """Tokens that one pass of `log_probabilities` with its backward pass may have, all rows together."""
        ...

    def keys(self, conversations: Sequence[Conversation]) -> "np.ndarray":
        """Unit-length keys, (N, D) float32."""
        ...
