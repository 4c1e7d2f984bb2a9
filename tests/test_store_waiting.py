"""Nobody waits for a search: while one thread builds an index or reads around a key, every other call is short."""

import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from store_builders import ENCODER, MODEL, VOTE, episode, key, latent, tensor, use

from latent_memory_plugin import errors
from latent_memory_plugin.records import Episode, Rollout, Standing
from latent_memory_plugin.store import Store
from latent_memory_plugin.store.database import Database
from latent_memory_plugin.store.index import Index
from latent_memory_plugin.store.journal import episode_row

LONG = tuple(Rollout(text="x " * 4000, answer="12", token_ids=tuple(range(30_000, 32_000))) for _ in range(96))
"""96 rollouts of 2,000 tokens."""


def filled(root: Path, episodes: int, latents: int) -> None:
    """A root that no index was ever opened of."""
    rng = np.random.default_rng(0)
    with Store.open(root, "default", MODEL, ENCODER) as store:
        with store._database.transaction():
            for number in range(episodes):
                one = episode(f"question {number}", id=f"{number:032x}", vote=VOTE)
                store._journal.add(episode_row(one), ENCODER, rng.normal(size=64).astype(np.float32))
        for number in range(latents):
            store.put(latent(created=float(number)), tensor(number), rng.normal(size=64).astype(np.float32))


def others(root: Path, store: Store) -> dict[str, Callable[[], object]]:
    """What others do meanwhile."""
    with Store.open(root.with_name("giver"), "default", MODEL, ENCODER) as giver:
        for number in range(5):
            giver.commit(episode(f"given {number}", vote=VOTE), key(number, size=64))
            giver.put(latent(), tensor(), key(number, size=64))
        giver.export_to(root.with_name("all.tar"))
    ids = iter(store.latent_ids())

    def another() -> None:
        with Store.open(root, "another", MODEL, ENCODER) as opened:
            opened.commit(episode(), key())

    def stand() -> None:
        store.stand(Standing(latent_id=store.latent_ids()[-1], state="probation"))

    return {
        "record_uses": lambda: store.record_uses([use("a", "x")]),
        "stand": stand,
        "standing": lambda: store.standing(store.latent_ids()[-1]),
        "episodes": lambda: sum(1 for _ in store.episodes()),
        "settle": lambda: store.settle("0" * 32, "refused", "why"),
        "counts": store.counts,
        "latents": lambda: sum(1 for _ in store.latents()),
        "forget": lambda: store.forget_latents([next(ids)]),
        "forget a problem": lambda: store.forget_problem("f" * 64),
        "import": lambda: store.import_from(root.with_name("all.tar")),
        "export": lambda: store.export_to(root.with_name("one.tar"), store.latent_ids()[-2:]),
        "open, commit and close another": another,
    }


@contextmanager
def busy(work: Callable[[], object]) -> Generator[threading.Event, None, None]:
    """A thread that works; set once it has ended."""
    ended, failures = threading.Event(), list[Exception]()

    def run() -> None:
        try:
            work()
        except Exception as exc:  # noqa: BLE001 - a thread hands over whatever stopped it
            failures.append(exc)
        finally:
            ended.set()

    thread = threading.Thread(target=run)
    thread.start()
    yield ended
    thread.join()
    assert failures == []


def test_no_call_waits_for_a_search_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest search there is: it ends when everything else has been done."""
    filled(tmp_path / "root", 50, 8)
    go, inside, follow = threading.Event(), threading.Event(), Index._follow

    def hangs(self: Index) -> None:
        inside.set()
        assert go.wait(120)
        follow(self)

    monkeypatch.setattr(Index, "_follow", hangs)
    with Store.open(tmp_path / "root", "default", MODEL, ENCODER) as store:
        acts = others(tmp_path / "root", store)
        with busy(lambda: store.neighbours(key(size=64), -1.0)) as ended:
            assert inside.wait(60)
            for act in acts.values():
                act()
            assert not ended.is_set()
            go.set()
        assert len(store.neighbours(key(size=64), -1.0)) == 55


def test_a_store_that_is_closed_while_a_search_hangs_is_closed_at_once_and_given_back_at_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path, 5, 2)
    go, inside, follow, found = threading.Event(), threading.Event(), Index._follow, list[object]()

    def hangs(self: Index) -> None:
        inside.set()
        assert go.wait(120)
        follow(self)

    monkeypatch.setattr(Index, "_follow", hangs)
    store = Store.open(tmp_path, "default", MODEL, ENCODER)
    with busy(lambda: found.extend(store.nearest(key(size=64), 9))):
        assert inside.wait(60)
        began = time.perf_counter()
        store.close()
        assert time.perf_counter() - began < 0.5
        with pytest.raises(errors.StoreError, match="closed"):
            store.counts()
        assert (tmp_path / "owner.json").exists()
        go.set()
    assert len(found) == 2 and not (tmp_path / "owner.json").exists()


@pytest.mark.slow
def test_while_an_index_is_built_and_long_rollouts_are_written_the_99th_percentile_is_below_half_a_second(
    tmp_path: Path,
) -> None:
    filled(tmp_path / "root", 3_000, 100)
    took: dict[str, list[float]] = defaultdict(list)
    enough = threading.Event()

    def learn(store: Store) -> None:
        one = episode("long", vote=VOTE, rollouts=LONG)
        store.commit(one, key(size=64))
        while not enough.is_set():
            store.update(one.model_copy(update={"reason": str(time.time())}))
            store.neighbours(key(size=64), 0.2)
            store.nearest(key(size=64), 5)

    with Store.open(tmp_path / "root", "default", MODEL, ENCODER) as store:
        acts = others(tmp_path / "root", store)
        del acts["episodes"], acts["latents"]  # as long as there is much to read; their first rows count
        acts["an episode"] = lambda: next(store.episodes())
        acts["a Latent"] = lambda: next(store.latents())
        with busy(lambda: learn(store)):
            for _ in range(60):
                for name, act in acts.items():
                    began = time.perf_counter()
                    act()
                    took[name].append(time.perf_counter() - began)
            enough.set()
    figures = {name: " ".join(f"{np.percentile(one, at):.3f}" for at in (50, 99, 100)) for name, one in took.items()}
    every = [seconds for one in took.values() for seconds in one]
    sys.stdout.write(f"p50, p99, max in seconds of {len(every)} calls: {figures}\n")
    assert np.percentile(every, 99) < 0.5, figures


def test_what_ranks_neighbours_is_read_without_their_rollouts_and_texts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Store.open(tmp_path, "default", MODEL, ENCODER) as store:
        made = [Episode(problem=one.problem, vote=VOTE, rollouts=LONG) for one in map(episode, map(str, range(64)))]
        for number, one in enumerate(made):
            store.commit(one, key(0.01 * number))
        store.neighbours(key(), 0.5)
        statements: list[str] = []
        rows = Database.rows

        def noted(self: Database, statement: str, *values: Any) -> list[Any]:
            found = rows(self, statement, *values)
            statements.append(statement)
            assert all(len(cell) < 2000 for row in found for cell in row if isinstance(cell, str | bytes))
            return found

        monkeypatch.setattr(Database, "rows", noted)
        began = time.process_time()
        found = store.neighbours(key(), 0.5)
        seconds = time.process_time() - began
        assert [one.id for one in found] == [one.id for one in made]
        assert not any("rollouts" in one for one in statements) and len(statements) < 8
        assert seconds < 0.3  # reading all of it took 3 s
