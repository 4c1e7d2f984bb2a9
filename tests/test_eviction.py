"""Eviction: the least useful goes first, with a reason, and never silently."""

import json
import logging
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_world import SUMS, config, fake, fake_memory, rollouts
from store_builders import ENCODER, MODEL, key, latent, tensor, use
from typer.testing import CliRunner, Result

from latent_memory_plugin import Evicted, LatentMemory
from latent_memory_plugin.cli import app
from latent_memory_plugin.config import Config, StoreConfig
from latent_memory_plugin.learning.eviction import SECONDS_PER_DAY, Budget, evictions
from latent_memory_plugin.records import Holding, Standing
from latent_memory_plugin.store import Store

NOW = 1e9
LIVE = ("live", "probation", "suspended", "superseded", "retired")


def held(latent_id: str, days: float = 10.0, **fields: Any) -> Holding:
    """A Latent that was stored so many days ago."""
    settings: dict[str, Any] = {"bytes": 100, "stored": NOW - days * SECONDS_PER_DAY, **fields}
    return Holding(latent_id=latent_id, **settings)


def order(*holdings: Holding, covers: dict[str, list[str]] | None = None, **bounds: Any) -> list[Evicted]:
    """What goes where one may stay, or within these bounds."""
    chosen = StoreConfig(**(bounds or {"max_latents": 1}))
    return evictions(holdings, chosen, lambda one: (covers or {}).get(one, []), NOW)


def ids(evicted: list[Evicted]) -> list[str]:
    return [one.latent_id for one in evicted]


def used(days: float, wins: int = 0, losses: int = 0) -> dict[str, Any]:
    return {"last_use": NOW - days * SECONDS_PER_DAY, "wins": wins, "losses": losses}


def test_what_is_never_read_goes_first_then_what_lost_then_what_won_least_then_what_was_read_longest_ago() -> None:
    gone = order(
        held("best", **used(9, wins=9, losses=1)),
        held("recent", **used(2, wins=3)),
        held("older", **used(5, wins=3)),
        held("unread", days=4),
        held("loser", **used(0, wins=5, losses=6)),
        held("superseded", state="superseded", **used(1, wins=50)),
        held("retired", state="retired", **used(1, wins=50)),
    )
    assert ids(gone) == ["retired", "superseded", "loser", "unread", "older", "recent"]
    assert [one.reason.split("; ")[1] for one in gone] == [
        "this one is retired.",
        "this one is superseded.",
        "this one lost 6 of 11 judged answers.",
        "this one won no judged answer, not read since it was stored 4.0 days ago.",
        "this one won 3 and lost 0 judged answers, last read 5.0 days ago.",
        "this one won 3 and lost 0 judged answers, last read 2.0 days ago.",
    ]
    assert gone[0].reason.startswith("7 Latents were held, 1 are allowed")


def test_one_whose_questions_another_answers_goes_before_one_with_a_place_of_its_own() -> None:
    alone, left, right = held("alone", days=9), held("left", **used(1, wins=2)), held("right", **used(1, wins=4))
    twins = {"left": ["right"], "right": ["left"]}
    gone = order(alone, left, right, covers=twins)
    # Once one of the twins has gone, the other has a place of its own.
    assert ids(gone) == ["left", "alone"] and "right is read for the same questions" in gone[0].reason


def test_age_counts_from_the_last_use_and_bytes_until_they_fit() -> None:
    gone = order(held("old", days=40), held("old but read", days=40, **used(3)), held("new", days=2), max_age_days=30)
    assert ids(gone) == ["old"] and gone[0].reason == "Not read since it was stored 40.0 days ago; 30 days are allowed."
    sizes = [held(str(number), days=9 - number, bytes=400) for number in range(5)]
    assert ids(order(*sizes, max_bytes=1000)) == ["0", "1", "2"]


holdings = st.builds(
    held,
    latent_id=st.uuids().map(lambda one: one.hex),
    days=st.floats(0, 100),
    bytes=st.integers(1, 1000),
    state=st.sampled_from(LIVE),
    wins=st.integers(0, 5),
    losses=st.integers(0, 5),
    last_use=st.none() | st.floats(NOW - 100 * SECONDS_PER_DAY, NOW),
)
bounds = st.builds(
    StoreConfig,
    max_latents=st.none() | st.integers(1, 20),
    max_bytes=st.none() | st.integers(1, 9000),
    max_age_days=st.none() | st.floats(0.1, 100),
)


