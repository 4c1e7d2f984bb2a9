"""What one store keeps and finds: the journal, the Latent files, the index."""

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from store_builders import ENCODER, MODEL, VOTE, episode, key, latent, near, tensor

from latent_memory_plugin import errors
from latent_memory_plugin.records import Rollout
from latent_memory_plugin.store import Store
from latent_memory_plugin.store.journal import Journal, episode_row


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "root", "default", MODEL, ENCODER) as opened:
        yield opened


def test_an_episode_comes_back_as_it_was_committed_and_updated(store: Store) -> None:
    rollouts = (
        Rollout(text='so \\boxed{12} "é\0"', answer="12", token_ids=(5, 0, 9)),
        Rollout(text="", finished=False),
    )
    pending = episode(rollouts=rollouts, created=12.5)
    store.commit(pending, key(0.3))
    assert store.episode(pending.id) == pending
    np.testing.assert_array_equal(store.episode_key(pending.id), key(0.3))
    learnt = pending.model_copy(
        update={"state": "learnt", "reason": "passed\0 é", "vote": VOTE, "rollouts": rollouts[:1]}
    )
    store.update(learnt)
    assert store.episode(pending.id) == learnt
    assert list(store.episodes("learnt")) == [learnt]
    assert list(store.episodes("pending")) == []


def test_a_latent_comes_back_bit_for_bit_and_listing_is_oldest_first(store: Store) -> None:
    young, old = latent(created=20.0), latent(created=10.0)
    values = tensor()
    store.put(young, values, key())
    store.put(old, values * 2, key(1.0))
    assert store.latent(young.id) == young
    np.testing.assert_array_equal(store.tensors(young.id)["latent"], values)
    assert store.tensors(old.id)["latent"].dtype == np.float32
    assert list(store.latents()) == [old, young]
    assert store.problems == {}


def test_everything_is_there_after_closing_and_opening_again_in_the_same_process(tmp_path: Path) -> None:
    kept, first = latent(), episode()
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        store.put(kept, tensor(), key())
        store.commit(first, key(0.5))
    for _ in range(2):
        with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
            assert list(store.latents()) == [kept]
            assert store.nearest(key())[0][0] == kept.id
            assert [found for found, _ in near(store, key(), 1)] == [first]


def test_neighbours_come_best_first_with_their_cosine_similarity(store: Store) -> None:
    angles = [2.5, 0.1, 1.0, 0.4]
    episodes = [episode(f"question {angle}") for angle in angles]
    for item, angle in zip(episodes, angles, strict=True):
        store.commit(item, key(angle) * 3)
    found = near(store, key(), 3)
    assert [item.question for item, _ in found] == ["question 0.1", "question 0.4", "question 1.0"]
    assert [similarity for _, similarity in found] == pytest.approx(np.cos([0.1, 0.4, 1.0]), abs=1e-5)
    assert all(type(similarity) is float and -1 <= similarity <= 1 for _, similarity in near(store, key(0.1), 9))
    assert len(near(store, key(), 1000)) == 4


def test_all_episodes_above_a_similarity_are_neighbours_however_many_and_none_below(store: Store) -> None:
    rng = np.random.default_rng(0)
    keys = [*(key(0.001 * number) for number in range(150)), *rng.normal(size=(60, 8)).astype(np.float32)]
    keys = [vector / np.linalg.norm(vector) for vector in keys]
    made = [episode(f"question {number % 40}", vote=VOTE) for number in range(len(keys))]
    for one, vector in zip(made, keys, strict=True):
        store.commit(one, vector)
    cosines = {one.id: float(vector @ key()) for one, vector in zip(made, keys, strict=True)}
    for least in (0.995, 0.3, -1.0):
        found = store.neighbours(key(), least)
        assert {one.id for one in found} == {item_id for item_id, cosine in cosines.items() if cosine >= least}
        assert [one.similarity for one in found] == sorted((one.similarity for one in found), reverse=True)
        assert [one.similarity for one in found] == pytest.approx([cosines[one.id] for one in found], abs=1e-5)
    by_id = {one.id: one for one in made}
    assert all(one.problem_hash == by_id[one.id].problem.hash and one.has_text and one.vote == VOTE for one in found)
    assert len({one.problem_hash for one in found}) == 40
    assert store.neighbours(key(), 1.1) == []


