"""Server mode: several processes with one root and a real Chroma server, which may be down, slow or another one."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from archive_world import content, fill
from chroma_server import Server, running
from memory_world import CONFIG, SUMS, fake, pending, rollouts
from store_builders import ENCODER, MODEL, episode, key, latent, near, tensor

from latent_memory_plugin import LatentMemory, errors
from latent_memory_plugin.records import USABLE
from latent_memory_plugin.store import Store, served
from latent_memory_plugin.store.access import Access

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture
def server(tmp_path: Path) -> Generator[Server, None, None]:
    with running(tmp_path / "server") as one:
        yield one


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


def opened(root: Path, server: Server, **access: Any) -> Store:
    return Store.open(root, "default", MODEL, ENCODER, Access(chroma=server.url, **access))


def python(program: str, *arguments: object) -> "subprocess.Popen[str]":
    head = "import sys, pathlib; sys.path.insert(0, sys.argv[1])\n"
    command = [sys.executable, "-c", head + program, str(Path(__file__).parent), *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(*processes: "subprocess.Popen[str]") -> None:
    for process in processes:
        _, said = process.communicate(timeout=900)
        assert process.returncode == 0, said


def check_whole(store: Store, episodes: int, latents: int) -> None:
    """All of them are there, and the index holds what the files and the journal do."""
    usable = {one.id for one in store.latents() if store.standing(one.id).state in USABLE}
    assert (len(list(store.episodes())), len(list(store.latents()))) == (episodes, latents)
    assert {found for found, _ in store.nearest(key(), 10_000)} == usable
    assert {found.id for found, _ in near(store, key(), 10_000)} == {one.id for one in store.episodes()}


WRITER = """
from store_builders import ENCODER, MODEL, episode, key, latent, tensor
from latent_memory_plugin.store.access import Access
from latent_memory_plugin.records import Standing
from latent_memory_plugin.store import Store
root, url, start = pathlib.Path(sys.argv[2]), sys.argv[3], float(sys.argv[4])
with Store.open(root, "default", MODEL, ENCODER, Access(chroma=url)) as store:
    for number in range(25):
        angle = start + 0.01 * number
        store.commit(one := episode(f"question {angle}"), key(angle))
        store.update(one.model_copy(update={"state": "learnt"}))
        store.put(made := latent(parents=(one.id,)), tensor(number), key(angle))
        for state in ("suspended", "live") if number % 2 else ("suspended",):
            store.stand(Standing(latent_id=made.id, state=state))
    for doomed in [one.id for one in store.latents() if one.parents == ("shared",)][:5]:
        try:
            store.remove(doomed)
        except KeyError:
            pass  # the other process was faster
"""


def test_what_two_processes_write_at_once_is_all_there_and_all_found(root: Path, server: Server) -> None:
    with opened(root, server) as store:
        for number in range(5):
            store.put(latent(parents=("shared",)), tensor(), key(2 + 0.1 * number))
        finished(*[python(WRITER, root, server.url, start) for start in (0.0, 1.0)])
        check_whole(store, episodes=50, latents=50)
        assert {one.state for one in store.episodes()} == {"learnt"}
        assert len([one for one in store.latents() if store.standing(one.id).state == "live"]) == 24
    assert not list((root / "lock.d").iterdir()) and not (root / "owner.json").exists()
    with Store.open(root, "default", MODEL, ENCODER) as alone:
        check_whole(alone, episodes=50, latents=50)


HOLDER = """
from store_builders import ENCODER, MODEL
from latent_memory_plugin.store.access import Access
from latent_memory_plugin.store import Store
with Store.open(pathlib.Path(sys.argv[2]), "default", MODEL, ENCODER, Access(chroma=sys.argv[3] or None)) as store:
    with store.claimed(["e"]) as mine:
        print(mine, flush=True)
        sys.stdin.read()
