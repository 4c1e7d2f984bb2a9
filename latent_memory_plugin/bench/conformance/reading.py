"""Checks of what the model reads: Latents, batches, padding, company, context."""

from collections.abc import Iterator

import torch
from torch import Tensor

from latent_memory_plugin.bench.conformance.result import CheckResult, holds, measured, skipped
from latent_memory_plugin.bench.conformance.subject import QUESTIONS, Form, Subject, apart, joined
from latent_memory_plugin.config import SamplingConfig
from latent_memory_plugin.engines.hf.engine import NO_LIMIT
from latent_memory_plugin.engines.hf.rows import Row, assemble
from latent_memory_plugin.errors import ContextLengthError

UNIT = "standard deviations of the logits"
LATENT_TOKENS = 6
HALF = 0.5
"""Of what not to read a Latent would change, the other checks must not allow more."""


def reading(subject: Subject) -> Iterator[CheckResult]:
    """A Latent is read as its tokens are, and a row in a batch as the row alone."""
    yield latent_equals_tokens(subject)
    yield latent_is_read(subject)
    yield row_in_a_batch_equals_row_alone(subject)
    yield company_changes_nothing(subject)
    yield keys_together_equal_keys_alone(subject)
    yield too_long_is_refused_with_the_numbers(subject)


def latent_equals_tokens(subject: Subject) -> CheckResult:
    """A Latent of real token embeddings against `input_ids`, by transformers alone."""
    form, worst = subject.precise, 0.0
    between = subject.words(LATENT_TOKENS)
    latent = form.model.token_embeddings(between)  # (P, H)
    for question in range(len(QUESTIONS)):
        row = subject.row(question, latent)
        worst = max(worst, apart(logits(form, [row]), form.reference(joined(row.prompt, between))))
    return measured("a Latent of token embeddings equals these tokens", worst, form.logit_limit, UNIT, form.format)


def latent_is_read(subject: Subject) -> CheckResult:
    """A random Latent changes the logits by more than the other checks allow."""
    form = subject.precise
    change = apart(logits(form, [subject.row(0, form.latent(LATENT_TOKENS, 0))]), logits(form, [subject.row(0)]))
    note = f"{form.format}; a random Latent moves a logit by {change:.2g} standard deviations"
    share = form.logit_limit / max(change, 1e-9)
    return measured("a Latent changes what is read", share, HALF, "limit / change", note)


def row_in_a_batch_equals_row_alone(subject: Subject) -> CheckResult:
    """Rows of different lengths with different Latents and with none, left-padded, against each row alone."""
    form = subject.precise
    rows = mixed_rows(subject)
    alone = torch.cat([logits(form, [row]) for row in rows])  # (B, V)
    worst = apart(logits(form, rows), alone)
    return measured("a row in a padded batch equals the row alone", worst, form.logit_limit, UNIT, form.format)


def company_changes_nothing(subject: Subject) -> CheckResult:
    """One row beside two different others: experts, for instance, must not run full."""
    form = subject.precise
    row, latent = subject.row(1), form.latent(LATENT_TOKENS, 1)
    few, many = [row, subject.row(2)], [row, *(subject.row(number, latent) for number in (0, 2, 3) for _ in range(3))]
    worst = apart(logits(form, few)[:1], logits(form, many)[:1])
    note = form.format + (f", {experts} experts" if (experts := experts_of(form)) else "")
    return measured("a row does not depend on its company", worst, form.logit_limit, UNIT, note)


def keys_together_equal_keys_alone(subject: Subject) -> CheckResult:
    """Keys of a batch against keys one by one."""
    model = subject.precise.model
    together, alone = model.keys(QUESTIONS), [model.keys([question])[0] for question in QUESTIONS]
    worst = max(float(abs(one - other).max()) for one, other in zip(together, alone, strict=True))
    limit = subject.precise.nat_limit
    return measured("keys in a batch equal keys alone", worst, limit, "difference of a number", subject.precise.format)


def too_long_is_refused_with_the_numbers(subject: Subject) -> CheckResult:
    """Prompt, Latent and new tokens above the context are an error that says how many each are."""
    name, model = "too long is refused with the numbers", subject.loaded.model
    if model.context_tokens >= NO_LIMIT:
        return skipped(name, "the architecture names no limit")
    sampling = SamplingConfig(max_new_tokens=model.context_tokens)
    prompt, latent = len(model.prompt_ids(QUESTIONS[0])), subject.loaded.latent(LATENT_TOKENS, 0)
    try:
        model.sample(QUESTIONS[:1], [latent], 1, sampling, 0)
    except ContextLengthError as exc:
        numbers = (prompt, LATENT_TOKENS, model.context_tokens, prompt + LATENT_TOKENS + model.context_tokens)
        return holds(name, all(str(number) in str(exc) for number in numbers), f"{model.context_tokens} tokens")
    return holds(name, False, "no error was raised")


def logits(form: Form, rows: list[Row]) -> Tensor:
    """(B, V) after the last token of each row, read as one batch."""
    with form.engine.frozen(), torch.no_grad():
        return form.engine.forward(assemble(form.engine, rows), keep=1).logits[:, -1]  # (B, V)


def mixed_rows(subject: Subject) -> list[Row]:
    """Rows of five lengths: different Latents, the same question with another one, and none."""
    latent = subject.precise.latent
    return [
        subject.row(0, latent(LATENT_TOKENS, 1)),
        subject.row(1, latent(2, 2)),
        subject.row(2),
        subject.row(3),
        subject.row(0, latent(1, 3)),
    ]


def experts_of(form: Form) -> int:
    """How many experts a layer has; 0 where there are none."""
    names = ("num_local_experts", "num_experts", "n_routed_experts")
    return int(next((count for name in names if (count := getattr(form.engine.config, name, None))), 0))
