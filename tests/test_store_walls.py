"""Namespaces and models that do not belong together never see each other; foreign files are refused."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save
from store_builders import ENCODER, MODEL, episode, key, latent, near, tensor

from latent_memory_plugin import errors
from latent_memory_plugin.store import Store
from latent_memory_plugin.store.root import folder_name

OTHER_MODEL = ("big", "e" * 64)
HOSTILE = [
    *("default", "DEFAULT", "default ", " default", "ｄefault", "dеfault", "../default", "default/", "./default"),
    *("../x", "a/b", "a\\b", "/etc/passwd", ".", "..", "~", "CON", "con", "nul", "chroma", "lock", "store.json", "\n"),
    *("é", "e\u0301", "x" * 63, "x" * 64, "x" * 5000, "%2e%2e", "a", "A", "-", "_", "__", "🙂", folder_name("../x")),
]


@given(st.text(min_size=1), st.text(min_size=1))
def test_two_namespaces_never_share_a_folder_and_a_folder_is_a_harmless_name(one: str, other: str) -> None:
    for namespace in (one, other):
        if "\0" in namespace:
            return
        assert re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", folder_name(namespace))
    assert (folder_name(one) == folder_name(other)) == (one == other)


def test_hostile_namespaces_get_folders_of_their_own() -> None:
    folders = [folder_name(name) for name in HOSTILE]
    assert len(set(folders)) == len(HOSTILE)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", folder) for folder in folders)
    assert not {"con", "nul", "chroma", "lock"} & set(folders)
    assert folder_name("agent_7") == "agent_7"


@pytest.mark.parametrize("namespace", ["", "a\0b", "\ud800"])
def test_a_namespace_that_is_no_name_is_refused_before_anything_is_made(tmp_path: Path, namespace: str) -> None:
    with pytest.raises(errors.InputError, match="namespace"):
        Store.open(tmp_path / "root", namespace, MODEL, ENCODER)
    assert not (tmp_path / "root").exists()


def test_nothing_of_one_namespace_is_found_listed_or_removed_from_another(tmp_path: Path) -> None:
    root = tmp_path / "deep" / "root"
    stores = {
        name: Store.open(root, name, MODEL, ENCODER) for name in ("default", "../default", "CON", "é", "x" * 5000)
    }
    latents = {name: latent(namespace=name) for name in stores}
    for name, store in stores.items():
        store.commit(episode(f"asked in {name[:20]}"), key())
        store.put(latents[name], tensor(), key())
    for name, store in stores.items():
        assert list(store.latents()) == [latents[name]]
        assert [found for found, _ in store.nearest(key(), 99)] == [latents[name].id]
        assert [found.question for found, _ in near(store, key(), 99)] == [f"asked in {name[:20]}"]
        for other in latents.values():
            if other != latents[name]:
                for use in (store.latent, store.tensors, store.remove):
                    with pytest.raises(errors.NotFoundError):
                        use(other.id)
                with pytest.raises(errors.InputError, match="namespace"):
                    store.put(other, tensor(), key())
    for store in stores.values():
        store.close()
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["root"]


def test_a_folder_moved_to_another_namespace_is_refused(tmp_path: Path) -> None:
    with Store.open(tmp_path, "one", MODEL, ENCODER) as store:
        store.put(moved := latent(namespace="one"), tensor(), key())
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    with pytest.raises(errors.CorruptError, match=r"journal.sqlite.*'two'"):
        Store.open(tmp_path, "two", MODEL, ENCODER)
    (tmp_path / "two" / "journal.sqlite").unlink()
    with pytest.warns(match="namespace 'one'"), Store.open(tmp_path, "two", MODEL, ENCODER) as store:
        assert list(store.latents()) == store.nearest(key()) == []
        with pytest.raises(errors.CorruptError, match=moved.id):
            store.tensors(moved.id)["latent"]


def test_a_root_of_another_model_is_refused_with_both_names(tmp_path: Path) -> None:
    Store.open(tmp_path, "default", MODEL, ENCODER).close()
    with pytest.raises(errors.WrongModelError, match=r"'tiny'.*'big'"):
        Store.open(tmp_path, "other", OTHER_MODEL, ENCODER)
    with Store.open(tmp_path, "default", ("renamed", MODEL[1]), ENCODER) as store:
        assert list(store.latents()) == []


def test_a_latent_of_another_model_is_refused_with_both_names(tmp_path: Path) -> None:
    with Store.open(tmp_path / "big", "default", OTHER_MODEL, ENCODER) as store:
        foreign = latent(model="big", fingerprint=OTHER_MODEL[1])
        store.put(foreign, tensor(), key())
        path = next(store.root.rglob("*.safetensors"))
    refused = pytest.raises(errors.WrongModelError, match=r"'big'.*'tiny'")
    with Store.open(tmp_path / "tiny", "default", MODEL, ENCODER) as store, refused:
        store.put(foreign, tensor(), key())
    shutil.copy(path, tmp_path / "tiny" / "default" / "latents")
    with pytest.warns(match="'big'"), Store.open(tmp_path / "tiny", "default", MODEL, ENCODER) as store:
        assert list(store.latents()) == store.nearest(key()) == []
        for use in (store.tensors, store.latent):
            with pytest.raises(errors.WrongModelError, match=r"'big'.*'tiny'"):
                use(foreign.id)
    with Store.open(tmp_path / "tiny", "default") as listing:
        assert list(listing.latents()) == [foreign]


def flip_last_byte(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


CORRUPTIONS: dict[str, Callable[[bytes], bytes]] = {
    "flipped": flip_last_byte,
    "empty": lambda content: b"",
    "cut": lambda content: content[:-1],
    "cut in the header": lambda content: content[:100],
    "garbage": lambda content: b"\xa5" * len(content),
    "longer": lambda content: content + b"x",
    "another file": lambda content: save({"latent": tensor(), "key": key()}),
    "another record": lambda content: content.replace(b"soft_prompt", b"hard_prompt"),
    "another id": lambda content: re.sub(rb'id\\":\\"[0-9a-f]{32}', rb'id\\":\\"' + b"0" * 32, content),
    "another shape": lambda content: content.replace(b'"shape":[3,4]', b'"shape":[4,3]'),
    "another shape of the record": lambda content: content.replace(b'latent\\":[3,4]', b'latent\\":[4,3]'),
    "another type": lambda content: content.replace(b"F32", b"I32"),
    "older schema": lambda content: content.replace(b'"schema":"2"', b'"schema":"0"'),
}


@pytest.mark.parametrize("corrupt", CORRUPTIONS.values(), ids=CORRUPTIONS.keys())
def test_a_corrupt_file_is_named_and_does_not_hide_the_others(
    tmp_path: Path, corrupt: Callable[[bytes], bytes]
) -> None:
    bad, good = latent(created=1.0), latent(created=2.0)
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        store.put(bad, tensor(), key())
        store.put(good, tensor(), key(1.0))
        assert len(store.nearest(key(), 99)) == 2
    path = tmp_path / "default" / "latents" / f"{bad.id}.safetensors"
    content = path.read_bytes()
    path.write_bytes(corrupt(content))
    assert path.read_bytes() != content
    shutil.rmtree(tmp_path / "chroma")
    with pytest.warns(match=bad.id), Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        assert good in list(store.latents())
        assert [found for found, _ in store.nearest(key(), 99)] == [good.id]
        assert isinstance(store.problems[path], errors.CorruptError)
        with pytest.raises(errors.CorruptError, match=rf"{bad.id}.*backup"):
            store.tensors(bad.id)["latent"]
        store.remove(bad.id)
        assert store.problems == {}
        assert not path.exists()


def test_values_that_are_not_finite_are_not_stored(tmp_path: Path) -> None:
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store, pytest.raises(errors.InputError, match="not finite"):
        store.put(latent(), tensor() * np.float32(np.nan), key())


def test_a_file_of_a_newer_version_asks_for_it(tmp_path: Path) -> None:
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        store.put(one := latent(), tensor(), key())
        path = next(tmp_path.rglob("*.safetensors"))
        path.write_bytes(path.read_bytes().replace(b'"schema":"2"', b'"schema":"3"'))
        with pytest.raises(errors.StoreError, match=r"schema 3.*install version 0\.1\.0 of latent-memory-plugin"):
            store.latent(one.id)
        (path.parent / "readme.safetensors").write_bytes(b"")
        with pytest.warns(match="schema 3|no id"):
            assert list(store.latents()) == []
        assert len(store.problems) == 2


def test_a_root_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for root in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/none/here")):
        with pytest.raises(errors.StoreWriteError, match=re.escape(str(root.parent if root.name != "file" else root))):
            Store.open(root, "default", MODEL, ENCODER)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="this user may write everywhere")
def test_a_read_only_root_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(errors.StoreWriteError, match=re.escape(str(tmp_path))):
        Store.open(tmp_path, "default", MODEL, ENCODER)


@pytest.mark.parametrize("name", ["store.json", "default/journal.sqlite"])
def test_a_damaged_store_or_journal_is_named(tmp_path: Path, name: str) -> None:
    Store.open(tmp_path, "default", MODEL, ENCODER).close()
    (tmp_path / name).write_bytes(b"\xa5" * 5000)
    with pytest.raises(errors.CorruptError, match=re.escape(str(tmp_path / name))):
        Store.open(tmp_path, "default", MODEL, ENCODER)
    (tmp_path / name).unlink()
    Store.open(tmp_path, "default", MODEL, ENCODER).close()
