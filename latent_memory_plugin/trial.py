"""The trial: does a candidate Latent help on episodes it has not learnt from?

No label is used: an answer counts where it agrees with the vote of its episode, and an episode counts by its vote's
share.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from latent_memory_plugin.config import SamplingConfig, TrialConfig
from latent_memory_plugin.errors import InputError
from latent_memory_plugin.records import Episode, Rollout, Trial, Vote
from latent_memory_plugin.seams import Model

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Court:
    """What a trial needs beside the candidate and the episodes."""

    model: Model
    """The frozen model."""
    config: TrialConfig
    """How much must be seen, and how much better it must be."""
    sampling: SamplingConfig
    """How answers are sampled."""
    extract: Callable[[str], str | None]
    """Completion text → answer."""
    agree: Callable[[str | None, str | None], bool]
    """Are these two answers the same? None agrees with nothing."""
    seed: int
    """The same seed samples the same answers."""


def trial(court: Court, candidate: "Tensor", episodes: Sequence[Episode]) -> Trial:
    """Examines a candidate (P, H) on episodes with votes, none of which it learnt from.

    The agreement before is the votes' own shares, which the plain model's rollouts made. Raises `InputError` where an
    episode has no vote with an answer.
    """
    votes = [_vote(episode) for episode in episodes]
    questions = [episode.question for episode in episodes]
    groups = court.model.sample(
        questions, [candidate] * len(questions), court.config.answers, court.sampling, court.seed
    )
    after = [_agreement(court, vote, group) for vote, group in zip(votes, groups, strict=True)]
    shares = [vote.share for vote in votes]
    before, now = _weighted(shares, shares), _weighted(after, shares)
    passed = len(episodes) >= court.config.min_episodes and now - before >= court.config.min_gain
    return Trial(
        episode_ids=tuple(episode.id for episode in episodes),
        agreement_before=before,
        agreement_after=now,
        answers=sum(map(len, groups)),
        passed=passed,
        reason=_reason(before, now, len(episodes), passed, court.config),
    )


def _vote(episode: Episode) -> Vote:
    if episode.vote is None or episode.vote.answer is None:
        raise InputError(f"Episode {episode.id!r} has no vote with an answer, so nothing can be examined on it.")
    return episode.vote


def _agreement(court: Court, vote: Vote, group: Sequence[Rollout]) -> float:
    return sum(court.agree(court.extract(rollout.text), vote.answer) for rollout in group) / len(group)


def _weighted(values: Sequence[float], weights: Sequence[float]) -> float:
    total = sum(weights)
    return sum(value * weight for value, weight in zip(values, weights, strict=True)) / total if total else 0.0


def _reason(before: float, now: float, episodes: int, passed: bool, config: TrialConfig) -> str:
    change = f"agreement with the votes of {episodes} near episodes went from {before:.2f} to {now:.2f}"
    if passed:
        return f"{change}."
    if episodes < config.min_episodes:
        return f"{change}, but a trial needs at least {config.min_episodes} episodes."
    return f"{change}; it must rise by at least {config.min_gain:.2f}."
