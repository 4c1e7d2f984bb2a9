"""Faults of the disk and of the clock: refused in words, never a foreign error, and nothing written before is lost."""

import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from store_builders import ENCODER, MODEL, episode, key, latent, near, tensor, use

from latent_memory_plugin import errors
from latent_memory_plugin.config import LifeConfig
from latent_memory_plugin.learning.lifecycle import Lifecycle
from latent_memory_plugin.records import Latent, Standing
from latent_memory_plugin.store import Store
from latent_memory_plugin.store.access import Access
from latent_memory_plugin.store.check import check
from latent_memory_plugin.store.root import Root

NOBODY = 65534
MEBIBYTE = 1 << 20


def filled(root: Path, count: int = 4) -> list[Latent]:
    made = [latent(created=float(number)) for number in range(count)]
    with Store.open(root, "default", MODEL, ENCODER) as store:
        for number, one in enumerate(made):
            store.commit(episode(f"question {number} " + "of some length " * 40), key(0.1 * number))
            store.put(one, tensor(number), key(0.1 * number))
            store.stand(Standing(latent_id=one.id, state="probation"))
            store.record_uses([use(f"a{number}", one.id)])
        assert len(store.nearest(key(), 99)) == len(near(store, key())) == count
    return made


@pytest.mark.filterwarnings("ignore:.*no whole Latent")
def test_no_flipped_bit_and_no_cut_of_a_file_is_more_than_an_error_of_ours(tmp_path: Path) -> None:
    filled(whole := tmp_path / "whole")
    shutil.rmtree(whole / "chroma")
    rng, refused = random.Random(0), 0
    victims = [*sorted(whole.rglob("*.safetensors"))[:1], whole / "default" / "journal.sqlite", whole / "store.json"]
    for number in range(60):
        damaged = tmp_path / str(number)
        shutil.copytree(whole, damaged)
        path = damaged / victims[number % 3].relative_to(whole)
        content = bytearray(path.read_bytes())
        if number % 2:
            del content[rng.randrange(len(content)) :]
        else:
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
        try:
            Root.to_read(damaged).owner  # noqa: B018  the property reads store.json
            with Store.open(damaged, "default") as store:
                assert len([store.tensors(one.id)["latent"] for one in store.latents()]) >= 3
                assert len(list(store.episodes())) <= 4 and len(store.uses()) <= 4
        except errors.LatentMemoryError:
            refused += 1
        assert all(one.problem and one.remedy for one in check(damaged).findings)
        shutil.rmtree(damaged)
    assert refused > 10


@pytest.fixture
def tiny_disk() -> Iterator[Path]:
    """A disk of four mebibytes, where this user may mount one."""
    folder = Path(tempfile.mkdtemp(prefix="latent-memory-disk-"))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={4 * MEBIBYTE}", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True).returncode
    except OSError:
        done = 1
    if done:
        folder.rmdir()
        pytest.skip("no disk can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()


def test_a_disk_that_fills_up_refuses_and_goes_on_when_there_is_space_again(tiny_disk: Path) -> None:
    root, filler, kept = tiny_disk / "root", tiny_disk / "filler", filled(tiny_disk / "root")
    with Store.open(root, "default", MODEL, ENCODER) as store:
        free = os.statvfs(tiny_disk).f_bavail * os.statvfs(tiny_disk).f_frsize
        filler.write_bytes(b"x" * max(0, free - 4096))
        known = {one.id for one in store.episodes()}
        with pytest.raises(errors.StoreWriteError, match="free some space"):
            for number in range(2000):
                store.put(one := latent(), tensor(number), key(number))
                kept.append(one)
                store.commit(more := episode(f"more {number} " * 50), key(number))
                known.add(more.id)
        filler.unlink()
        assert {one.id for one in store.latents()} >= {one.id for one in kept}
        assert {one.id for one in store.episodes()} >= known
        store.commit(last := episode("last"), key(2.0))
        store.put(later := latent(), tensor(), key(2.0))
    with Store.open(root, "default", MODEL, ENCODER) as store:
        assert store.episode(last.id) == last and store.latent(later.id) == later
        assert not list(root.rglob("*.tmp"))
    assert check(root).left == ()


@pytest.fixture
def ordinary_user() -> Iterator[Path]:
    """A folder of a user whom permissions bind: root may write everywhere."""
    if not hasattr(os, "seteuid"):
        pytest.skip("this system has no users to change to")
    folder = Path(tempfile.mkdtemp(prefix="latent-memory-user-"))
    is_root = os.geteuid() == 0
    if is_root:
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    try:
        yield folder
    finally:
        if is_root:
            os.seteuid(0)
        shutil.rmtree(folder)


def test_a_folder_that_becomes_read_only_refuses_is_still_read_and_works_again(ordinary_user: Path) -> None:
    root, latents = ordinary_user / "root", ordinary_user / "root" / "default" / "latents"
    kept = filled(root)
    with Store.open(root, "default", MODEL, ENCODER) as store:
        latents.chmod(0o500)
        with pytest.raises(errors.StoreWriteError, match=r"latents.*allow this user"):
            store.put(latent(), tensor(), key())
        with pytest.raises(errors.StoreWriteError, match=r"latents.*allow this user"):
            store.remove(kept[0].id)
        assert store.nearest(key(), 1)[0][0] == kept[0].id
        latents.chmod(0o700)
        store.remove(kept[0].id)
    root.chmod(0o500)
    with pytest.raises(errors.StoreWriteError, match="allow this user"):
        Store.open(root, "default", MODEL, ENCODER)
    with Store.open(root, "default", MODEL, ENCODER, Access(read_only=True)) as store:
        assert {found for found, _ in store.nearest(key(), 9)} == {one.id for one in kept[1:]}
    root.chmod(0o700)
    with Store.open(root, "default", MODEL, ENCODER) as store:
        assert {found for found, _ in store.nearest(key(), 9)} == {one.id for one in kept[1:]}


def test_a_clock_that_goes_back_changes_no_order_and_brings_the_right_version_back(tmp_path: Path) -> None:
    episodes = [episode(f"question {number}", created=1000.0 - number) for number in range(5)]
    first = latent(created=1000.0)
    second = latent(created=10.0, previous=first.id)
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        for one in episodes:
            store.commit(one, key())
        store.put(first, tensor(), key())
        store.stand(Standing(latent_id=first.id, state="superseded", since=20.0))
        store.put(second, tensor(1), key())
        store.record_uses([use("late", second.id, created=900.0)])
        store.record_uses([use("early", second.id, created=5.0)])
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        assert list(store.episodes()) == episodes
        assert [one.answer_id for one in store.uses()] == ["late", "early"]
        assert Lifecycle(store, LifeConfig()).roll_back(second.id, "It lost.").state == "retired"
        assert store.standing(first.id).state == "live"
        assert [found for found, _ in store.nearest(key(), 9)] == [first.id]


def test_what_an_opening_puts_right_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    filled(tmp_path)
    left_behind = tmp_path / "default" / "latents" / f"{'0' * 32}.safetensors.tmp"
    left_behind.write_bytes(b"half")
    shutil.rmtree(tmp_path / "chroma")
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        assert len(store.nearest(key(), 9)) == len(near(store, key())) == 4
        said = store.mended
        assert len(said) == 3 and left_behind.name in said[0]
        assert all("lacked 4 keys" in sentence for sentence in said[1:])
        assert all(sentence in caplog.text for sentence in said)
    caplog.clear()
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        assert (store.mended, caplog.text) == ((), "")
