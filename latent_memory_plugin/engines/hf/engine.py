"""One causal language model of transformers, held still, the calls that the rest of this package makes of it, and how
many tokens fit into memory at once.

Shape legend of the package: B rows, T tokens, P latent tokens, H hidden size, V vocabulary, L layers. Masks are named
for what is True or 1: tokens that are there.
"""

import inspect
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import torch
from torch import Tensor

from latent_memory_plugin.engines import cancellation
from latent_memory_plugin.errors import ModelLoadError

if TYPE_CHECKING:
    from transformers import Cache, PreTrainedModel

NO_LIMIT = 2**31 - 1
CACHE_BYTES = 2**30
GRAPH_BYTES = 2**30
PROBE_TOKENS = 16

Head = Callable[[Tensor], Tensor]
"""Hidden states (..., H) → logits (..., V), each state by itself."""

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
    padded: bool = True
    """False where the mask is known to be 1 everywhere: transformers looks for itself, and a GPU has to wait."""


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
        self.hidden_size = int(self.embedding.shape[-1])
        """H, the width of an input embedding."""
        self.layers = int(self.config.num_hidden_layers)
        """L, the number of decoder layers."""
        limits = (getattr(self.config, name, None) for name in _CONTEXT_NAMES)
        self.context_tokens = next((int(limit) for limit in limits if limit), NO_LIMIT)
        """Tokens a row may have; `NO_LIMIT` where the architecture names no limit."""
        self._takes_positions = "position_ids" in accepted
        self._slices_logits = "logits_to_keep" in accepted
        self._lock = threading.Lock()
        self._entered = 0
        self._undo: list[tuple[Any, str]] = []

    @property
    def device(self) -> torch.device:
        """Where input ids and embeddings belong."""
        module: Any = self.model.get_input_embeddings()
        place = module.weight.device
        return torch.device(module._hf_hook.execution_device) if place.type == "meta" else place

    @property
    def embedding(self) -> Tensor:
        """(V, H) the matrix of input embeddings, detached."""
        return held(self.model.get_input_embeddings(), "weight").detach()

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
        fields = self._fields(inputs, cache)
        if states:
            fields["output_hidden_states"] = True
        if self._slices_logits:
            fields["logits_to_keep"] = keep
        output = self.model(**fields)
        if not self._slices_logits:
            output.logits = output.logits[:, -keep:]  # (B, keep, V)
        return output

    def last_states(self, inputs: Inputs, cache: "Cache | None" = None, keep: int = 0) -> Tensor:
        """One pass without the head: what it reads, (B, keep, H). Only where there is a `head`."""
        body: Any = self.model.base_model
        return body(**self._fields(inputs, cache)).last_hidden_state[:, -keep:]  # (B, keep, H)

    def logits(self, inputs: Inputs, cache: "Cache | None" = None, keep: int = 0) -> Tensor:
        """One pass with it: (B, keep, V)."""
        return self.forward(inputs, cache, keep).logits  # (B, keep, V)

    @cached_property
    def head(self) -> Head | None:
        """What turns `last_states` into logits; None where that is not the output embedding alone, which a pass over
        two tokens shows: some models scale or cap their logits behind it; and where layers are on several devices."""
        head = cast(Any, self.model).get_output_embeddings()
        spread = len(set(getattr(self.model, "hf_device_map", {}).values())) > 1
        if head is None or spread or self.model.base_model is self.model:
            return None
        ids = torch.tensor([[0, 1]], device=self.device)  # (1, T)
        inputs = Inputs(ids, None, torch.ones_like(ids), ids)
        with self.frozen(), torch.no_grad():
            body: Any = self.model.base_model
            states: Any = getattr(body(**self._fields(inputs, None)), "last_hidden_state", None)
            same = isinstance(states, Tensor) and torch.equal(head(states), self.logits(inputs))
        return head if same else None

    def _fields(self, inputs: Inputs, cache: "Cache | None") -> dict[str, Any]:
        cancellation.check()
        # Models without attention want the mask of the new tokens alone.
        mask = inputs.mask if self._cache_name == "past_key_values" else inputs.mask[:, -inputs.positions.shape[1] :]
        fields: dict[str, Any] = {"use_cache": cache is not None, "return_dict": True}
        fields["attention_mask"] = mask if inputs.padded else None
        if inputs.embeddings is None:
            fields["input_ids"] = inputs.ids
        else:
            fields["inputs_embeds"] = inputs.embeddings
        if cache is not None:
            fields[self._cache_name] = cache
        if self._takes_positions:
            fields["position_ids"] = inputs.positions
        return fields

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


class Budget:
    """What one model's tokens take."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def cache_token_bytes(self) -> int:
        """Bytes that one token of one row takes in the key-value cache."""
        engine, config = self._engine, self._engine.config
        heads = getattr(config, "num_attention_heads", 1)
        shared = getattr(config, "num_key_value_heads", None) or heads
        width = getattr(config, "head_dim", None) or engine.hidden_size // heads
        return 2 * engine.layers * int(shared) * int(width) * engine.embedding.element_size()

    def batch_tokens(self) -> int:
        """Tokens of all rows together that one batch of sampling may hold: as many as fill `CACHE_BYTES` of cache, or
        half of the memory that is free on a CUDA device."""
        return max(1, self._room(CACHE_BYTES) // self.cache_token_bytes)

    @cached_property
    def graph_token_bytes(self) -> int:
        """Bytes that the backward pass needs of one token of one row, as a pass over `PROBE_TOKENS` tokens shows."""
        kept: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        engine = self._engine
        ids = torch.zeros(1, PROBE_TOKENS, dtype=torch.long, device=engine.device)  # (1, T)
        positions = torch.arange(PROBE_TOKENS, device=engine.device)[None]  # (1, T)
        read = engine.last_states if engine.head else engine.logits
        noting = torch.autograd.graph.saved_tensors_hooks(note, lambda one: one)
        with engine.frozen(), torch.enable_grad(), noting:
            embeddings = engine.embed(ids).detach().requires_grad_()  # (1, T, H)
            # Kept until the bytes are counted: another tensor at a freed place would count for two.
            graph = read(Inputs(None, embeddings, torch.ones_like(ids), positions))
        held_anyway = (*engine.model.parameters(), *engine.model.buffers())
        weights = {weight.untyped_storage().data_ptr() for weight in held_anyway}
        counted = sum(size for place, size in kept.items() if place not in weights)
        del graph
        return max(1, counted // PROBE_TOKENS)

    def graph_tokens(self) -> int:
        """Tokens of all rows together that one forward and backward pass may have: as many as fill `GRAPH_BYTES`, or
        half of the memory that is free on a CUDA device."""
        return max(1, self._room(GRAPH_BYTES) // self.graph_token_bytes)

    def _room(self, least: int) -> int:
        if self._engine.device.type != "cuda":
            return least
        return max(least, torch.cuda.mem_get_info(self._engine.device)[0] // 2)


def held(module: Any, name: str) -> Tensor:
    """A weight of a module, also where accelerate keeps it elsewhere and brings it for each pass."""
    weight = getattr(module, name)
    return module._hf_hook.weights_map[name] if weight.device.type == "meta" else weight
