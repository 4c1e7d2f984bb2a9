"""The soft prompt: P vectors read as input embeddings before the prompt."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from latent_memory_plugin.errors import InputError, WrongModelError
from latent_memory_plugin.forms.base import Entry, Tensors

if TYPE_CHECKING:
    from latent_memory_plugin.engines.base import Engine, Reader
    from latent_memory_plugin.records import Problem


class SoftPrompt:
    """One tensor, `latent` (P, H): the vectors themselves."""

    needs = frozenset({"vectors"})
    """It enters as vectors alone."""

    def start(self, reader: "Reader", problem: "Problem", latent_tokens: int) -> Tensors:
        """The embeddings (P, H) float32 of the problem's own tokens, cut or repeated to P vectors.

        Real tokens start far better than random vectors, which the model has never read (arXiv 2104.08691, section
        3.2).
        """
        if latent_tokens < 1:
            raise InputError(f"latent_tokens={latent_tokens!r} was asked for; a Latent has at least 1 vector.")
        ids = reader.question_ids(problem.question)
        cycled = [ids[number % len(ids)] for number in range(latent_tokens)]
        return {"latent": reader.token_embeddings(cycled).detach().to(torch.float32).clone()}  # (P, H)

    def check(self, tensors: Tensors, engine: "Engine", *, finite: bool = True) -> None:
        """Raises InputError for anything but one floating-point tensor (P, H), without NaN or infinity where `finite`,
        and WrongModelError where H is not the model's."""
        tensor, width = tensors.get("latent"), engine.hidden_size
        usable = isinstance(tensor, Tensor) and tensor.ndim == 2 and len(tensor) and tensor.is_floating_point()
        if not isinstance(tensor, Tensor) or not usable or len(tensors) != 1:
            came = {name: _described(one) for name, one in tensors.items()}
            raise InputError(
                f"The soft prompt is {came!r:.200}; expected one floating-point tensor 'latent' (P, {width}) with P at "
                "least 1."
            )
        if tensor.shape[1] != width:
            raise WrongModelError(
                f"The Latent's vectors have {tensor.shape[1]} numbers, the model reads {width}; it was learnt with "
                "another model."
            )
        if finite and not bool(torch.isfinite(tensor).all()):
            raise InputError(f"The Latent {tuple(tensor.shape)} holds NaN or infinity; learn it again.")

    def enter(self, tensors: Tensors) -> Entry:
        """As they are."""
        return Entry(vectors=tensors["latent"])

    def latent_tokens(self, tensors: Tensors) -> int:
        """P."""
        return len(tensors["latent"])


SOFT_PROMPT = SoftPrompt()


def _described(given: object) -> str:
    return f"{tuple(given.shape)} {given.dtype}" if isinstance(given, Tensor) else type(given).__name__
