"""The trial: does a candidate Latent help on episodes it has not learnt from, and does it harm nearby?

No label is used: an answer counts where it agrees with the vote of its episode, and an episode counts by its vote's
trust.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

from latent_memory_plugin.config import SamplingConfig, TrialConfig
from latent_memory_plugin.engines.base import Model
from latent_memory_plugin.errors import InputError
from latent_memory_plugin.records import Episode, Rollout, Trial, Vote, of_look

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Court:
    """What a trial needs beside the candidate and the episodes."""

    model: Model
    """The frozen model."""
    config: TrialConfig
    """How much must be seen, and with what confidence it must be better."""
    sampling: SamplingConfig
    """How answers are sampled."""
    score: Callable[[str, str, Rollout], float]
    """(question, the vote's answer, completion) → 0 to 1: does it agree?"""
    seed: int
    """The same seed samples the same answers."""
    attempt: int = 1
    """Number of this attempt of the neighbourhood; the more there were, the surer a candidate must be."""

    @property
    def confidence(self) -> float:
        """What is asked for in this attempt."""
        return of_look(self.config.confidence, self.attempt)


@dataclass(frozen=True)
class Evidence:
    """Where a candidate is examined; it learnt from none of these episodes. All have rollouts and a vote."""

    witnesses: Sequence[Episode]
    """Episodes of its own neighbourhood, where it should help."""
    nearby: Sequence[Episode] = ()
    """Episodes of other neighbourhoods that would read it, where it should not harm."""
    current: "Tensor | None" = None
    """The Latent (P, H) that it would take the place of."""


class Tally(NamedTuple):
    """Answers to one episode."""

    agreeing: float
    """The sum of their scores."""
    total: int
    """How many there are."""

    @property
    def share(self) -> float:
        """Agreement, 0 to 1."""
        return self.agreeing / self.total

    @property
    def variance(self) -> float:
        """Sampling variance of the share, of two answers more, one each way, so that it is never 0."""
        smoothed = (self.agreeing + 1) / (self.total + 2)
        return smoothed * (1 - smoothed) / (self.total + 2)


class Change(NamedTuple):
    """A weighted mean change of agreement over episodes."""

    mean: float
    """-1 to 1."""
    error: float
    """Its standard error."""


def trial(court: Court, candidate: "Tensor", evidence: Evidence) -> Trial:
    """Examines a candidate (P, H).

    It passes where the lower end of the one-sided confidence interval of its gain lies above `min_gain`, where it is no
    worse than the Latent in its place, and where agreement nearby has not fallen at the same confidence. The agreement
    before is that of the episodes' own rollouts, which the plain model made. Raises `InputError` where an episode has
    no vote with an answer.
    """
    before = [_plain(court, episode) for episode in evidence.witnesses]
    after = examine(court, candidate, evidence.witnesses)
    trusts = [_vote(episode).trust for episode in evidence.witnesses]
    now = weighted([tally.share for tally in after], trusts)
    gain = change(before, after, evidence.witnesses)
    least = max(-1.0, gain.mean - _deviations(court) * gain.error)
    nearby = _nearby(court, candidate, evidence.nearby)
    complaint = _complaint(court, least, nearby, now, evidence)
    earlier = weighted([tally.share for tally in before], trusts)
    heard = f"Agreement with the votes of {len(before)} near episodes went from {earlier:.2f} to {now:.2f}"
    bound = f"by at least {least:+.2f} at {court.confidence:.1%} confidence"
    return Trial(
        episode_ids=tuple(episode.id for episode in evidence.witnesses),
        agreement_before=earlier,
        agreement_after=now,
        answers=sum(tally.total for tally in after),
        passed=not complaint,
        reason=f"{heard}, {bound}{complaint}.",
        least_gain=least,
        nearby_ids=tuple(episode.id for episode in evidence.nearby),
        nearby_change=None if nearby is None else nearby.mean,
    )


def untried(reason: str) -> Trial:
    """The record of a trial that was not held, and why."""
    return Trial(episode_ids=(), agreement_before=0.0, agreement_after=0.0, answers=0, passed=False, reason=reason)


def examine(court: Court, latent: "Tensor", episodes: Sequence[Episode]) -> list[Tally]:
    """Fresh answers to each episode with a Latent (P, H), scored against its vote."""
    questions = [episode.question for episode in episodes]
    groups = court.model.sample(questions, [latent] * len(questions), court.config.answers, court.sampling, court.seed)
    return [_tally(court, episode, group) for episode, group in zip(episodes, groups, strict=True)]


def change(before: Sequence[Tally], after: Sequence[Tally], episodes: Sequence[Episode]) -> Change:
    """The mean change of agreement, weighted by trust, and its standard error.

    An episode's change is uncertain by the sampling of both shares, and by its vote: where the winner is wrong, which
    has a chance of 1 - confidence, the change counts the other way, a variance of 4 c (1 - c) change².
    """
    trusts = [_vote(episode).trust for episode in episodes]
    changes = [now.share - then.share for then, now in zip(before, after, strict=True)]
    variances = [
        then.variance + now.variance + (1 - trust**2) * step**2
        for then, now, trust, step in zip(before, after, trusts, changes, strict=True)
    ]
    total = sum(trusts) or 1.0
    error = math.sqrt(sum(trust**2 * variance for trust, variance in zip(trusts, variances, strict=True))) / total
    return Change(weighted(changes, trusts), error)


def weighted(values: Sequence[float], weights: Sequence[float]) -> float:
    """The weighted mean; 0 where nothing has weight."""
    total = sum(weights)
    return sum(value * weight for value, weight in zip(values, weights, strict=True)) / total if total else 0.0


def _nearby(court: Court, candidate: "Tensor", episodes: Sequence[Episode]) -> Change | None:
    if not episodes:
        return None
    before = [_plain(court, episode) for episode in episodes]
    return change(before, examine(court, candidate, episodes), episodes)


def _complaint(court: Court, least: float, nearby: Change | None, now: float, evidence: Evidence) -> str:
    """Why the candidate may not live; empty where it may."""
    config, trusted = court.config, sum(_vote(episode).trust > 0 for episode in evidence.witnesses)
    if trusted < config.min_episodes:
        return f", but a trial needs {config.min_episodes} episodes whose votes can be trusted, not {trusted}"
    if least <= config.min_gain:
        return f"; that must be above {config.min_gain:+.2f}"
    if nearby is not None and nearby.mean + _deviations(court) * nearby.error < 0:
        return f", but it harms {len(evidence.nearby)} episodes of other neighbourhoods: {nearby.mean:+.2f}"
    if evidence.current is not None:
        trusts = [_vote(episode).trust for episode in evidence.witnesses]
        held = weighted([tally.share for tally in examine(court, evidence.current, evidence.witnesses)], trusts)
        if held >= now:
            return f", but the Latent in its place reaches {held:.2f}"
    return ""


def _plain(court: Court, episode: Episode) -> Tally:
    return _tally(court, episode, episode.rollouts)


def _tally(court: Court, episode: Episode, group: Sequence[Rollout]) -> Tally:
    answer = _vote(episode).answer or ""
    return Tally(sum(court.score(episode.question, answer, rollout) for rollout in group), len(group))


def _vote(episode: Episode) -> Vote:
    if episode.vote is None or episode.vote.answer is None:
        raise InputError(f"Episode {episode.id!r} has no vote with an answer, so nothing can be examined on it.")
    return episode.vote


def _deviations(court: Court) -> float:
    """Standard deviations from the mean to the one-sided bound; none at even odds."""
    return NormalDist().inv_cdf(min(max(court.confidence, 0.5), 0.999999))
