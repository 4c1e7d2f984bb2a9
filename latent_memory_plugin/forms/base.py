"""A form of a Latent: how its tensors begin, what they must be, how they enter a pass, what they cost.

Everything else handles a Latent as named tensors with the name of their form, and branches on neither.

Legend: P latent tokens, H hidden size.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from latent_memory_plugin.engines.base import Engine, Reader
    from latent_memory_plugin.records import Problem

Tensors = Mapping[str, "Tensor"]
"""The tensors of one Latent by name, float32 on the CPU where they are stored."""


class Loaded(NamedTuple):
    """The tensors of one Latent and the form they have: what an engine reads."""

    form: str
    """Name of the form."""
    tensors: Tensors
    """By name."""

    @classmethod
    def from_arrays(cls, form: str, arrays: "Mapping[str, np.ndarray]") -> "Loaded":
        """The stored arrays of a Latent as tensors, which share their memory."""
        import torch

        return cls(form, {name: torch.from_numpy(array) for name, array in arrays.items()})


@dataclass(frozen=True)
class Entry:
    """How one Latent enters a row of a pass. What an engine cannot take is refused when the memory is made."""

    vectors: "Tensor | None" = None
    """(P, H) read as input embeddings before the prompt, after a beginning-of-sequence token."""


class Form(Protocol):
    """One form. A plug-in is an object of this shape, registered by `forms.register(name, form)`."""

    @property
    def needs(self) -> frozenset[str]:
        """The fields of `Entry` that it fills: an engine that takes all of them can read it."""
        ...

    def start(self, reader: "Reader", problem: "Problem", latent_tokens: int) -> Tensors:
        """Where learning starts, float32; all of these tensors are trained."""
        ...

    def check(self, tensors: Tensors, engine: "Engine", *, finite: bool = True) -> None:
        """Raises InputError where these are no tensors of this form, WrongModelError where another model's."""
        ...

    def enter(self, tensors: Tensors) -> Entry:
        """How they enter a pass; gradient flows back to the tensors."""
        ...

    def latent_tokens(self, tensors: Tensors) -> int:
        """Tokens by which a row grows that reads it."""
        ...
