"""A process that dies at any instant, or meets a full disk, loses nothing it has acknowledged."""

import random
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from store_builders import ENCODER, MODEL, episode, key, latent, tensor, use

from latent_memory_plugin import errors
from latent_memory_plugin.records import USABLE, Standing
from latent_memory_plugin.store import Store

WORDS = ("committed", "updated", "stood", "put", "used", "suspending", "suspended", "removing", "removed")
CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from store_builders import ENCODER, MODEL, episode, key, latent, tensor, use
from latent_memory_plugin.records import Standing
from latent_memory_plugin.store import Store

with Store.open(Path(sys.argv[1]), "default", MODEL, ENCODER) as store:
    number = int(sys.argv[3])
    while True:
        number += 1
        one, learnt = episode(f"question {number}"), latent(seed=number)
        store.commit(one, key(0.001 * number))
        print("committed", one.id, flush=True)
        store.update(one.model_copy(update={"state": "learnt", "reason": one.question}))
        print("updated", one.id, flush=True)
        store.stand(Standing(latent_id=learnt.id, state="probation"))
        print("stood", learnt.id, flush=True)
        store.put(learnt, tensor(number), key(0.001 * number))
        print("put", learnt.id, flush=True)
        store.record_uses([use("first", learnt.id), use("second", learnt.id)])
        print("used", learnt.id, flush=True)
        if number % 3 == 0:
            print("suspending", learnt.id, flush=True)
            store.stand(Standing(latent_id=learnt.id, state="suspended"))
            print("suspended", learnt.id, flush=True)
        if number % 4 == 0:
            print("removing", learnt.id, flush=True)
            store.remove(learnt.id)
            print("removed", learnt.id, flush=True)
"""


def killed_at_a_random_instant(root: Path, number: int, rng: random.Random) -> list[tuple[str, str]]:
    """What a child acknowledged before SIGKILL."""
    command = [sys.executable, "-c", CHILD, str(root), str(Path(__file__).parent), str(number)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        lines = [child.stdout.readline() for _ in range(rng.randint(5, 40))]
        time.sleep(rng.uniform(0, 0.03))
        child.kill()
        lines += child.stdout.readlines()
    words = [line.split() for line in lines if line.endswith("\n")]
    return [(word, item_id) for word, item_id in words]


def assert_whole(root: Path, acknowledged: list[tuple[str, str]]) -> None:
    done: dict[str, set[str]] = {word: set() for word in WORDS}
    for word, item_id in acknowledged:
        done[word].add(item_id)
    with Store.open(root, "default", MODEL, ENCODER) as store:
        episodes = {one.id: one for one in store.episodes()}
        assert done["committed"] <= set(episodes)
        assert all(episodes[item_id].reason == episodes[item_id].question for item_id in done["updated"])
        latents = {one.id: one for one in store.latents()}
        assert done["put"] - done["removing"] <= set(latents)
        assert not done["removed"] & set(latents)
        for one in latents.values():
            np.testing.assert_array_equal(store.tensor(one.id), tensor(one.seed))
        assert_standings(store, done, set(latents))
        assert store.problems == {} and store._indexes
        usable = {latent_id for latent_id in latents if store.standing(latent_id).state in USABLE}
        assert (store._indexes[0]._ids(), store._indexes[1]._ids()) == (usable, set(episodes))
        assert {latent_id for latent_id, _ in store.nearest(key(), 9999)} == usable
        assert len(store.near_episodes(key(), 9999)) == len(episodes)
    assert not list(root.rglob("*.tmp"))


def assert_standings(store: Store, done: dict[str, set[str]], latents: set[str]) -> None:
    assert all(store.standing(latent_id).state == "suspended" for latent_id in done["suspended"] & latents)
    assert all(store.standing(latent_id).state == "probation" for latent_id in latents - done["suspending"])
    used = {latent_id: store.uses(latent_id=latent_id) for latent_id in latents | done["removed"]}
    assert {len(uses) for uses in used.values()} <= {0, 2}
    assert all(used[latent_id] for latent_id in done["used"] & latents)
    assert not any(used[latent_id] for latent_id in done["removed"])


def test_a_store_killed_at_random_instants_keeps_all_it_acknowledged_and_its_index_equals_its_files(
    tmp_path: Path,
) -> None:
    rng = random.Random(0)
    acknowledged: list[tuple[str, str]] = []
    for round_number in range(5):
        acknowledged += killed_at_a_random_instant(tmp_path, 1000 * round_number, rng)
        assert_whole(tmp_path, acknowledged)
    assert {word for word, _ in acknowledged} == set(WORDS)


@contextmanager
def full_disk() -> Generator[None, None, None]:
    """No file of this process may grow beyond a kilobyte."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_an_error_that_names_the_path_and_costs_nothing_written_before(tmp_path: Path) -> None:
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        store.commit(first := episode("first"), key())
        store.put(kept := latent(), tensor(), key())
        with full_disk():
            with pytest.raises(errors.StoreWriteError, match=r"latents.*free some space"):
                store.put(latent(), tensor(1), key(1.0))
            with pytest.raises(errors.StoreWriteError, match=r"journal\.sqlite"):
                store.commit(episode("second"), key(1.0))
            with pytest.raises(errors.StoreWriteError, match=r"journal\.sqlite"):
                store.update(first.model_copy(update={"state": "learnt"}))
            with pytest.raises(errors.StoreWriteError, match=r"journal\.sqlite"):
                store.stand(Standing(latent_id=kept.id, state="suspended"))
            with pytest.raises(errors.StoreWriteError, match=r"journal\.sqlite"):
                store.record_uses([use(f"a{number}", kept.id) for number in range(100)])
            assert (store.standing(kept.id).state, store.uses()) == ("live", [])
            assert store.episode(first.id) == first
            np.testing.assert_array_equal(store.tensor(kept.id), tensor())
        assert (list(store.episodes()), list(store.latents())) == ([first], [kept])
        assert not list(tmp_path.rglob("*.tmp"))
        store.commit(episode("third"), key(1.0))
        store.record_uses([use("a", kept.id)])
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        assert [one.question for one in store.episodes()] == ["first", "third"]


def test_what_is_written_before_the_index_is_found_after_the_next_opening(tmp_path: Path) -> None:
    """The instant between the truth and the index, in both directions."""
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        store.put(deleted := latent(), tensor(), key())
        store._journal.add(one := episode(), ENCODER, key())
        store._files.write(written := latent(), tensor(), key())
        store._files.delete(deleted.id)
        (store._files.folder / f"{'0' * 32}.safetensors.tmp").write_bytes(b"half")
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        assert store.nearest(key(), 9) == [(written.id, 1.0)]
        assert store.near_episodes(key(), 9) == [(one, 1.0)]
        assert [path.stem for path in store._files.folder.iterdir()] == [written.id]
