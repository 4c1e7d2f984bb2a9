"""Judging a completion: does it agree with the vote, and what does an external reward say?"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from latent_memory_plugin.answers import EqualAnswers, agree, equal, extract
from latent_memory_plugin.answers.vote import vote
from latent_memory_plugin.errors import RewardError
from latent_memory_plugin.records import Episode, Rollout, Use, Vote

Reward = Callable[[str, str], float]
"""(question, completion text) → 0 to 1, such as the share of unit tests that pass; from 0.5 on it is accepted."""

ACCEPTED = 0.5


@dataclass(frozen=True)
class Judge:
    """Turns rollouts into votes and answers into scores. Frozen and without state: the same text is judged the same."""

    extract: Callable[[str], str | None] = extract
    """Completion text → answer."""
    reward: Reward | None = None
    """An external reward; None leaves everything to the vote."""
    mode: Literal["replace", "join"] = "replace"
    """`replace`: what the reward accepts is right. `join`: what it rejects loses its vote."""
    equal: EqualAnswers = equal
    """Whether two answers mean the same."""

    def read(self, question: str, rollout: Rollout) -> Rollout:
        """The rollout with its answer and its reward filled in. Raises RewardError."""
        answer = self.answer(rollout)
        if self.reward is None:
            return rollout.model_copy(update={"answer": answer})
        worth = rollout.reward if rollout.reward is not None else self._reward(question, rollout.text)
        if self.replaces and answer is None and worth >= ACCEPTED:
            answer = rollout.text.strip() or None  # code, or a proof: what is accepted is its own answer
        return rollout.model_copy(update={"answer": answer, "reward": worth})

    def answer(self, rollout: Rollout) -> str | None:
        """Its answer, read from its text where it has none yet; of one that was cut off, what it had declared."""
        if rollout.answer is not None:
            return rollout.answer
        if self.extract is extract:
            return extract(rollout.text, finished=rollout.finished)
        return self.extract(rollout.text)

    def vote(self, rollouts: tuple[Rollout, ...]) -> Vote:
        """The vote of rollouts that were read; those the reward rejects count as without an answer."""
        answers = [None if _rejected(rollout) else rollout.answer for rollout in rollouts]
        return vote(answers, equal=self.equal, confirmed=self.replaces)

    def score(self, question: str, answer: str | None, rollout: Rollout) -> float:
        """1 where a completion agrees with the vote's answer (and is not rejected), else 0; with a reward in its place,
        that reward. Raises RewardError."""
        seen = self.read(question, rollout)
        if self.replaces and seen.reward is not None:
            return seen.reward
        return float(self.agree(seen.answer, answer) and not _rejected(seen))

    def verdict(self, episode: Episode, use: Use) -> tuple[bool, float]:
        """Whether an answer given to the episode's question was right, by its vote or by the reward in its place, and
        the chance of the plain model to be right there, 0 to 1. Raises RewardError."""
        if episode.vote is None:
            return False, 0.0
        if not self.replaces or use.text is None:
            return self.agree(use.answer, episode.vote.answer), episode.vote.share
        accepted = [self.score(episode.question, None, rollout) >= ACCEPTED for rollout in episode.rollouts]
        right = self.score(episode.question, None, Rollout(text=use.text)) >= ACCEPTED
        return right, sum(accepted) / max(len(accepted), 1)

    def agree(self, one: str | None, other: str | None) -> bool:
        """Whether both are answers and equal; no answer agrees with nothing."""
        return agree(one, other, self.equal)

    @property
    def replaces(self) -> bool:
        """True where a reward stands in the place of the vote."""
        return self.reward is not None and self.mode == "replace"

    def _reward(self, question: str, text: str) -> float:
        assert self.reward is not None
        try:
            worth = float(self.reward(question, text))
        except Exception as exc:
            raise RewardError(
                f"The reward raised {type(exc).__name__}: {exc} for the completion {text!r:.60}; it must return a "
                "number from 0 to 1 for every text."
            ) from exc
        if not (math.isfinite(worth) and 0 <= worth <= 1):
            raise RewardError(f"The reward gave {worth!r} for the completion {text!r:.60}; it must be from 0 to 1.")
        return worth


def _rejected(rollout: Rollout) -> bool:
    return rollout.reward is not None and rollout.reward < ACCEPTED
