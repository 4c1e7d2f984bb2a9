"""Rollouts: which are wanted next, and the votes over those that are there.

A vote takes as many as it needs: a few at first, twice as many as long as more can change which answer leads.
"""

from collections.abc import Sequence

from latent_memory_plugin.config import VoteConfig
from latent_memory_plugin.learning.work import Draw, Scope, derived_seed
from latent_memory_plugin.records import Episode, Rollout, Vote, lead_probability

ENOUGH_FOR_A_VOTE = 2


def next_round(episodes: Sequence[Episode], scope: Scope) -> tuple[Draw, list[int]] | None:
    """The next rollouts to sample, and the numbers of the episodes they are for; None where no vote needs more.

    Together those are drawn that have seen as many: what is sampled next then depends on the episode alone.
    """
    short = [number for number, episode in enumerate(episodes) if missing(episode, scope.config.vote)]
    if not short:
        return None
    seen = min(len(episodes[number].rollouts) for number in short)
    numbers = [number for number in short if len(episodes[number].rollouts) == seen]
    draw = Draw(
        scope,
        tuple(episodes[number].question for number in numbers),
        max(missing(episodes[number], scope.config.vote) for number in numbers),
        derived_seed(scope.config.seed, f"vote/{seen}"),
    )
    return draw, numbers


def missing(episode: Episode, config: VoteConfig) -> int:
    """How many more rollouts the episode's vote needs."""
    if len(episode.rollouts) < ENOUGH_FOR_A_VOTE or episode.vote is None:
        return min(config.rollouts, config.max_rollouts)
    return wanted(episode.vote, config)


def wanted(taken: Vote, config: VoteConfig) -> int:
    """How many more rollouts the vote needs: none where its winner is clear, or can no longer become so.

    A sequential test: the winner is clear where its `confidence` reaches the config's. Where even a winner that took
    every rollout still allowed would not reach it, sampling on would change nothing. Each time their number doubles: a
    whole batch takes little longer than a part of it.
    """
    left = config.max_rollouts - taken.total
    if left <= 0 or taken.confidence >= config.confidence:
        return 0
    named = [count for answer, count in taken.counts if answer is not None] + [0, 0]
    if lead_probability(named[0] + left, named[1]) < config.confidence:
        return 0
    return min(max(config.rollouts, taken.total), left)


def joined(episode: Episode, fresh: Sequence[Rollout], scope: Scope) -> Episode:
    """The episode with as many of these rollouts as its vote needs, all of them read, and the vote over them. Raises
    RewardError."""
    judge = scope.judge
    fresh = fresh[: missing(episode, scope.config.vote)]
    if not fresh and episode.vote is not None:
        return episode
    rollouts = tuple(judge.read(episode.question, one) for one in (*episode.rollouts, *fresh))
    vote = judge.vote(rollouts) if len(rollouts) >= ENOUGH_FOR_A_VOTE else None
    return episode.model_copy(update={"rollouts": rollouts, "vote": vote})
