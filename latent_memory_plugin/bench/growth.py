"""`bench store`: how large a namespace may grow. Openings, first searches, Hits, writes and listings of a store of
many Latents.

The Latents have the shapes of the embedded model's. Their keys lie in groups, as those of the questions of one kind do:
of one group any two have a cosine near 0.8, of two groups near 0. Every opening is measured in a process of its own.
"""

import multiprocessing
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from latent_memory_plugin.answering.find import retrieve
from latent_memory_plugin.bench.resident import resident_mib
from latent_memory_plugin.config import RetrieveConfig
from latent_memory_plugin.records import Episode, Latent, Problem, Standing, Trial, Vote
from latent_memory_plugin.store import Store
from latent_memory_plugin.store.journal import episode_row
from latent_memory_plugin.store.packing import pack

Progress = Callable[[int, int, str], None]

NAMESPACE, ENCODER, MODEL = "default", "bench", ("bench", "0" * 64)
LATENT_SHAPE, KEY_SIZE = (20, 160), 160
"""As the embedded model's."""
GROUP, SPREAD = 20, 0.5
"""Keys in a group, and their distance from its centre, which has length 1."""
OPENINGS, QUERIES, PUTS, LISTED = 3, 1_000, 20, 1_000
_MOST = 1 << 32


class Cost(NamedTuple):
    """What something took."""

    seconds: float
    """By the clock."""
    processor_seconds: float
    """Of this process alone, so that other work on the machine counts less."""


def measure(latents: int, episodes: int, seed: int, progress: Progress | None = None) -> dict[str, Any]:
    """Sizes and times of a namespace of so many Latents and episodes, made and deleted in the folder for temporary
    files."""
    steps, done = ("made", "built", "opened", "killed", "used"), 0

    def tell(step: str) -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, len(steps), step)

    root = Path(tempfile.mkdtemp(prefix="latent-memory-bench-"))
    try:
        report: dict[str, Any] = {"latents": latents, "episodes": episodes, "seed": seed, "key_size": KEY_SIZE}
        fill(root, latents, episodes, seed)
        tell("made")
        report["first_opening"] = _apart(opening, root)
        tell("built")
        reopened = [_apart(opening, root) for _ in range(OPENINGS)]
        report["opening"] = min(reopened, key=lambda one: one["search"]["seconds"])
        tell("opened")
        _apart(dying, root)
        report["opening_after_kill"] = _apart(opening, root)
        tell("killed")
        report |= _apart(using, root, latents, seed)
        tell("used")
        patterns = {
            "files": f"{NAMESPACE}/latents/*",
            "journal": f"{NAMESPACE}/journal.sqlite*",
            "chroma": "chroma/**/*",
        }
        return report | {"mib": {name: _mib(root, pattern) for name, pattern in patterns.items()}}
    finally:
        shutil.rmtree(root, ignore_errors=True)


def fill(root: Path, latents: int, episodes: int, seed: int) -> None:
    """Writes the truth of a namespace, Latents with their standings and episodes, without waiting for the disk."""
    with Store.open(root, NAMESPACE) as store:
        journal = store._journal  # pyright: ignore[reportPrivateUsage]
        tensor = np.random.default_rng(seed).normal(size=LATENT_SHAPE).astype(np.float32)  # (P, H)
        with journal.transaction():
            for number in range(latents):
                one = _latent(number)
                path = root / NAMESPACE / "latents" / f"{one.id}.safetensors"
                path.write_bytes(pack(one, {"latent": tensor}, key(number, seed)))
                journal.stand(Standing(latent_id=one.id, reason=one.trial.reason, known=6))
            for number in range(episodes):
                problem = Problem(question=f"What is {number} plus {number}?")
                journal.add(episode_row(Episode(problem=problem, state="learnt")), ENCODER, key(number, seed))


