"""An opening after a clean close takes the index as it was; after anything else it is compared with the truth."""

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from store_builders import ENCODER, MODEL, episode, key, latent, near, tensor

from latent_memory_plugin.store import Store
from latent_memory_plugin.store.chroma import NOTE
from latent_memory_plugin.store.index import Index

KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from store_builders import ENCODER, MODEL, key, latent, tensor
from latent_memory_plugin.store import Store

store = Store.open(Path(sys.argv[1]), "default", MODEL, ENCODER)
store.put(latent(), tensor(), key(2.5))
assert len(store.nearest(key(), 99)) == 7
os._exit(0)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root that was closed in good order, with six Latents and six episodes."""
    with Store.open(tmp_path / "root", "default", MODEL, ENCODER) as store:
        for number in range(6):
            store.commit(episode(f"question {number}"), key(0.3 * number))
            store.put(latent(), tensor(number), key(0.3 * number))
        assert len(store.nearest(key(), 99)) == len(near(store, key())) == 6
    return tmp_path / "root"


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which indexes were compared with the truth since: `latents`, `episodes`."""
    kinds: list[str] = []
    reconcile = Index._reconcile

    def counted(index: Index, silent: bool = False) -> None:
        kinds.append(index.name.split(".")[1])
        reconcile(index, silent)

    monkeypatch.setattr(Index, "_reconcile", counted)
    return kinds


def collections(root: Path) -> set[str]:
    """Chroma's own ids of the collections there are."""
    with closing(sqlite3.connect(root / "chroma" / "chroma.sqlite3")) as connection:
        return {row[0] for row in connection.execute("SELECT id FROM collections")}


def assert_whole(root: Path, latents: int = 6) -> None:
    with Store.open(root, "default", MODEL, ENCODER) as store:
        assert {found for found, _ in store.nearest(key(), 99)} == {one.id for one in store.latents()}
        assert len(store.nearest(key(), 99)) == latents
        assert len(near(store, key(), 99)) == 6


def test_after_a_clean_close_no_vector_is_fetched_and_everything_is_found(root: Path, compared: list[str]) -> None:
    for _ in range(3):
        assert_whole(root)
    assert compared == []
    with Store.open(root, "default", MODEL, ENCODER) as store, pytest.raises(ValueError, match="values, the stored"):
        store.put(latent(), tensor(), key(size=5))


def test_what_a_session_adds_and_removes_after_its_searches_is_known_to_the_next(
    root: Path, compared: list[str]
) -> None:
    with Store.open(root, "default", MODEL, ENCODER) as store:
        assert len(store.nearest(key(), 99)) == 6
        store.put(latent(), tensor(), key(2.5))
        for gone in list(store.latents())[:3]:
            store.remove(gone.id)
    assert_whole(root, 4)
    assert compared == []


def test_a_session_that_searches_nothing_starts_no_chroma_and_leaves_the_comparison_to_the_next_search(
    root: Path, compared: list[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in (root / "chroma").rglob("*")}
    with Store.open(root, "default", MODEL, ENCODER) as store:
        store.put(latent(), tensor(), key(2.5))
    assert {path: path.stat().st_mtime_ns for path in (root / "chroma").rglob("*")} == before
    assert compared == []
    assert_whole(root, 7)
    assert compared == ["latents"]


def test_another_namespace_s_session_leaves_the_knowledge_of_this_one(root: Path, compared: list[str]) -> None:
    with Store.open(root, "other", MODEL, ENCODER) as store:
        store.put(latent(namespace="other"), tensor(), key(2.5))
        store.commit(episode(), key(2.5))
        assert len(store.nearest(key(), 9)) == len(near(store, key())) == 1
    assert sorted(compared) == ["episodes", "latents"]
    compared.clear()
    assert_whole(root)
    assert compared == []


def test_a_process_that_ends_without_closing_leaves_nothing_to_trust(root: Path, compared: list[str]) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(root), str(Path(__file__).parent)], check=True, timeout=300)
    assert not (root / "chroma" / NOTE).exists()
    before = collections(root)
    assert_whole(root, 7)
    # A graph that was half saved may be readable and lose keys later.
    assert len(before) == len(collections(root)) == 2 and before.isdisjoint(collections(root))
    assert sorted(compared) == ["episodes", "latents"]


def test_only_the_index_whose_truth_has_changed_meanwhile_is_compared(root: Path, compared: list[str]) -> None:
    with Store.open(root, "default") as store:
        store.remove(next(store.latents()).id)
    assert_whole(root, 5)
    assert compared == ["latents"]


def touch(chroma: Path) -> None:
    (chroma / "chroma.sqlite3").touch()


def put_back(chroma: Path) -> None:
    """The folder of an earlier day, its note with it."""
    later = chroma.with_name("later")
    shutil.copytree(chroma, later)
    with Store.open(chroma.parent, "default", MODEL, ENCODER) as store:
        store.put(extra := latent(), tensor(), key(2.5))
        assert len(store.nearest(key(), 99)) == 7
        store.remove(extra.id)
    shutil.copy2(later / NOTE, chroma / NOTE)


def lose_a_file(chroma: Path) -> None:
    next(path for path in chroma.rglob("*") if path.parent != chroma and path.is_file()).unlink()


@pytest.mark.parametrize(
    "change",
    [touch, put_back, lose_a_file, lambda chroma: (chroma / NOTE).write_text('{"schema": 1, "files": 3}')],
    ids=["touched", "a note of an earlier day", "a file less", "a note that says nothing"],
)
def test_a_folder_that_is_not_as_it_was_closed_is_compared(
    root: Path, compared: list[str], change: Callable[[Path], object]
) -> None:
    change(root / "chroma")
    compared.clear()
    assert_whole(root)
    assert {"latents", "episodes"} <= set(compared)