def test_a_neighbour_that_cannot_be_read_is_left_out_and_warned_of(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        store.commit(episode(f"question {number}", id=f"e{number}", vote=VOTE), key())
    store._database.run("UPDATE episodes SET vote = 'x' WHERE id = 'e1'")
    assert {one.id for one in store.neighbours(key(), 0.5)} == {"e0", "e2"} and "'e1'" in caplog.text


def test_an_episode_is_settled_once_readable_or_not_and_leaves_the_queue_with_that(store: Store) -> None:
    for number in range(3):
        store.commit(episode(f"question {number}", id=f"e{number}"), key())
        store.enqueue(f"e{number}", 9)
    store._database.run("UPDATE episodes SET rollouts = '[' WHERE id = 'e2'")
    assert store.settle("e0", "pending", "too few") and store.queued() == 3
    assert store.settle("e0", "refused", "no gain", attempt="a1") and store.queued() == 2
    for again in ("learnt", "pending"):
        assert not store.settle("e0", again, "later", attempt="a2")
    one = store.episode("e0")
    assert (one.state, one.reason, one.attempt) == ("refused", "no gain", "a1")
    assert store.settle("e2", "failed", "unreadable") and not store.settle("nobody", "failed", "gone")
    store.update(one.model_copy(update={"attempt": "a3", "state": "learnt"}))
    assert (store.episode("e0").attempt, store.episode("e0").state) == ("a3", "learnt")
    assert store.counts() == {"pending": 1, "learnt": 1, "refused": 0, "failed": 1} and store.queued() == 1


def test_an_empty_store_has_no_neighbours(store: Store) -> None:
    assert store.nearest(key(), 5) == []
    assert near(store, key(), 5) == []
    assert list(store.latents()) == list(store.episodes()) == []


def test_a_removed_latent_is_gone_from_disk_listing_and_index(store: Store) -> None:
    gone, kept = latent(), latent()
    store.put(gone, tensor(), key())
    store.put(kept, tensor(), key(0.2))
    store.remove(gone.id)
    assert list(store.latents()) == [kept]
    assert [found for found, _ in store.nearest(key(), 2)] == [kept.id]
    assert not list(store.root.rglob(f"*{gone.id}*"))
    for use in (store.remove, store.latent, store.tensors):
        with pytest.raises(errors.NotFoundError, match=rf"{gone.id}.*latent-memory list"):
            use(gone.id)


def test_a_latent_whose_file_was_deleted_by_hand_is_never_found(store: Store) -> None:
    gone, kept = latent(), latent()
    store.put(gone, tensor(), key())
    store.put(kept, tensor(), key(0.2))
    next(store.root.rglob(f"{gone.id}.safetensors")).unlink()
    assert [found for found, _ in store.nearest(key(), 1)] == [kept.id]


def test_unknown_and_hostile_ids_are_not_found(store: Store) -> None:
    for name in ("nothing", "../../store", "", "a/b", "x" * 5000, "A" * 32, "0" * 32 + "\n", "\0"):
        for use in (store.tensors, store.latent, store.remove, store.episode, store.episode_key):
            with pytest.raises(errors.NotFoundError):
                use(name)
    with pytest.raises(errors.NotFoundError, match="no episode"):
        store.update(episode())


def test_an_id_is_taken_once_and_not_empty(store: Store) -> None:
    first, one = episode(), latent()
    store.commit(first, key())
    store.put(one, tensor(), key())
    with pytest.raises(errors.InputError, match=first.id):
        store.commit(first, key())
    with pytest.raises(errors.InputError, match=one.id):
        store.put(one, tensor(1), key(1.0))
    with pytest.raises(errors.InputError, match="empty id"):
        store.commit(episode(id=""), key())
    np.testing.assert_array_equal(store.tensors(one.id)["latent"], tensor())


@pytest.mark.parametrize(
    "bad", [np.full(8, np.nan), np.full(8, np.inf), np.zeros((2, 8)), np.zeros(0), np.ones(5), np.full(8, 1e300)]
)
def test_a_key_that_is_not_finite_flat_and_of_the_usual_size_is_refused_before_anything_is_written(
    store: Store, bad: np.ndarray
) -> None:
    store.commit(episode(), key())
    store.put(latent(), tensor(), key())
    for use in (
        lambda: store.commit(episode(), bad),
        lambda: store.put(latent(), tensor(), bad),
        lambda: store.nearest(bad),
        lambda: near(store, bad, 1),
    ):
        with pytest.raises(errors.InputError, match="key"):
            use()
    assert len(list(store.episodes())) == len(list(store.latents())) == 1


def test_a_tensor_of_another_shape_or_not_finite_is_refused(store: Store) -> None:
    with pytest.raises(errors.InputError, match=r"\(4, 3\).*\(3, 4\)"):
        store.put(latent(), tensor().T, key())
    with pytest.raises(errors.InputError, match="not finite"):
        store.put(latent(), tensor() * np.float32(np.nan), key())
    with pytest.raises(errors.InputError, match="limit=0"):
        store.nearest(key(), 0)
    assert list(store.latents()) == []


def test_keys_of_another_encoder_are_kept_apart(store: Store) -> None:
    first, one = episode(), latent()
    store.commit(first, key())
    store.put(one, tensor(), key())
    with pytest.raises(errors.InputError, match="encoder"):
        store.put(latent(encoder="other"), tensor(), key())
    with Store.open(store.root, "default", MODEL, "other") as other:
        assert other.nearest(key(), 9) == near(other, key(), 9) == []
        assert list(other.latents()) == [one]
        with pytest.raises(errors.NotFoundError, match="other"):
            other.episode_key(first.id)
        other.commit(episode(), key(size=5))
    assert len(near(store, key(), 9)) == 1


def test_episodes_can_be_updated_while_they_are_listed(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite", "default")
    for number in range(120):
        journal.add(episode_row(episode(f"question {number}", created=-float(number))), ENCODER, key())
    journal.close()
    (tmp_path / "default").mkdir()
    (tmp_path / "journal.sqlite").rename(tmp_path / "default" / "journal.sqlite")
    with Store.open(tmp_path, "default") as store:
        seen: list[str] = []
        for pending in store.episodes("pending"):
            seen.append(pending.question)
            store.update(pending.model_copy(update={"state": "refused"}))
        assert seen == [f"question {number}" for number in range(120)]
        assert sum(1 for _ in store.episodes("refused")) == 120


def test_threads_lose_nothing(store: Store) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for step in range(5):
                store.commit(episode(f"{number} {step}"), key(0.1 * number + step))
                store.put(latent(), tensor(), key(0.1 * number + step))
                assert store.nearest(key(), 3)
                assert list(store.episodes()) and list(store.latents())
        except Exception as exc:  # noqa: BLE001 - a thread hands over whatever stopped it
            failures.append(exc)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(list(store.episodes())) == len(list(store.latents())) == len(store.nearest(key(), 99)) == 20


def test_an_acknowledged_episode_is_synchronised_to_disk(store: Store) -> None:
    """The reference is SQLite's own account of its settings: 2 is FULL."""
    connection: sqlite3.Connection = store._database._connection
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
