"""One root and several processes: who is refused, who waits, who takes over, who may look, and what a fork may do."""

import hashlib
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from store_builders import ENCODER, MODEL, episode, key, latent, near, tensor, use
from typer.testing import CliRunner

from latent_memory_plugin import LatentMemory, errors
from latent_memory_plugin.cli import app
from latent_memory_plugin.records import Standing
from latent_memory_plugin.store import Store
from latent_memory_plugin.store.access import Access
from latent_memory_plugin.testing import FakeModel

LOOKING = Access(read_only=True)

WRITER = """
import sys, pathlib
sys.path.insert(0, sys.argv[2])
from store_builders import ENCODER, MODEL, episode, key, latent, tensor
from latent_memory_plugin.records import Standing
from latent_memory_plugin.store import Store
with Store.open(pathlib.Path(sys.argv[1]), "default", MODEL, ENCODER) as store:
    print("open", flush=True)
    for line in sys.stdin:
        verb, value = line.split()
        if verb == "put":
            store.commit(episode(id=f"e{value}"), key(float(value)))
            store.put(one := latent(), tensor(), key(float(value)))
            print(one.id, flush=True)
        else:
            store.stand(Standing(latent_id=value, state="suspended", reason="It lost."))
            print("done", flush=True)
"""


class Writer:
    """Another process that owns a root."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def tell(self, *words: object) -> str:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()


@contextmanager
def writing(root: Path) -> Generator[Writer, None, None]:
    command = [sys.executable, "-c", WRITER, str(root), str(Path(__file__).parent)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout and process.stdout.readline() == "open\n"
        yield Writer(process)


def tree(root: Path) -> dict[str, tuple[int, str]]:
    """When every file was changed, and its content; SQLite's shared memory is none."""
    files = [path for path in root.rglob("*") if path.is_file() and not path.name.endswith("-shm")]
    return {
        str(path.relative_to(root)): (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in files
    }


def test_a_second_process_waits_as_long_as_it_is_told_to_and_gets_the_root(tmp_path: Path) -> None:
    with writing(tmp_path) as writer:
        began = time.monotonic()
        with pytest.raises(errors.StoreLockedError, match=rf"process {writer.process.pid} .*lock_timeout=.*chroma="):
            Store.open(tmp_path, "default", access=Access(lock_timeout=0.3))
        assert 0.3 <= time.monotonic() - began < 5
        assert writer.process.stdin
        writer.process.stdin.close()  # it ends, after a moment
        with Store.open(tmp_path, "default", access=Access(lock_timeout=60)) as store:
            assert list(store.latents()) == []


def test_a_command_waits_for_the_root_as_long_as_it_is_told_to(tmp_path: Path) -> None:
    with writing(tmp_path) as writer:
        began = time.monotonic()
        command = ["forget", "--all", "--yes", "--root", str(tmp_path), "--lock-timeout"]
        refused = CliRunner().invoke(app, [*command, "0.3"])
        assert refused.exit_code == 1 and f"process {writer.process.pid}" in refused.stderr
        assert 0.3 <= time.monotonic() - began < 5
        assert writer.process.stdin
        writer.process.stdin.close()
        assert CliRunner().invoke(app, [*command, "60"]).exit_code == 0


def test_a_killed_owner_leaves_a_lock_that_is_taken_over_at_once(tmp_path: Path) -> None:
    with writing(tmp_path) as writer:
        learnt = writer.tell("put", 0.1)
        writer.process.send_signal(signal.SIGKILL)
        writer.process.wait()
    assert (tmp_path / "owner.json").exists() and (tmp_path / "lock").exists()
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        assert str(os.getpid()) in (tmp_path / "owner.json").read_text()
        assert store.nearest(key(0.1)) == [(learnt, pytest.approx(1.0))]


def test_who_looks_sees_what_another_process_writes_and_changes_nothing(tmp_path: Path) -> None:
    with writing(tmp_path) as writer, Store.open(tmp_path, "default", MODEL, ENCODER, LOOKING) as store:
        assert (store.nearest(key()), list(store.episodes())) == ([], [])
        first, second = writer.tell("put", 0.0), writer.tell("put", 1.0)
        before = tree(tmp_path)
        assert [found for found, _ in store.nearest(key(0.1), 5)] == [first, second]
        assert store.nearest(key(0.6)) == [(second, pytest.approx(math.cos(0.4)))]
        assert [one.id for one in store.latents()] == [first, second]
        assert [one.id for one, _ in near(store, key(0.9), 2)] == ["e1.0", "e0.0"]
        assert tree(tmp_path) == before
        writer.tell("suspend", second)
        assert [found for found, _ in store.nearest(key(0.9), 5)] == [first]
        assert store.standing(second).state == "suspended"
        third = writer.tell("put", 0.9)
        assert [found for found, _ in store.nearest(key(0.9), 5)] == [third, first]


def test_the_commands_list_and_show_work_beside_a_process_that_writes(tmp_path: Path) -> None:
    with writing(tmp_path) as writer:
        learnt = writer.tell("put", 0.0)
        for command in (["list"], ["show", learnt]):
            done = CliRunner().invoke(app, [*command, "--root", str(tmp_path)])
            assert done.exit_code == 0 and learnt[:8] in done.output, done.output
        done = CliRunner().invoke(app, ["forget", learnt, "--root", str(tmp_path)])
        assert done.exit_code == 1 and f"process {writer.process.pid}" in done.output


def test_whatever_writes_is_refused_to_who_looks_but_answers_are_given(tmp_path: Path) -> None:
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        store.commit(known := episode(), key())
        store.put(one := latent(), tensor(), key())
    before = tree(tmp_path)
    store = Store.open(tmp_path, "default", MODEL, ENCODER, LOOKING)
    writes: list[Any] = [
        lambda: store.commit(episode(), key()),
        lambda: store.update(known),
        lambda: store.put(latent(), tensor(), key()),
        lambda: store.stand(Standing(latent_id=one.id, state="suspended")),
        lambda: store.remove(one.id),
        lambda: store.enqueue(known.id, 5),
    ]
    for write in writes:
        with pytest.raises(errors.ReadOnlyError, match="read_only=True"):
            write()
    store.record_uses([use("a", one.id)])
    assert store.uses() == []
    assert (store.tensors(one.id)["latent"] == tensor()).all() and store.episode(known.id) == known
    store.close()
    with pytest.raises(errors.StoreError, match="closed"):
        store.latent(one.id)
    with pytest.raises(errors.WrongModelError):
        Store.open(tmp_path, "default", ("other", "0" * 64), ENCODER, LOOKING)
    with Store.open(tmp_path / "nothing", "default", MODEL, ENCODER, LOOKING) as none:
        assert (none.nearest(key()), list(none.latents()), none.uses()) == ([], [], [])
    assert tree(tmp_path) == before


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no users")
def test_a_root_without_the_right_to_write_is_read_all_the_same(tmp_path: Path) -> None:
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        store.commit(episode(id="e"), key())
        store.put(one := latent(), tensor(), key())
    folders = [path for path in (tmp_path, *tmp_path.rglob("*")) if path.is_dir()]
    for folder in folders:
        folder.chmod(0o555)
    try:
        with Store.open(tmp_path, "default", MODEL, ENCODER, LOOKING) as store:
            assert store.nearest(key())[0][0] == one.id and store.episode("e")
        if os.geteuid():
            with pytest.raises(errors.StoreWriteError):
                Store.open(tmp_path, "default", MODEL, ENCODER)
    finally:
        for folder in folders:
            folder.chmod(0o755)


def test_memories_of_one_process_may_own_a_root_and_look_at_it(tmp_path: Path) -> None:
    model = FakeModel({"t: q": ("1", "2")})
    looking: Any = {"root": tmp_path, "model": model, "read_only": True}
    with LatentMemory(tmp_path, model) as memory, LatentMemory(**looking) as reader:  # pyright: ignore[reportArgumentType]
        memory.observe("t: q", "1", when="manual")
        assert [one.question for one in reader.episodes()] == ["t: q"]
        assert reader.ask("t: q").latent_ids == ()
        with pytest.raises(errors.ReadOnlyError):
            reader.observe("t: q", "1", when="manual")
        other = LatentMemory(tmp_path, model, chroma="http://127.0.0.1:1")  # pyright: ignore[reportArgumentType]
        with pytest.raises(errors.ConfigError, match="open with chroma=None"):
            list(other.episodes())


@pytest.mark.parametrize(
    "wrong",
    [
        {"lock_timeout": -1},
        {"lock_timeout": "3"},
        {"lock_timeout": True},
        {"read_only": 1},
        {"chroma": "localhost:8000"},
        {"chroma": "http://host:1/path"},
        {"chroma": "http://host"},
        {"chroma": "http://h:1", "read_only": True},
    ],
)
def test_a_way_to_open_that_does_not_exist_is_refused_before_anything_is_opened(wrong: dict[str, Any]) -> None:
    with pytest.raises(errors.ConfigError, match=next(iter(wrong))):
        LatentMemory(**wrong)


def in_child(store: Store, memory: LatentMemory, answers: Any) -> None:
    acts = (lambda: list(store.episodes()), lambda: list(memory.episodes()), lambda: Store.open(store.root, "new"))
    for act in acts:
        try:
            act()
            answers.put("no error")
        except errors.LatentMemoryError as exc:
            answers.put(f"{type(exc).__name__}: {exc}")
    store.close()
    memory.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_is_told_so_and_its_end_takes_nothing_from_its_parent(tmp_path: Path) -> None:
    memory = LatentMemory(tmp_path, FakeModel({"t: q": ("1", "2")}))  # pyright: ignore[reportArgumentType]
    memory.observe("t: q", "1", when="manual")
    store = Store.open(tmp_path, "default", ("fake", "f" * 64), "fake-topic-v1")
    fork = multiprocessing.get_context("fork")
    answers = fork.SimpleQueue()
    child = fork.Process(target=in_child, args=(store, memory, answers))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    said = [answers.get() for _ in range(3)]
    assert "fork" in said[0] and "fork" in said[1] and f"process {os.getpid()} on host" in said[2], said
    assert [one.question for one in store.episodes()] == ["t: q"]
    program = (
        "import sys, pathlib; from latent_memory_plugin.store import Store; Store.open(pathlib.Path(sys.argv[1]), 'x')"
    )
    other = subprocess.run([sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert "StoreLockedError" in other.stderr
    store.close()
    memory.close()
