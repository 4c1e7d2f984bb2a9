"""Looking needs no model: what a cold process reads of a root, and what a store can do before it is bound to one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from store_builders import ENCODER, MODEL, episode, key, latent, near, old_journal, tensor, use
from typer.testing import CliRunner

from latent_memory_plugin import errors
from latent_memory_plugin.cli import app
from latent_memory_plugin.records import Evicted, Standing
from latent_memory_plugin.store import Store, namespaces
from latent_memory_plugin.store.access import Access

LOOKING = Access(read_only=True)
HEAVY = {"torch", "transformers", "chromadb"}

LISTS = """
import json, sys, time
began = time.process_time()
from pathlib import Path
from latent_memory_plugin.store import Store, namespaces
from latent_memory_plugin.store.access import Access
root, read_only = Path(sys.argv[1]), sys.argv[2] == "read-only"
found = {"namespaces": namespaces(root)}
with Store.open(root, "default", access=Access(read_only=read_only)) as store:
    found |= {"episodes": [one.id for one in store.episodes()], "counts": store.counts(), "queued": store.queued()}
    found |= {"latents": [one.id for one in store.latents()], "states": dict(store.states())}
    found |= {"standings": [store.standing(one).state for one in found["latents"]]}
    found |= {"evictions": [one.reason for one in store.evictions()], "uses": len(store.uses())}
    found |= {"beside": [one for one, _ in store.beside(found["latents"][0], 2)]}
found |= {"seconds": time.process_time() - began, "loaded": sorted(set(sys.modules) & set(sys.argv[3:]))}
print(json.dumps(found))
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    with Store.open(tmp_path / "root", "default", MODEL, ENCODER) as store:
        for number, state in enumerate(("pending", "pending", "refused", "learnt")):
            store.commit(episode(f"question {number}", id=f"e{number}", state=state), key(0.1 * number))
        store.enqueue("e1", 5)
        made = [latent(created=float(number)) for number in range(4)]
        for number, one in enumerate(made):
            store.put(one, tensor(number), key(0.3 * number))
            store.record_uses([use("a", one.id)])
        store.stand(Standing(latent_id=made[2].id, state="suspended"))
        store.evict(Evicted(latent_id=made[3].id, reason="too many"))
    Store.open(tmp_path / "root", "../élan 🙂").close()
    return tmp_path / "root"


def busyness() -> float:
    """How much slower than alone this machine is now; 1 where it is not, by what numpy and pydantic take to import."""
    program = "import time; began = time.process_time(); import numpy, pydantic; print(time.process_time() - began)"
    done = [subprocess.run([sys.executable, "-c", program], capture_output=True, check=True) for _ in range(3)]
    return max(1.0, min(float(one.stdout) for one in done) / 0.2)


@pytest.mark.parametrize("how", ["read-only", "writing"])
def test_a_cold_process_lists_everything_in_less_than_half_a_second_without_model_torch_or_chroma(
    root: Path, how: str
) -> None:
    command = [sys.executable, "-c", LISTS, str(root), how, *HEAVY]
    done = [subprocess.run(command, capture_output=True, text=True, check=True, timeout=60) for _ in range(3)]
    found = min((json.loads(one.stdout) for one in done), key=lambda one: one["seconds"])
    assert found["namespaces"] == ["../élan 🙂", "default"]
    assert found["episodes"] == ["e0", "e1", "e2", "e3"] and found["queued"] == 1
    assert found["counts"] == {"pending": 2, "learnt": 1, "refused": 1, "failed": 0}
    assert found["standings"] == ["live", "live", "suspended"] and found["states"] == {"live": 2, "suspended": 1}
    assert (found["evictions"], found["uses"], found["beside"]) == (["too many"], 3, [found["latents"][1]])
    assert found["loaded"] == [] and found["seconds"] < 0.5 * busyness(), found


@pytest.mark.parametrize(
    "command", [["list"], ["show", "ID"], ["forget", "ID"], ["export", "FILE"], ["evict", "--max-latents", "1"]]
)
def test_commands_that_look_or_delete_load_no_model(root: Path, tmp_path: Path, command: list[str]) -> None:
    with Store.open(root, "default") as store:
        first = store.latent_ids()[0]
    named = [first if one == "ID" else str(tmp_path / "all.tar") if one == "FILE" else one for one in command]
    dry = ["--dry-run"] if command[0] == "evict" else []
    program = (
        "import sys; from latent_memory_plugin.cli import app; app(sys.argv[1:], standalone_mode=False); "
        f"assert not set(sys.modules) & {HEAVY!r}, set(sys.modules) & {HEAVY!r}"
    )
    arguments = [sys.executable, "-c", program, *named, *dry, "--root", str(root)]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_what_would_be_evicted_without_a_model_is_what_is_evicted(root: Path) -> None:
    call = ["evict", "--root", str(root), "--max-latents", "1", "--json", "-"]
    would, went = (json.loads(CliRunner().invoke(app, [*call, *dry]).stdout) for dry in (["--dry-run"], []))
    assert [one["latent_id"] for one in would["evicted"]] == [one["latent_id"] for one in went["evicted"]]
    assert len(went["evicted"]) == 2


