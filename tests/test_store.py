"""What one store keeps and finds: the journal, the Latent files, the index, the lock within one process."""

import logging
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from latent_memory_plugin import errors
from latent_memory_plugin.records import Episode, Latent, Problem, Rollout, Trial, Vote
from latent_memory_plugin.store import Store
from latent_memory_plugin.store.index import Chroma, Index
from latent_memory_plugin.store.journal import Journal

MODEL = ("tiny", "f" * 64)
ENCODER = "mean of last layer"
VOTE = Vote(answer="12", share=0.75, entropy=0.56, counts=(("12", 3), (None, 1)))
TRIAL = Trial(
    episode_ids=("a", "b", "c"), agreement_before=0.4, agreement_after=0.8, answers=24, passed=True, reason="0.4 → 0.8"
)


def latent(**changes: Any) -> Latent:
    fields: dict[str, Any] = {
        "namespace": "default",
        "shape": (3, 4),
        "model": MODEL[0],
        "fingerprint": MODEL[1],
        "encoder": ENCODER,
        "problem_hash": "0" * 64,
        "vote": VOTE,
        "trial": TRIAL,
        "parents": ("a",),
        "objective": "imitate",
        "seed": 7,
        "version": "0.1.0",
    }
    return Latent(**(fields | changes))


def episode(question: str = "How many posts does a fence of 10 m need?", **changes: Any) -> Episode:
    return Episode(problem=Problem(question=question), **changes)


def key(angle: float = 0.0, size: int = 8) -> np.ndarray:
    """A unit vector (D,) at this angle, in radians, from the first axis."""
    vector = np.zeros(size, np.float32)
    vector[0], vector[1] = np.cos(angle), np.sin(angle)
    return vector


def tensor(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(3, 4)).astype(np.float32)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "root", "default", MODEL, ENCODER) as opened:
        yield opened


def test_an_episode_comes_back_as_it_was_committed_and_updated(store: Store) -> None:
    rollouts = (Rollout(text='so \\boxed{12} "é\0"', answer="12", token_ids=(5, 0, 9)), Rollout(text="", finished=False))
    pending = episode(rollouts=rollouts, created=12.5)
    store.commit(pending, key(0.3))
    assert store.episode(pending.id) == pending
    np.testing.assert_array_equal(store.episode_key(pending.id), key(0.3))
    learnt = pending.model_copy(update={"state": "learnt", "reason": "passed\0 é", "vote": VOTE, "rollouts": rollouts[:1]})
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
    np.testing.assert_array_equal(store.tensor(young.id), values)
    assert store.tensor(old.id).dtype == np.float32
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
            assert [found for found, _ in store.near_episodes(key(), 1)] == [first]


def test_neighbours_come_best_first_with_their_cosine_similarity(store: Store) -> None:
    angles = [2.5, 0.1, 1.0, 0.4]
    episodes = [episode(f"question {angle}") for angle in angles]
    for item, angle in zip(episodes, angles, strict=True):
        store.commit(item, key(angle) * 3)
    found = store.near_episodes(key(), 3)
    assert [item.question for item, _ in found] == ["question 0.1", "question 0.4", "question 1.0"]
    assert [similarity for _, similarity in found] == pytest.approx(np.cos([0.1, 0.4, 1.0]), abs=1e-5)
    assert all(type(similarity) is float and -1 <= similarity <= 1 for _, similarity in store.near_episodes(key(0.1), 9))
    assert len(store.near_episodes(key(), 1000)) == 4


def test_an_empty_store_has_no_neighbours(store: Store) -> None:
    assert store.nearest(key(), 5) == []
    assert store.near_episodes(key(), 5) == []
    assert list(store.latents()) == list(store.episodes()) == []


def test_a_removed_latent_is_gone_from_disk_listing_and_index(store: Store) -> None:
    gone, kept = latent(), latent()
    store.put(gone, tensor(), key())
    store.put(kept, tensor(), key(0.2))
    store.remove(gone.id)
    assert list(store.latents()) == [kept]
    assert [found for found, _ in store.nearest(key(), 2)] == [kept.id]
    assert not list(store.root.rglob(f"*{gone.id}*"))
    for use in (store.remove, store.latent, store.tensor):
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
        for use in (store.tensor, store.latent, store.remove, store.episode, store.episode_key):
            with pytest.raises(errors.NotFoundError):
                use(name)
    with pytest.raises(errors.NotFoundError, match="no episode"):
        store.update(episode())


def test_an_id_is_taken_once(store: Store) -> None:
    first, one = episode(), latent()
    store.commit(first, key())
    store.put(one, tensor(), key())
    with pytest.raises(errors.InputError, match=first.id):
        store.commit(first, key())
    with pytest.raises(errors.InputError, match=one.id):
        store.put(one, tensor(1), key(1.0))
    np.testing.assert_array_equal(store.tensor(one.id), tensor())


