"""Which rows there are, and the machine they ran on."""

import os
import platform
from collections.abc import Callable, Sequence
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from latent_memory_plugin.bench.online.files import KEY, finished, write
from latent_memory_plugin.bench.speed import cold, learning, sampling
from latent_memory_plugin.bench.speed.pairs import Row, alone
from latent_memory_plugin.bench.speed.subject import Dtype, Shape, Subject, build, load
from latent_memory_plugin.errors import InputError

Progress = Callable[[int, int, str, dict[str, Any]], None]
"""(rows done, rows in all, name of the last one, what it came to)."""

WAITING = Row("the longest wait of an answer while the worker learns", "the longest while idle", "seconds", None)
ASKS = 20
PACKAGES = ("torch", "transformers", "peft", "trl")


class Bench:
    """The rows by name, and the models they share, each made when first needed."""

    def __init__(self, model: str | None, shape: Shape, dtype: Dtype, pairs: int) -> None:
        self.rows: dict[str, Callable[[], dict[str, Any]]] = {
            "import": lambda: cold.importing(pairs),
            "help": lambda: cold.helping(pairs),
            "ask": lambda: cold.asking(pairs),
            "rollouts": lambda: sampling.rollouts(self.small, pairs),
            "to_the_end": lambda: sampling.to_the_end(self.small, pairs),
            "problems": lambda: sampling.problems(self.small, pairs),
            "learning": lambda: learning.learning(self.small, load(model), pairs),
            "waiting": self._waiting,
            "long_prompt": lambda: sampling.long_prompt(self.large, pairs),
            "latent": lambda: sampling.with_latent(self.large, pairs),
            "memory": lambda: learning.memory(shape, dtype, pairs),
        }
        self._model = model
        self._build = lambda: build(shape, dtype)

    @cached_property
    def small(self) -> Subject:
        """The embedded model, or the one that was named."""
        return load(self._model)

    @cached_property
    def large(self) -> Subject:
        """The model of a known shape."""
        return self._build()

    def _waiting(self) -> dict[str, Any]:
        from latent_memory_plugin.bench.background import latencies

        times = latencies(self.small.model, ASKS, 0)
        idle, learning = times["idle"], times["learning"]
        return alone(WAITING, [learning.get("max", 0.0)]) | {"reference": idle["max"], "asking": times}


def measure(
    model: str | None,
    shape: Shape,
    dtype: Dtype,
    pairs: int,
    only: Sequence[str] = (),
    progress: Progress | None = None,
    file: Path | None = None,
) -> dict[str, Any]:
    """Every row, or those that are named, and what they were measured on. Raises InputError for a name that is none.

    With a `file`, the report is in it after each row, and rows that are in it already, measured on the same machine in
    the same way, are not measured again. `progress` is told of each row with what it came to.
    """
    bench = Bench(model, shape, dtype, pairs)
    if unknown := set(only) - set(bench.rows):
        raise InputError(f"There are no rows {sorted(unknown)!r}; the rows are: {', '.join(bench.rows)}.")
    key = {"machine": machine(), "model": model, "shape": shape, "dtype": dtype, "pairs": pairs}
    earlier = {} if file is None else finished(file, key) or {}
    known = {name: row for name, row in earlier.get("rows", {}).items() if "skipped" not in row}
    names = [name for name in bench.rows if name in known or not only or name in only]
    report: dict[str, Any] = {**key, KEY: key, "rows": {}}
    for number, name in enumerate(names, 1):
        if name not in known:
            before = os.getloadavg()[0]
            known[name] = bench.rows[name]() | {"load_before": round(before, 2)}
        report["rows"] = {one: known[one] for one in names if one in known}
        if file is not None:
            write(file, report)
        if progress is not None:
            progress(number, len(names), name, known[name])
    return report


def machine() -> dict[str, Any]:
    """Processor, threads, device and versions."""
    cuda = torch.cuda.is_available()
    return {
        "processor": _processor(),
        "processors": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cpu_instructions": torch.backends.cpu.get_cpu_capability(),
        "gpu": torch.cuda.get_device_name() if cuda else None,
        "python": platform.python_version(),
        **{name: _version(name) for name in PACKAGES},
    }


def _processor() -> str:
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text().splitlines() if listed.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
