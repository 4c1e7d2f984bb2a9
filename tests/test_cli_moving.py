"""The command line's way in and out: `export`, `import` and `forget`, without a model."""

import json
from pathlib import Path

import pytest
from archive_world import content, fill
from store_builders import ENCODER, MODEL, episode, key, latent, near, tensor
from typer.testing import CliRunner, Result

from latent_memory_plugin.cli import app
from latent_memory_plugin.store import Store


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    with Store.open(tmp_path / "root", "default", MODEL, ENCODER) as store:
        fill(store)
    return tmp_path / "root"


def test_a_namespace_goes_out_and_in_without_a_model(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "all.tar"
    written = json.loads(call("export", file, "--root", root, "--json", "-").stdout)
    assert (written["namespace"], written["journal"]) == ("default", True)
    said = call("import", file, "--root", tmp_path / "new", "--namespace", "other")
    assert said.exit_code == 0 and "3 Latents and 2 episodes" in said.stdout
    with Store.open(root, "default") as store, Store.open(tmp_path / "new", "other") as other:
        assert content(store) == content(other)
        first = next(store.latents()).id
    assert call("export", tmp_path / "one.tar", "--latent", first[:6], "--root", root).exit_code == 0
    assert b"asked" not in (tmp_path / "one.tar").read_bytes()


def test_an_imported_namespace_and_one_that_was_never_searched_are_nothing_to_repair(
    root: Path, tmp_path: Path
) -> None:
    call("export", tmp_path / "all.tar", "--root", root)
    assert call("import", tmp_path / "all.tar", "--root", tmp_path / "new").exit_code == 0
    for where in (root, tmp_path / "new"):
        checked = call("check", "--root", where)
        assert (checked.exit_code, "Nothing is wrong" in checked.stdout) == (0, True), checked.stdout
    with Store.open(root, "default", MODEL, ENCODER) as store:
        assert store.nearest(key()) and near(store, key())
    assert call("import", tmp_path / "all.tar", "--root", root, "--namespace", "other").exit_code == 0
    with Store.open(root, "default", MODEL, ENCODER) as store:
        store.put(latent(), tensor(), key())
        store.commit(episode("more"), key())
        store.remove(store.latent_ids()[0])
    report = json.loads(call("check", "--root", root, "--json", "-").stdout)
    assert (report["left"], report["findings"]) == (0, [])


def test_a_file_that_is_no_archive_leaves_no_root_behind(tmp_path: Path) -> None:
    (tmp_path / "bad.tar").write_bytes(b"\xa5" * 2000)
    for file in (tmp_path / "bad.tar", tmp_path / "missing.tar"):
        refused = call("import", file, "--root", tmp_path / "new")
        assert refused.exit_code == 1 and file.name in refused.stderr and refused.stderr.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_forget_names_one_thing_and_all_must_be_meant(root: Path) -> None:
    for wrong in ((), ("aaaa", "--all"), ("--question", "asked", "--older-than", "3"), ("--all",)):
        assert call("forget", *wrong, "--root", root).exit_code == 2
    assert "0 Latents, 1 episodes" in call("forget", "--question", " asked ", "--root", root).stdout
    assert "3 Latents, 0 episodes" in call("forget", "--older-than", "3", "--root", root).stdout
    assert call("forget", "--older-than", "-1", "--root", root).exit_code == 1
    gone = json.loads(call("forget", "--all", "--yes", "--root", root, "--json", "-").stdout)
    assert gone == {"forgotten": {"latents": 0, "episodes": 1, "uses": 0}}
