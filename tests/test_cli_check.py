"""`check` and `bench kill` on the command line: what they say, and what they end with."""

import json
from pathlib import Path

import pytest
from store_builders import ENCODER, MODEL, episode, key, latent, near, tensor
from typer.testing import CliRunner, Result

from latent_memory_plugin.cli import app
from latent_memory_plugin.store import Store


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for namespace in ("default", "other"):
        with Store.open(tmp_path, namespace, MODEL, ENCODER) as store:
            store.put(latent(namespace=namespace), tensor(), key())
            store.commit(episode(), key())
            assert len(store.nearest(key())) == len(near(store, key())) == 1
    return tmp_path


def test_a_whole_store_ends_with_0_and_a_damaged_one_with_1_until_it_is_repaired(root: Path) -> None:
    assert (done := call("check", "--root", root)).exit_code == 0
    assert "Nothing is wrong" in done.stdout and "2 namespaces" in done.stdout
    path = next((root / "default" / "latents").iterdir())
    path.write_bytes(path.read_bytes()[:100])
    found = call("check", "--root", root)
    assert found.exit_code == 1 and "findings are left" in found.stdout
    assert f"fault: {path}\n" in found.stdout and path.exists()
    assert call("check", "--root", root, "--namespace", "other").exit_code == 0
    repaired = call("check", "--root", root, "--repair", "--json", "-")
    report = json.loads(repaired.stdout)
    assert (repaired.exit_code, report["left"]) == (0, 0)
    assert {one["part"] for one in report["findings"]} == {"latents", "index"}
    assert all(one["repaired"] for one in report["findings"]) and not path.exists()
    assert call("check", "--root", root).exit_code == 0


def test_what_is_not_there_is_refused_and_nothing_is_made(tmp_path: Path) -> None:
    for arguments in (("--root", tmp_path / "none"), ("--root", tmp_path, "--namespace", "x")):
        refused = call("check", *arguments)
        assert refused.exit_code == 1 and refused.stderr.startswith("error: ") and refused.stderr.count("\n") == 1
    assert not (tmp_path / "none").exists() and not (tmp_path / "x").exists()


def test_the_report_on_kills_is_json(tmp_path: Path) -> None:
    done = call("bench", "kill", "--rounds", "1", "--json", tmp_path / "report.json")
    report = json.loads((tmp_path / "report.json").read_text())
    assert (done.exit_code, report["rounds"], report["lost"], report["faults"]) == (0, 1, 0, [])
    assert "1 kills" in done.stdout
