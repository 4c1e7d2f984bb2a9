"""The neighbourhood of an episode: who teaches a candidate, who bears witness, and who else would read it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from latent_memory_plugin.config import Config
from latent_memory_plugin.records import Episode, Vote
from latent_memory_plugin.store.base import AnyStore

LOOKED_AT = 64
"""Nearest episodes that are taken into account."""


@dataclass(frozen=True)
class Neighbourhood:
    """Near episodes with a vote, each question once."""

    known: tuple[Episode, ...]
    """All of them, the starting one first, then the nearest."""
    parents: tuple[Episode, ...]
    """Those to learn from, the most trusted first; all of their votes are believed."""
    witnesses: tuple[Episode, ...]
    """Those to be examined on, the most trusted first; none of them a parent."""
    attempt: int = 1
    """One more than the failed attempts that the believed episodes took part in."""


def neighbourhood(store: AnyStore, episode: Episode, key: np.ndarray, config: Config) -> Neighbourhood:
    """The neighbourhood of an episode with this key (D,), divided for an attempt.

    Half of the believed episodes teach, within the bounds of the config; the best of the rest bear witness, each with
    the weight of its vote's trust, believed or not.
    """
    known = _near(store, episode, key, config)
    ranked = sorted(known, key=_rank, reverse=True)
    believed = [one for one in ranked if believes(one.vote, config) and one.problem.has_text]
    limits = config.neighbours
    teachers = min(max(limits.min_parents, len(believed) // 2), limits.max_parents)
    parents = believed[:teachers]
    # A believed episode is refused by a failed attempt alone, and all who took part in one carry its reason.
    failed = len({one.reason for one in believed if one.state == "refused"})
    apart = witnesses(ranked, [one.id for one in parents], config)
    return Neighbourhood(tuple(known), tuple(parents), apart, 1 + failed)


def witnesses(episodes: Sequence[Episode], parents: Sequence[str], config: Config) -> tuple[Episode, ...]:
    """The most trusted episodes with a text that are not among the parents' ids; a vote of even odds says nothing."""
    ranked = sorted(episodes, key=_rank, reverse=True)
    apart = [one for one in ranked if one.id not in parents and one.problem.has_text]
    return tuple([one for one in apart if one.vote is not None and one.vote.trust > 0][: config.trial.max_episodes])


def nearby(store: AnyStore, key: np.ndarray, inside: Sequence[Episode], config: Config) -> tuple[Episode, ...]:
    """Episodes that would read a Latent of this key (D,) but belong to other neighbourhoods than those inside."""
    hashes = {one.problem.hash for one in inside}
    readers = [
        one
        for one, similarity in store.near_episodes(key, LOOKED_AT)
        if similarity >= config.retrieve.threshold and one.problem.hash not in hashes and _answered(one.vote)
    ]
    return witnesses(readers, (), config)


def believes(vote: Vote | None, config: Config) -> bool:
    """Whether a vote is clear enough to learn from."""
    return _answered(vote) and vote is not None and vote.confidence >= config.vote.confidence


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


def _near(store: AnyStore, episode: Episode, key: np.ndarray, config: Config) -> list[Episode]:
    found = {episode.problem.hash: episode} if _answered(episode.vote) else {}
    for other, similarity in store.near_episodes(key, LOOKED_AT):
        if similarity >= config.neighbours.threshold and _answered(other.vote):
            same = found.setdefault(other.problem.hash, other)
            if other.problem.has_text and not same.problem.has_text:
                found[other.problem.hash] = other
    return list(found.values())


def _answered(vote: Vote | None) -> bool:
    return vote is not None and vote.answer is not None


def _rank(episode: Episode) -> tuple[float, float]:
    """Trust first, in steps that matter; among equals the larger share."""
    return (0.0, 0.0) if episode.vote is None else (round(episode.vote.trust, 2), episode.vote.share)
