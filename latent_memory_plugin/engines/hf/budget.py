"""How many tokens fit into memory at once: of rows that are sampled, and of a forward and backward pass."""

from functools import cached_property

import torch
from torch import Tensor

from latent_memory_plugin.engines.hf.engine import Engine, Inputs

CACHE_BYTES = 2**30
GRAPH_BYTES = 2**30
PROBE_TOKENS = 16


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
        held: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        engine = self._engine
        ids = torch.zeros(1, PROBE_TOKENS, dtype=torch.long, device=engine.device)  # (1, T)
        positions = torch.arange(PROBE_TOKENS, device=engine.device)[None]  # (1, T)
        read = engine.last_states if engine.head else engine.logits
        with (
            engine.frozen(),
            torch.enable_grad(),
            torch.autograd.graph.saved_tensors_hooks(note, lambda one: one),
        ):
            embeddings = engine.embed(ids).detach().requires_grad_()  # (1, T, H)
            # Kept until the bytes are counted: another tensor at a freed place would count for two.
            graph = read(Inputs(None, embeddings, torch.ones_like(ids), positions))
        held_anyway = (*engine.model.parameters(), *engine.model.buffers())
        weights = {weight.untyped_storage().data_ptr() for weight in held_anyway}
        counted = sum(size for place, size in held.items() if place not in weights)
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