def key(number: int, seed: int) -> np.ndarray:
    """The key (D,) of one Latent, of unit length."""
    centre = _direction(seed, number // GROUP + _MOST)
    vector = centre + SPREAD * _direction(seed, number)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def opening(root: Path) -> dict[str, Any]:
    """Opens the store, searches for the first time, and closes it."""
    opened, store = _timed(lambda: _open(root))
    searched, _ = _timed(lambda: retrieve(store, key(0, 0), RetrieveConfig()))
    resident = resident_mib()
    closed, _ = _timed(store.close)
    costs = {"open": opened, "search": searched, "close": closed}
    return {name: cost._asdict() for name, cost in costs.items()} | {"resident_mib": round(resident, 1)}


def dying(root: Path) -> None:
    """Ends like a killed process, with store and index open."""
    retrieve(_open(root), key(0, 0), RetrieveConfig())
    os._exit(1)


def using(root: Path, latents: int, seed: int) -> dict[str, Any]:
    """Hits with the key given, puts, and listings."""
    rng = np.random.default_rng(seed + 1)
    with _open(root) as store:
        asked = [_near(key(int(number), seed), rng) for number in rng.integers(latents, size=QUERIES)]
        for one in asked[:10]:
            retrieve(store, one, RetrieveConfig())
        hits = [_timed(lambda one=one: retrieve(store, one, RetrieveConfig()))[0] for one in asked]
        tensor = np.zeros(LATENT_SHAPE, dtype=np.float32)
        news = [(_latent(latents + number), key(latents + number, seed)) for number in range(PUTS)]
        puts = [_timed(lambda new=new: store.put(new[0], {"latent": tensor}, new[1]))[0] for new in news]
        newest, _ = _timed(lambda: list(store.latents(newest=LISTED)))
        whole, count = _timed(lambda: sum(1 for _ in store.latents()))
        held, _ = _timed(store.holdings)
        resident = resident_mib()
    return {
        "hit_milliseconds": _milliseconds(hits),
        "put_milliseconds": _milliseconds(puts),
        "list": {"newest": LISTED, "of": count} | newest._asdict(),
        "stream": whole._asdict(),
        "holdings": held._asdict(),
        "resident_mib": round(resident, 1),
    }


def _open(root: Path) -> Store:
    return Store.open(root, NAMESPACE, MODEL, ENCODER)


def _apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function gives in a fresh process; None where that process ended in it."""
    with ProcessPoolExecutor(max_workers=1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(function, *arguments).result()
        except BrokenProcessPool:
            return None


def _timed(action: Callable[[], Any]) -> tuple[Cost, Any]:
    began, worked = time.perf_counter(), time.process_time()
    result = action()
    return Cost(round(time.perf_counter() - began, 6), round(time.process_time() - worked, 6)), result


def _milliseconds(costs: Sequence[Cost]) -> dict[str, float]:
    seconds, worked = ([cost[column] for cost in costs] for column in (0, 1))
    return {
        "count": len(costs),
        "p50": round(1e3 * float(np.percentile(seconds, 50)), 2),
        "p99": round(1e3 * float(np.percentile(seconds, 99)), 2),
        "processor_p50": round(1e3 * float(np.percentile(worked, 50)), 2),
    }


def _latent(number: int) -> Latent:
    return Latent(
        id=f"{number:032x}",
        namespace=NAMESPACE,
        shapes={"latent": LATENT_SHAPE},
        model=MODEL[0],
        fingerprint=MODEL[1],
        encoder=ENCODER,
        problem_hash=f"{number:064x}",
        vote=Vote(answer=str(number), share=0.75, entropy=0.56, counts=((str(number), 12), (None, 4))),
        trial=Trial(
            episode_ids=("a" * 32,) * 6,
            agreement_before=0.5,
            agreement_after=0.75,
            answers=96,
            passed=True,
            reason="Agreement with the votes rose from 0.50 to 0.75 on 6 episodes.",
        ),
        parents=("b" * 32,) * 3,
        objective="imitate",
        seed=number,
        version="bench",
        created=1e9 + number,
    )


def _near(vector: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A key (D,) at a cosine of about 0.9 from this one."""
    noise = rng.normal(size=vector.shape)
    moved = vector + SPREAD * noise / np.linalg.norm(noise)
    return (moved / np.linalg.norm(moved)).astype(np.float32)


def _direction(seed: int, number: int) -> np.ndarray:
    """A random unit vector (D,), the same for the same numbers."""
    drawn = np.random.default_rng([seed, number]).normal(size=KEY_SIZE)
    return drawn / np.linalg.norm(drawn)


def _mib(folder: Path, pattern: str) -> float:
    return round(sum(path.stat().st_size for path in folder.glob(pattern) if path.is_file()) / 2**20, 1)
