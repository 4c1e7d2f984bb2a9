"""What is asked of a model, split by ability, so that an engine need only do what it can.

    Engine      knows its model, and turns conversations into token ids
    Sampler     writes completions, each row read after its own Latent or none
    Scorer      says how likely a completion is, with gradient to the Latent
    Reader      gives the embeddings and the keys of what it reads

A `Model` does all of it. Legend: B rows, T tokens, P latent tokens, H hidden size, N conversations, D key size.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, Union

from latent_memory_plugin.records.chat import Dialogue

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from latent_memory_plugin.config import SamplingConfig
    from latent_memory_plugin.forms.base import Loaded
    from latent_memory_plugin.records import Rollout

Conversation = str | Sequence[Mapping[str, Any]] | Dialogue
"""One user message as text, or chat messages with `role` and `content`, or these with tools."""

Readable = Union["Loaded", "Tensor", None]
"""What a row is read with: a loaded Latent; the vectors (P, H) of a soft prompt; or nothing."""


class Engine(Protocol):
    """A frozen causal language model, named and tokenized."""

    @property
    def name(self) -> str:
        """Path or hub id."""
        ...

    @property
    def fingerprint(self) -> str:
        """SHA-256 that identifies the weights, active adapters and the tokenizer."""
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
    def takes(self) -> frozenset[str]:
        """The fields of `forms.Entry` that it can take into a pass: it reads the forms that need no others."""
        ...

    def prompt_ids(self, conversation: Conversation) -> tuple[int, ...]:
        """Token ids of the templated prompt."""
        ...

    def question_ids(self, conversation: Conversation) -> tuple[int, ...]:
        """The part of the prompt's token ids that is the question's own text."""
        ...

    def completion_ids(self, rollout: "Rollout") -> tuple[int, ...]:
        """Token ids of a completion with its end token."""
        ...

    def written(self, rollout: "Rollout") -> str:
        """The text of a rollout, special tokens included, without its end token."""
        ...


class Sampler(Engine, Protocol):
    """Writes completions."""

    def sample(
        self,
        conversations: Sequence[Conversation],
        latents: Sequence[Readable],
        n: int,
        sampling: "SamplingConfig",
        seed: int,
    ) -> "list[list[Rollout]]":
        """`n` rollouts for each conversation, each read after its own Latent or none."""
        ...

    def stream(
        self, conversation: Conversation, latent: Readable, sampling: "SamplingConfig", seed: int
    ) -> "Iterator[Rollout]":
        """What has been sampled so far, again and again; the last one is what `sample` gives."""
        ...


class Scorer(Engine, Protocol):
    """Says how likely a completion is."""

    def log_probabilities(
        self, conversations: Sequence[Conversation], completions: Sequence[Sequence[int]], latent: Readable
    ) -> "tuple[Tensor, Tensor]":
        """Log-probability of every completion token, (B, T) float32, and a mask (B, T) that is True on them; gradient
        flows to the tensors of the Latent."""
        ...

    def graph_tokens(self) -> int:
        """Tokens that one pass of `log_probabilities` with its backward pass may have, all rows together."""
        ...


class Reader(Engine, Protocol):
    """Gives what a model makes of what it reads."""

    @property
    def encoder(self) -> str:
        """Name of the method that makes keys."""
        ...

    def token_embeddings(self, token_ids: Sequence[int]) -> "Tensor":
        """Input embeddings (T, H) float32."""
        ...

    def keys(self, conversations: Sequence[Conversation]) -> "np.ndarray":
        """Unit-length keys, (N, D) float32."""
        ...


class Model(Sampler, Scorer, Reader, Protocol):
    """A frozen causal language model that does all of it."""