def test_namespaces_are_named_as_they_were_written_beside_a_writer_and_nothing_is_made(tmp_path: Path) -> None:
    names = ["default", "Default", "../x", "a b", "é", "e\u0301", "x" * 3000]
    assert namespaces(tmp_path / "none") == [] and list(tmp_path.iterdir()) == []
    stores = [Store.open(tmp_path, name, MODEL, ENCODER) for name in names]
    old_journal(tmp_path / "old_one")
    (tmp_path / "no_journal" / "latents").mkdir(parents=True)
    (tmp_path / "garbage").mkdir()
    (tmp_path / "garbage" / "journal.sqlite").write_bytes(b"\xa5" * 5000)
    before = sorted(tmp_path.rglob("*"))
    assert namespaces(tmp_path) == namespaces(str(tmp_path)) == sorted(names)  # the old one says `default`
    assert sorted(tmp_path.rglob("*")) == before
    for store in stores:
        store.close()
    before = sorted(tmp_path.rglob("*"))
    assert namespaces(tmp_path) == sorted(names)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_store_that_was_opened_to_list_is_bound_later_and_finds_then(root: Path) -> None:
    with Store.open(root, "default") as store:
        assert store.encoder is None and len(list(store.episodes())) == 4
        for use_key in (lambda: store.nearest(key()), lambda: store.commit(episode(), key())):
            with pytest.raises(errors.InputError, match="bind"):
                use_key()
        with pytest.raises(errors.WrongModelError, match=r"'tiny'.*'big'"):
            store.bind(("big", "e" * 64), ENCODER)
        assert store.encoder is None
        for _ in range(2):
            store.bind(MODEL, ENCODER)
            assert store.encoder == ENCODER
        with pytest.raises(errors.InputError, match=rf"{ENCODER!r}.*'another'"):
            store.bind(MODEL, "another")
        assert len(near(store, key())) == 4 and len(store.nearest(key(), 9)) == 2
        store.commit(episode("new"), key(0.5))
        assert len(near(store, key())) == 5


def test_a_new_root_belongs_to_the_model_it_is_bound_to(tmp_path: Path) -> None:
    with Store.open(tmp_path, "default") as store:
        assert not (tmp_path / "store.json").exists()
        store.bind(MODEL, ENCODER)
    with pytest.raises(errors.WrongModelError):
        Store.open(tmp_path, "default", ("big", "e" * 64), ENCODER)


def test_to_read_alone_a_store_may_be_bound_or_not_and_changes_nothing(root: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    with Store.open(root, "default", access=LOOKING) as store:
        assert len(list(store.latents())) == 3
        store.bind(MODEL, ENCODER)
        assert len(near(store, key())) == 4 and len(store.nearest(key(), 9)) == 2
        with pytest.raises(errors.WrongModelError):
            store.bind(("big", "e" * 64), ENCODER)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_beside_a_latent_are_the_usable_ones_of_its_encoder_however_they_are_searched(tmp_path: Path) -> None:
    angles = {number: 0.05 * number + 0.001 * number**2 for number in range(30)}  # no two pairs are as near
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        made = [latent(created=float(number)) for number in angles]
        for one, angle in zip(made, angles.values(), strict=True):
            store.put(one, tensor(), key(angle))
        store.stand(Standing(latent_id=made[11].id, state="retired"))
        with Store.open(tmp_path, "default", MODEL, "other") as other:
            other.put(latent(encoder="other"), tensor(), key(0.5))

    def beside(store: Store) -> list[str]:
        found = store.beside(made[10].id, 4)
        assert [similarity for _, similarity in found] == sorted((one for _, one in found), reverse=True)
        return sorted(one for one, _ in found)

    wanted = sorted(made[number].id for number in (7, 8, 9, 12))
    with Store.open(tmp_path, "default") as listing, Store.open(tmp_path, "default", access=LOOKING) as reader:
        assert beside(listing) == beside(reader) == wanted
        with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
            assert beside(store) == wanted and store._searches == {}
            assert store.nearest(key()) and beside(store) == wanted
            store.remove(made[9].id)
            for one in (store, listing, reader):
                assert made[9].id not in beside(one) and len(beside(one)) == 4
        with pytest.raises(errors.NotFoundError):
            listing.beside(made[9].id, 1)
        with pytest.raises(errors.InputError, match="limit=0"):
            listing.beside(made[10].id, 0)


def test_where_there_is_nothing_to_find_no_index_is_opened(tmp_path: Path) -> None:
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        store.commit(episode(), key())
        store.put(latent(), tensor(), key())
        with Store.open(tmp_path, "default", MODEL, "other") as other:
            assert other.nearest(key(size=3), 9) == other.neighbours(key(size=3), -1.0) == []
    assert not (tmp_path / "chroma").exists()
