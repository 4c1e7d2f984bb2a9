"""What of a record is written where `StoreConfig.keep_text` is False: hashes, states, numbers and short answers."""

from typing import Any

from latent_memory_plugin.records import NOT_KEPT, Episode, Latent, Problem, Use, Vote

LONGEST_ANSWER = 64
"""Characters; a longer answer is a text."""

NO_REASON = "It failed; why was not kept, because it may quote the text."


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
    counts = tuple((short_answer(answer), count) for answer, count in vote.counts)
    return vote.model_copy(update={"answer": short_answer(vote.answer), "counts": counts})


def short_latent(latent: Latent) -> Latent:
    """The record with the short answers of its vote alone."""
    return latent.model_copy(update={"vote": short_vote(latent.vote)})


def short_use(use: Use) -> Use:
    """The use with its answer where that is short."""
    return use.model_copy(update={"answer": short_answer(use.answer)})


def short_answer(answer: str | None) -> str | None:
    """The answer, or `NOT_KEPT` where it is long."""
    return answer if answer is None or len(answer) <= LONGEST_ANSWER else NOT_KEPT
