"""One causal language model of transformers, held still, and the three calls the rest of this package makes of it.

Shape legend of the package: B rows, T tokens, P latent tokens, H hidden size, V vocabulary, L layers. Masks are named
for what is True or 1: tokens that are there.
"""

import inspect
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from latent_memory_plugin import halting
from latent_memory_plugin.errors import ModelLoadError

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedModel

NO_LIMIT = 2**31 - 1
CACHE_BYTES = 2**30

_CACHE_NAMES = ("past_key_values", "cache_params")
"""What models call their cache: those that attend, and those that only have states (Mamba)."""
_CONTEXT_NAMES = ("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len", "seq_length", "n_ctx")


class Inputs(NamedTuple):
    """What one forward pass reads. Exactly one of `ids` and `embeddings` is given."""

    ids: Tensor | None
    """(B, T) int64 token ids."""
    embeddings: Tensor | None
    """(B, T, H) input embeddings."""
    mask: Tensor
    """(B, C + T) int64, 1 where a token is, C being the tokens already in the cache."""
    positions: Tensor
    """(B, T) int64, the place of each token in its row, from 0."""


class Engine:
    """A model whose weights take no gradient and whose dropout is off while `frozen` is entered."""

    def __init__(self, model: "PreTrainedModel", wanted: Mapping[str, Any] = MappingProxyType({})) -> None:
        self.model = model
        self.wanted = wanted
        """Settings of the generation config that sampling honours."""
        self.config: Any = model.config.get_text_config(decoder=True)
        accepted = inspect.signature(model.forward).parameters
        self._cache_name = next((name for name in _CACHE_NAMES if name in accepted), "")
        if "inputs_embeds" not in accepted or not self._cache_name:
            missing = "'inputs_embeds'" if "inputs_embeds" not in accepted else " or ".join(map(repr, _CACHE_NAMES))
            raise ModelLoadError(
                f"{type(model).__name__} takes no {missing}, which a Latent needs; use a decoder-only model that does."
            )
        if getattr(self.config, "hidden_size_per_layer_input", None):
            raise ModelLoadError(
                f"{type(model).__name__} has per-layer embeddings, which it looks up by token id, and a Latent has no "
                "ids; use a model without them (Gemma 3 instead of Gemma 3n or the small models of Gemma 4)."
            )
        self._takes_positions = "position_ids" in accepted
        self._slices_logits = "logits_to_keep" in accepted
        self._lock = threading.Lock()
        self._entered = 0
        self._undo: list[tuple[Any, str]] = []

    @property
    def device(self) -> torch.device:
        """Where input ids and embeddings belong."""
        return self.model.get_input_embeddings().weight.device  # type: ignore[union-attr, return-value]

    @property
    def embedding(self) -> Tensor:
        """(V, H) the matrix of input embeddings, detached."""
        return self.model.get_input_embeddings().weight.detach()  # type: ignore[union-attr, operator, return-value]

    @property
    def hidden_size(self) -> int:
        """H, the width of an input embedding."""
        return int(self.embedding.shape[-1])

    @property
    def layers(self) -> int:
        """L, the number of decoder layers."""
        return int(self.config.num_hidden_layers)

    @property
    def context_tokens(self) -> int:
        """Tokens a row may have; `NO_LIMIT` where the architecture names no limit."""
        return next((int(limit) for name in _CONTEXT_NAMES if (limit := getattr(self.config, name, None))), NO_LIMIT)

    @property
    def cache_token_bytes(self) -> int:
        """Bytes that one token of one row takes in the key-value cache."""
        heads = getattr(self.config, "num_key_value_heads", None) or getattr(self.config, "num_attention_heads", 1)
        width = getattr(self.config, "head_dim", None) or self.hidden_size // getattr(
            self.config, "num_attention_heads", 1
        )
        return 2 * self.layers * int(heads) * int(width) * self.embedding.element_size()

    def batch_tokens(self) -> int:
        """Tokens of all rows together that one batch of sampling may hold: as many as fill `CACHE_BYTES` of cache, or
        half of the memory that is free on a CUDA device."""
        room = CACHE_BYTES
        if self.device.type == "cuda":
            room = max(room, torch.cuda.mem_get_info(self.device)[0] // 2)
        return max(1, room // self.cache_token_bytes)

    def embed(self, ids: Tensor) -> Tensor:
        """Input embeddings (B, T, H) of token ids (B, T). Goes through the module: some models scale in it."""
        return self.model.get_input_embeddings()(ids)  # (B, T, H)

    def new_cache(self) -> "Cache":
        """An empty key-value cache with the layer kinds of this model."""
        from transformers import DynamicCache

        return DynamicCache(config=self.model.config)

    def forward(self, inputs: Inputs, cache: "Cache | None" = None, keep: int = 0, states: bool = False) -> Any:
        """One pass; `cache` is read and extended in place.

        Returns transformers' output: `logits` (B, keep, V) of the last `keep` tokens, all of them for 0, and with
        `states` the `hidden_states`, L + 1 tensors (B, T, H).
        """
        halting.check()
        # Models without attention want the mask of the new tokens alone.
        mask = inputs.mask if self._cache_name == "past_key_values" else inputs.mask[:, -inputs.positions.shape[1] :]
        fields: dict[str, Any] = {"attention_mask": mask, "use_cache": cache is not None, "return_dict": True}
        if inputs.embeddings is None:
            fields["input_ids"] = inputs.ids
        else:
            fields["inputs_embeds"] = inputs.embeddings
        if cache is not None:
            fields[self._cache_name] = cache
        if self._takes_positions:
            fields["position_ids"] = inputs.positions
        if states:
            fields["output_hidden_states"] = True
        if self._slices_logits:
            fields["logits_to_keep"] = keep
        output = self.model(**fields)
        if not self._slices_logits:
            output.logits = output.logits[:, -keep:]  # (B, keep, V)
        return output

    @contextmanager
    def frozen(self) -> Generator[None]:
        """Weights without gradient, dropout off; the caller's flags come back when the last thread leaves.

        What counts for a later `backward` is the state during the forward pass: a graph built in here never reaches a
        weight.
        """
        with self._lock:
            self._entered += 1
            if self._entered == 1:
                self._undo = self._freeze()
        try:
            yield
        finally:
            with self._lock:
                self._entered -= 1
                if self._entered == 0:
                    for owner, flag in self._undo:
                        setattr(owner, flag, True)
                    self._undo = []

    def _freeze(self) -> list[tuple[Any, str]]:
        """Turns every flag off that is on and returns them."""
        on: list[tuple[Any, str]] = [(module, "training") for module in self.model.modules() if module.training]
        on += [(weight, "requires_grad") for weight in self.model.parameters() if weight.requires_grad]
        for owner, flag in on:
            setattr(owner, flag, False)
        return on
