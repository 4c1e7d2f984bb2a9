"""One root has one owner: stores of one process share it, a second process is refused by name."""

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from store_builders import ENCODER, MODEL, episode, key, latent, near, tensor

from latent_memory_plugin import errors
from latent_memory_plugin.store import Store


def test_stores_of_one_process_share_the_root_until_the_last_one_closes(tmp_path: Path) -> None:
    first = Store.open(tmp_path, "first", MODEL, ENCODER)
    second = Store.open(tmp_path / ".." / tmp_path.name, "second", MODEL, ENCODER)
    again = Store.open(tmp_path, "first", MODEL, ENCODER)
    first.commit(one := episode(), key())
    first.close()
    first.close()
    assert near(again, key(), 1)[0][0] == one
    assert near(second, key(), 1) == []
    again.close()
    assert (tmp_path / "owner.json").exists()
    second.close()
    assert not (tmp_path / "owner.json").exists()
    with pytest.raises(errors.StoreError, match="closed"):
        first.episode(one.id)


def test_importing_and_listing_start_neither_chroma_nor_torch(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib; from latent_memory_plugin.store import Store\n"
        "with Store.open(pathlib.Path(sys.argv[1]), 'default') as store: print(list(store.latents()), store.problems)\n"
        "assert not {'chromadb', 'torch'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "[] {}\n"), done.stderr


def test_a_store_open_for_listing_takes_no_keys_but_removes(tmp_path: Path) -> None:
    store = Store.open(tmp_path, "default", MODEL, ENCODER)
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
    store.close()


OWNER = """
import sys, pathlib
from latent_memory_plugin.store import Store
with Store.open(pathlib.Path(sys.argv[1]), "default"):
    print("open", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_by_name_until_the_first_is_gone(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OWNER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout and owner.stdout.readline() == b"open\n"
        expected = (
            rf"process {owner.pid} on host '{re.escape(socket.gethostname())}' since \d{{4}}-.*lock_timeout=.*chroma="
        )
        with pytest.raises(errors.StoreLockedError, match=expected):
            Store.open(tmp_path, "other")
        owner.kill()
    with Store.open(tmp_path, "other") as store:
        assert list(store.latents()) == []
