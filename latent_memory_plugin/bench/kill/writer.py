"""The process that is killed: it writes as fast as it can until it is, and notes what was acknowledged."""

import logging
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn

from latent_memory_plugin.bench.kill import material
from latent_memory_plugin.bench.kill.ledger import Ledger
from latent_memory_plugin.memory import LatentMemory
from latent_memory_plugin.store import Store
from latent_memory_plugin.store.chroma import Chroma

if TYPE_CHECKING:
    from chromadb.api.collection_configuration import CreateHNSWConfiguration

WRITES = {"fsync", "open", "write", "replace", "unlink", "mkdir", "rmtree", "execute", "upsert", "delete"} | {
    *("create_collection", "delete_collection", "start", "stop", "close")
}
"""Names of the functions around or inside which a process can be killed: files, SQLite, Chroma."""

SAVES_OFTEN: "CreateHNSWConfiguration" = {"batch_size": 5, "sync_threshold": 10}
"""Of Chroma's graph."""

STAY_OPEN = 12
"""Numbers after which the writer closes the store and opens it again."""


class Order(NamedTuple):
    """What a writer is to do."""

    root: Path
    """Where."""
    ledger: Path
    """Where it notes what was acknowledged."""
    namespace: Literal["plain", "learnt"]
    """Through the store alone, or through the whole of learning."""
    start: int
    """The first number."""
    seed: int
    """Draws where it dies."""
    step: int | None = None
    """It kills itself at this write, counted from 1; None where it is killed from outside."""
    saves_often: bool = False
    """True makes Chroma save its graph every few writes instead of every thousand, so that kills fall into that."""


def write(order: Order) -> None:
    """Runs until the process is killed; what goes wrong is noted."""
    ledger = Ledger(order.ledger)
    logging.getLogger("latent_memory_plugin").setLevel(logging.ERROR)
    if order.saves_often:
        Chroma.graph = {**Chroma.graph, **SAVES_OFTEN}
    if order.step is not None:
        _die_at(order.step, random.Random(order.seed))
    try:
        for start in count(order.start, STAY_OPEN):
            _SESSIONS[order.namespace](order.root, ledger, range(start, start + STAY_OPEN))
    except BaseException as exc:
        ledger.note("failed", f"{type(exc).__name__}: {exc}")
        raise SystemExit(1) from exc


def _plain(root: Path, ledger: Ledger, numbers: range) -> None:
    with Store.open(root, material.PLAIN, material.MODEL, material.ENCODER) as store:
        ledger.note("opened", material.PLAIN)
        for number in numbers:
            one = material.episode(number)
            store.commit(one, material.key(number))
            ledger.note("committed", one.id)
            store.neighbours(material.key(number), 0.5)
            store.update(material.settled(one))
            ledger.note("updated", one.id)
            _one_latent(store, ledger, number)


def _one_latent(store: Store, ledger: Ledger, number: int) -> None:
    learnt = material.latent(number)
    store.stand(material.standing(learnt.id, "probation"))
    ledger.note("stood", learnt.id)
    store.put(learnt, {"latent": material.tensor(number)}, material.key(number))
    ledger.note("put", learnt.id)
    store.nearest(material.key(number))
    store.record_uses(material.uses(learnt.id))
    ledger.note("used", learnt.id)
    if number % material.SUSPENDED_EVERY == 0:
        ledger.note("suspending", learnt.id)
        store.stand(material.standing(learnt.id, "suspended"))
        ledger.note("suspended", learnt.id)
    if number % material.REMOVED_EVERY == 0:
        ledger.note("removing", learnt.id)
        store.remove(learnt.id)
        ledger.note("removed", learnt.id)


def _learnt(root: Path, ledger: Ledger, numbers: range) -> None:
    model: Any = material.model()
    with LatentMemory(root, model, material.LEARNT, material.CONFIG) as memory:
        for number in numbers:
            question = material.question(number)
            when = "background" if number % 2 else "now"
            outcome = memory.observe(question, rollouts=material.rollouts(), when=when)
            ledger.note("committed", outcome.episode_id or "")
            if outcome.status in ("live", "probation") and outcome.latent_id:
                ledger.note("put", outcome.latent_id)
            answer = memory.ask(question, seed=number)
            for latent_id in answer.latent_ids:
                ledger.note("used", f"{answer.id} {latent_id}")


_SESSIONS: dict[str, Callable[[Path, Ledger, range], None]] = {material.PLAIN: _plain, material.LEARNT: _learnt}


def _die_at(step: int, rng: random.Random) -> None:
    """Kills this process at its `step`-th write, in half of the cases before it and else while it runs."""
    waits = iter(range(1, step))
    delay = rng.choice((0.0, rng.uniform(0, 0.003)))

    def hook(frame: FrameType, event: str, function: Any) -> None:
        if event != "c_call" or getattr(function, "__name__", "") not in WRITES or function is os.write:
            return
        if next(waits, None) is not None:
            return
        if delay:
            threading.Thread(target=_die, args=(delay,), daemon=True).start()
        else:
            _die(0)

    threading.setprofile(hook)
    sys.setprofile(hook)


def _die(delay: float) -> NoReturn:
    time.sleep(delay)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError
