"""Out and in again: an archive brings back what was exported, into any namespace, all of it or nothing."""

from pathlib import Path
from typing import Any

import pytest
from archive_world import content, fill
from store_builders import ENCODER, MODEL, episode, key, latent, tensor

from latent_memory_plugin import errors
from latent_memory_plugin.records import Standing
from latent_memory_plugin.store import Store


@pytest.fixture
def exported(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """An archive of a namespace, and what that held."""
    with Store.open(tmp_path / "from", "default", MODEL, ENCODER) as store:
        fill(store)
        store.export_to(tmp_path / "all.tar")
        return tmp_path / "all.tar", content(store)


def test_a_namespace_comes_back_whole_under_whatever_name_and_a_second_time_changes_nothing(
    tmp_path: Path, exported: tuple[Path, dict[str, Any]]
) -> None:
    path, before = exported
    for namespace in ("default", "../other"):
        with Store.open(tmp_path / "to", namespace, MODEL, ENCODER) as store:
            imported = store.import_from(path)
            assert (len(imported.latent_ids), len(imported.episode_ids), imported.known) == (3, 2, 0)
            assert content(store) == before
            store.stand(Standing(latent_id=imported.latent_ids[0], state="retired"))
            now = content(store)
            assert store.import_from(path) == ([], [], 5)
            assert content(store) == now
        with Store.open(tmp_path / "to", namespace, MODEL, ENCODER) as store:
            assert content(store) == now
    assert [one.name for one in (tmp_path / "to").iterdir() if "import" in one.name] == []


def test_a_listing_moves_archives_too_and_a_new_root_belongs_to_their_model(
    tmp_path: Path, exported: tuple[Path, dict[str, Any]]
) -> None:
    with Store.open(tmp_path / "from", "default") as store:
        store.export_to(tmp_path / "listed.tar")
    with Store.open(tmp_path / "to", "default") as store:
        store.import_from(tmp_path / "listed.tar")
    with Store.open(tmp_path / "to", "default", MODEL, ENCODER) as store:
        assert content(store) == exported[1]
    with pytest.raises(errors.WrongModelError, match="'tiny'"):
        Store.open(tmp_path / "to", "default", ("big", "e" * 64), ENCODER)


def test_a_single_latent_leaves_with_its_standing_and_no_text(tmp_path: Path) -> None:
    with Store.open(tmp_path / "from", "default", MODEL, ENCODER) as store:
        ids = fill(store)
        manifest = store.export_to(tmp_path / "one.tar", [ids[1]])
        assert (manifest.latent_ids, manifest.journal) == ([ids[1]], False)
        for wrong in ([], ["0" * 32], ["../x"]):
            with pytest.raises((errors.InputError, errors.NotFoundError)):
                store.export_to(tmp_path / "none.tar", wrong)
    assert not any(word in (tmp_path / "one.tar").read_bytes() for word in (b"asked", b"ten metres", b"answer 1"))
    with Store.open(tmp_path / "to", "default", MODEL, ENCODER) as store:
        assert store.import_from(tmp_path / "one.tar") == ([ids[1]], [], 0)
        assert (store.standing(ids[1]).state, store.uses(), list(store.episodes())) == ("probation", [], [])
    assert not (tmp_path / "none.tar").exists()


def test_an_id_that_is_taken_by_something_else_stops_all_of_the_import(
    tmp_path: Path, exported: tuple[Path, dict[str, Any]]
) -> None:
    path, before = exported
    taken = before["latents"][2].id
    with Store.open(tmp_path / "to", "default", MODEL, ENCODER) as store:
        store.put(latent(id=taken), tensor(9), key())
        with pytest.raises(errors.InputError, match=f"{taken}.*another content"):
            store.import_from(path)
        store.remove(taken)
        store.commit(episode("another", id=before["episodes"][1][0].id), key())
        with pytest.raises(errors.InputError, match="another content"):
            store.import_from(path)
        assert (list(store.latents()), store.uses(), len(list(store.episodes()))) == ([], [], 1)
        assert [one.name for one in (tmp_path / "to" / "default").iterdir() if "import" in one.name] == []


def test_a_corrupt_latent_is_not_exported(tmp_path: Path) -> None:
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        ids = fill(store)
        path = tmp_path / "default" / "latents" / f"{ids[0]}.safetensors"
        path.write_bytes(path.read_bytes()[:-1] + b"\xa5")
        with pytest.raises(errors.CorruptError, match=ids[0]):
            store.export_to(tmp_path / "all.tar")
    assert not list(tmp_path.glob("all.tar*"))