@pytest.mark.parametrize(
    "bad", [np.full(8, np.nan), np.full(8, np.inf), np.zeros((2, 8)), np.zeros(0), np.ones(5), np.full(8, 1e300)]
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_a_key_that_is_not_finite_flat_and_of_the_usual_size_is_refused_before_anything_is_written(
    store: Store, bad: np.ndarray
) -> None:
    store.commit(episode(), key())
    store.put(latent(), tensor(), key())
    for use in (
        lambda: store.commit(episode(), bad),
        lambda: store.put(latent(), tensor(), bad),
        lambda: store.nearest(bad),
        lambda: store.near_episodes(bad, 1),
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
        assert other.nearest(key(), 9) == other.near_episodes(key(), 9) == []
        assert list(other.latents()) == [one]
        with pytest.raises(errors.NotFoundError, match="other"):
            other.episode_key(first.id)
        other.commit(episode(), key(size=5))
    assert len(store.near_episodes(key(), 9)) == 1


def test_stores_of_one_process_share_the_root_until_the_last_one_closes(tmp_path: Path) -> None:
    first = Store.open(tmp_path, "first", MODEL, ENCODER)
    second = Store.open(tmp_path / ".." / tmp_path.name, "second", MODEL, ENCODER)
    again = Store.open(tmp_path, "first", MODEL, ENCODER)
    first.commit(one := episode(), key())
    first.close()
    first.close()
    assert again.near_episodes(key(), 1)[0][0] == one
    assert second.near_episodes(key(), 1) == []
    again.close()
    assert (tmp_path / "owner.json").exists()
    second.close()
    assert not (tmp_path / "owner.json").exists()
    with pytest.raises(errors.StoreError, match="closed"):
        first.episode(one.id)


def test_episodes_can_be_updated_while_they_are_listed(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite", "default")
    for number in range(250):
        journal.add(episode(f"question {number}", created=-float(number)), ENCODER, key())
    journal.close()
    (tmp_path / "default").mkdir()
    (tmp_path / "journal.sqlite").rename(tmp_path / "default" / "journal.sqlite")
    with Store.open(tmp_path, "default") as store:
        seen: list[str] = []
        for pending in store.episodes("pending"):
            seen.append(pending.question)
            store.update(pending.model_copy(update={"state": "refused"}))
        assert seen == [f"question {number}" for number in range(250)]
        assert sum(1 for _ in store.episodes("refused")) == 250


def test_threads_lose_nothing(store: Store) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for step in range(5):
                store.commit(episode(f"{number} {step}"), key(0.1 * number + step))
                store.put(latent(), tensor(), key(0.1 * number + step))
                assert store.nearest(key(), 3)
                assert list(store.episodes()) and list(store.latents())
        except BaseException as exc:
            failures.append(exc)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(list(store.episodes())) == len(list(store.latents())) == len(store.nearest(key(), 99)) == 20


def test_importing_and_listing_start_neither_chroma_nor_torch(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from latent_memory_plugin.store import Store\n"
        "with Store.open(pathlib.Path(sys.argv[1]), 'default') as store: print(list(store.latents()), store.problems)\n"
        "assert not {'chromadb', 'torch'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "[] {}\n"), done.stderr


def test_a_store_open_for_listing_takes_no_keys_but_removes(store: Store) -> None:
    one, other = latent(), latent()
    store.put(one, tensor(), key())
    store.put(other, tensor(), key(0.5))
    with Store.open(store.root, "default") as listing:
        for use in (lambda: listing.nearest(key()), lambda: listing.commit(episode(), key())):
            with pytest.raises(errors.InputError, match="listing"):
                use()
        listing.remove(one.id)
    assert [found for found, _ in store.nearest(key(), 1)] == [other.id]
    with pytest.raises(errors.InputError, match="belong together"):
        Store.open(store.root, "default", MODEL)


class Keys(dict[str, np.ndarray]):
    """A truth made of nothing but keys."""

    def ids(self, encoder: str) -> set[str]:
        return set(self)

    def keys(self, item_ids: Any = None, encoder: str = "") -> Iterator[Any]:  # type: ignore[override]
        return ((item_id, self[item_id]) for item_id in item_ids)

    def holds(self, item_id: str) -> bool:
        return item_id in self


def test_the_index_finds_what_an_exact_search_finds_where_similar_keys_follow_one_another(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    keys = np.repeat(rng.normal(size=(24, 64)), 100, axis=0) + 0.03 * rng.normal(size=(2400, 64))
    keys = (keys / np.linalg.norm(keys, axis=1, keepdims=True)).astype(np.float32)  # (B, D)
    chroma = Chroma(tmp_path / "chroma")
    index = Index(chroma, "default.episodes.0", Keys({f"{row:04d}": keys[row] for row in range(2400)}), ENCODER)
    for row in range(0, 2400, 24):
        best = np.sort(keys @ keys[row])[::-1][:5]
        assert [similarity for _, similarity in index.nearest(keys[row], 5)] == pytest.approx(best, abs=1e-4)
    chroma.close()


def test_a_key_of_another_size_in_the_truth_does_not_stop_the_index(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chroma = Chroma(tmp_path / "chroma")
    with caplog.at_level(logging.WARNING):
        index = Index(chroma, "default.episodes.0", Keys({"a": key(), "b": key(size=3), "c": key(1.0)}), ENCODER)
    assert [item_id for item_id, _ in index.nearest(key(), 9)] == ["a", "c"]
    assert "1 keys of another size" in caplog.text
    chroma.close()


def test_an_acknowledged_episode_is_synchronised_to_disk(store: Store) -> None:
    """The reference is SQLite's own account of its settings: 2 is FULL."""
    connection: sqlite3.Connection = store._journal._connection
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
