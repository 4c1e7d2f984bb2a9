"""What of a record is written where `StoreConfig.keep_text` is False: hashes, states, numbers and short answers.

Whole episodes stay in memory until the store is closed, so that learning works within a process.
"""

from collections.abc import Iterable
from typing import Any, TypeVar, cast

from latent_memory_plugin.records import NOT_KEPT, Episode, EpisodeState, Latent, Neighbour, Problem, Use, Vote

LONGEST_ANSWER = 64
"""Characters; a longer answer is a text."""

NO_REASON = "It failed; why was not kept, because it may quote the text."

Record = TypeVar("Record", Episode, Latent, Use)


class Texts:
    """The one door by which texts reach the disk."""

    def __init__(self, kept: bool) -> None:
        self.kept = kept
        """False where neither questions nor completions are written."""
        # The whole episodes whose texts are not written, by their ids.
        self._whole: dict[str, Episode] = {}

    def written(self, record: Record) -> Record:
        """The record as it may be written."""
        if self.kept:
            return record
        if isinstance(record, Episode):
            return cast("Record", without_text(record))
        if isinstance(record, Latent):
            return record.model_copy(update={"vote": short_vote(record.vote)})
        return record.model_copy(update={"answer": short(record.answer), "text": None})

    def reason(self, reason: str, state: EpisodeState = "failed") -> str:
        """The reason as it may be written: that of a failure may quote a text."""
        return reason if self.kept or state != "failed" else NO_REASON

    def remember(self, episode: Episode) -> None:
        """Keeps an episode that was written, in memory."""
        if not self.kept and episode.problem.has_text:
            self._whole[episode.id] = episode

    def change(self, episode_id: str, **changes: Any) -> None:
        """The same for a change of some of its fields."""
        if episode_id in self._whole:
            self._whole[episode_id] = self._whole[episode_id].model_copy(update=changes)

    def forget(self, episode_ids: Iterable[str]) -> None:
        """Forgets episodes; unknown ones are fine."""
        for episode_id in episode_ids:
            self._whole.pop(episode_id, None)

    def whole(self, episode: Episode) -> Episode:
        """What was read, with what memory knows beside it."""
        known = self._whole.get(episode.id)
        if known is None:
            return episode
        reason = known.reason if known.state == episode.state else episode.reason
        kept = {"problem": known.problem, "rollouts": known.rollouts, "vote": known.vote, "reason": reason}
        return episode.model_copy(update=kept)

    def around(self, neighbour: Neighbour) -> Neighbour:
        """The same for a neighbour."""
        known = self._whole.get(neighbour.id)
        return neighbour if known is None else neighbour.model_copy(update={"has_text": True, "vote": known.vote})


def without_text(episode: Episode) -> Episode:
    """The episode without its question, its completions and what a failure may quote."""
    blank: dict[str, Any] = {"problem": hash_alone(episode.problem.hash), "rollouts": ()}
    if episode.vote is not None:
        blank["vote"] = short_vote(episode.vote)
    if episode.state == "failed" and episode.problem.has_text:
        blank["reason"] = NO_REASON
    return episode.model_copy(update=blank)


def hash_alone(problem_hash: str) -> Problem:
    """A problem of which only the hash was kept."""
    return Problem(question=NOT_KEPT, kept_hash=problem_hash)


def short_vote(vote: Vote) -> Vote:
    """The vote with its short answers alone."""
    counts = tuple((short(answer), count) for answer, count in vote.counts)
    return vote.model_copy(update={"answer": short(vote.answer), "counts": counts})


def short(answer: str | None) -> str | None:
    """The answer, or `NOT_KEPT` where it is long."""
    return answer if answer is None or len(answer) <= LONGEST_ANSWER else NOT_KEPT
