"""The soft prompt: P vectors read as input embeddings before the prompt."""

import torch
from torch import Tensor

from latent_memory_plugin.engines.base import Model
from latent_memory_plugin.errors import InputError, WrongModelError
from latent_memory_plugin.records import Problem


def start(model: Model, problem: Problem, latent_tokens: int) -> Tensor:
    """Where learning starts: the embeddings (P, H) float32 of the problem's own tokens, cut or repeated to P vectors.

    Real tokens start far better than random vectors, which the model has never read (arXiv 2104.08691, section 3.2).
    """
    if latent_tokens < 1:
        raise InputError(f"latent_tokens={latent_tokens!r} was asked for; a Latent has at least 1 vector.")
    ids = model.question_ids(problem.question)
    cycled = [ids[number % len(ids)] for number in range(latent_tokens)]
    return model.token_embeddings(cycled).detach().to(torch.float32).clone()  # (P, H)


def check(tensor: Tensor, hidden_size: int, *, finite: bool = True) -> None:
    """Raises InputError for anything but a (P, H) floating-point tensor, without NaN or infinity where `finite`, and
    WrongModelError where H is not the model's `hidden_size`."""
    if not isinstance(tensor, Tensor) or tensor.ndim != 2 or not len(tensor) or not tensor.is_floating_point():  # pyright: ignore[reportUnnecessaryIsInstance]
        came = f"{tuple(tensor.shape)} {tensor.dtype}" if isinstance(tensor, Tensor) else repr(type(tensor))  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(
            f"The Latent is {came}; expected a floating-point tensor (P, {hidden_size}) with P at least 1."
        )
    if tensor.shape[1] != hidden_size:
        raise WrongModelError(
            f"The Latent's vectors have {tensor.shape[1]} numbers, the model reads {hidden_size}; it was learnt with "
            "another model."
        )
    if finite and not bool(torch.isfinite(tensor).all()):
        raise InputError(f"The Latent {tuple(tensor.shape)} holds NaN or infinity; learn it again.")


class SoftPrompt:
    """tmp"""

    needs = frozenset({"vectors"})

    def start(self, reader, problem, latent_tokens):
        return {"latent": start(reader, problem, latent_tokens)}

    def check(self, tensors, engine, *, finite=True):
        check(tensors["latent"], engine.hidden_size, finite=finite)

    def enter(self, tensors):
        from latent_memory_plugin.forms.base import Entry

        return Entry(vectors=tensors["latent"])

    def latent_tokens(self, tensors):
        return len(tensors["latent"])


SOFT_PROMPT = SoftPrompt()
