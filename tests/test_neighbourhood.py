"""The neighbourhood of an episode: who teaches, who is held out, who else would read what is learnt."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from memory_world import SUMS, episode

from latent_memory_plugin.config import Config, NeighbourConfig, RetrieveConfig, TrialConfig, VoteConfig
from latent_memory_plugin.learning.neighbourhood import Neighbourhood, believes, held_out, nearby, neighbourhood
from latent_memory_plugin.records import Episode, Neighbour
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


def ids(episodes: Sequence[Episode | Neighbour]) -> list[str]:
    return [one.id for one in episodes]


def near(one: Episode) -> Neighbour:
    """The episode as one of many around a key."""
    return Neighbour(
        id=one.id,
        problem_hash=one.problem.hash,
        has_text=True,
        vote=one.vote,
        state=one.state,
        attempt=one.attempt,
        similarity=1.0,
    )


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
    assert ids(found.teachers) == ids(crowded[:2])
    assert ids(found.held_out) == ids(crowded[2:5])
    assert found.known[0].id == crowded[starting].id and set(ids(found.known)) == set(ids(crowded[:9]))


def test_only_believed_votes_teach_however_many_parents_are_allowed() -> None:
    store, crowded = crowd(list(range(10)))
    found = around(store, crowded[0], with_neighbours(min_parents=20, max_parents=20))
    assert ids(found.teachers) == ids(crowded[:BELIEVED])
    assert all(believes(one.vote, CONFIG) for one in found.teachers)
    assert not any(believes(one.vote, CONFIG) for one in crowded[BELIEVED:])


@pytest.mark.parametrize("count", range(1, 13))
def test_half_of_the_believed_teach_within_the_bounds(count: int) -> None:
    store = InMemoryStore()
    episodes = [committed(store, number, 0, 12, 3) for number in range(count)]
    found = around(store, episodes[0])
    assert len(found.teachers) == min(count, max(2, min(4, count // 2)))
    assert len(found.held_out) == min(count - len(found.teachers), 3)


@pytest.mark.parametrize("limits", [(1, 1), (2, 4), (5, 5), (3, 10)])
def test_parents_and_witnesses_are_disjoint_and_each_question_stands_once(limits: tuple[int, int]) -> None:
    store, crowded = crowd([5, 2, 8, 0, 9, 1, 7, 3, 6, 4])
    for number, counts in enumerate(COUNTS):
        committed(store, number, 3, *counts)
    found = around(store, crowded[3], with_neighbours(min_parents=limits[0], max_parents=limits[1]))
    problems = [one.problem_hash for one in (*found.teachers, *found.held_out)]
    assert len(problems) == len(set(problems))
    assert len({one.problem_hash for one in found.known}) == len(found.known) == 9


def test_of_one_question_asked_again_the_starting_episode_is_taken() -> None:
    store = InMemoryStore()
    first, again = committed(store, 0, 0, 12, 3), committed(store, 0, 0, 16, 0)
    assert ids(around(store, again).known) == [again.id] and ids(around(store, first).known) == [first.id]


def test_a_vote_of_even_odds_bears_no_witness_and_a_doubted_one_does() -> None:
    store = InMemoryStore()
    sure, doubted = committed(store, 0, 0, 9, 1), committed(store, 1, 0, 5, 3)
    even = committed(store, 2, 0, 4, 4)
    found = around(store, sure)
    assert ids(found.teachers) == [sure.id] and ids(found.held_out) == [doubted.id]
    assert set(ids(found.known)) == {sure.id, doubted.id, even.id}


def test_a_far_episode_and_one_without_an_answer_are_no_neighbours() -> None:
    store = InMemoryStore()
    one, at_the_edge = committed(store, 0, 0, 12, 3), committed(store, 1, 39, 12, 3)
    committed(store, 2, 41, 12, 3)
    committed(store, 3, 0, 0, 0, 8)
    committed(store, 4, 0)
    assert ids(around(store, one).known) == ids([one, at_the_edge])


def test_an_episode_without_an_answer_has_neighbours_but_is_none_itself() -> None:
    store = InMemoryStore()
    mute, other = committed(store, 0, 0, 0, 0, 8), committed(store, 1, 0, 12, 3)
    found = around(store, mute)
    assert ids(found.known) == ids(found.teachers) == [other.id]


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
    assert around(store, long).teachers[0].id == clear.id


def test_held_out_are_the_most_trusted_apart_from_the_teachers_problems() -> None:
    episodes = [episode(SUMS[number], *counts) for number, counts in enumerate(COUNTS)]
    some = [near(one) for one in episodes]
    assert ids(held_out(some[::-1], [], CONFIG)) == ids(episodes[:3])
    assert ids(held_out(some, [one.problem.hash for one in episodes[:6]], CONFIG)) == ids(episodes[6:8])
    assert held_out(some[8:], [], CONFIG) == ()


# -- nearby ------------------------------------------------------------------------------------------------------------


def test_nearby_are_those_outside_that_would_read_the_latent() -> None:
    store = InMemoryStore()
    one, inside = committed(store, 0, 0, 12, 3), committed(store, 1, 10, 12, 3)
    outside = [committed(store, 2, 50, 12, 3), committed(store, 3, -59, 15, 1)]
    committed(store, 4, 61, 16, 0)
    known = around(store, one).known
    assert set(ids(known)) == set(ids([one, inside]))
    assert set(ids(nearby(store, direction(0), known, CONFIG))) == set(ids(outside))


def test_nearby_are_bounded_trusted_answered_and_not_a_question_of_the_neighbourhood() -> None:
    store = InMemoryStore()
    one = committed(store, 0, 0, 12, 3)
    best = [committed(store, number, 50, 16 - number, number) for number in range(1, 4)]
    for number, counts in enumerate([(12, 4), (4, 4), (0, 0, 8), ()], 4):
        committed(store, number, 50, *counts)
    committed(store, 0, 50, 16, 0)  # asked in another way before, and known inside
    assert ids(nearby(store, direction(0), [near(one)], CONFIG)) == ids(best)


def test_where_all_that_read_a_latent_are_its_neighbours_there_is_nobody_nearby() -> None:
    store = InMemoryStore()
    one = committed(store, 0, 0, 12, 3)
    committed(store, 1, 39, 12, 3)
    same = CONFIG.model_copy(update={"retrieve": RetrieveConfig(threshold=CONFIG.neighbours.threshold)})
    assert nearby(store, direction(0), around(store, one, same).known, same) == ()


def test_a_large_neighbourhood_is_known_whole_the_nearest_first() -> None:
    store = InMemoryStore()
    questions = [f"sum: {number} and many" for number in range(100)]
    for number, question in enumerate(questions):
        store.commit(episode(question, 12, 3), direction(number * 0.3))
    episodes = list(store.episodes())
    assert ids(around(store, episodes[0]).known) == ids(episodes)


def test_repeats_of_one_question_hide_none_of_the_others() -> None:
    """Input L9: 70 repeats of one question, then 10 near questions."""
    store = InMemoryStore()
    repeats = [committed(store, 0, 0, 12, 3) for _ in range(70)]
    others = [committed(store, number, 10, 12, 3) for number in range(1, 11)]
    assert set(ids(around(store, repeats[-1]).known)) == {repeats[-1].id, *ids(others)}


def test_attempts_are_counted_by_their_ids_however_many_episodes_took_part_and_whatever_the_reasons_say() -> None:
    store, episodes = crowd(list(range(10)))
    assert around(store, episodes[0]).look == 1
    failed = {2: "a" * 32, 3: "a" * 32, 4: "b" * 32, 7: None}  # the last one was refused for its vote
    for number, attempt in failed.items():
        assert store.settle(episodes[number].id, "refused", "The same words.", attempt)
    assert around(store, episodes[0]).look == 3
