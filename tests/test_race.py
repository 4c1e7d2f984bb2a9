"""Two who learn in one neighbourhood at once: the slower one tries again on what the faster one left."""

from collections.abc import Generator
from contextlib import contextmanager

import numpy as np
import pytest
from memory_world import CONFIG, SUMS, config, fake, learner, observe

from latent_memory_plugin.learning.race import ATTEMPTS, Overtaken, Race, repeated
from latent_memory_plugin.records import Candidate
from latent_memory_plugin.testing import InMemoryStore

MODEL = fake(bias=1.0)
SETTINGS = config(trial={"probation": False})


def test_who_was_overtaken_learns_again_from_what_is_there_now() -> None:
    store = InMemoryStore()
    rival, tried = learner(SETTINGS, MODEL, store=store), list[Candidate]()

    def overtake(candidate: Candidate) -> None:
        tried.append(candidate)
        if len(tried) == 1:
            assert observe(rival, SUMS[9], 12, 4).status == "live"

    slow = learner(SETTINGS, MODEL, store=store, watch=overtake)
    outcomes = [observe(slow, question, 12, 4) for question in SUMS[:5]]
    assert [outcome.status for outcome in outcomes] == ["waiting"] * 4 + ["skipped"]
    [kept] = store.latents()
    assert outcomes[-1].reason == f"Covered by Latent {kept.id}." and kept.id != tried[0].latent.id
    assert {one.state for one in store.episodes()} == {"learnt"}


class Contested(InMemoryStore):
    """Somebody else's Latent is there whenever one's own is to be admitted, and gone when one looks again."""

    admitting = False

    @contextmanager
    def exclusive(self) -> Generator[None, None, None]:
        self.admitting = True
        try:
            yield
        finally:
            self.admitting = False

    def nearest(self, key: np.ndarray, limit: int = 1) -> list[tuple[str, float]]:
        return [("f" * 32, 1.0)] if self.admitting else []


def test_who_is_overtaken_again_and_again_leaves_the_episode_pending() -> None:
    tried: list[Candidate] = []
    one = learner(SETTINGS, MODEL, store=(store := Contested()), watch=tried.append)
    last = [observe(one, question, 12, 4) for question in SUMS[:5]][-1]
    assert (last.status, len(tried), list(store.latents())) == ("waiting", ATTEMPTS, [])
    kept = store.episode(str(last.episode_id))
    assert kept.state == "pending" and "Another process learnt here meanwhile" in kept.reason


def test_the_latent_of_a_neighbourhood_is_replaced_only_where_it_is_still_the_one() -> None:
    store = InMemoryStore()
    one = learner(SETTINGS, MODEL, store=store)
    live = [observe(one, question, 12, 4) for question in SUMS[:5]][-1]
    race = Race(store, CONFIG.retrieve)
    with race.unchanged(str(live.episode_id), live.latent_id):
        pass
    with (
        pytest.raises(Overtaken, match=f"Latent {live.latent_id} has taken the place of None"),
        race.unchanged(str(live.episode_id), None),
    ):
        pass


def test_an_attempt_is_repeated_a_bounded_number_of_times() -> None:
    made: list[int] = []

    def attempt() -> int:
        made.append(1)
        raise Overtaken

    with pytest.raises(Overtaken):
        repeated(attempt)
    assert len(made) == ATTEMPTS