"""


def test_an_owner_and_processes_with_a_server_exclude_each_other_and_two_with_a_server_do_not(
    root: Path, server: Server
) -> None:
    with python(HOLDER, root, "") as alone:
        assert alone.stdout and alone.stdout.readline()
        with pytest.raises(errors.StoreLockedError, match=f"process {alone.pid} "):
            opened(root, server)
        alone.kill()
    with python(HOLDER, root, server.url) as sharing:
        assert sharing.stdout and sharing.stdout.readline()
        with pytest.raises(errors.StoreLockedError, match=f"process {sharing.pid} .* with the server '{server.url}'"):
            Store.open(root, "default", MODEL, ENCODER)
        with pytest.raises(errors.StoreLockedError, match=r"the server 'http://127"):
            Store.open(root, "default", access=Access(chroma="http://127.0.0.1:1"))
        with opened(root, server) as store, store.claimed(["e", "f"]) as mine:
            assert mine == ["f"]
            sharing.kill()
            sharing.wait()
            with store.claimed(["e"]) as taken_over:
                assert taken_over == ["e"]
    with Store.open(root, "default", MODEL, ENCODER, Access(lock_timeout=5)):
        assert not list((root / "lock.d").iterdir())


def test_a_server_that_is_stopped_and_started_again_gets_what_it_missed(
    root: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "RETRY_SECONDS", 1.0)
    with opened(root, server) as store:
        store.commit(episode(), key())
        store.put(latent(), tensor(), key())
        server.stop(signal.SIGKILL)
        store.commit(episode(), key(0.2))
        store.put(latent(), tensor(), key(0.2))
        with pytest.raises(errors.IndexUnavailableError, match=f"{server.url}.*chroma run"):
            store.nearest(key())
        with Store.open(root, "other", MODEL, ENCODER, Access(chroma=server.url)) as other:
            other.commit(episode(), key())
            with pytest.raises(errors.IndexUnavailableError):
                near(other, key())
        server.start()
        check_whole(store, episodes=2, latents=2)
        server.stop()
        shutil.rmtree(server.folder)
        server.start()
        check_whole(store, episodes=2, latents=2)


def test_a_server_that_does_not_answer_ends_a_call_in_bounded_time(
    root: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "RETRY_SECONDS", 1.0)
    monkeypatch.setattr(served, "REQUEST_SECONDS", 5.0)
    with opened(root, server) as store:
        store.put(latent(), tensor(), key())
        server.send(signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(errors.IndexUnavailableError, match="ReadTimeout"):
            store.nearest(key())
        assert time.monotonic() - began < 60
        server.send(signal.SIGCONT)
        check_whole(store, episodes=0, latents=1)


def test_while_the_server_is_down_episodes_are_kept_and_answers_come_from_the_plain_model(
    root: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(served, "RETRY_SECONDS", 0.5)
    model: Any = fake(bias=1.0)
    with LatentMemory(root, model, config=CONFIG, chroma=server.url) as memory:
        memory.observe(SUMS[0], rollouts=rollouts(SUMS[0], 12, 4))
        server.stop()
        outcomes = [memory.observe(one, rollouts=rollouts(one, 12, 4)) for one in SUMS[1:5]]
        assert {outcome.status for outcome in outcomes} == {"waiting"}
        assert all(server.url in outcome.reason for outcome in outcomes)
        assert pending(memory) == SUMS[:5] and server.url in list(memory.episodes())[-1].reason
        assert memory.ask(SUMS[9]).latent_ids == ()
        server.start()
        assert "live" in {outcome.status for outcome in memory.consolidate()}
        assert memory.ask(SUMS[9]).latent_ids
        server.stop()
        answer = memory.ask(SUMS[9])
        assert answer.latent_ids == () and server.url in answer.reason


LEARNER = """
from memory_world import CONFIG, SUMS, fake, rollouts
from latent_memory_plugin import LatentMemory
root, url, start = pathlib.Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
with LatentMemory(root, fake(bias=1.0), config=CONFIG, chroma=url) as memory:
    for question in SUMS[start::2]:
        memory.observe(question, rollouts=rollouts(question, 12, 4))
    memory.consolidate()
"""


def test_two_processes_that_learn_at_once_in_one_neighbourhood_keep_one_latent_and_every_episode(
    root: Path, server: Server
) -> None:
    finished(*[python(LEARNER, root, server.url, start) for start in (0, 1)])
    model: Any = fake(bias=1.0)
    with LatentMemory(root, model, config=CONFIG, chroma=server.url) as memory:
        assert sorted(one.question for one in memory.episodes()) == sorted(SUMS)
        assert all(one.vote and one.rollouts for one in memory.episodes())
        assert len(list(memory.latents())) == 1
        assert memory.ask(SUMS[0]).latent_ids == (next(memory.latents()).id,)


def command_line(*arguments: object) -> "subprocess.CompletedProcess[str]":
    program = "import sys; from latent_memory_plugin.cli import main; main()"
    return subprocess.run([sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True)


def test_commands_work_beside_a_process_that_has_the_root_open_with_the_same_server(
    root: Path, server: Server, tmp_path: Path
) -> None:
    here, file = ("--root", root, "--chroma", server.url), tmp_path / "all.tar"
    with opened(root, server) as store:
        fill(store)
        before = content(store)
        assert command_line("export", file, "--root", root).returncode == 0
        refused = command_line("forget", "--question", "asked", "--root", root)
        assert refused.returncode == 1 and "with the server" in refused.stderr
        checked = command_line("check", *here)
        assert checked.returncode == 0 and "note:" not in checked.stdout, checked.stdout
        assert command_line("forget", "--question", "asked", *here).returncode == 0
        assert [one.id for one, _ in near(store, key(), 9)] == [one.id for one in store.episodes()]
        assert command_line("forget", "--all", "--yes", *here).returncode == 0
        check_whole(store, episodes=0, latents=0)
        done = command_line("import", file, *here)
        assert done.returncode == 0, done.stderr
        assert len(list(store.latents())) == 3
    with opened(root, server) as store:
        assert content(store) == before
