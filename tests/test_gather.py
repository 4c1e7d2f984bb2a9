"""Gathering: as many rollouts as a vote needs, the same for an episode in any company, and failures that stay alone."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest
from memory_world import ANSWERS, CONFIG, JUDGE, SUMS, episode, fake, rollouts

from latent_memory_plugin.answers import extract
from latent_memory_plugin.answers.judge import Judge
from latent_memory_plugin.config import Config, SamplingConfig
from latent_memory_plugin.engines.hf import LanguageModel
from latent_memory_plugin.errors import ContextLengthError
from latent_memory_plugin.learning.street import Street, run
from latent_memory_plugin.learning.work import Scope, derived_seed
from latent_memory_plugin.records import Episode, Rollout
from latent_memory_plugin.sandbox.world import families, stream
from latent_memory_plugin.testing import FakeModel, InMemoryStore

FAR, CLOSE = SUMS[0], SUMS[1]
"""Questions with a clear leader and with a close race."""
BIASES = {FAR: 6.0, CLOSE: 0.3}


@dataclass(frozen=True)
class Noting(FakeModel):
    """A fake that keeps what was sampled for each question: how many rollouts from which seed."""

    draws: list[tuple[str, int, int]] = field(default_factory=list[tuple[str, int, int]])

    def sample(
        self, conversations: Sequence[Any], latents: Any, n: int, sampling: SamplingConfig, seed: int
    ) -> list[list[Rollout]]:
        assert not any(latents)
        self.draws.extend((question, n, seed) for question in conversations)
        return super().sample(conversations, latents, n, sampling, seed)

    def seeds(self, question: str) -> list[int]:
        return [seed for asked, _, seed in self.draws if asked == question]


def noting(**changes: Any) -> Noting:
    return Noting(ANSWERS, bias=1.5, biases=BIASES, **changes)


def gatherer(model: Any = None, judge: Judge = JUDGE, config: Config = CONFIG) -> Street:
    chosen = model or noting()
    scope = Scope("default", chosen.name, chosen.fingerprint, chosen.encoder, config, judge)
    return Street(InMemoryStore(), scope, lambda work: run(chosen, work))


def votes(**settings: Any) -> Config:
    return CONFIG.model_copy(update={"vote": CONFIG.vote.model_copy(update=settings)})


def gather(one: Street, episodes: Sequence[Episode]) -> list[Episode]:
    for new in episodes:
        one.store.commit(new, np.zeros(3, dtype=np.float32))
    return one.gather(episodes)


def test_every_episode_comes_back_with_its_vote_and_is_journaled() -> None:
    one = gatherer()
    episodes = [episode(question) for question in SUMS[:5]]
    gathered = gather(one, episodes)
    assert [after.id for after in gathered] == [before.id for before in episodes]
    assert gathered == [one.store.episode(before.id) for before in episodes]
    for after in gathered:
        assert after.vote is not None and after.vote.total == len(after.rollouts)
        assert after.state == "pending"
        assert all(rollout.answer is not None for rollout in after.rollouts)


def test_nothing_to_gather_is_no_sample() -> None:
    model = noting()
    assert gatherer(model).gather([]) == [] and model.draws == []


def test_a_close_race_is_sampled_on_until_its_winner_is_clear_or_the_bound_is_met() -> None:
    far, close = gather(gatherer(), [episode(FAR), episode(CLOSE)])
    assert len(far.rollouts) == CONFIG.vote.rollouts < len(close.rollouts) <= CONFIG.vote.max_rollouts
    assert far.vote is not None and far.vote.confidence >= CONFIG.vote.confidence


@pytest.mark.parametrize(("rollouts_at_once", "most"), [(8, 64), (8, 20), (5, 12), (8, 8), (64, 16), (2, 2)])
def test_no_episode_is_given_more_samples_than_allowed(rollouts_at_once: int, most: int) -> None:
    one = gatherer(noting(), config=votes(rollouts=rollouts_at_once, max_rollouts=most))
    gathered = gather(one, [episode(question) for question in SUMS[:8]])
    assert max(len(after.rollouts) for after in gathered) <= most


def test_rollouts_that_were_handed_over_count() -> None:
    model = noting()
    enough, few, alone = gather(gatherer(model), [episode(FAR, 8, 1), episode(SUMS[2], 3, 2), episode(SUMS[3], 1)])
    assert enough.rollouts == rollouts(FAR, 8, 1) and model.seeds(FAR) == []
    for after, given in ((few, rollouts(SUMS[2], 3, 2)), (alone, rollouts(SUMS[3], 1))):
        assert after.rollouts[: len(given)] == given and len(after.rollouts) > len(given)
        assert after.vote is not None and after.vote.total == len(after.rollouts)


def test_a_vote_that_can_no_longer_become_clear_is_not_sampled_on() -> None:
    model = noting()
    [after] = gather(gatherer(model, config=votes(max_rollouts=32)), [episode(CLOSE, 14, 13)])
    assert model.draws == [] and len(after.rollouts) == 27


def test_sampling_on_never_repeats_a_seed() -> None:
    model = noting()
    episodes = [episode(question, given) for given, question in enumerate([CLOSE, *SUMS[2:12]])]
    gathered = gather(gatherer(model, config=votes(confidence=0.9999)), episodes)
    assert max(len(model.seeds(after.question)) for after in gathered) >= 4
    for after in gathered:
        seeds = model.seeds(after.question)
        assert len(seeds) == len(set(seeds))


def test_what_an_episode_gets_does_not_depend_on_its_company() -> None:
    episodes = [episode(question, given) for question, given in [(FAR, 0), (CLOSE, 0), (SUMS[2], 3), (SUMS[3], 1)]]
    episodes += [episode(question) for question in SUMS[4:12]]
    together = {after.question: after for after in gather(gatherer(), episodes)}
    reverse = {after.question: after for after in gather(gatherer(), episodes[::-1])}
    for before in episodes:
        [alone] = gather(gatherer(), [before])
        assert together[before.question] == reverse[before.question] == alone


def test_what_the_embedded_model_samples_for_an_episode_does_not_depend_on_its_company() -> None:
    questions = [problem.question for problem in stream(families("tuning"), 3, seed=0)]
    one = gatherer(LanguageModel.load(), config=votes(rollouts=3, max_rollouts=9, confidence=0.9))
    episodes = [episode(question) for question in questions]
    together = gather(one, episodes)
    assert len({len(after.rollouts) for after in together}) > 1
    assert together == [after for before in episodes for after in one.gather([before])]
    assert any(len(set(after.rollouts)) > 3 for after in together)


def test_every_round_is_journaled_before_the_next_is_sampled() -> None:
    """Input L17: an interrupted run keeps every round of every question."""
    one = gatherer(config=votes(confidence=0.9999))
    seen: list[int] = []

    def submit(work: Any) -> Any:
        seen.append(sum(len(kept.rollouts) for kept in one.store.episodes()))
        if len(seen) == 3:
            raise KeyboardInterrupt
        return run(noting(), work)

    with pytest.raises(KeyboardInterrupt):
        gather(replace(one, submit=submit), [episode(question) for question in SUMS[2:6]])
    assert seen == [0, 4 * 8, 4 * 16]
    assert all(len(kept.rollouts) == 16 and kept.vote is not None for kept in one.store.episodes())


def test_another_configured_seed_samples_others() -> None:
    drawn = [gather(gatherer(config=CONFIG.model_copy(update={"seed": seed})), [episode(CLOSE)]) for seed in (0, 1)]
    assert drawn[0][0].rollouts != drawn[1][0].rollouts


def test_derived_seeds_differ_by_seed_and_purpose_and_fit_31_bits() -> None:
    seeds = {derived_seed(seed, f"vote/{seen}") for seed in range(20) for seen in range(20)}
    assert len(seeds) == 400 and all(0 <= seed < 2**31 for seed in seeds)
    assert derived_seed(0, "vote/8") == derived_seed(0, "vote/8")


# -- failures ----------------------------------------------------------------------------------------------------------


class ShortContext(FakeModel):
    """Reads questions of at most four words."""

    def sample(self, conversations: Sequence[Any], *given: Any, **named: Any) -> list[list[Rollout]]:
        for one in conversations:
            if len(str(one).split()) > 4:
                raise ContextLengthError(f"{one!r} is too long.")
        return super().sample(conversations, *given, **named)


def test_an_episode_that_cannot_be_sampled_comes_back_failed_and_the_others_as_if_it_were_not_there() -> None:
    one = gatherer(ShortContext(ANSWERS, biases=BIASES))
    long = episode("sum: of very many words")
    others = [episode(question) for question in SUMS[:4]]
    gathered = gather(one, [*others[:2], long, *others[2:]])
    failed = gathered.pop(2)
    assert (failed.id, failed.state) == (long.id, "failed") and "too long" in failed.reason
    assert one.store.episode(long.id) == failed
    assert gathered == gather(gatherer(fake(bias=0.0, biases=BIASES)), others)


def test_an_episode_whose_reward_fails_comes_back_failed_and_the_others_gathered() -> None:
    def reward(question: str, text: str) -> float:
        return 2.0 if question == SUMS[1] else 1.0

    gathered = gather(gatherer(judge=Judge(extract, reward)), [episode(question) for question in SUMS[:3]])
    assert [after.state for after in gathered] == ["pending", "failed", "pending"]
    assert "The reward gave 2.0" in gathered[1].reason
    assert gathered[0].vote is not None and gathered[0].vote.confirmed


def test_a_reward_is_asked_once_for_each_rollout_however_often_more_are_sampled() -> None:
    asked: list[str] = []

    def reward(question: str, text: str) -> float:
        asked.append(text)
        return 0.0

    [after] = gather(gatherer(judge=Judge(extract, reward)), [episode(CLOSE)])
    assert len(asked) == len(after.rollouts) == CONFIG.vote.max_rollouts
    assert after.vote is not None and after.vote.answer is None
