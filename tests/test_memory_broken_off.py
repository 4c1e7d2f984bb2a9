"""Finding without asking, and episodes that an agent broke off: what `find` and `observe(error=)` say and leave."""

from pathlib import Path
from typing import Any

import pytest
from memory_world import AGES, ANSWERS, SUMS, Gated, config, fake_memory, pending, rollouts

from latent_memory_plugin import LatentMemory
from latent_memory_plugin.errors import InputError
from latent_memory_plugin.records import Hit, Standing


def taught(root: Path, **named: Any) -> LatentMemory:
    memory = fake_memory(root, **named)
    assert any(outcome.status == "live" for outcome in memory.learn(SUMS[:8]))
    return memory


# -- finding -----------------------------------------------------------------------------------------------------------


def test_find_tells_what_ask_reads_and_why_it_does_not(tmp_path: Path) -> None:
    with fake_memory(tmp_path / "empty") as empty:
        assert empty.find(SUMS[20]) == Hit(latent_id=None, similarity=None, reason="No Latent is stored yet.")
    with taught(tmp_path) as memory:
        [latent] = memory.latents()
        for question in (SUMS[20], f" {SUMS[21]}\n", AGES[0]):
            hit, asked = memory.find(question), memory.ask(question)
            assert (hit.latent_id,) * len(asked.latent_ids) == asked.latent_ids
            assert (hit.reason, hit.similarity) == (asked.reason, asked.similarity)
        uses = memory.opened.store.uses(latent_id=latent.id)
        memory.opened.store.stand(Standing(latent_id=latent.id, state="probation"))
        assert memory.find(SUMS[20]).latent_id == latent.id
        memory.opened.store.stand(Standing(latent_id=latent.id, state="suspended"))
        assert memory.find(SUMS[20]).latent_id is None
        memory.opened.store.stand(Standing(latent_id=latent.id, state="live"))
        memory.off()
        assert memory.find(SUMS[20]) == Hit(latent_id=None, similarity=None, reason="Memory is off.")
        memory.on()
        assert memory.enabled and memory.find(SUMS[20]).latent_id == latent.id
        assert memory.opened.store.uses(latent_id=latent.id) == uses, "finding is no use"


@pytest.mark.parametrize(("mode", "found"), [("always", True), ("threshold", False), ("agree", False)])
def test_find_goes_by_the_route_that_ask_takes(tmp_path: Path, mode: str, found: bool) -> None:
    with taught(tmp_path, config=config(route={"mode": mode})) as memory:
        hit, asked = memory.find(AGES[0]), memory.ask(AGES[0])
        assert (hit.latent_id is not None) == found == bool(asked.latent_ids) and hit.reason == asked.reason


@pytest.mark.parametrize("question", ["", "  ", None, 5, ["a"], "x" * 100_000])
def test_what_cannot_be_asked_cannot_be_found(tmp_path: Path, question: Any) -> None:
    with fake_memory(tmp_path) as memory, pytest.raises(InputError):
        memory.find(question)


# -- breaking off ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["now", "background", "manual"])
def test_an_episode_that_broke_off_is_recorded_as_failed_and_nothing_is_sampled_or_learnt(
    tmp_path: Path, when: Any
) -> None:
    model = Gated(ANSWERS, bias=1.5)
    with fake_memory(tmp_path, model=model) as memory:
        outcome = memory.observe(SUMS[0], "2", ["#### 2", "hm"], when=when, error="ToolError: no such file")
        assert (outcome.status, outcome.reason) == ("failed", "The agent broke off. ToolError: no such file")
        assert outcome.vote is None and outcome.latent_id is None
        [episode] = memory.episodes("failed")
        assert (episode.id, episode.question, episode.reason) == (outcome.episode_id, SUMS[0], outcome.reason)
        assert [one.text for one in episode.rollouts] == ["#### 2", "hm", "2"] and episode.vote is None
        assert memory.consolidate() == [] and pending(memory) == [] and list(memory.latents()) == []
    assert not model.wanted.is_set(), "rollouts were sampled"


def test_an_episode_that_broke_off_survives_reopening_and_does_not_count_for_a_neighbourhood(tmp_path: Path) -> None:
    with fake_memory(tmp_path / "broken") as memory, fake_memory(tmp_path / "plain") as plain:
        for question in SUMS[12:20]:
            memory.observe(question, rollouts=rollouts(question, 12, 4), error="")
        learnt = [
            [one.observe(question, rollouts=rollouts(question, 12, 4)) for question in SUMS[:3]]
            for one in (memory, plain)
        ]
        # Two episodes make a Latent here, and the broken eight, with the same votes, would be witnesses of its trial.
        for outcomes in learnt:
            assert [one.status for one in outcomes] == ["waiting", "probation", "skipped"]
        assert learnt[0][0].reason == learnt[1][0].reason
    with fake_memory(tmp_path / "broken") as again:
        assert len(list(again.episodes("failed"))) == 8


@pytest.mark.parametrize(
    ("question", "when", "answer"), [(" ", "now", None), (SUMS[0], "soon", None), (SUMS[0], "now", 5)]
)
def test_what_cannot_be_used_is_refused_also_of_an_episode_that_broke_off(
    tmp_path: Path, question: str, when: Any, answer: Any
) -> None:
    with fake_memory(tmp_path) as memory:
        with pytest.raises(InputError):
            memory.observe(question, answer, when=when, error="It gave up.")
        assert not list(memory.episodes())
