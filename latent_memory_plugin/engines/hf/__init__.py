"""The only door to Hugging Face: load a causal language model, sample with a Latent per row, score, make keys."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from typing_extensions import Self

from latent_memory_plugin.config import ModelConfig, SamplingConfig
from latent_memory_plugin.engines.base import Conversation, Readable
from latent_memory_plugin.engines.hf import fingerprint, load, sample, score
from latent_memory_plugin.engines.hf.endings import Endings, end_token_ids, stop_strings, written
from latent_memory_plugin.engines.hf.engine import Budget, Engine
from latent_memory_plugin.engines.hf.keys import KeyEncoder, raw_keys
from latent_memory_plugin.engines.hf.probe import check_reading
from latent_memory_plugin.engines.hf.processors import honoured
from latent_memory_plugin.engines.hf.prompts import Prompts
from latent_memory_plugin.engines.hf.reward import RewardModel
from latent_memory_plugin.engines.hf.rows import Row
from latent_memory_plugin.errors import ContextLengthError, InputError, PluginError
from latent_memory_plugin.forms import entry
from latent_memory_plugin.keys.centre import CENTRE_QUESTIONS, unit_keys
from latent_memory_plugin.records import Rollout

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["LanguageModel", "RewardModel"]


class LanguageModel:
    """A frozen causal language model: what it samples, how likely it finds a completion, where a question lies.

    Methods may be called from several threads. Nothing here changes a weight, and torch's own random numbers are
    neither used nor moved on.
    """

    takes = frozenset({"vectors"})
    """The fields of `forms.Entry` that it reads."""

    def __init__(
        self,
        model: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        name: str,
        template_arguments: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self.name = name
        """The name in records and errors: a path, a hub id, or `embedded`."""
        self._engine = Engine(model, honoured(model, name))
        self._budget = Budget(self._engine)
        self._tokenizer = tokenizer
        self._end_ids = end_token_ids(model, tokenizer)
        self._stop_strings = stop_strings(model)
        load.check_vocabulary(self._engine, tokenizer, name)
        check_reading(self._engine, name)
        self._prompts = Prompts(tokenizer, name, template_arguments)
        self.hidden_size = self._engine.hidden_size
        """H, the width of a Latent's vectors."""
        self.context_tokens = self._engine.context_tokens
        """Tokens that prompt, Latent and completion may have together."""
        self.has_chat_template = self._prompts.has_chat_template
        """False where prompts are the plain text of the messages."""
        self.key_encoder = KeyEncoder(layer=max(1, self._engine.layers // 2), pooling="last")
        """Which hidden state becomes a key."""

    @classmethod
    def load(cls, config: ModelConfig = ModelConfig()) -> Self:
        """The model a config names. Raises ModelLoadError where it cannot be had or is not usable."""
        return cls(*load.read(config), config.template_arguments)

    @classmethod
    def wrap(
        cls,
        model: "torch.nn.Module",
        tokenizer: "PreTrainedTokenizerBase",
        name: str | None = None,
        template_arguments: Mapping[str, Any] = MappingProxyType({}),
    ) -> Self:
        """A model and tokenizer that are loaded already, also behind PEFT's adapters or torch.compile; `requires_grad`
        and train or evaluation mode stay the caller's.

        `name` defaults to the path or hub id the model was loaded from; `template_arguments` are those of ModelConfig.
        Raises ModelLoadError where it is not usable.
        """
        plain = load.unwrapped(model, tokenizer, name)
        return cls(plain, tokenizer, name or plain.name_or_path or str(plain.config.model_type), template_arguments)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over architecture, sizes, base vocabulary, every layer's weights and the active adapters, 64
        hexadecimal digits, as they were when it was first asked for: a Latent learnt with one fingerprint is used with
        no other."""
        return self._fingerprint

    @property
    def former_fingerprints(self) -> tuple[str, ...]:
        """What older versions stored as the fingerprint of this model."""
        return (self._former_fingerprint,)

    @property
    def encoder(self) -> str:
        """Name of the method that makes `keys`."""
        return self.key_encoder.name

    @property
    def chat_template(self) -> str:
        """The chat template's text; empty where there is none."""
        return self._prompts.template

    def prompt_ids(self, conversation: Conversation) -> tuple[int, ...]:
        """Token ids of the prompt, chat template and beginning-of-sequence token included. Raises InputError."""
        return self._prompts.read(conversation).ids

    @property
    def prefix_ids(self) -> tuple[int, ...]:
        """The token ids of a prompt that stand before a Latent: the beginning-of-sequence token, or none."""
        prompt = self._prompts.read("?")
        return prompt.ids[: prompt.bos_tokens]

    def question_ids(self, conversation: Conversation) -> tuple[int, ...]:
        """The part of `prompt_ids` that is the text of the last user message."""
        prompt = self._prompts.read(conversation)
        return prompt.ids[prompt.question]

    def token_embeddings(self, token_ids: Sequence[int]) -> Tensor:
        """Input embeddings (T, H) float32 of token ids, detached, on the CPU."""
        ids = torch.tensor([list(token_ids)], dtype=torch.long, device=self._engine.device)  # (1, T)
        with torch.no_grad():
            return self._engine.embed(ids)[0].float().cpu()  # (T, H)

    def sample(
        self,
        conversations: Sequence[Conversation],
        latents: Sequence[Readable],
        n: int,
        sampling: SamplingConfig,
        seed: int,
        *,
        max_batch_tokens: int | None = None,
    ) -> list[list[Rollout]]:
        """`n` rollouts for each conversation, each read with its own Latent or none; answers are not extracted.

        The rollouts of a conversation depend on its prompt, its Latent, `sampling` and `seed`, not on what else is
        asked (up to rounding in the last digits of the logits). Work is split into batches of `max_batch_tokens`
        tokens, by default as many as fill 1 GiB of cache or half of a GPU's free memory.

        Raises InputError for counts and shapes that do not fit, ContextLengthError where prompt, Latent and
        `max_new_tokens` exceed the context, and for a Latent what `forms.entry` raises.
        """
        rows = self._rows(conversations, latents, n, sampling.max_new_tokens)
        endings = self._endings(sampling)
        budget = max_batch_tokens or self._budget.batch_tokens()
        drawn = sample.sample(self._engine, rows, n, sampling, seed, endings, budget)
        return [endings.rollouts(tokens) for tokens in drawn]

    def stream(
        self, conversation: Conversation, latent: Readable, sampling: SamplingConfig, seed: int
    ) -> Iterator[Rollout]:
        """The first rollout that `sample` gives, as far as it has come, after each token. Raises as `sample` does,
        before anything is read."""
        [row] = self._rows([conversation], [latent], 1, sampling.max_new_tokens)
        return sample.stream(self._engine, row, sampling, seed, self._endings(sampling))

    def log_probabilities(
        self,
        conversations: Sequence[Conversation],
        completions: Sequence[Sequence[int]],
        latent: Readable,
    ) -> tuple[Tensor, Tensor]:
        """Log-probability (B, T) float32 of each completion token at temperature 1, read with one Latent in every row,
        and the mask (B, T) bool of completion tokens; T is the longest completion, beyond an end stands 0.

        Gradient flows to the Latent's tensors alone. Rows of one conversation share a pass over its prompt. Raises as
        `sample` does.
        """
        if not conversations or len(conversations) != len(completions) or not all(completions):
            raise InputError(
                f"{len(conversations)} conversations and {len(completions)} completions with "
                f"{[len(one) for one in completions]!r:.200} tokens were given; pass one completion of at least one "
                "token for each conversation."
            )
        vectors = self._vectors(latent, finite=False)  # (P, H)
        rows = [self._row(one, vectors, len(given)) for one, given in zip(conversations, completions, strict=True)]
        return score.log_probabilities(self._engine, rows, completions)

    def graph_tokens(self) -> int:
        """Tokens that `log_probabilities` and its backward pass may have in 1 GiB, or half of a GPU's free memory."""
        return self._budget.graph_tokens()

    def completion_ids(self, rollout: Rollout) -> tuple[int, ...]:
        """The token ids of a rollout; of one whose text came from elsewhere, its tokens and the end token."""
        if rollout.token_ids:
            return rollout.token_ids
        return (*self._prompts.text_ids(rollout.text), self._end_ids[0])

    def written(self, rollout: Rollout) -> str:
        """The text of a rollout with the special tokens in it, its end token and any stop string left out: some
        templates mark the calls of tools by them."""
        return written(rollout, self._tokenizer, self._end_ids)

    def keys(self, conversations: Sequence[Conversation]) -> "np.ndarray":
        """Keys (N, H) float32 of unit length, read without a Latent; near questions have a large dot product.

        Raises InputError and ContextLengthError.
        """
        raw = self.raw_keys(conversations, self.key_encoder.layer, self.key_encoder.pooling)
        return unit_keys(raw, self._centre)

    def raw_keys(
        self, conversations: Sequence[Conversation], layer: int, pooling: Literal["mean", "last"] = "mean"
    ) -> "np.ndarray":
        """Pooled hidden states (N, H) float32 after `layer` decoder layers, neither centred nor scaled."""
        prompts = [self._row(one, None, 0).prompt for one in conversations]
        return raw_keys(self._engine, prompts, KeyEncoder(layer, pooling))

    @cached_property
    def _fingerprint(self) -> str:
        return fingerprint.fingerprint(self._engine, self._tokenizer)

    @cached_property
    def _former_fingerprint(self) -> str:
        return fingerprint.former_fingerprint(self._engine, self._tokenizer)

    @cached_property
    def _centre(self) -> "np.ndarray":
        return self.raw_keys(CENTRE_QUESTIONS, self.key_encoder.layer, self.key_encoder.pooling).mean(0)  # (H,)

    def _endings(self, sampling: SamplingConfig) -> Endings:
        return Endings(self._tokenizer, self._end_ids, (*sampling.stop, *self._stop_strings))

    def _rows(
        self,
        conversations: Sequence[Conversation],
        latents: Sequence[Readable],
        rollouts: int,
        new_tokens: int,
    ) -> list[Row]:
        if rollouts < 1:
            raise InputError(f"n={rollouts!r} rollouts were asked for; ask for at least 1.")
        if isinstance(conversations, str) or len(conversations) != len(latents):
            raise InputError(
                f"{len(conversations)} conversations and {len(latents)} Latents were given; pass lists of one length, "
                "with None where a conversation has no Latent."
            )
        with torch.no_grad():
            read = [self._vectors(latent) for latent in latents]  # (P, H) each, or None
        return [self._row(one, vectors, new_tokens) for one, vectors in zip(conversations, read, strict=True)]

    def _row(self, conversation: Conversation, vectors: Tensor | None, new_tokens: int) -> Row:
        row = Row(self._prompts.read(conversation), vectors)
        if (total := row.length + new_tokens) > self.context_tokens:
            raise ContextLengthError(
                f"{len(row.prompt.ids)} prompt tokens, {row.latent_tokens} Latent tokens and {new_tokens} new tokens "
                f"are {total}, more than the {self.context_tokens} that {self.name!r} can read; shorten the question "
                "or lower max_new_tokens."
            )
        return row

    def _vectors(self, latent: Readable, *, finite: bool = True) -> Tensor | None:
        """(P, H) with which a Latent enters."""
        vectors = entry(latent, self, finite=finite).vectors
        if vectors is not None and (vectors.ndim != 2 or vectors.shape[1] != self.hidden_size):
            raise PluginError(
                f"The form {getattr(latent, 'form', None)!r} entered vectors of the shape {tuple(vectors.shape)}; the "
                f"model reads (P, {self.hidden_size})."
            )
        return vectors
