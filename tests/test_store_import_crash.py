"""An import that is killed at any instant has happened whole or not at all when the root is opened again."""

import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from archive_world import content, fill
from store_builders import ENCODER, MODEL, episode, key, latent, tensor

from latent_memory_plugin import errors
from latent_memory_plugin.store import Store
from latent_memory_plugin.store.moving import Arrival, Imported

CHILD = """
import sys
from pathlib import Path
from latent_memory_plugin.store import Store

with Store.open(Path(sys.argv[1]), "default") as store:
    print("open", flush=True)
    store.import_from(Path(sys.argv[2]))
    print("done", flush=True)
    sys.stdin.read()
"""


def filled(root: Path, archive: Path, more: int) -> int:
    """An archive of some Latents and twice as many episodes; how many Latents it has."""
    with Store.open(root, "default", MODEL, ENCODER) as store:
        fill(store)
        for number in range(more):
            store.put(latent(), tensor(number), key(0.01 * number))
            store.commit(episode(f"question {number}"), key(0.01 * number))
        store.export_to(archive)
    return more + 3


def killed(root: Path, archive: Path, seconds: float) -> None:
    """Imports in a process of its own that dies so long after its start."""
    command = [sys.executable, "-c", CHILD, str(root), str(archive)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout and child.stdout.readline() == "open\n"
        time.sleep(seconds)
        child.kill()


@pytest.mark.slow
def test_an_import_killed_at_random_instants_leaves_all_or_nothing(tmp_path: Path) -> None:
    rng, archive, seen = random.Random(0), tmp_path / "all.tar", set[int]()
    latents = filled(tmp_path / "from", archive, 40)
    took = 0.05
    for number in range(12):
        root = tmp_path / str(number)
        killed(root, archive, rng.uniform(0, took))
        with Store.open(root, "default", MODEL, ENCODER) as store:
            found = len(list(store.latents()))
            assert (found, len(list(store.episodes()))) in ((0, 0), (latents, latents - 1))
            assert store.problems == {}
            assert len(store.nearest(key(), 99)) == max(0, found - 1)  # one is suspended
            again = time.monotonic()
            store.import_from(archive)
            took = max(took, 2 * (time.monotonic() - again)) if not found else took
            assert len(list(store.latents())) == latents
        assert not list(root.rglob("import-*"))
        seen.add(found)
    assert seen == {0, latents}


@pytest.mark.parametrize("committed", [False, True])
def test_what_a_dead_import_left_is_undone_before_its_commit_and_finished_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    """The two instants around the commit, by a disk that fails there and a folder that stays."""
    filled(tmp_path / "from", archive := tmp_path / "all.tar", 0)

    def fail(*_: object, **__: object) -> None:
        raise errors.StoreWriteError("the disk is gone")

    with monkeypatch.context() as patched, Store.open(tmp_path / "to", "default", MODEL, ENCODER) as store:
        patched.setattr(Arrival, "finish" if committed else "commit", fail)
        patched.setattr("shutil.rmtree", fail)
        with pytest.raises(errors.StoreWriteError):
            store.import_from(archive)
        assert list(store.latents()) == []
    with Store.open(tmp_path / "from", "default", MODEL, ENCODER) as store:
        before = content(store)
    with Store.open(tmp_path / "to", "default", MODEL, ENCODER) as store:
        assert content(store) == before if committed else not list(store.latents()) + list(store.episodes())
        assert ("finished" if committed else "undone") in " ".join(store.mended)
    assert not list((tmp_path / "to").rglob("import-*"))


def test_an_import_under_way_is_left_alone_by_another_opening(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path / "from", archive := tmp_path / "all.tar", 0)
    with Store.open(tmp_path / "to", "default", MODEL, ENCODER) as store:
        original = Arrival.commit

        def commit(self: Arrival, *given: Any) -> Imported:
            Store.open(tmp_path / "to", "default").close()
            return original(self, *given)

        monkeypatch.setattr(Arrival, "commit", commit)
        assert len(store.import_from(archive).latent_ids) == 3
