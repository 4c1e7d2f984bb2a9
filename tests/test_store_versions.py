"""Roots of earlier versions are read bit for bit, migrated once or not at all; those of later ones are left alone."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import store_builders
from store_builders import near, old_journal

from latent_memory_plugin import __version__, errors
from latent_memory_plugin.store import Store
from latent_memory_plugin.store.database import Database
from latent_memory_plugin.store.schema import BACKUP, SCHEMA, STEPS

GOLDEN = Path(__file__).parent / "golden"
MODEL, ENCODER = ("golden", "9" * 64), "golden keys"
ROOTS = sorted(path for path in GOLDEN.iterdir() if path.is_dir() and path.name.startswith("root-"))
FOLDERS = ("default", "lan-8cf7ae2df38aab07")


def expectation(root: Path) -> dict[str, Any]:
    return json.loads((GOLDEN / f"{root.name}.json").read_text(encoding="utf-8"))


def assert_includes(found: Any, expected: Any) -> None:
    """Every field that the earlier version wrote is there with the same value; later versions may have more."""
    if isinstance(expected, dict):
        for name, value in expected.items():
            assert_includes(found[name], value)
    else:
        assert found == expected


def assert_golden(store: Store, expected: dict[str, Any]) -> None:
    episodes = list(store.episodes())
    assert len(episodes) == len(expected["episodes"])
    for one, written in zip(episodes, expected["episodes"], strict=True):
        dumped = one.model_dump(mode="json")
        for found, rollout in zip(dumped.pop("rollouts"), written["record"].pop("rollouts"), strict=True):
            assert_includes(found, rollout)
        assert_includes(dumped, written["record"])
        assert store.episode_key(one.id).tobytes().hex() == written["key"]
    latents = list(store.latents())
    assert len(latents) == len(expected["latents"]) and store.problems == {}
    for one, written in zip(latents, expected["latents"], strict=True):
        if "shape" in written["record"]:  # the one tensor of header schema 1
            written["record"]["shapes"] = {"latent": written["record"].pop("shape")}
        assert_includes(one.model_dump(mode="json"), written["record"])
        assert store.tensors(one.id)["latent"].tobytes().hex() == written["tensor"]
        assert store.latent_key(one.id).tobytes().hex() == written["key"]
    for one, written in zip(store.uses(), expected.get("uses", []), strict=True):
        assert_includes(one.model_dump(mode="json"), written)
    for written in expected.get("standings", []):
        assert store.standing(written["latent_id"]).model_dump(mode="json") == written


def version(path: Path) -> int:
    connection = sqlite3.connect(path)
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    connection.close()
    return found


@pytest.mark.parametrize("golden", ROOTS, ids=lambda path: path.name)
def test_a_root_of_an_earlier_version_is_opened_bit_for_bit(golden: Path, tmp_path: Path) -> None:
    root = shutil.copytree(golden, tmp_path / "root")
    before = {path: path.read_bytes() for path in root.rglob("*.safetensors")}
    for _ in range(2):
        for namespace, expected in expectation(golden).items():
            with Store.open(root, namespace, MODEL, ENCODER) as store:
                assert_golden(store, expected)
                vector = np.frombuffer(bytes.fromhex(expected["latents"][1]["key"]), "<f4")
                assert store.nearest(vector)[0][0] == expected["latents"][1]["record"]["id"]
                closest, _ = near(store, vector, 1)[0]
                assert closest.id == expected["episodes"][2]["record"]["id"]
    assert {path: path.read_bytes() for path in root.rglob("*.safetensors")} == before
    assert [version(root / folder / "journal.sqlite") for folder in FOLDERS] == [SCHEMA] * 2


def test_there_is_a_golden_root_of_every_schema_before_this_one() -> None:
    schemas = {version(root / folder / "journal.sqlite") for root in ROOTS for folder in FOLDERS}
    assert schemas >= set(range(1, SCHEMA))


def test_nothing_keeps_the_golden_roots_out_of_the_repository() -> None:
    if not shutil.which("git"):
        pytest.skip("there is no git here")
    files = [str(path) for path in GOLDEN.rglob("*") if path.is_file()]
    found = subprocess.run(["git", "check-ignore", *files], cwd=GOLDEN, capture_output=True, text=True, check=False)
    assert found.stdout == ""
    assert len([name for name in files if name.endswith(".safetensors")]) == 4 * len(ROOTS)


@pytest.mark.parametrize("golden", ROOTS, ids=lambda path: path.name)
def test_the_journal_is_copied_before_it_is_migrated_and_the_copy_can_be_restored(golden: Path, tmp_path: Path) -> None:
    root = shutil.copytree(golden, tmp_path / "root")
    expected = expectation(golden)["default"]
    journal = root / "default" / "journal.sqlite"
    schema = version(journal)
    copy = journal.with_name(BACKUP.format(schema))
    with Store.open(root, "default") as store:
        one = next(store.episodes())
        store.update(one.model_copy(update={"reason": "changed after the migration"}))
    assert version(copy) == schema < version(journal)
    assert "changed after" not in copy.read_bytes().decode(errors="replace")
    copy.replace(journal)
    with Store.open(root, "default", MODEL, ENCODER) as store:
        assert_golden(store, expected)
    assert version(copy) == schema


def test_every_statement_of_a_migration_may_be_its_last(tmp_path: Path) -> None:
    """The process is killed before each statement in turn; the next opening finds the old journal and migrates it."""
    if not hasattr(os, "fork"):
        pytest.skip("this system has no fork")
    for number in range(100):
        old_journal(folder := tmp_path / str(number), "first", "second")
        was_killed = killed(folder / "journal.sqlite", number)
        found = version(folder / "journal.sqlite")
        assert found == (1 if was_killed else SCHEMA)
        database = Database(folder / "journal.sqlite", "default")
        rows = database.rows("SELECT id, question, problem_hash = question_hash(question) FROM episodes")
        assert rows == [("first", "first", 1), ("second", "second", 1)]
        assert database.rows("PRAGMA integrity_check") == [("ok",)]
        database.close()
        assert version(folder / BACKUP.format(1)) == 1 and not list(folder.glob("*.tmp*"))
        if not was_killed:
            assert number > sum(map(len, STEPS[1:]))
            return
    pytest.fail("the migration never came to its end")


def test_refused_episodes_of_an_older_journal_are_of_one_attempt_where_their_reasons_are_the_same(
    tmp_path: Path,
) -> None:
    old_journal(tmp_path / "default", *"abcdef")
    connection = sqlite3.connect(tmp_path / "default" / "journal.sqlite")
    with connection:
        for state, reason, ids in (
            ("refused", "No gain.", "ab"),
            ("refused", "Harm nearby.", "c"),
            ("learnt", "It passed.", "d"),
            ("failed", "It broke.", "e"),
        ):
            for episode_id in ids:
                connection.execute(
                    "UPDATE episodes SET state = ?, reason = ? WHERE id = ?", (state, reason, episode_id)
                )
    connection.close()
    with Store.open(tmp_path, "default", MODEL, store_builders.ENCODER) as store:
        attempts = {one.id: one.attempt for one in store.episodes()}
        assert {one: name for one, name in attempts.items() if name is None} == dict.fromkeys("def")
        assert attempts["a"] == attempts["b"] != attempts["c"] and None not in (attempts["a"], attempts["c"])
        [(one, _)] = [found for found in near(store, np.ones(8, np.float32)) if found[0].id == "f"]
        assert {found.id: found.attempt for found in store.neighbours(np.ones(8, np.float32), -1.0)} == attempts
        assert store.settle(one.id, "refused", "No gain.", "another")
        assert store.episode("f").attempt == "another" and store.episode("f").reason == "No gain."


def killed(path: Path, after: int) -> bool:
    """Whether a child that opens the journal was killed, before a number of statements or within the copy."""
    child = os.fork()
    if not child:
        left = iter(range(after))
        run = Database.run

        def counted(self: Database, statement: str, *values: Any) -> int:
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
            return run(self, statement, *values)

        Database.run = counted
        Database(path, "default").close()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def test_a_copy_that_was_cut_short_is_made_anew(tmp_path: Path) -> None:
    old_journal(tmp_path / "default", "first")
    copy = tmp_path / "default" / BACKUP.format(1)
    for name in (copy, copy.with_name(copy.name + ".tmp")):
        name.write_bytes(b"half a copy")
    with Store.open(tmp_path, "default") as store:
        assert [one.id for one in store.episodes()] == ["first"]
    assert version(copy) == 1
    assert not list(tmp_path.rglob("*.tmp"))


def journal_of_the_future(root: Path, writer: str | None) -> Path:
    path = root / "default" / "journal.sqlite"
    connection = sqlite3.connect(path)
    if writer is not None:
        connection.execute("UPDATE meta SET value = ? WHERE name = 'version'", (writer,))
    connection.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    connection.commit()
    connection.close()
    return path


def store_json_of_the_future(root: Path, writer: str | None) -> Path:
    path = root / "store.json"
    fields = json.loads(path.read_text()) | {"schema": 2, "model": {"name": "some new form"}}
    path.write_text(json.dumps(fields | ({} if writer is None else {"version": writer})))
    return path


@pytest.mark.parametrize("make", [journal_of_the_future, store_json_of_the_future])
def test_what_a_later_version_wrote_is_left_alone_and_names_the_version_it_needs(
    tmp_path: Path, make: Callable[[Path, str | None], Path]
) -> None:
    Store.open(tmp_path, "default", MODEL, ENCODER).close()
    for writer, needed in (
        ("4.2.0", r"version 4\.2\.0 of latent-memory-plugin or newer"),
        ("rm -rf / \x1b[2J" + "x" * 5000, "a newer latent-memory-plugin"),
    ):
        path = make(tmp_path, writer)
        before = path.read_bytes()
        with pytest.raises(
            errors.StoreError, match=rf"{re.escape(str(path))}.*schema.*{__version__}.*{needed}"
        ) as refused:
            Store.open(tmp_path, "default", MODEL, ENCODER)
        assert type(refused.value) is errors.StoreError and "\x1b" not in str(refused.value)
        assert path.read_bytes() == before
    assert not list(tmp_path.rglob("*.backup"))
