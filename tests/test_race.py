"""Two who learn in one neighbourhood at once: the slower one tries again on what the faster one left."""

from collections.abc import Generator
from contextlib import contextmanager

import numpy as np
import pytest
from memory_world import SUMS, config, episode, fake, learner, observe

from latent_memory_plugin.learning.learner import Learner
from latent_memory_plugin.learning.publish import Outdated
from latent_memory_plugin.learning.street import PLANS, plan, publish, run
from latent_memory_plugin.learning.work import Candidate, Plan
from latent_memory_plugin.records import Episode, Standing
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
    assert (last.status, len(tried), list(store.latents())) == ("waiting", PLANS, [])
    kept = store.episode(str(last.episode_id))
    assert kept.state == "pending" and "meanwhile" in kept.reason


def planned(one: Learner) -> Candidate:
    """The candidate of five episodes of which nothing was learnt yet."""
    episodes = [observed(one, question) for question in SUMS[:5]]
    made = plan(one.store, episodes[-1], one.scope)
    assert isinstance(made, Plan)
    return run(MODEL, made)


def observed(one: Learner, question: str) -> Episode:
    new = episode(question, 12, 4)
    one.store.commit(new, MODEL.keys([question])[0])
    return new


def test_a_candidate_is_published_once_and_the_second_time_the_world_has_moved_on() -> None:
    one = learner(SETTINGS, MODEL)
    candidate = planned(one)
    live = publish(one.store, candidate)
    assert (live.status, live.latent_id) == ("live", candidate.plan.attempt)
    with pytest.raises(Outdated, match="has taken the place of None"):
        publish(one.store, candidate)


def test_a_candidate_is_outdated_where_its_latent_was_taken_back_meanwhile() -> None:
    one = learner(SETTINGS, MODEL)
    live = [observe(one, question, 12, 4) for question in SUMS[:5]][-1]
    grown = [observed(one, question) for question in SUMS[5:8]]
    made = plan(one.store, grown[-1], one.scope)
    assert isinstance(made, Plan) and made.current is not None
    one.store.stand(Standing(latent_id=str(live.latent_id), state="suspended"))
    with pytest.raises(Outdated):
        publish(one.store, run(MODEL, made))
    assert len(list(one.store.latents())) == 1


class Forgetting(InMemoryStore):
    """Can forget an episode."""

    def forget(self, episode_id: str) -> None:
        del self._episodes[episode_id], self._episode_keys[episode_id]


def test_what_is_learnt_from_an_episode_that_was_forgotten_meanwhile_is_not_stored() -> None:
    one = learner(SETTINGS, MODEL, store=(store := Forgetting()))
    candidate = planned(one)
    store.forget(candidate.plan.teachers[0].id)
    with pytest.raises(Outdated, match="forgotten meanwhile"):
        publish(store, candidate)
    assert list(store.latents()) == []
