"""The neighbourhood of an episode: who teaches, who bears witness, who else would read what is learnt."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from memory_world import SUMS, episode

from latent_memory_plugin.config import Config, NeighbourConfig, RetrieveConfig, TrialConfig, VoteConfig
from latent_memory_plugin.learning.neighbourhood import (
    LOOKED_AT,
    Neighbourhood,
    believes,
    nearby,
    neighbourhood,
    witnesses,
)
from latent_memory_plugin.records import Episode
from latent_memory_plugin.testing import InMemoryStore

CONFIG = Config(
    vote=VoteConfig(confidence=0.95),
    neighbours=NeighbourConfig(min_parents=2, max_parents=4, threshold=math.cos(math.radians(40))),
    retrieve=RetrieveConfig(threshold=math.cos(math.radians(60))),
    trial=TrialConfig(max_episodes=3),
)
COUNTS = [(16, 0), (15, 1), (14, 2), (13, 3), (12, 4), (11, 5), (10, 6), (9, 7), (8, 8), (0, 0, 8)]
"""Votes from the clearest to none; from the sixth on they are too split to be believed."""
BELIEVED = 5


def direction(degrees: float) -> np.ndarray:
    return np.array([math.cos(math.radians(degrees)), math.sin(math.radians(degrees))], dtype=np.float32)  # (D,)


def committed(store: InMemoryStore, number: int, degrees: float, *counts: int) -> Episode:
    """An episode of the numbered question with a key in this direction."""
    one = episode(SUMS[number], *counts)
    store.commit(one, direction(degrees))
    return one


def questions_of(episodes: Sequence[Episode]) -> set[str]:
    return {one.question for one in episodes}


def around(store: InMemoryStore, one: Episode, config: Config = CONFIG) -> Neighbourhood:
    return neighbourhood(store, one, store.episode_key(one.id), config)


def crowd(order: list[int]) -> tuple[InMemoryStore, list[Episode]]:
    """A store with one near episode for each of `COUNTS`, committed in this order, in the order of `COUNTS`."""
    store = InMemoryStore()
    made = {number: committed(store, number, number % 7, *COUNTS[number]) for number in order}
    return store, [made[number] for number in range(len(COUNTS))]


def with_neighbours(**changes: Any) -> Config:
    return CONFIG.model_copy(update={"neighbours": CONFIG.neighbours.model_copy(update=changes)})


@pytest.mark.parametrize("order", [list(range(10)), list(range(10))[::-1], [5, 2, 8, 0, 9, 1, 7, 3, 6, 4]])
@pytest.mark.parametrize("starting", [0, 4, 6])
def test_the_most_trusted_teach_and_the_best_of_the_rest_bear_witness_whoever_starts_and_came_first(
    order: list[int], starting: int
) -> None:
    store, crowded = crowd(order)
    found = around(store, crowded[starting])
    assert list(found.parents) == crowded[:2]
    assert list(found.witnesses) == crowded[2:5]
    assert found.known[0] == crowded[starting] and questions_of(found.known) == questions_of(crowded[:9])


def test_only_believed_votes_teach_however_many_parents_are_allowed() -> None:
    store, crowded = crowd(list(range(10)))
    found = around(store, crowded[0], with_neighbours(min_parents=20, max_parents=20))
    assert list(found.parents) == crowded[:BELIEVED]
    assert all(believes(one.vote, CONFIG) for one in found.parents)
    assert not any(believes(one.vote, CONFIG) for one in crowded[BELIEVED:])


@pytest.mark.parametrize("count", range(1, 13))
def test_half_of_the_believed_teach_within_the_bounds(count: int) -> None:
    store = InMemoryStore()
    episodes = [committed(store, number, 0, 12, 3) for number in range(count)]
    found = around(store, episodes[0])
    assert len(found.parents) == min(count, max(2, min(4, count // 2)))
    assert len(found.witnesses) == min(count - len(found.parents), 3)


@pytest.mark.parametrize("limits", [(1, 1), (2, 4), (5, 5), (3, 10)])
def test_parents_and_witnesses_are_disjoint_and_each_question_stands_once(limits: tuple[int, int]) -> None:
    store, crowded = crowd([5, 2, 8, 0, 9, 1, 7, 3, 6, 4])
    for number, counts in enumerate(COUNTS):
        committed(store, number, 3, *counts)
    found = around(store, crowded[3], with_neighbours(min_parents=limits[0], max_parents=limits[1]))
    questions = [one.question for one in (*found.parents, *found.witnesses)]
    assert len(questions) == len(set(questions))
    assert len({one.question for one in found.known}) == len(found.known) == 9


def test_of_one_question_asked_again_the_starting_episode_is_taken() -> None:
    store = InMemoryStore()
    first, again = committed(store, 0, 0, 12, 3), committed(store, 0, 0, 16, 0)
    assert around(store, again).known == (again,) and around(store, first).known == (first,)


def test_a_vote_of_even_odds_bears_no_witness_and_a_doubted_one_does() -> None:
    store = InMemoryStore()
    sure, doubted = committed(store, 0, 0, 9, 1), committed(store, 1, 0, 5, 3)
    even = committed(store, 2, 0, 4, 4)
    found = around(store, sure)
    assert found.parents == (sure,) and found.witnesses == (doubted,)
    assert questions_of(found.known) == questions_of([sure, doubted, even])


def test_a_far_episode_and_one_without_an_answer_are_no_neighbours() -> None:
    store = InMemoryStore()
    one, at_the_edge = committed(store, 0, 0, 12, 3), committed(store, 1, 39, 12, 3)
    committed(store, 2, 41, 12, 3)
    committed(store, 3, 0, 0, 0, 8)
    committed(store, 4, 0)
    assert around(store, one).known == (one, at_the_edge)


def test_an_episode_without_an_answer_has_neighbours_but_is_none_itself() -> None:
    store = InMemoryStore()
    mute, other = committed(store, 0, 0, 0, 0, 8), committed(store, 1, 0, 12, 3)
    found = around(store, mute)
    assert found.known == (other,) and found.parents == (other,)


def test_a_believed_vote_is_one_that_reaches_the_confidence_and_has_an_answer() -> None:
    strict, none = CONFIG, Config(vote=VoteConfig(confidence=0.0))
    assert believes(episode(SUMS[0], 12, 4).vote, strict) and not believes(episode(SUMS[0], 11, 5).vote, strict)
    assert believes(episode(SUMS[0], 4, 4).vote, none)
    assert not believes(episode(SUMS[0], 0, 0, 8).vote, none) and not believes(None, none)


def test_of_votes_as_trusted_the_one_with_the_larger_share_teaches() -> None:
    store = InMemoryStore()
    clear, long = episode(SUMS[0], 16, 0), episode(SUMS[1], 44, 20)
    assert clear.vote and long.vote and clear.vote.trust == pytest.approx(long.vote.trust, abs=5e-3)
    for one in (long, clear):
        store.commit(one, direction(0))
    assert around(store, long).parents[0] == clear


def test_witnesses_are_the_most_trusted_apart_from_the_parents() -> None:
    episodes = [episode(SUMS[number], *counts) for number, counts in enumerate(COUNTS)]
    assert list(witnesses(episodes[::-1], [], CONFIG)) == episodes[:3]
    assert list(witnesses(episodes, [one.id for one in episodes[:6]], CONFIG)) == episodes[6:8]
    assert witnesses(episodes[8:], [], CONFIG) == ()


# -- nearby ------------------------------------------------------------------------------------------------------------


def test_nearby_are_those_outside_that_would_read_the_latent() -> None:
    store = InMemoryStore()
    one, inside = committed(store, 0, 0, 12, 3), committed(store, 1, 10, 12, 3)
    outside = [committed(store, 2, 50, 12, 3), committed(store, 3, -59, 15, 1)]
    committed(store, 4, 61, 16, 0)
    known = around(store, one).known
    assert questions_of(known) == questions_of([one, inside])
    assert questions_of(nearby(store, direction(0), known, CONFIG)) == questions_of(outside)


def test_nearby_are_bounded_trusted_answered_and_not_a_question_of_the_neighbourhood() -> None:
    store = InMemoryStore()
    one = committed(store, 0, 0, 12, 3)
    best = [committed(store, number, 50, 16 - number, number) for number in range(1, 4)]
    for number, counts in enumerate([(12, 4), (4, 4), (0, 0, 8), ()], 4):
        committed(store, number, 50, *counts)
    committed(store, 0, 50, 16, 0)  # asked in another way before, and known inside
    assert list(nearby(store, direction(0), [one], CONFIG)) == best


def test_where_all_that_read_a_latent_are_its_neighbours_there_is_nobody_nearby() -> None:
    store = InMemoryStore()
    one = committed(store, 0, 0, 12, 3)
    committed(store, 1, 39, 12, 3)
    same = CONFIG.model_copy(update={"retrieve": RetrieveConfig(threshold=CONFIG.neighbours.threshold)})
    assert nearby(store, direction(0), around(store, one, same).known, same) == ()


def test_a_large_neighbourhood_is_looked_at_up_to_a_bound_the_nearest_first() -> None:
    store = InMemoryStore()
    questions = [f"sum: {number} and many" for number in range(100)]
    for number, question in enumerate(questions):
        store.commit(episode(question, 12, 3), direction(number * 0.3))
    first = next(store.episodes())
    known = [one.question for one in around(store, first).known]
    assert known == questions[:LOOKED_AT]


def test_an_attempt_counts_once_however_many_believed_episodes_took_part_in_it() -> None:
    store, episodes = crowd(list(range(10)))
    assert around(store, episodes[0]).attempt == 1
    failed = {2: "at 90.0%", 3: "at 90.0%", 4: "at 95.0%", 7: "too split"}  # the last one was refused for its vote
    for number, reason in failed.items():
        store.update(episodes[number].model_copy(update={"state": "refused", "reason": reason}))
    assert around(store, episodes[0]).attempt == 3
