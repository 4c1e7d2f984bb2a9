"""One kill after the other, and the report on what was lost.

The writers are forked from a server that has imported everything, so that a round costs tenths of a second. Each dies
in one of two ways: from outside, at a random instant of its opening or of its work; or by its own hand right before or
inside its n-th write to a file, to SQLite or to Chroma. Most rounds write through the store alone, some go through the
whole of learning. A root lives through several rounds, not all of which are looked at, so that a writer
also finds what another killed writer left.
"""

import logging
import multiprocessing
import random
import shutil
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from latent_memory_plugin.bench.kill import material
from latent_memory_plugin.bench.kill.inspection import Faults, inspect
from latent_memory_plugin.bench.kill.ledger import Noted, Word, noted
from latent_memory_plugin.bench.kill.writer import Order, write
from latent_memory_plugin.errors import ConfigError

Progress = Callable[[int, int, str], None]

ROUNDS_PER_ROOT = 20
LEARNING_SHARE = 0.25
"""Share of the rounds that go through the whole of learning."""
SAVING_SHARE = 0.5
"""Share of the roots whose index saves its graph every few writes."""
OWN_HAND_SHARE = 0.5
"""Share of the rounds that die at one of their own writes."""
LOOKED_AT_SHARE = 0.6
"""Share of the rounds after which the store is opened and compared; the last of a root always is."""
MOST_STEPS, MOST_LINES = 200, 60
SECONDS_TO_DIE = 120.0
"""A writer that lives longer hangs."""
PRELOADED = ["latent_memory_plugin.bench.kill.writer", "chromadb.api.client", "latent_memory_plugin.learning.street"]

COUNTED: dict[str, Word] = {
    "episodes": "committed",
    "updates": "updated",
    "latents": "put",
    "standings": "stood",
    "suspensions": "suspended",
    "uses": "used",
    "removals": "removed",
}
"""What is counted of the acknowledged, by the word of its lines."""


@dataclass
class Tally:
    """What all rounds so far came to."""

    acknowledged: Counter[str] = field(default_factory=Counter[str])
    """How much the writers were told is kept, by kind."""
    ways: Counter[str] = field(default_factory=Counter[str])
    """How the writers died."""
    faults: Faults = field(default_factory=Faults)
    """What is wrong."""
    looked_at: int = 0
    """Openings after a kill that were compared."""
    mended: Counter[str] = field(default_factory=Counter[str])
    """What those openings mended, by kind."""
    mended_openings: int = 0
    """How many of them mended anything."""


def run(rounds: int, seed: int, advance: Progress | None = None) -> dict[str, Any]:
    """Kills a writer `rounds` times and reports what became of all it was told is kept. Raises ConfigError as
    `started` does."""
    began, rng, tally = time.monotonic(), random.Random(seed), Tally()
    for first in range(0, rounds, ROUNDS_PER_ROOT):
        folder = Path(tempfile.mkdtemp(prefix="latent-memory-kill-"))
        series = _Series(folder, rng, tally)
        for number in range(first, min(first + ROUNDS_PER_ROOT, rounds)):
            with _quiet():
                series.round(last=number + 1 in (first + ROUNDS_PER_ROOT, rounds))
            if advance:
                advance(number + 1, rounds, f"{tally.faults.count} faults")
        shutil.rmtree(folder)
    return _report(rounds, seed, tally, time.monotonic() - began)


