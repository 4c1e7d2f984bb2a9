"""The trial: does a candidate Latent help on held-out episodes, and does it harm nearby?

No label is used: an answer counts where it agrees with the vote of its episode, and an episode counts by its vote's
trust.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import NamedTuple

from latent_memory_plugin.config import SamplingConfig, TrialConfig
from latent_memory_plugin.engines.base import Readable, Sampler
from latent_memory_plugin.errors import InputError
from latent_memory_plugin.records import Episode, Rollout, Trial, Vote, of_look


@dataclass(frozen=True)
class Examiner:
    """What a trial needs beside the candidate and the episodes."""

    model: Sampler
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
class Examination:
    """Where a candidate is examined; it learnt from none of these episodes. All have rollouts and a vote."""

    held_out: Sequence[Episode]
    """Episodes of its own neighbourhood, where it should help."""
    nearby: Sequence[Episode] = ()
    """Episodes of other neighbourhoods that would read it, where it should not harm."""
    current: Readable = None
    """The Latent that it would take the place of."""


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


def examine(examiner: Examiner, candidate: Readable, examination: Examination) -> Trial:
    """Examines a candidate.

    It passes where the lower end of the one-sided confidence interval of its gain lies above `min_gain`, where it is no
    worse than the Latent in its place, and where agreement nearby has not fallen at the same confidence. The agreement
    before is that of the episodes' own rollouts, which the plain model made. Raises `InputError` where an episode has
    no vote with an answer.
    """
    before = [_plain(examiner, episode) for episode in examination.held_out]
    after = fresh_answers(examiner, candidate, examination.held_out)
    trusts = [_vote(episode).trust for episode in examination.held_out]
    now = weighted([tally.share for tally in after], trusts)
    gain = change(before, after, examination.held_out)
    least = max(-1.0, gain.mean - _deviations(examiner) * gain.error)
    nearby = _nearby(examiner, candidate, examination.nearby)
    complaint = _complaint(examiner, least, nearby, now, examination)
    earlier = weighted([tally.share for tally in before], trusts)
    heard = f"Agreement with the votes of {len(before)} near episodes went from {earlier:.2f} to {now:.2f}"
    bound = f"by at least {least:+.2f} at {examiner.confidence:.1%} confidence"
    return Trial(
        episode_ids=tuple(episode.id for episode in examination.held_out),
        agreement_before=earlier,
        agreement_after=now,
        answers=sum(tally.total for tally in after),
        passed=not complaint,
        reason=f"{heard}, {bound}{complaint}.",
        least_gain=least,
        nearby_ids=tuple(episode.id for episode in examination.nearby),
        nearby_change=None if nearby is None else nearby.mean,
    )


def fresh_answers(examiner: Examiner, latent: Readable, episodes: Sequence[Episode]) -> list[Tally]:
    """Fresh answers to each episode with a Latent, scored against its vote."""
    questions = [episode.question for episode in episodes]
    groups = examiner.model.sample(
        questions, [latent] * len(questions), examiner.config.answers, examiner.sampling, examiner.seed
    )
    return [_tally(examiner, episode, group) for episode, group in zip(episodes, groups, strict=True)]


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


def _nearby(examiner: Examiner, candidate: Readable, episodes: Sequence[Episode]) -> Change | None:
    if not episodes:
        return None
    before = [_plain(examiner, episode) for episode in episodes]
    return change(before, fresh_answers(examiner, candidate, episodes), episodes)


def _complaint(examiner: Examiner, least: float, nearby: Change | None, now: float, examination: Examination) -> str:
    """Why the candidate may not live; empty where it may."""
    config, trusted = examiner.config, sum(_vote(episode).trust > 0 for episode in examination.held_out)
    if trusted < config.min_episodes:
        return f", but a trial needs {config.min_episodes} episodes whose votes can be trusted, not {trusted}"
    if least <= config.min_gain:
        return f"; that must be above {config.min_gain:+.2f}"
    if nearby is not None and nearby.mean + _deviations(examiner) * nearby.error < 0:
        return f", but it harms {len(examination.nearby)} episodes of other neighbourhoods: {nearby.mean:+.2f}"
    if examination.current is not None:
        trusts = [_vote(episode).trust for episode in examination.held_out]
        held = weighted(
            [tally.share for tally in fresh_answers(examiner, examination.current, examination.held_out)], trusts
        )
        if held >= now:
            return f", but the Latent in its place reaches {held:.2f}"
    return ""


def _plain(examiner: Examiner, episode: Episode) -> Tally:
    return _tally(examiner, episode, episode.rollouts)


def _tally(examiner: Examiner, episode: Episode, group: Sequence[Rollout]) -> Tally:
    answer = _vote(episode).answer or ""
    return Tally(sum(examiner.score(episode.question, answer, rollout) for rollout in group), len(group))


def _vote(episode: Episode) -> Vote:
    if episode.vote is None or episode.vote.answer is None:
        raise InputError(f"Episode {episode.id!r} has no vote with an answer, so nothing can be examined on it.")
    return episode.vote


def _deviations(examiner: Examiner) -> float:
    """Standard deviations from the mean to the one-sided bound; none at even odds."""
    return NormalDist().inv_cdf(min(max(examiner.confidence, 0.5), 0.999999))
