"""Checks of number formats: float32, bfloat16, float16."""

from collections.abc import Iterator

import torch

from latent_memory_plugin.bench.conformance.reading import LATENT_TOKENS
from latent_memory_plugin.bench.conformance.result import CheckResult, measured, skipped
from latent_memory_plugin.bench.conformance.subject import QUESTIONS, Form, Subject, copied
from latent_memory_plugin.config import SamplingConfig

FORMATS = {torch.float32: 1e-3, torch.bfloat16: 0.5, torch.float16: 0.1}
"""How far a mean log-probability may be from that of the precise model, nats."""


def formats(subject: Subject) -> Iterator[CheckResult]:
    """Sampling, log-probabilities and their gradient in each number format."""
    for dtype, limit in FORMATS.items():
        name = f"works in {str(dtype).removeprefix('torch.')}"
        held = subject.loaded if subject.loaded.dtype == dtype else copied(subject.loaded, subject.tokenizer, dtype)
        if held is None:
            yield skipped(name, "too large for a copy, or quantised")
        else:
            yield measured(name, _apart(subject, held), limit, "nats per token", _against(subject))


def _apart(subject: Subject, held: Form) -> float:
    """Mean difference of log-probabilities to the precise model; infinite where a gradient is no float32 number."""
    held.model.sample(QUESTIONS[:2], [held.latent(LATENT_TOKENS, 1), None], 2, SamplingConfig(max_new_tokens=4), 0)
    completions, latent = [tuple(subject.words(6))] * 2, held.latent(LATENT_TOKENS, 1).requires_grad_()
    found, _ = held.model.log_probabilities(QUESTIONS[:2], completions, latent)  # (B, T)
    found.sum().backward()
    gradient = latent.grad
    if gradient is None or gradient.dtype != torch.float32 or not bool(gradient.isfinite().all()):
        return float("inf")
    with torch.no_grad():
        expected, _ = subject.precise.model.log_probabilities(QUESTIONS[:2], completions, latent.detach())
    apart = float((found.detach().float() - expected.float()).abs().mean())
    return apart if apart == apart else float("inf")


def _against(subject: Subject) -> str:
    return f"against {subject.precise.format}"