def started(order: Order) -> ForkServerProcess:
    """A running writer, forked from a server that has imported everything. Raises ConfigError where the system has no
    such thing."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        raise ConfigError("This system cannot fork a process that is killed; run it on Linux or macOS.")
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(PRELOADED)
    process = processes.Process(target=write, args=(order,))
    process.start()
    return process


class _Series:
    """The rounds of one root."""

    def __init__(self, folder: Path, rng: random.Random, tally: Tally) -> None:
        self._folder = folder
        self._rng = rng
        self._tally = tally
        self._opening_seconds = 0.3
        self._saves_often = rng.random() < SAVING_SHARE
        self._numbers = {material.PLAIN: 1, material.LEARNT: 1}

    def round(self, last: bool) -> None:
        """One writer, one kill, and perhaps a look."""
        namespace = material.LEARNT if self._rng.random() < LEARNING_SHARE else material.PLAIN
        own = self._rng.random() < OWN_HAND_SHARE
        step = self._rng.randint(1, MOST_STEPS) if own else None
        root, ledger = self._folder / "root", self._folder / namespace
        seed = self._rng.getrandbits(32)
        order = Order(root, ledger, namespace, self._numbers[namespace], seed, step, self._saves_often)
        self._numbers[namespace] += 1000
        began, lines = time.monotonic(), _lines(ledger)
        process = started(order)
        if step is None:
            self._wait(ledger, lines, process.is_alive)
            process.kill()
        process.join(SECONDS_TO_DIE)
        if process.exitcode is None:
            process.kill()
            self._tally.faults.other.append(f"a writer of {namespace!r} hung for {time.monotonic() - began:.0f} s")
        process.join()
        way = "at a write" if own else "while it wrote" if _lines(ledger) > lines else "while it opened"
        self._tally.ways[way] += 1
        if last or self._rng.random() < LOOKED_AT_SHARE:
            self._look(last)

    def _wait(self, ledger: Path, lines: int, alive: Callable[[], bool]) -> None:
        """Until a random instant of the opening, or until a random number of lines and a random moment more."""
        began, wanted = time.monotonic(), self._rng.randint(0, MOST_LINES)
        if self._rng.random() < 0.3:
            time.sleep(self._rng.uniform(0, self._opening_seconds))
            return
        while alive() and _lines(ledger) == lines:
            time.sleep(0.002)
        self._opening_seconds = time.monotonic() - began
        while alive() and _lines(ledger) < lines + wanted and time.monotonic() < began + SECONDS_TO_DIE:
            time.sleep(0.002)
        time.sleep(self._rng.uniform(0, 0.03))

    def _look(self, last: bool) -> None:
        known: dict[str, Noted] = {name: noted(self._folder / name) for name in (material.PLAIN, material.LEARNT)}
        mended = inspect(self._folder / "root", known, self._tally.faults)
        self._tally.looked_at += 1
        self._tally.mended_openings += bool(mended)
        self._tally.mended.update(_kind(sentence) for sentence in mended)
        if last:
            for name, word in COUNTED.items():
                self._tally.acknowledged[name] += sum(len(one[word]) for one in known.values())


@contextmanager
def _quiet() -> Generator[None, None, None]:
    """What an opening puts right is counted here, not logged."""
    log = logging.getLogger("latent_memory_plugin.store")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)


def _lines(ledger: Path) -> int:
    return ledger.read_bytes().count(b"\n") if ledger.exists() else 0


def _kind(sentence: str) -> str:
    """A sentence without its numbers and names."""
    return " ".join(word for word in sentence.split() if word.isalpha())


def _report(rounds: int, seed: int, tally: Tally, seconds: float) -> dict[str, Any]:
    faults: dict[str, list[str]] = asdict(tally.faults)
    grouped: defaultdict[str, int] = defaultdict(int, {name: len(texts) for name, texts in faults.items()})
    return {
        "rounds": rounds,
        "seed": seed,
        "killed": dict(tally.ways),
        "acknowledged": {name: tally.acknowledged[name] for name in COUNTED},
        "looked_at": tally.looked_at,
        "mended_openings": tally.mended_openings,
        "mended": dict(tally.mended),
        "lost": grouped["lost"],
        "half_written": grouped["half_written"],
        "index_differs": grouped["index_differs"],
        "other": grouped["other"],
        "faults": [text for texts in faults.values() for text in texts],
        "seconds": round(seconds, 1),
    }
