"""Checks of learning: log-probabilities, their gradient, and weights that stay as they are."""

from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor

from latent_memory_plugin.bench.conformance.reading import LATENT_TOKENS
from latent_memory_plugin.bench.conformance.result import CheckResult, holds, measured
from latent_memory_plugin.bench.conformance.subject import QUESTIONS, Form, Subject, joined
from latent_memory_plugin.config import DistilConfig, ImitateThenGrpoConfig, SamplingConfig
from latent_memory_plugin.objectives import OBJECTIVES, Attempt, Lesson
from latent_memory_plugin.records import Problem, Rollout

DIRECTIONS = 4
STEP_SHARES = {torch.float64: (3e-3, 1e-3, 3e-4, 1e-4, 3e-5), torch.float32: (5e-2, 2e-2, 5e-3)}
"""How far finite differences go, in root mean squares of the Latent. The best of them counts: a long step may take a
token to other experts, a short one drowns in rounding, and a wrong gradient agrees with none. In narrower formats one
step follows the gradient, as far as the sum of log-probabilities should change by `NATS`."""
GRADIENT_LIMITS = {torch.float64: 0.02, torch.float32: 0.05}
CLOSE = 1e-3
"""So near that no other step is tried."""
ROUGH_LIMIT = 0.5
NATS = 0.5


def learning(subject: Subject) -> Iterator[CheckResult]:
    """Log-probabilities and gradients are right, and nothing but the Latent is changed."""
    yield log_probabilities_equal_the_softmax(subject)
    yield gradient_equals_finite_differences(subject)
    yield weights_stay_as_they_are(subject)


def log_probabilities_equal_the_softmax(subject: Subject) -> CheckResult:
    """Rows that share prompts and rows that do not, against a log-softmax of transformers' logits row by row."""
    form, between = subject.precise, subject.words(LATENT_TOKENS)
    latent = form.model.token_embeddings(between)  # (P, H)
    numbers = [0, 1, 0, 0]
    completions = [tuple(subject.words(count)) for count in (5, 3, 1, 7)]
    worst = 0.0
    for together in (numbers, [0, 1]):
        values, _ = form.model.log_probabilities(
            [QUESTIONS[number] for number in together], completions[: len(together)], latent
        )  # (B, T)
        for row, number in enumerate(together):
            whole = [*joined(subject.row(number).prompt, between), *completions[row]]
            count = len(completions[row])
            expected = form.reference(whole, count + 1)[:-1].float().log_softmax(-1)  # (count, V)
            chosen = expected[range(count), list(completions[row])]  # (count,)
            worst = max(worst, _largest(values[row, :count].float(), chosen))
    return measured("log-probabilities equal a log-softmax", worst, form.nat_limit, "nats", form.format)


def gradient_equals_finite_differences(subject: Subject) -> CheckResult:
    """The gradient of log-probabilities to the Latent, along a few random directions."""
    name, form = "the gradient equals finite differences", subject.exact or subject.precise
    latent = form.latent(LATENT_TOKENS, 4).to(torch.float64 if form is subject.exact else torch.float32)
    gradient = torch.autograd.grad(_objective(subject, form, latent.requires_grad_()), latent)[0]  # (P, H)
    norm = float(gradient.square().sum().sqrt())
    if form.coarse:
        error = abs(_slope(subject, form, latent, gradient / norm, NATS / norm) - norm) / norm
        note = f"{form.format}, along the gradient: too coarse for small steps, and no copy in float64"
        return measured(name, error, ROUGH_LIMIT, "share of the gradient", note)
    size, worst = float(latent.detach().square().mean().sqrt()), 0.0
    generator = torch.Generator().manual_seed(5)
    for _ in range(DIRECTIONS):
        direction = torch.randn(latent.shape, generator=generator, dtype=latent.dtype)  # (P, H)
        along, error = float((gradient * direction).sum()), float("inf")
        for share in STEP_SHARES[form.dtype]:
            slope = _slope(subject, form, latent, direction, share * size)
            error = min(error, abs(along - slope) / norm)
            if error < CLOSE:
                break
        worst = max(worst, error)
    note = f"{form.format}, {DIRECTIONS} random directions"
    return measured(name, worst, GRADIENT_LIMITS[form.dtype], "share of the gradient", note)


def weights_stay_as_they_are(subject: Subject) -> CheckResult:
    """A hash over all weights and buffers, their flags and gradients, before and after real learning of both kinds."""
    form = subject.loaded
    before = _state(form)
    sampling = SamplingConfig(max_new_tokens=8)
    objective = ImitateThenGrpoConfig(refine_steps=2, rollouts=2, kl=0.01, updates=2)
    config = DistilConfig(objective=objective, steps=2)
    [rollouts] = form.model.sample(QUESTIONS[:1], [None], 2, sampling, 0)
    taught = tuple(one.model_copy(update={"finished": True}) for one in rollouts)
    lesson = Lesson(Problem(question=QUESTIONS[0]), "1", taught, trust=1.0)
    start = form.model.token_embeddings(subject.words(LATENT_TOKENS))  # (P, H)
    attempt = Attempt(form.model, "soft_prompt", (lesson,), config, sampling, _score, seed=0)
    learnt = OBJECTIVES.get(objective.kind).train(attempt, {"latent": start})["latent"]  # (P, H)
    moved = bool(learnt.isfinite().all()) and not torch.equal(learnt, start)
    note = f"{form.format}; the Latent {'moved' if moved else 'did not move'}"
    return holds("learning leaves every weight as it is", moved and _state(form) == before, note)


def _score(question: str, answer: str, rollout: Rollout) -> float:
    """Agreement that half of the completions reach."""
    return 1.0 if not rollout.token_ids or sum(rollout.token_ids) % 2 else 0.5


def _objective(subject: Subject, form: Form, latent: Tensor) -> Tensor:
    """Sum of the log-probabilities of completions of one question, some of which share a pass over it."""
    completions = [tuple(subject.words(count)) for count in (5, 3, 1)]
    return form.model.log_probabilities([QUESTIONS[0]] * 3, completions, latent)[0].sum()


def _slope(subject: Subject, form: Form, latent: Tensor, direction: Tensor, step: float) -> float:
    """The central difference along a direction, of fourth order."""
    with torch.no_grad():
        near, far = (
            _objective(subject, form, latent + size * direction) - _objective(subject, form, latent - size * direction)
            for size in (step, 2 * step)
        )
    return float((8 * near - far) / (12 * step))


def _largest(found: Tensor, reference: Tensor) -> float:
    worst = float((found - reference).abs().max())
    return worst if worst == worst else float("inf")


def _parts(tensor: Any) -> Iterator[Tensor]:
    """The plain tensors that a tensor is made of: a quantised one has scales beside its numbers."""
    if not hasattr(tensor, "__tensor_flatten__"):
        yield tensor
        return
    for name in tensor.__tensor_flatten__()[0]:
        yield from _parts(getattr(tensor, name))


def _state(form: Form) -> tuple[str, tuple[bool, ...]]:
    """SHA-256 over the weights and buffers, and each weight's flag and whether it has a gradient."""
    plain: Any = form.engine.model
    digest = sha256()
    for tensor in (*plain.parameters(), *plain.buffers()):
        for part in _parts(tensor.detach()):
            digest.update(part.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    weights = [*plain.parameters()]
    return digest.hexdigest(), tuple(flag for one in weights for flag in (one.requires_grad, one.grad is None))
