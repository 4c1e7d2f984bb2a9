"""One model under fingerprints of several methods: what was stored under a former one opens, and no other gets in."""

import json
from pathlib import Path

import pytest
from archive_world import content, fill
from store_builders import ENCODER, MODEL, episode, key, latent, near, tensor

from latent_memory_plugin import errors
from latent_memory_plugin.store import ModelId, Store
from latent_memory_plugin.store.access import Access
from latent_memory_plugin.store.check import check

OLD = MODEL[1]
NEW = ModelId("tiny", "a" * 64, (OLD,))
TWIN = ModelId("fine-tuned", "b" * 64, (OLD,))
"""Another model, which the former method could not tell from this one."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root of the time of the former method."""
    with Store.open(tmp_path / "root", "default", MODEL, ENCODER) as store:
        fill(store)
    return tmp_path / "root"


def said(root: Path) -> tuple[str, list[str]]:
    fields = json.loads((root / "store.json").read_text())
    return fields["fingerprint"], fields.get("former", [])


def test_what_was_stored_under_a_former_fingerprint_opens_as_before_and_is_rewritten_once(root: Path) -> None:
    with Store.open(root, "default", MODEL, ENCODER) as store:
        before = content(store)
    files = {path: path.read_bytes() for path in root.rglob("*.safetensors")}
    for _ in range(2):
        with Store.open(root, "default", NEW, ENCODER) as store:
            assert content(store) == before and store.problems == {}
            assert said(root) == (NEW.fingerprint, [OLD])
    assert {path: path.read_bytes() for path in root.rglob("*.safetensors")} == files
    assert check(root).left == ()


def test_from_then_on_another_model_of_the_same_former_fingerprint_is_refused(root: Path) -> None:
    Store.open(root, "default", NEW, ENCODER).close()
    for other in (TWIN, ModelId("tiny", OLD), ModelId("x", "c" * 64)):
        with pytest.raises(errors.WrongModelError, match=r"'tiny' \(fingerprint a"):
            Store.open(root, "default", other, ENCODER)
        with pytest.raises(errors.WrongModelError):
            Store.open(root, "default", other, ENCODER, Access(read_only=True))
    assert said(root) == (NEW.fingerprint, [OLD])


def test_new_latents_stand_beside_old_ones_and_a_third_method_keeps_both(root: Path) -> None:
    with Store.open(root, "default", NEW, ENCODER) as store:
        store.put(latent(fingerprint=NEW.fingerprint), tensor(), key(2.0))
        with pytest.raises(errors.WrongModelError):
            store.put(latent(fingerprint="c" * 64), tensor(), key())
    third = ModelId("tiny", "9" * 64, (NEW.fingerprint,))
    with Store.open(root, "default", third, ENCODER) as store:
        assert len(list(store.latents())) == 4 and store.problems == {}
    assert said(root) == (third.fingerprint, [OLD, NEW.fingerprint])


def test_who_looks_alone_reads_under_both_and_rewrites_nothing(root: Path) -> None:
    before = (root / "store.json").read_bytes()
    with Store.open(root, "default", NEW, ENCODER, Access(read_only=True)) as store:
        assert len(list(store.latents())) == 3 and store.nearest(key(), 9)
    assert (root / "store.json").read_bytes() == before


def test_an_archive_of_a_former_fingerprint_is_imported_and_lives_on(root: Path, tmp_path: Path) -> None:
    with Store.open(root, "default", MODEL, ENCODER) as store:
        store.export_to(tmp_path / "old.tar")
        before = content(store)
    with Store.open(tmp_path / "to", "default", NEW, ENCODER) as store:
        assert said(tmp_path / "to") == (NEW.fingerprint, [])
        assert len(store.import_from(tmp_path / "old.tar").latent_ids) == 3
        assert content(store) == before and said(tmp_path / "to") == (NEW.fingerprint, [OLD])
        assert store.import_from(tmp_path / "old.tar").known == 5
    with Store.open(tmp_path / "to", "default", NEW, ENCODER) as store:
        assert content(store) == before
    with pytest.raises(errors.WrongModelError):
        Store.open(tmp_path / "to", "default", TWIN, ENCODER)
    refused = pytest.raises(errors.WrongModelError, match=r"'tiny'.*'big'")
    with Store.open(tmp_path / "other", "default", ("big", "e" * 64), ENCODER) as store, refused:
        store.import_from(tmp_path / "old.tar")


def test_a_root_that_lost_its_store_json_is_read_under_former_fingerprints_and_an_empty_one_is_not(
    root: Path, tmp_path: Path
) -> None:
    (root / "store.json").unlink()
    with Store.open(root, "default", NEW, ENCODER) as store:
        assert len(list(store.latents())) == 3 and store.problems == {}
    Store.open(tmp_path / "empty", "default", NEW, ENCODER).close()
    assert (said(root), said(tmp_path / "empty")) == ((NEW.fingerprint, [OLD]), (NEW.fingerprint, []))


def test_a_store_that_was_open_to_list_takes_the_archive_of_the_root_s_own_former_fingerprint(
    root: Path, tmp_path: Path
) -> None:
    with Store.open(root, "default") as store:
        store.export_to(tmp_path / "old.tar")
    Store.open(root, "other", NEW, ENCODER).close()
    with Store.open(root, "other") as store:
        assert len(store.import_from(tmp_path / "old.tar").latent_ids) == 3
    with Store.open(root, "other", NEW, ENCODER) as store:
        store.commit(episode("new"), key(3.0))
        assert len(near(store, key())) == 3 and store.problems == {}
