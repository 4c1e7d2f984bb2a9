"""Checks of the cache: extended, repeated over rollouts, packed; and of whole rollouts against `generate`."""

from collections.abc import Iterator

import torch
from torch import Tensor

from latent_memory_plugin.bench.conformance.reading import LATENT_TOKENS, UNIT, mixed_rows
from latent_memory_plugin.bench.conformance.result import CheckResult, measured, skipped
from latent_memory_plugin.bench.conformance.subject import QUESTIONS, Form, Subject, apart
from latent_memory_plugin.config import SamplingConfig
from latent_memory_plugin.engines.hf.cache import spread
from latent_memory_plugin.engines.hf.engine import Inputs
from latent_memory_plugin.engines.hf.rows import Row, assemble, positions_of

NEW_TOKENS = 12
STEPS = 4
ROLLOUTS = 4


def caching(subject: Subject) -> Iterator[CheckResult]:
    """What is read from a cache is what is read without one."""
    yield cached_equals_uncached(subject)
    yield shared_prefill_equals_separate(subject)
    yield rollouts_together_equal_rollouts_alone(subject)


def cached_equals_uncached(subject: Subject) -> CheckResult:
    """Token by token with a cache, in a padded batch, against whole rows alone without one."""
    rows = mixed_rows(subject)
    worst = _stepwise(subject, rows, list(range(len(rows))), None)
    form = subject.precise
    return measured("with a cache equals without", worst, form.logit_limit, UNIT, form.format)


def shared_prefill_equals_separate(subject: Subject) -> CheckResult:
    """One prefill repeated over rollouts, some of which leave the batch halfway, against whole rows alone."""
    worst = _stepwise(subject, mixed_rows(subject)[:3], [0, 0, 1, 2, 2, 0], [5, 2, 3])
    form = subject.precise
    return measured("a shared prefill equals separate ones", worst, form.logit_limit, UNIT, form.format)


def rollouts_together_equal_rollouts_alone(subject: Subject) -> CheckResult:
    """Sampled completions of several questions and Latents at once, against each asked alone."""
    form, name = subject.precise, "rollouts asked together equal those asked alone"
    if form.coarse:
        return skipped(name, f"{form.format}: rounding may turn a sampled token; the logits are compared above")
    latents = [form.latent(LATENT_TOKENS, 1), None, form.latent(2, 2), None]
    sampling = SamplingConfig(max_new_tokens=NEW_TOKENS)
    together = form.model.sample(QUESTIONS, latents, ROLLOUTS, sampling, 0)
    alone = [
        form.model.sample([question], [latent], ROLLOUTS, sampling, 0, max_batch_tokens=1)[0]
        for question, latent in zip(QUESTIONS, latents, strict=True)
    ]
    pairs = [pair for one, other in zip(together, alone, strict=True) for pair in zip(one, other, strict=True)]
    different = sum(one.token_ids != other.token_ids for one, other in pairs)
    return measured(name, different, 0, f"of {len(pairs)} rollouts differ", form.format)


def _stepwise(subject: Subject, rows: list[Row], source: list[int], stay: list[int] | None) -> float:
    """Largest error of `STEPS` cached steps of the rows numbered `source`; after two, only those in `stay` go on."""
    form = subject.precise
    words = subject.words(STEPS * len(source))
    tails = [words[STEPS * number : STEPS * (number + 1)] for number in range(len(source))]
    whole = _whole(form, [rows[number] for number in source], tails)  # (B, STEPS + 1, V)
    engine, left, worst = form.engine, torch.arange(len(source)), 0.0
    device = engine.device
    with engine.frozen(), torch.inference_mode():
        inputs, cache = assemble(engine, rows), engine.new_cache()
        first = engine.forward(inputs, cache, keep=1).logits[:, -1]  # (rows, V)
        chosen = torch.tensor(source, device=device)
        worst = max(worst, apart(first[chosen], whole[:, 0]))
        spread(cache, chosen, STEPS)
        mask, ids = inputs.mask[chosen], torch.tensor(tails, device=device)
        for column in range(STEPS):
            if column == 2 and stay is not None:
                left = torch.tensor(stay, device=device)
                cache.reorder_cache(left)  # type: ignore[arg-type]
                mask, ids = mask[left], ids[left]
            mask = torch.nn.functional.pad(mask, (0, 1), value=1)  # (B, T + 1)
            step = Inputs(ids[:, column : column + 1], None, mask, positions_of(mask)[:, -1:])
            found = engine.forward(step, cache, keep=1).logits[:, -1]  # (B, V)
            worst = max(worst, apart(found, whole[left, column + 1]))
    return worst


def _whole(form: Form, rows: list[Row], tails: list[list[int]]) -> Tensor:
    """Logits (B, STEPS + 1, V) of each row with its tail, alone and without a cache."""
    with form.engine.frozen(), torch.no_grad():
        passes = [
            form.engine.forward(assemble(form.engine, [row], [tail]), keep=STEPS + 1).logits
            for row, tail in zip(rows, tails, strict=True)
        ]
    return torch.cat(passes)  # (B, STEPS + 1, V)
