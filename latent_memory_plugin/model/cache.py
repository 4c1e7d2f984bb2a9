"""A key-value cache whose rows can be repeated, dropped, and extended without copying what is there.

transformers' own `DynamicLayer` concatenates at every token, which on a CPU costs more than the model: for 256 rows of a
4.5 M-parameter model, 44 % of the time of a step. Layers of other kinds (sliding window, linear attention) are left as they
are.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicLayer

if TYPE_CHECKING:
    from transformers import Cache

GROWTH_TOKENS = 64


class RoomyLayer(DynamicLayer):
    """A layer with room for tokens to come: `keys` and `values` (B, heads, T, width) are views of larger buffers."""

    def __init__(self, source: DynamicLayer, rows: Tensor, room_tokens: int) -> None:
        super().__init__()
        self.dtype, self.device, self.is_initialized = source.dtype, source.device, True
        self._buffers = [_with_room(states, rows, room_tokens) for states in (source.keys, source.values)]
        self._expose(int(source.keys.shape[-2]))

    def _expose(self, tokens: int) -> None:
        self.keys, self.values = (buffer[:, :, :tokens] for buffer in self._buffers)  # (B, heads, T, width)

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Writes new states behind the old ones; returns all of them."""
        filled = int(self.keys.shape[-2])
        tokens = filled + int(key_states.shape[-2])
        if tokens > self._buffers[0].shape[2]:
            everyone = torch.arange(len(self.keys), device=self.device)
            room = tokens - filled + GROWTH_TOKENS
            self._buffers = [_with_room(states, everyone, room) for states in (self.keys, self.values)]
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, filled:tokens] = states
        self._expose(tokens)
        return self.keys, self.values

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keeps the rows `beam_idx`, in this order."""
        filled = int(self.keys.shape[-2])
        room = int(self._buffers[0].shape[2]) - filled
        self._buffers = [_with_room(states, beam_idx, room) for states in (self.keys, self.values)]
        self._expose(filled)


def _with_room(states: Tensor, rows: Tensor, room_tokens: int) -> Tensor:
    """A buffer (B, heads, T + room_tokens, width) that starts with the chosen rows of `states`."""
    _, heads, tokens, width = states.shape
    buffer = states.new_empty(len(rows), heads, tokens + room_tokens, width)  # (B, heads, T + room, width)
    buffer[:, :, :tokens] = states.index_select(0, rows)
    return buffer


def spread(cache: "Cache", rows: Tensor, room_tokens: int) -> None:
    """Gives the cache the rows `rows` (B,) of the old one, in this order and any number of times, with room for
    `room_tokens` more. Not differentiable."""
    room = min(room_tokens, GROWTH_TOKENS)
    layers: list[Any] = cache.layers
    for number, layer in enumerate(layers):
        if type(layer) is DynamicLayer and layer.is_initialized:
            layers[number] = RoomyLayer(layer, rows, room)
        else:
            layer.reorder_cache(rows)


def is_differentiable(cache: "Cache") -> bool:
    """True where every layer appends by concatenation, so that a gradient flows through it."""
    layers: list[Any] = cache.layers
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)
