"""The check finds every kind of damage and names it; repairing it leaves a store that is whole and has lost no more."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from store_builders import ENCODER, MODEL, episode, index, key, latent, near, old_journal, tensor, use

from latent_memory_plugin import errors
from latent_memory_plugin.records import Latent, Standing
from latent_memory_plugin.store import Store
from latent_memory_plugin.store.check import Report, check

COUNT = 3


@pytest.fixture
def latents(tmp_path: Path) -> list[Latent]:
    """What the root holds: each is suspended but the first, with an episode and a use."""
    made = [latent(created=float(number)) for number in range(COUNT)]
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        for number, one in enumerate(made):
            store.commit(episode(f"question {number}", id=f"e{number}"), key(number))
            store.put(one, tensor(number), key(number))
            store.record_uses([use(f"a{number}", one.id)])
            store.stand(Standing(latent_id=one.id, state="suspended" if number else "live"))
        assert len(store.nearest(key(), 9)) == 1 and len(near(store, key())) == COUNT
    return made


def content(root: Path) -> dict[Path, bytes]:
    """Every file that is stored, SQLite's and Chroma's bookkeeping left out."""
    own = (path for path in root.rglob("*") if path.is_file() and path.suffix not in (".sqlite-wal", ".sqlite-shm"))
    return {path: path.read_bytes() for path in own if "chroma" not in path.relative_to(root).parts}


def journal(root: Path, *statements: str) -> None:
    connection = sqlite3.connect(root / "default" / "journal.sqlite")
    with connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def file(root: Path, number: int = 0) -> Path:
    """One of the Latent files, in the order of their names."""
    return sorted((root / "default" / "latents").glob("*.safetensors"))[number]


def rename(path: Path) -> None:
    path.rename(path.with_stem("0" * 32))


def flip(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1]))


def in_chroma(root: Path, act: Callable[[Store], object]) -> None:
    """What a fault of Chroma does to an index, the truth left as it is."""
    with Store.open(root, "default", MODEL, ENCODER) as store:
        act(store)


def put_other_vector(store: Store) -> None:
    ids = [one.id for one in store.episodes()]
    index(store, "episodes")._collection.update(ids=ids[:1], embeddings=[key(3.0)])


def lose_key(store: Store) -> None:
    index(store, "episodes")._collection.delete(ids=["e1"])


def index_suspended(store: Store) -> None:
    gone = next(one.id for one in store.latents() if store.standing(one.id).state == "suspended")
    index(store)._collection.add(ids=[gone], embeddings=[key(9.0)])


def rows(statement: str) -> Callable[[Path], None]:
    return lambda root: journal(root, statement)


def written(name: str, data: bytes) -> Callable[[Path], object]:
    return lambda root: (root / name).write_bytes(data)


DAMAGES: dict[str, tuple[Callable[[Path], object], str, str, bool]] = {
    # name: what is done to the root, part and words of the finding, whether a repair can do something about it
    "bit flipped in a Latent": (lambda root: flip(file(root)), "latents", "SHA-256", True),
    "Latent cut": (lambda root: file(root).write_bytes(file(root).read_bytes()[:200]), "latents", "ends within", True),
    "Latent emptied": (lambda root: file(root).write_bytes(b""), "latents", "no whole Latent", True),
    "Latent under another id": (
        lambda root: rename(file(root)),
        "latents",
        "Its record",
        True,
    ),
    "no id": (lambda root: (file(root).with_stem("readme")).write_bytes(b"x"), "latents", "no whole", True),
    "temporary file": (written("store.json.tmp", b"x"), "root", "was being written", True),
    "temporary Latent": (
        lambda root: (root / "default/latents/a.tmp").write_bytes(b"x"),
        "",
        "was being written",
        True,
    ),
    "temporary copy": (written("default/journal.sqlite.schema-2.backup.tmp", b"x"), "root", "was being written", True),
    "lock of an import": (written("default/import-0.lock", b""), "root", "was being written", True),
    "store.json cut": (written("store.json", b'{"sch'), "root", "names no model", True),
    "store.json missing": (lambda root: (root / "store.json").unlink(), "root", "missing", True),
    "journal garbage": (
        lambda root: (root / "default/journal.sqlite").write_bytes(b"\xa5" * 9000),
        "journal",
        "dama",
        False,
    ),
    "row of rollouts": (
        rows("UPDATE episodes SET rollouts='[' WHERE id='e1'"),
        "journal",
        "'e1'",
        True,
    ),
    "row of a key": (
        rows("UPDATE episodes SET key=x'00' WHERE id='e1'"),
        "journal",
        "'e1'",
        True,
    ),
    "problem hash": (
        rows("UPDATE episodes SET problem_hash='' WHERE id='e0'"),
        "journal",
        "hash",
        True,
    ),
    "standing": (rows("UPDATE standings SET record='{}'"), "journal", "standings", True),
    "use": (rows("UPDATE uses SET record='' WHERE answer_id='a1'"), "journal", "uses", True),
    "orphans": (lambda root: file(root, 1).unlink(), "journal", "no stored Latent", True),
    "queue": (rows("INSERT INTO queue (episode_id) VALUES ('x')"), "journal", "queue", True),
    "index deleted": (lambda root: shutil.rmtree(root / "chroma"), "index", "There is none", True),
    "index garbage": (
        lambda root: (root / "chroma/chroma.sqlite3").write_bytes(b"\xa5" * 9000),
        "index",
        "cannot",
        True,
    ),
    "key missing": (lambda root: in_chroma(root, lose_key), "index", "1 stored keys are missing", True),
    "key too many": (lambda root: in_chroma(root, index_suspended), "index", "1 keys belong to nothing", True),
    "other vector": (lambda root: in_chroma(root, put_other_vector), "index", "1 keys are not those", True),
}


def left(report: Report) -> list[str]:
    return [f"{one.part} {one.path}: {one.problem}" for one in report.left]


def test_a_whole_store_is_clean_and_looking_changes_no_byte(tmp_path: Path, latents: list[Latent]) -> None:
    with Store.open(tmp_path, "../else", MODEL, ENCODER) as store:
        store.commit(episode("elsewhere"), key())
        assert len(near(store, key())) == 1
    before = content(tmp_path)
    report = check(tmp_path)
    assert (report.findings, set(report.namespaces)) == ((), {"default", "../else"})
    assert (report.latents, report.episodes, report.standings, report.uses) == (COUNT, COUNT + 1, COUNT, COUNT)
    assert report.keys == 1 + COUNT + 1
    assert content(tmp_path) == before
    assert check(tmp_path, "default").episodes == COUNT
    for missing in ("nowhere", "../nowhere"):
        with pytest.raises(errors.NotFoundError, match="nowhere"):
            check(tmp_path, missing)
    with pytest.raises(errors.NotFoundError, match="no root"):
        check(tmp_path / "none")


@pytest.mark.parametrize(("damage", "part", "words", "mendable"), DAMAGES.values(), ids=DAMAGES.keys())
def test_damage_is_found_changes_nothing_until_it_is_repaired_and_then_is_gone(
    tmp_path: Path, latents: list[Latent], damage: Callable[[Path], object], part: str, words: str, mendable: bool
) -> None:
    damage(tmp_path)
    before = content(tmp_path)
    found = check(tmp_path)
    assert content(tmp_path) == before
    assert any(one.part.startswith(part) and words in one.problem for one in found.left), left(found)
    repaired = check(tmp_path, repair=True)
    assert [*repaired.left] == [] if mendable else left(repaired)
    if mendable:
        assert left(check(tmp_path)) == []
        kept = {path.name for path in tmp_path.rglob("*.safetensors")}
        assert len(kept) >= COUNT - (words == "no stored Latent")
        with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
            whole = {one.id for one in store.latents()}
            assert {found for found, _ in store.nearest(key(), 9)} <= {latents[0].id} & whole


def test_what_cannot_be_read_is_in_quarantine_and_a_standing_that_is_lost_is_no_licence(
    tmp_path: Path, latents: list[Latent]
) -> None:
    flip(path := tmp_path / "default" / "latents" / f"{latents[1].id}.safetensors")
    damaged = path.read_bytes()
    journal(
        tmp_path,
        f"UPDATE standings SET record = '{{' WHERE latent_id = '{latents[2].id}'",
        "UPDATE episodes SET vote = 'x' WHERE id = 'e2'",
    )
    assert check(tmp_path, repair=True).left == ()
    quarantine = tmp_path / "default" / "quarantine"
    assert (quarantine / path.name).read_bytes() == damaged
    assert json.loads((quarantine / "episodes-3.json").read_text())["question"] == "question 2"
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        assert [one.id for one in store.latents()] == [latents[0].id, latents[2].id]
        assert store.standing(latents[2].id).state == "suspended"
        assert store.standing(latents[1].id).state == "suspended"  # kept for the day its file is restored
        assert [one.id for one in store.episodes()] == ["e0", "e1"]


def test_a_latent_of_another_model_is_named_and_left_alone(tmp_path: Path, latents: list[Latent]) -> None:
    with Store.open(tmp_path / "big", "default", ("big", "e" * 64), ENCODER) as store:
        store.put(foreign := latent(model="big", fingerprint="e" * 64), tensor(), key())
    path = tmp_path / "default" / "latents" / f"{foreign.id}.safetensors"
    shutil.copy(next((tmp_path / "big").rglob("*.safetensors")), path)
    shutil.rmtree(tmp_path / "big")
    [one] = check(tmp_path, repair=True).left
    assert (one.path, one.repaired) == (str(path), False) and "'big'" in one.problem and "'tiny'" in one.problem
    assert path.exists()


def test_a_journal_of_an_older_version_is_checked_without_migrating_it(tmp_path: Path) -> None:
    old_journal(tmp_path / "default", "first", "second")
    before = content(tmp_path)
    report = check(tmp_path)
    [found] = report.left
    assert found.part == "journal" and "schema 1" in found.problem
    assert {path: data for path, data in content(tmp_path).items() if path in before} == before


def test_a_root_in_use_elsewhere_is_refused_and_strange_files_do_not_count(
    tmp_path: Path, latents: list[Latent]
) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "default" / "latents" / "notes.txt").write_text("mine")
    report = check(tmp_path, repair=True)
    assert [one.kind for one in report.findings] == ["note", "note"] and report.left == ()
    assert np.all([(tmp_path / one.path).exists() for one in report.findings])
