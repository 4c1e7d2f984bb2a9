"""Gathering: a journaled episode → the same with rollouts and a vote, as many as the vote needs."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from latent_memory_plugin.config import Config, VoteConfig
from latent_memory_plugin.engines.base import Model
from latent_memory_plugin.errors import ModelError, RewardError
from latent_memory_plugin.learning.judge import Judge
from latent_memory_plugin.records import Episode, Rollout, Vote, lead_probability
from latent_memory_plugin.store.base import AnyStore

ENOUGH_FOR_A_VOTE = 2
NO_TEXT = "Its text was not kept."
"""Why an episode of an earlier process fails with `keep_text=False`."""


@dataclass(frozen=True)
class Gatherer:
    """Samples and votes over the episodes of one namespace."""

    model: Model
    """The frozen model."""
    store: AnyStore
    """The namespace's store."""
    config: Config
    """All settings."""
    judge: Judge
    """Completions → answers → vote."""

    def gather(self, episodes: Sequence[Episode]) -> list[Episode]:
        """The episodes with a vote each, journaled; all that need more rollouts are sampled together.

        An episode that the model cannot sample, one too long for its context for instance, that the caller's reward
        cannot judge, or whose text was not kept, comes back as failed.
        """
        if any(not episode.problem.has_text for episode in episodes):
            return self._lost(episodes)
        try:
            return self._gather(episodes)
        except (ModelError, RewardError) as exc:
            if len(episodes) > 1:
                return [gathered for episode in episodes for gathered in self.gather([episode])]
            failed = episodes[0].model_copy(update={"state": "failed", "reason": str(exc)})
            self.store.update(failed)
            return [failed]

    def _lost(self, episodes: Sequence[Episode]) -> list[Episode]:
        """The episodes, those without a text failed and the others gathered."""
        failed = {"state": "failed", "reason": NO_TEXT}
        lost = {one.id: one.model_copy(update=failed) for one in episodes if not one.problem.has_text}
        for episode in lost.values():
            self.store.update(episode)
        rest = iter(self.gather([one for one in episodes if one.id not in lost]))
        return [lost.get(one.id) or next(rest) for one in episodes]

    def _gather(self, episodes: Sequence[Episode]) -> list[Episode]:
        gathered = [self._joined(episode, ()) for episode in episodes]
        while short := [number for number, episode in enumerate(gathered) if self._missing(episode)]:
            seen = min(len(gathered[number].rollouts) for number in short)
            # Together those that have seen as many: what is sampled next then depends on the episode alone.
            self._sample(gathered, [number for number in short if len(gathered[number].rollouts) == seen], seen)
        for before, after in zip(episodes, gathered, strict=True):
            if after != before:
                self.store.update(after)
        return gathered

    def _sample(self, gathered: list[Episode], numbers: Sequence[int], seen: int) -> None:
        """Adds the next rollouts to those of the gathered episodes that have the given numbers."""
        questions = [gathered[number].question for number in numbers]
        count = max(self._missing(gathered[number]) for number in numbers)
        seed = derived_seed(self.config.seed, f"vote/{seen}")
        groups = self.model.sample(questions, [None] * len(numbers), count, self.config.sampling, seed)
        for number, group in zip(numbers, groups, strict=True):
            gathered[number] = self._joined(gathered[number], group[: self._missing(gathered[number])])

    def _missing(self, episode: Episode) -> int:
        if len(episode.rollouts) < ENOUGH_FOR_A_VOTE or episode.vote is None:
            return min(self.config.vote.rollouts, self.config.vote.max_rollouts)
        return wanted(episode.vote, self.config.vote)

    def _joined(self, episode: Episode, fresh: Sequence[Rollout]) -> Episode:
        """The episode with these rollouts more, all of them read, and the vote over them."""
        if not fresh and episode.vote is not None:
            return episode
        rollouts = tuple(self.judge.read(episode.question, one) for one in (*episode.rollouts, *fresh))
        vote = self.judge.vote(rollouts) if len(rollouts) >= ENOUGH_FOR_A_VOTE else None
        return episode.model_copy(update={"rollouts": rollouts, "vote": vote})


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


def derived_seed(seed: int, purpose: str) -> int:
    """A seed below 2³¹ that depends on the configured seed and on what it is for."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:4], "big") >> 1
