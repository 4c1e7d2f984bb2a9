"""The neighbourhood of an episode: who teaches a candidate, who is held out for its trial, and who else would read
it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from latent_memory_plugin.config import Config
from latent_memory_plugin.records import Episode, Neighbour, Vote
from latent_memory_plugin.store.base import AnyStore


@dataclass(frozen=True)
class Neighbourhood:
    """Near episodes with a vote, each question once."""

    known: tuple[Neighbour, ...]
    """All of them, the starting one first, then the nearest."""
    teachers: tuple[Neighbour, ...]
    """Those to learn from, the most trusted first; all of their votes are believed."""
    held_out: tuple[Neighbour, ...]
    """Those to be examined on, the most trusted first; none of a teacher's problem."""
    look: int = 1
    """One more than the failed attempts that settled one of the believed episodes."""


def neighbourhood(store: AnyStore, episode: Episode, key: np.ndarray, config: Config) -> Neighbourhood:
    """The neighbourhood of an episode with this key (D,), divided for an attempt.

    Half of the believed episodes teach, within the bounds of the config; the best of the rest are held out, each with
    the weight of its vote's trust, believed or not.
    """
    known = _near(store, episode, key, config)
    ranked = sorted(known, key=_rank, reverse=True)
    believed = [one for one in ranked if believes(one.vote, config) and one.has_text]
    limits = config.neighbours
    count = min(max(limits.min_parents, len(believed) // 2), limits.max_parents)
    teachers = believed[:count]
    failed = {one.attempt for one in believed if one.state == "refused" and one.attempt}
    apart = held_out(ranked, {one.problem_hash for one in teachers}, config)
    return Neighbourhood(tuple(known), tuple(teachers), apart, 1 + len(failed))


def held_out(episodes: Sequence[Neighbour], problems: Collection[str], config: Config) -> tuple[Neighbour, ...]:
    """The most trusted episodes with a text whose problem is not among these hashes; a vote of even odds says
    nothing."""
    ranked = sorted(episodes, key=_rank, reverse=True)
    apart = [one for one in ranked if one.problem_hash not in problems and one.has_text]
    return tuple([one for one in apart if one.vote is not None and one.vote.trust > 0][: config.trial.max_episodes])


def nearby(store: AnyStore, key: np.ndarray, inside: Sequence[Neighbour], config: Config) -> tuple[Neighbour, ...]:
    """Episodes that would read a Latent of this key (D,) but belong to other neighbourhoods than those inside."""
    hashes = {one.problem_hash for one in inside}
    readers = [one for one in store.neighbours(key, config.retrieve.threshold) if answered(one.vote)]
    return held_out(_once(readers, {}), hashes, config)


def believes(vote: Vote | None, config: Config) -> bool:
    """Whether a vote is clear enough to learn from."""
    return answered(vote) and vote is not None and vote.confidence >= config.vote.confidence


def distrust(vote: Vote | None, config: Config) -> str:
    """Why a vote is no reason to learn; empty where it is one."""
    if vote is None or vote.answer is None:
        return "No rollout holds an answer, so there is nothing to agree on."
    if not believes(vote, config):
        return (
            f"The vote is too split: after {vote.total} rollouts its winner leads with a probability of "
            f"{vote.confidence:.2f}, below {config.vote.confidence:.2f}."
        )
    return ""


def answered(vote: Vote | None) -> bool:
    """Whether there is a vote with a winner."""
    return vote is not None and vote.answer is not None


def _near(store: AnyStore, episode: Episode, key: np.ndarray, config: Config) -> list[Neighbour]:
    start = {episode.problem.hash: _itself(episode)} if answered(episode.vote) else {}
    near = store.neighbours(key, config.neighbours.threshold)
    return _once([one for one in near if answered(one.vote)], start)


def _once(near: Sequence[Neighbour], found: dict[str, Neighbour]) -> list[Neighbour]:
    """Each problem once: the first, or the first with a text."""
    for one in near:
        same = found.setdefault(one.problem_hash, one)
        if one.has_text and not same.has_text:
            found[one.problem_hash] = one
    return list(found.values())


def _itself(episode: Episode) -> Neighbour:
    return Neighbour(
        id=episode.id,
        problem_hash=episode.problem.hash,
        has_text=episode.problem.has_text,
        vote=episode.vote,
        state=episode.state,
        attempt=episode.attempt,
        similarity=1.0,
    )


def _rank(one: Neighbour) -> tuple[float, float]:
    """Trust first, in steps that matter; among equals the larger share."""
    return (0.0, 0.0) if one.vote is None else (round(one.vote.trust, 2), one.vote.share)
