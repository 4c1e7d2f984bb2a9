"""GRPO (Shao et al., arXiv 2402.03300) on a Latent, rewarded by agreement with the vote (TTRL, arXiv 2504.16084).

The weights of the model stay as they are; the policy is the frozen model behind the Latent.
"""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from latent_memory_plugin.config import GrpoConfig, RewardScale
from latent_memory_plugin.forms import Tensors
from latent_memory_plugin.objectives.base import Attempt, Objective, Step
from latent_memory_plugin.objectives.batches import split, token_mean
from latent_memory_plugin.objectives.descent import descend
from latent_memory_plugin.records import Rollout

SMALLEST_DEVIATION = 1e-4
"""Rewards that deviate less count as equal."""


@dataclass(frozen=True)
class Sampled:
    """One fresh completion and what it was worth."""

    question: str
    completion: tuple[int, ...]
    """Token ids, with the end token where it came."""
    reward: float
    """1 where it agrees with the vote, else 0."""
    advantage: float
    """Its group-normalised reward times the lesson's trust."""


@dataclass(frozen=True)
class Scored:
    """The log-probabilities of a batch before the first update from it."""

    batch: list[Sampled]
    old: Tensor | None
    """(B, T) under the Latent that sampled the batch, without gradient; None where it serves one update only."""
    plain: Tensor | None
    """(B, T) under the plain model; None without a KL term."""


def grpo(attempt: Attempt, start: Tensors) -> Tensors:
    """Tensors after which the model's rollouts agree more often with the votes.

    Each batch of fresh rollouts serves `updates` optimiser steps; the clipped ratio and the KL term are averaged over
    the tokens of a completion, then over completions. Raises `DistilError` where a value is not finite.
    """
    fresh: list[Scored] = []
    updates = _config(attempt).updates

    def loss(tensors: Tensors, number: int) -> Step:
        if (number - 1) % updates == 0:
            fresh[:] = _score(attempt, _sample(attempt, tensors, number), tensors)
        rewards = [sampled.reward for scored in fresh for sampled in scored.batch]
        losses = [_backward(attempt, scored, tensors, len(rewards)) for scored in fresh]
        return Step(
            number,
            loss=sum(value for value, _ in losses),
            reward=sum(rewards) / len(rewards),
            entropy=sum(entropy for _, entropy in losses),
        )

    return descend(start, loss, attempt)


GRPO = Objective(GrpoConfig, grpo)


def _config(attempt: Attempt) -> GrpoConfig:
    return cast(GrpoConfig, attempt.config.objective)


def advantages(rewards: Tensor, scale: RewardScale = "group") -> Tensor:
    """How much better than its group each completion is: rewards (G, N) of G groups give advantages (G, N).

    `group` divides by the deviation of the group (arXiv 2402.03300, section 4.1.2), `batch` by that of all groups,
    `none` not at all (arXiv 2503.20783, section 3.2). A group of equal rewards has 0 everywhere.
    """
    apart = rewards - rewards.mean(dim=1, keepdim=True)  # (G, N)
    if scale == "none":
        return apart
    deviation = rewards.std(dim=1, correction=0, keepdim=True) if scale == "group" else rewards.std(correction=0)
    return torch.where(deviation < SMALLEST_DEVIATION, 0.0, apart / deviation)  # (G, N)


def policy_loss(new: Tensor, scored: Scored, mask: Tensor, clip: float, kl: float) -> Tensor:
    """Per completion (B,): minus the clipped surrogate (equation 3), plus `kl` times the unbiased estimate of the
    divergence from the plain model (equation 4). `new` and `mask` are (B, T)."""
    advantage = new.new_tensor([sampled.advantage for sampled in scored.batch]).unsqueeze(1)  # (B, 1)
    old = new.detach() if scored.old is None else scored.old  # (B, T)
    ratio = (new - old).exp()  # (B, T)
    surrogate = torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage)  # (B, T)
    loss = -surrogate  # (B, T)
    if scored.plain is not None:
        gap = scored.plain - new  # (B, T)
        loss = loss + kl * (gap.exp() - gap - 1)  # (B, T)
    return token_mean(loss, mask)  # (B,)


def _sample(attempt: Attempt, tensors: Tensors, number: int) -> list[Sampled]:
    """Fresh rollouts of every lesson under the Latent, `rollouts` each."""
    questions = [lesson.problem.question for lesson in attempt.lessons]
    now = attempt.loaded({name: one.detach() for name, one in tensors.items()})
    count, seed = _config(attempt).rollouts, attempt.seed * 1000 + number
    groups = attempt.model.sample(questions, [now] * len(questions), count, attempt.sampling, seed)
    return _judge(attempt, groups)


def _judge(attempt: Attempt, groups: list[list[Rollout]]) -> list[Sampled]:
    """One group of rollouts per lesson, every rollout with its reward and its advantage."""
    pairs = list(zip(attempt.lessons, groups, strict=True))
    rewards = [[attempt.score(one.problem.question, one.answer, rollout) for rollout in group] for one, group in pairs]
    values = advantages(torch.tensor(rewards), _config(attempt).scale_rewards)  # (G, N)
    return [
        Sampled(lesson.problem.question, rollout.token_ids, rewards[i][j], float(values[i, j]) * lesson.trust)
        for i, (lesson, group) in enumerate(pairs)
        for j, rollout in enumerate(group)
    ]


def _score(attempt: Attempt, samples: list[Sampled], tensors: Tensors) -> list[Scored]:
    """The fresh rollouts in batches that fit the token budget."""

    def tokens(one: Sampled) -> int:
        return attempt.row_tokens(one.question, one.completion, tensors)

    return [_score_batch(attempt, batch, tensors) for batch in split(samples, attempt.batch_tokens(), tokens)]


def _score_batch(attempt: Attempt, batch: list[Sampled], tensors: Tensors) -> Scored:
    questions = [sampled.question for sampled in batch]
    completions = [sampled.completion for sampled in batch]
    config, score = _config(attempt), attempt.model.log_probabilities
    now = attempt.loaded({name: one.detach() for name, one in tensors.items()})
    with torch.no_grad():
        old = score(questions, completions, now)[0] if config.updates > 1 else None  # (B, T)
        plain = score(questions, completions, None)[0] if config.kl else None  # (B, T)
    return Scored(batch, old, plain)


def _backward(attempt: Attempt, scored: Scored, tensors: Tensors, completions: int) -> tuple[float, float]:
    """Adds a batch's gradient; returns its share of the loss and of the mean negative log-probability."""
    questions, written = [one.question for one in scored.batch], [one.completion for one in scored.batch]
    new, mask = attempt.model.log_probabilities(questions, written, attempt.loaded(tensors))  # (B, T), (B, T)
    config = _config(attempt)
    loss = policy_loss(new, scored, mask, config.clip, config.kl).sum() / completions
    loss.backward()
    entropy = -token_mean(new.detach(), mask).sum().item() / completions
    return loss.item(), entropy