@given(st.lists(holdings, min_size=1, max_size=20, unique_by=lambda one: one.latent_id), bounds, st.data())
def test_what_stays_is_within_the_bounds_and_not_one_goes_that_need_not(
    all_of_them: list[Holding], limits: StoreConfig, data: st.DataObject
) -> None:
    spared = set(data.draw(st.lists(st.sampled_from([one.latent_id for one in all_of_them]), max_size=2, unique=True)))
    gone = evictions(all_of_them, limits, lambda one: [other.latent_id for other in all_of_them[:2]], NOW, spared)
    assert len(set(ids(gone))) == len(gone) and not spared & set(ids(gone)) and all(one.reason for one in gone)

    def within(left: list[Holding]) -> bool:
        few = limits.max_latents is None or len(left) <= limits.max_latents
        return few and (limits.max_bytes is None or sum(one.bytes for one in left) <= limits.max_bytes)

    stays = [one for one in all_of_them if one.latent_id not in ids(gone)]
    assert within(stays) or {one.latent_id for one in stays} <= spared
    by_size = [one for one in gone if " were held, " in one.reason]
    if by_size:
        last = next(one for one in all_of_them if one.latent_id == by_size[-1].latent_id)
        assert not within([*stays, last])


def filled(root: Path) -> list[str]:
    """Three live Latents far from one another, the second of which lost, and a retired one."""
    made = [latent() for _ in range(4)]
    with Store.open(root, "default", MODEL, ENCODER) as store:
        for number, one in enumerate(made):
            store.put(one, {"latent": tensor(number)}, key(0.9 * number))
        store.record_uses([use("a", made[1].id, correct=False), use("b", made[0].id, correct=True)])
        store.stand(Standing(latent_id=made[3].id, state="retired"))
    return [one.id for one in made]


def budget(store: Store, **limits: Any) -> Budget:
    return Budget(store, Config(store=StoreConfig(**limits)))


def test_eviction_removes_the_file_the_rows_and_the_index_entry_and_leaves_its_reason(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first, loser, third, retired = filled(tmp_path)
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        with caplog.at_level(logging.WARNING):
            gone = budget(store, max_latents=2).keep()
        assert ids(gone) == [retired, loser]
        assert store.latent_ids() == sorted((first, third)) and store.uses(latent_id=loser) == []
        assert {found for found, _ in store.nearest(key(), 9)} == {first, third}
        assert list(store.evictions()) == gone
        assert all(one.latent_id in caplog.text and one.reason in caplog.text for one in gone)
        assert budget(store).plan() == budget(store, max_latents=2).plan() == []


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    everyone = filled(tmp_path)
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        planned = budget(store, max_latents=1).plan()
        assert len(planned) == 3 and list(store.evictions()) == []
        assert store.latent_ids() == sorted(everyone)
        assert ids(budget(store, max_latents=1).keep()) == ids(planned)


def observed(memory: LatentMemory, start: int, end: int) -> None:
    for question in SUMS[start:end]:
        memory.observe(question, rollouts=rollouts(question, 12, 4))


def test_a_latent_that_is_learnt_makes_room_for_itself_and_stays(tmp_path: Path) -> None:
    with fake_memory(tmp_path, model=fake(bias=1.0), config=config(distil={"steps": 6})) as memory:
        observed(memory, 0, 5)
        [old] = memory.latents()
    narrow = config(store={"max_latents": 1, "max_bytes": 1})
    with fake_memory(tmp_path, model=fake(bias=1.0), config=narrow) as memory:
        observed(memory, 5, 8)
        [new] = memory.latents()
        assert new.previous == old.id
        *_, gone = memory.evictions()
        assert gone.latent_id == old.id and "superseded" in gone.reason
        assert memory.evict(dry_run=True) != [] and list(memory.latents()) == [new]


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_evict_needs_a_bound_and_past_shows_what_went_without_a_model(tmp_path: Path) -> None:
    assert call("evict", "--root", tmp_path).exit_code == 2
    assert call("evict", "--root", tmp_path, "--past", "--max-latents", "3").exit_code == 2
    none = call("evict", "--root", tmp_path / "none", "--max-latents", "3", "--json", "-")
    assert json.loads(none.stdout) == {"dry_run": False, "evicted": []} and not (tmp_path / "none").exists()
    filled(tmp_path)
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        [gone] = budget(store, max_latents=3).keep()
    assert gone.latent_id[:12] in (shown := call("evict", "--root", tmp_path, "--past").stdout) and "retired" in shown


def test_list_shows_the_newest_and_says_how_many_there_are(tmp_path: Path) -> None:
    made = [latent(created=100.0 + number) for number in range(5)]
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        for one in made:
            store.put(one, {"latent": tensor()}, key())
            os.utime(store._files.folder / f"{one.id}.safetensors", (one.created, one.created))
    listed = json.loads(call("list", "--root", tmp_path, "--limit", "2", "--json", "-").stdout)
    assert [one["id"] for one in listed["latents"]] == [one.id for one in made[3:]]
    assert listed["states"] == {"live": 5}
    assert "5 live; the newest 2 are shown" in call("list", "--root", tmp_path, "--limit", "2").stdout
