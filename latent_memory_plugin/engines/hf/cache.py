"""A key-value cache whose rows can be repeated, dropped, and extended without copying what is there.

transformers' own `DynamicLayer` concatenates at every token, which on a CPU costs more than the model: for 256 rows of
a 4.5 M-parameter model, 44 % of the time of a step. Layers of other kinds (sliding window, linear attention) are left
as they are.
"""

from typing import TYPE_CHECKING, Any, cast

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
        self._filled = source.get_seq_length()
        held: Any = (source.keys, source.values)
        self._buffers = [_with_room(states, rows, room_tokens) for states in held]
        self._expose()

    def _expose(self) -> tuple[Tensor, Tensor]:
        keys, values = (buffer[:, :, : self._filled] for buffer in self._buffers)  # (B, heads, T, width)
        self.keys, self.values = keys, values
        return keys, values

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Writes new states behind the old ones; returns all of them."""
        new = int(key_states.shape[-2])
        start, self._filled = self._filled, self._filled + new
        if self._filled > self._buffers[0].shape[2]:
            everyone = torch.arange(len(key_states), device=self.device)
            self._buffers = [_with_room(old[:, :, :start], everyone, new + GROWTH_TOKENS) for old in self._buffers]
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, start : self._filled] = states
        return self._expose()

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Keeps the rows `beam_idx`, in this order."""
        room = self._buffers[0].shape[2] - self._filled
        self._buffers = [_with_room(old[:, :, : self._filled], beam_idx, room) for old in self._buffers]
        self._expose()


def _with_room(states: Tensor, rows: Tensor, room_tokens: int) -> Tensor:
    """A buffer (B, heads, T + room_tokens, width) that starts with the chosen rows of `states`."""
    _, heads, tokens, width = states.shape
    buffer = states.new_empty(len(rows), heads, tokens + room_tokens, width)  # (B, heads, T + room, width)
    # Without `out` the selection is written twice, and packing a batch takes more than twice as long.
    torch.index_select(states, 0, rows.to(states.device), out=buffer[:, :, :tokens])
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
            layer.reorder_cache(cast(torch.LongTensor, rows))


def is_differentiable(cache: "Cache") -> bool:
    """True where every layer appends by concatenation, so that a gradient flows through it."""
    layers: list[Any] = cache.layers
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)
