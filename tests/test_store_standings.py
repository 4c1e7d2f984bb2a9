"""What became of Latents: their standings, the answers that read them, and that only usable ones are found.

What holds of every store is asked of the one on the disk and of the fake in turn.
"""

import random
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from store_builders import ENCODER, MODEL, episode, indexed, key, latent, near, old_journal, tensor, tensors, use

from latent_memory_plugin import __version__, errors
from latent_memory_plugin.records import USABLE, Latent, LatentState, Standing, Use
from latent_memory_plugin.store import Store
from latent_memory_plugin.store.base import AnyStore
from latent_memory_plugin.store.schema import SCHEMA
from latent_memory_plugin.testing import InMemoryStore

STATES: tuple[LatentState, ...] = get_args(LatentState)


def opened(root: Path, encoder: str = ENCODER) -> Store:
    return Store.open(root, "default", MODEL, encoder)


@pytest.fixture(params=["disk", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AnyStore]:
    made: AnyStore = InMemoryStore() if request.param == "memory" else opened(tmp_path)
    yield made
    made.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path


def found(store: AnyStore, angle: float = 0.0) -> list[str]:
    return [latent_id for latent_id, _ in store.nearest(key(angle), 99)]


def rewalked(states: tuple[LatentState, ...]) -> list[LatentState]:
    """Every step from one state to another or the same."""
    return [state for before in states for after in states for state in (before, after)]


def assert_only_usable_are_indexed(store: Store) -> None:
    usable = {one.id for one in store.latents() if store.standing(one.id).state in USABLE}
    assert indexed(store) == usable
    assert set(found(store)) == usable


def unnoted(store: Store) -> None:
    """As if the process had died before it noted what changed."""
    store._database.run("DELETE FROM changes")


# -- every store -------------------------------------------------------------------------------------------------


def test_a_latent_of_which_nothing_was_journaled_is_live_since_it_was_made(store: AnyStore) -> None:
    store.put(one := latent(created=7.0), tensors(), key())
    assert store.standing(one.id) == Standing(latent_id=one.id, state="live", since=7.0)
    assert found(store) == [one.id]


def test_an_id_that_is_neither_journaled_nor_stored_is_not_found(store: AnyStore) -> None:
    for ask in (store.standing, store.latent_key, store.remove):
        with pytest.raises(errors.NotFoundError, match="0" * 32):
            ask("0" * 32)


def test_a_standing_comes_back_as_it_was_journaled_last(store: AnyStore) -> None:
    store.put(one := latent(), tensors(), key())
    first = Standing(latent_id=one.id, state="probation", reason="too few\0 é", known=3, since=1.5)
    last = Standing(latent_id=one.id, state="suspended", reason="2 of 9 right", known=9, since=2.5)
    for standing in (first, last):
        store.stand(standing)
        assert store.standing(one.id) == standing


def test_a_latent_is_found_where_its_last_standing_lets_it_be_read(store: AnyStore) -> None:
    store.put(one := latent(), tensors(), key())
    for state in rewalked(STATES):
        store.stand(Standing(latent_id=one.id, state=state))
        assert found(store) == ([one.id] if state in USABLE else [])


def test_a_latent_that_stands_before_it_is_put_is_found_where_it_may_be_read(store: AnyStore) -> None:
    latents: dict[LatentState, Latent] = {state: latent() for state in STATES}
    for state, one in latents.items():
        store.stand(standing := Standing(latent_id=one.id, state=state, reason="new"))
        assert store.standing(one.id) == standing
    assert list(store.latents()) == found(store) == []
    for one in latents.values():
        store.put(one, tensors(), key())
    assert {store.standing(one.id).state: one for one in latents.values()} == latents
    assert set(found(store)) == {latents[state].id for state in USABLE}


def test_a_nearer_latent_that_may_not_be_read_hides_no_other(store: AnyStore) -> None:
    nearer, farther = latent(), latent()
    store.put(nearer, tensors(), key())
    store.put(farther, tensors(), key(0.4))
    for state in set(STATES) - set(USABLE):
        store.stand(Standing(latent_id=nearer.id, state=state))
        assert store.nearest(key()) == [(farther.id, pytest.approx(np.cos(0.4), abs=1e-5))]
        store.stand(Standing(latent_id=nearer.id, state="live"))
        assert store.nearest(key()) == [(nearer.id, pytest.approx(1.0, abs=1e-5))]


def test_latents_are_listed_and_read_oldest_first_whatever_their_standing(store: AnyStore) -> None:
    latents = [latent(created=float(number)) for number in range(len(STATES))]
    for one in reversed(latents):
        store.put(one, tensors(), key())
    for one, state in zip(latents, STATES, strict=True):
        store.stand(Standing(latent_id=one.id, state=state))
    assert list(store.latents()) == latents
    assert all(store.latent(one.id) == one for one in latents)
    assert all(np.array_equal(store.tensors(one.id)["latent"], tensor()) for one in latents)


def test_the_key_of_a_latent_comes_back_bit_for_bit(store: AnyStore) -> None:
    store.put(one := latent(), tensors(), key(0.3))
    store.stand(Standing(latent_id=one.id, state="superseded"))
    np.testing.assert_array_equal(store.latent_key(one.id), key(0.3))


def test_uses_come_back_in_the_order_of_their_first_record_with_their_last_content(store: AnyStore) -> None:
    first, second = use("a1", "x"), use("a2", "x")
    store.record_uses([first, second])
    store.record_uses([])
    judged = use("a1", "x", correct=False, expected=0.25, source="feedback", answer=None, created=9.0)
    store.record_uses([use("a3", "x"), use("a1", "x", correct=True), judged])
    assert store.uses() == [judged, second, use("a3", "x")]


def test_uses_are_those_that_match_every_argument(store: AnyStore) -> None:
    uses = [
        use(answer, latent_id, problem_hash=problem) for answer in "ab" for latent_id in "xy" for problem in "p"
    ] + [use("c", "x", problem_hash="q")]
    store.record_uses(uses)

    def matching(**wanted: str) -> list[Use]:
        return [one for one in uses if all(getattr(one, name) == value for name, value in wanted.items())]

    assert store.uses(latent_id="x") == matching(latent_id="x") != []
    assert store.uses(answer_id="a") == matching(answer_id="a") != []
    assert store.uses(problem_hash="p") == matching(problem_hash="p") != []
    assert store.uses(latent_id="x", problem_hash="q") == [uses[-1]]
    assert store.uses(answer_id="b", latent_id="y", problem_hash="p") == [uses[3]]
    assert store.uses(answer_id="a", problem_hash="q") == store.uses(latent_id="", answer_id="a") == []
    assert store.uses() == uses


def test_a_removed_latent_takes_its_standing_and_its_uses_along_and_nothing_else(store: AnyStore) -> None:
    gone, kept = latent(), latent()
    for one in (gone, kept):
        store.put(one, tensors(), key())
        store.stand(Standing(latent_id=one.id, state="probation", since=1.0))
    store.record_uses([use("a1", gone.id), use("a1", kept.id), use("a2", gone.id)])
    store.remove(gone.id)
    for ask in (store.standing, store.latent, store.latent_key, store.remove):
        with pytest.raises(errors.NotFoundError):
            ask(gone.id)
    assert store.uses() == [use("a1", kept.id)]
    assert store.standing(kept.id).state == "probation"
    assert found(store) == [kept.id]


def test_what_stands_but_was_never_put_can_be_removed(store: AnyStore) -> None:
    store.stand(Standing(latent_id="0" * 32))
    store.remove("0" * 32)
    with pytest.raises(errors.NotFoundError):
        store.standing("0" * 32)


# -- the store on the disk ---------------------------------------------------------------------------------------


def test_the_disk_and_the_fake_agree_through_any_sequence_and_any_number_of_openings(root: Path) -> None:
    """The fake is the reference; `stand`, `put`, `remove` and reopening in any order."""
    rng = random.Random(0)
    disk, fake = opened(root), InMemoryStore()
    latents = [(latent(created=float(number)), key(0.1 * number)) for number in range(8)]
    for step in range(120):
        one, vector = rng.choice(latents)
        act = rng.choice(("stand", "stand", "put", "use", "remove", "reopen"))
        if act in ("put", "remove") and (act == "remove") != (one in fake.latents()):
            continue
        if act == "reopen":
            disk.close()
            disk = opened(root)
        standing = Standing(latent_id=one.id, state=rng.choice(STATES), reason=f"step {step}")
        read = use(f"answer {rng.randrange(20)}", one.id, created=float(step))
        stores: tuple[AnyStore, AnyStore] = (disk, fake)
        for store in stores:
            match act:
                case "put":
                    store.put(one, tensors(), vector)
                case "remove":
                    store.remove(one.id)
                case "stand":
                    store.stand(standing)
                case _:
                    store.record_uses([read])
        assert found(disk, 0.01) == found(fake, 0.01)
        assert list(disk.latents()) == list(fake.latents())
        assert disk.uses() == fake.uses()
    assert_only_usable_are_indexed(disk)
    disk.close()


def test_standings_uses_and_what_may_be_found_survive_closing(root: Path) -> None:
    kept, hidden = latent(), latent()
    standing = Standing(latent_id=hidden.id, state="suspended", reason="lost", known=4)
    with opened(root) as store:
        for one in (kept, hidden):
            store.put(one, tensors(), key())
        store.stand(standing)
        store.record_uses(uses := [use("a1", hidden.id, correct=False), use("a2", kept.id)])
    for _ in range(2):
        with opened(root) as store:
            assert store.standing(hidden.id) == standing
            assert store.uses() == uses
            assert found(store) == [kept.id]
            assert_only_usable_are_indexed(store)


def test_an_index_that_is_built_anew_holds_the_usable_latents_alone(root: Path) -> None:
    with opened(root) as store:
        for state in STATES:
            store.put(one := latent(), tensors(), key())
            store.stand(Standing(latent_id=one.id, state=state))
        assert len(found(store)) == len(USABLE)
    shutil.rmtree(root / "chroma")
    with opened(root) as store:
        assert len(found(store)) == len(USABLE)
        assert_only_usable_are_indexed(store)


def test_a_crash_between_the_standing_and_the_file_leaves_a_standing_that_the_file_may_still_join(root: Path) -> None:
    one = latent()
    with opened(root) as store:
        store.stand(Standing(latent_id=one.id, state="suspended"))
    with opened(root) as store:
        assert list(store.latents()) == found(store) == []
        assert store.standing(one.id).state == "suspended"
        store.put(one, tensors(), key())
        assert found(store) == []


def test_a_crash_between_the_file_and_the_index_is_mended_by_the_standing(root: Path) -> None:
    latents: dict[LatentState, Latent] = {state: latent() for state in STATES}
    with opened(root) as store:
        store.put(other := latent(), tensors(), key())
        assert found(store) == [other.id]
        store.remove(other.id)
        for state, one in latents.items():
            store.stand(Standing(latent_id=one.id, state=state))
        assert found(store) == []
        for one in latents.values():
            store._files.write(one, tensors(), key())
        assert found(store) == []
    with opened(root) as store:
        assert set(found(store)) == {latents[state].id for state in USABLE}
        assert_only_usable_are_indexed(store)


@pytest.mark.parametrize(("before", "after"), [("live", "retired"), ("suspended", "probation")])
def test_a_crash_between_the_standing_and_the_index_is_mended(
    root: Path, before: LatentState, after: LatentState
) -> None:
    with opened(root) as store:
        store.put(one := latent(), tensors(), key())
        store.stand(Standing(latent_id=one.id, state=before))
        assert found(store) == ([one.id] if before in USABLE else [])
        store._journal.stand(Standing(latent_id=one.id, state=after))
        unnoted(store)
    with opened(root) as store:
        assert found(store) == ([one.id] if after in USABLE else [])
        assert_only_usable_are_indexed(store)


def test_a_stale_entry_of_the_index_is_not_returned_even_before_it_is_mended(root: Path) -> None:
    with opened(root) as store:
        store.put(stale := latent(), tensors(), key())
        store.put(kept := latent(), tensors(), key(0.4))
        assert indexed(store) == {stale.id, kept.id}
        store._journal.stand(Standing(latent_id=stale.id, state="superseded"))
        unnoted(store)
        assert [latent_id for latent_id, _ in store.nearest(key(), 1)] == [kept.id]
        assert_only_usable_are_indexed(store)


def test_a_removal_that_was_cut_short_after_the_file_is_finished_by_a_second_one(root: Path) -> None:
    with opened(root) as store:
        store.put(gone := latent(), tensors(), key())
        store.stand(Standing(latent_id=gone.id))
        store.record_uses([use("a1", gone.id)])
        store._files.delete([gone.id])
    with opened(root) as store:
        assert list(store.latents()) == found(store) == []
        assert_only_usable_are_indexed(store)
        store.remove(gone.id)
        assert store.uses() == []
        with pytest.raises(errors.NotFoundError, match=gone.id):
            store.remove(gone.id)


def test_a_latent_stands_in_the_index_of_its_own_encoder_alone(root: Path) -> None:
    with opened(root) as store:
        store.put(one := latent(), tensors(), key())
    with opened(root, "other") as other:
        for state in ("suspended", "live"):
            other.stand(Standing(latent_id=one.id, state=state))
            assert found(other) == []
        with pytest.raises(errors.NotFoundError, match=r"'mean of last layer'.*'other'"):
            other.latent_key(one.id)


def test_a_store_open_for_listing_reads_and_journals_standings_and_uses(root: Path) -> None:
    with opened(root) as store:
        store.put(one := latent(), tensors(), key())
        with Store.open(root, "default") as listing:
            listing.stand(Standing(latent_id=one.id, state="retired"))
            listing.record_uses([use("a1", one.id)])
            assert listing.standing(one.id).state == "retired"
            np.testing.assert_array_equal(listing.latent_key(one.id), key())
        assert found(store) == []
        assert store.uses(latent_id=one.id) == [use("a1", one.id)]
    with opened(root) as store:
        assert found(store) == []


def test_a_latent_that_cannot_be_read_can_stand_and_be_removed(root: Path) -> None:
    with opened(root) as store:
        store.put(one := latent(), tensors(), key())
        path = next(root.rglob(f"{one.id}.safetensors"))
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(errors.CorruptError, match=one.id):
            store.latent_key(one.id)
        store.stand(Standing(latent_id=one.id, state="suspended"))
        store.stand(Standing(latent_id=one.id, state="live"))
        with pytest.warns(match=one.id):
            assert found(store) == []
        store.remove(one.id)
        assert list(store.latents()) == []


def test_standings_and_uses_of_a_namespace_are_seen_in_no_other(root: Path) -> None:
    with opened(root) as store, Store.open(root, "other", MODEL, ENCODER) as other:
        store.put(one := latent(), tensors(), key())
        store.record_uses([use("a1", one.id)])
        other.stand(Standing(latent_id=one.id, state="retired"))
        assert other.uses() == []
        assert store.standing(one.id).state == "live"
        assert found(store) == [one.id]


@pytest.mark.parametrize("name", ["nothing", "../../store", "", "A" * 32, "\0", "\ud800"])
def test_nothing_but_a_latent_can_stand(root: Path, name: str) -> None:
    with opened(root) as store, pytest.raises(errors.NotFoundError, match="no id of a Latent"):
        store.stand(Standing(latent_id=name))


def test_a_text_that_cannot_be_stored_is_refused_and_nothing_of_its_call_is_kept(root: Path) -> None:
    with opened(root) as store:
        store.put(one := latent(), tensors(), key())
        with pytest.raises(errors.InputError, match="surrogate"):
            store.stand(Standing(latent_id=one.id, state="retired", reason="half \ud800"))
        with pytest.raises(errors.InputError, match="surrogate"):
            store.record_uses([use("a1", one.id), use("a2", one.id, answer="\ud800")])
        assert store.standing(one.id).state == "live"
        assert store.uses() == []


def test_a_row_that_cannot_be_read_is_named_and_its_latent_is_not_found(root: Path) -> None:
    with opened(root) as store:
        store.put(one := latent(), tensors(), key())
        store.stand(Standing(latent_id=one.id))
        store.record_uses([use("a1", one.id)])
        store._database.run("UPDATE standings SET state = 'unheard of', record = '{\"state\": 1}'")
        store._database.run("UPDATE uses SET record = 'no json'")
        for ask in (lambda: store.standing(one.id), store.uses):
            with pytest.raises(errors.CorruptError, match=r"journal\.sqlite.*backup"):
                ask()
        assert found(store) == []


# -- older and newer journals ------------------------------------------------------------------------------------


def version(root: Path) -> int:
    connection = sqlite3.connect(root / "default" / "journal.sqlite")
    (found_version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.close()
    return found_version


def test_a_journal_of_the_previous_version_keeps_its_episodes_and_takes_standings_and_uses(root: Path) -> None:
    old_journal(root / "default", "first", "second")
    one = latent()
    for _ in range(2):
        with opened(root) as store:
            assert [episode.question for episode in store.episodes()] == ["first", "second"]
            assert {near.id for near, _ in near(store, key(), 9)} == {"first", "second"}
            store.stand(Standing(latent_id=one.id, state="probation"))
            store.record_uses([use("a1", one.id)])
            assert store.standing(one.id).state == "probation" and store.uses() == [use("a1", one.id)]
        assert version(root) == SCHEMA


def test_latents_stored_before_there_were_standings_are_live(root: Path) -> None:
    with opened(root) as store:
        store.put(one := latent(), tensors(), key())
    for name in (root / "default").glob("journal*"):
        name.unlink()
    (root / "default").rename(root / "files")
    old_journal(root / "default")
    shutil.move(root / "files" / "latents", root / "default" / "latents")
    with opened(root) as store:
        assert store.standing(one.id).state == "live"
        assert found(store) == [one.id]


def test_a_migrated_journal_has_the_tables_of_a_new_one(root: Path) -> None:
    old_journal(root / "old" / "default")
    tables: list[list[tuple[str, ...]]] = []
    for place in ("old", "new"):
        with opened(root / place) as store:
            tables.append(store._database.rows("SELECT name, tbl_name FROM sqlite_master ORDER BY name"))
            assert store._database.rows("SELECT * FROM meta") == [("namespace", "default"), ("version", __version__)]
    assert tables[0] == tables[1]


def test_a_migration_that_fails_half_way_leaves_the_old_journal_as_it_was(root: Path) -> None:
    """A table in the way stands for whatever may stop it."""
    old_journal(root / "default", "first")
    with sqlite3.connect(root / "default" / "journal.sqlite") as connection:
        connection.execute("CREATE TABLE uses (a)")
    connection.close()
    with pytest.raises(errors.StoreWriteError, match=r"journal\.sqlite"):
        opened(root)
    assert version(root) == 1
    with sqlite3.connect(root / "default" / "journal.sqlite") as connection:
        assert not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'standings'").fetchall()
        connection.execute("DROP TABLE uses")
    connection.close()
    with opened(root) as store:
        assert [episode.question for episode in store.episodes()] == ["first"]


def test_an_old_journal_of_another_namespace_is_refused_and_not_migrated(root: Path) -> None:
    old_journal(root / "default")
    (root / "default").rename(root / "other")
    with pytest.raises(errors.CorruptError, match="'other'"):
        Store.open(root, "other")
    (root / "other").rename(root / "default")
    assert version(root) == 1


def test_a_journal_of_a_newer_version_asks_for_it_and_is_left_alone(root: Path) -> None:
    with opened(root) as store:
        store.commit(episode(), key())
        store._database.run(f"PRAGMA user_version = {SCHEMA + 1}")
    with pytest.raises(errors.StoreError, match=rf"schema {SCHEMA + 1}, .* reads up to {SCHEMA}"):
        opened(root)
    assert version(root) == SCHEMA + 1
