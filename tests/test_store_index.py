"""The index is derived: whatever happens to Chroma's folder, the next opening finds everything again."""

import logging
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from store_builders import ENCODER, MODEL, episode, index, indexed, key, latent, near, tensor

from latent_memory_plugin.store import Store
from latent_memory_plugin.store.check import check
from latent_memory_plugin.store.chroma import BrokenIndexError, Chroma
from latent_memory_plugin.store.index import Index
from latent_memory_plugin.store.journal import Journal, episode_row
from latent_memory_plugin.store.keys import EpisodeKeys


def truth(folder: Path, keys: dict[str, np.ndarray]) -> EpisodeKeys:
    """A journal of episodes with these keys."""
    journal = Journal(folder / "journal.sqlite", "default")
    with journal.transaction():
        for item_id, vector in keys.items():
            journal.add(episode_row(episode(id=item_id)), ENCODER, vector)
    return EpisodeKeys(journal)


def test_the_index_finds_the_nearest_of_similar_keys_that_came_one_after_another(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    keys = np.repeat(rng.normal(size=(24, 64)), 100, axis=0) + 0.03 * rng.normal(size=(2400, 64))
    keys = (keys / np.linalg.norm(keys, axis=1, keepdims=True)).astype(np.float32)  # (B, D)
    chroma = Chroma(tmp_path / "chroma")
    stored = truth(tmp_path, {f"{row:04d}": keys[row] for row in range(2400)})
    index = Index(chroma, "default.episodes.0", stored, ENCODER)
    rows = range(0, 2400, 4)
    exact = [(keys @ keys[row]).max() for row in rows]
    found = [index.nearest(keys[row], 1)[0][1] for row in rows]
    assert np.mean(np.abs(np.subtract(exact, found)) < 1e-4) > 0.995
    chroma.close()


def test_a_key_of_another_size_in_the_truth_does_not_stop_the_index(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    chroma = Chroma(tmp_path / "chroma")
    stored = truth(tmp_path, {"a": key(), "b": key(size=3), "c": key(1.0)})
    with caplog.at_level(logging.WARNING):
        index = Index(chroma, "default.episodes.0", stored, ENCODER)
        assert [item_id for item_id, _ in index.nearest(key(), 9)] == ["a", "c"]
    assert "1 keys of another size" in caplog.text
    chroma.close()


def filled(root: Path, count: int = 12) -> None:
    with Store.open(root, "default", MODEL, ENCODER) as store:
        for number in range(count):
            store.commit(episode(f"question {number}"), key(0.1 * number))
            store.put(latent(), tensor(number), key(0.1 * number))
        assert len(store.nearest(key(), 99)) == len(near(store, key())) == count


def assert_index_equals_truth(root: Path) -> None:
    with Store.open(root, "default", MODEL, ENCODER) as store:
        latents, episodes = {one.id for one in store.latents()}, {one.id for one in store.episodes()}
        assert latents and episodes
        assert (indexed(store), indexed(store, "episodes")) == (latents, episodes)
        assert {found for found, _ in store.nearest(key(), 99)} == latents
        assert {found.id for found, _ in near(store, key(), 99)} == episodes
        assert near(store, key(0.3), 1)[0][0].question == "question 3"


def overwrite(chroma: Path, content: Callable[[bytes], bytes]) -> None:
    for path in chroma.rglob("*"):
        if path.is_file():
            path.write_bytes(content(path.read_bytes()))


def lose_vectors(chroma: Path) -> None:
    """Leaves ids and counts as they are, as Chroma does where it loses vectors."""
    with sqlite3.connect(chroma / "chroma.sqlite3") as connection:
        connection.execute("DELETE FROM embeddings_queue WHERE seq_id % 2 = 0")
    connection.close()


def replace_by_file(chroma: Path) -> None:
    shutil.rmtree(chroma)
    chroma.write_text("no folder")


DAMAGES: dict[str, Callable[[Path], object]] = {
    "deleted": shutil.rmtree,
    "a file": replace_by_file,
    "garbage": lambda chroma: overwrite(chroma, lambda content: b"\xa5" * len(content)),
    "emptied": lambda chroma: overwrite(chroma, lambda content: b""),
    "cut in half": lambda chroma: overwrite(chroma, lambda content: content[: len(content) // 2]),
    "vectors lost": lose_vectors,
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_chroma_folder_is_rebuilt_from_the_truth(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    filled(tmp_path)
    damage(tmp_path / "chroma")
    assert_index_equals_truth(tmp_path)
    assert_index_equals_truth(tmp_path)


def test_an_older_copy_of_the_chroma_folder_is_brought_up_to_date(tmp_path: Path) -> None:
    root, backup = tmp_path / "root", tmp_path / "backup"
    filled(root)
    shutil.copytree(root / "chroma", backup)
    with Store.open(root, "default", MODEL, ENCODER) as store:
        store.remove(next(store.latents()).id)
        store.put(latent(), tensor(), key(2.0))
        store.commit(episode("one more"), key(2.0))
    shutil.rmtree(root / "chroma")
    shutil.copytree(backup, root / "chroma")
    assert_index_equals_truth(root)


def test_a_copy_of_the_files_and_the_journal_alone_is_a_whole_store(tmp_path: Path) -> None:
    filled(tmp_path / "root")
    shutil.copytree(tmp_path / "root" / "default", tmp_path / "copy" / "default")
    assert_index_equals_truth(tmp_path / "copy")


def test_an_index_that_breaks_while_it_is_in_use_is_mended_for_every_store_of_the_root(tmp_path: Path) -> None:
    filled(tmp_path)
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store, Store.open(tmp_path, "b", MODEL, ENCODER) as other:
        other.commit(episode("kept"), key())
        assert len(near(store, key())) == 12 and len(near(other, key())) == 1
        store._root.chroma.wipe()
        store.commit(episode("one more"), key(2.0))
        assert len(near(store, key(), 99)) == 13
        assert [found.question for found, _ in near(other, key(), 99)] == ["kept"]
        store._root.chroma.drop(index(store).name)
        assert len(store.nearest(key(), 99)) == 12
    assert_index_equals_truth(tmp_path)


def test_where_chroma_is_emptied_for_the_episodes_the_latents_are_indexed_again_by_their_next_search(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path)
    probe, failures = Index._probe, iter(range(3))

    def broken(self: Index) -> None:
        if ".episodes." in self.name and next(failures, None) is not None:
            raise BrokenIndexError("unreadable")
        probe(self)

    monkeypatch.setattr(Index, "_probe", broken)
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        assert len(store.nearest(key(), 99)) == len(near(store, key())) == len(store.nearest(key(), 99)) == 12
        assert next(failures, None) is None and any("failed (unreadable)" in sentence for sentence in store.mended)
        assert check(tmp_path).findings == ()


@pytest.mark.parametrize(
    ("place", "error"),
    [("_query", TypeError), ("_fill", KeyError), ("_found", MemoryError), ("_follow", RuntimeError)],
)
def test_an_error_of_ours_and_a_lack_of_memory_go_through_and_cost_no_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, error: type[Exception]
) -> None:
    filled(tmp_path)
    with Store.open(tmp_path, "other", MODEL, ENCODER) as other:
        other.commit(episode("kept"), key())
        assert len(near(other, key())) == 1
    before = {path for path in (tmp_path / "chroma").iterdir() if path.is_dir()}  # one of each collection

    def fails(*_: object) -> None:
        raise error("ours")

    with monkeypatch.context() as patched, Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        patched.setattr(Index, place, fails)
        if place == "_fill":
            store.commit(episode("one more"), key())
        with pytest.raises(error, match="ours"):
            near(store, key())
        assert store.mended == ()
    assert {path for path in (tmp_path / "chroma").iterdir() if path.is_dir()} == before
    assert check(tmp_path).left == ()


def test_what_is_raised_inside_chroma_is_mended_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from chromadb.api.rust import RustBindingsAPI

    filled(tmp_path)
    query, failures = RustBindingsAPI._query, iter(range(2))

    def broken(self: object, *given: object, **named: object) -> object:
        if next(failures, None) is not None:
            raise ValueError("Error finding id")
        return query(self, *given, **named)  # type: ignore[arg-type]

    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        with monkeypatch.context() as patched:
            # As if it were Chroma's own: what counts is where an error was raised.
            patched.setitem(broken.__globals__, "__name__", "chromadb.api.rust")
            patched.setattr(RustBindingsAPI, "_query", broken)
            assert len(near(store, key())) == 12
        assert next(failures, None) is None and any("Error finding id" in sentence for sentence in store.mended)
    assert_index_equals_truth(tmp_path)


def test_keys_may_get_another_size_once_the_old_ones_are_gone(tmp_path: Path) -> None:
    """Chroma keeps the size of an emptied collection."""
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        store.put(old := latent(), tensor(), key(size=8))
        store.remove(old.id)
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        store.put(new := latent(), tensor(), key(size=5))
        assert store.nearest(key(size=5), 9) == [(new.id, 1.0)]
