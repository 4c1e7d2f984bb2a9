"""Running the checks of one model."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from latent_memory_plugin.bench.conformance.caching import caching
from latent_memory_plugin.bench.conformance.formats import formats
from latent_memory_plugin.bench.conformance.learning import learning
from latent_memory_plugin.bench.conformance.prompting import prompting
from latent_memory_plugin.bench.conformance.reading import reading
from latent_memory_plugin.bench.conformance.result import CheckResult, Group
from latent_memory_plugin.bench.conformance.subject import Subject
from latent_memory_plugin.bench.conformance.writing import writing
from latent_memory_plugin.config import ModelConfig
from latent_memory_plugin.engines.hf import load
from latent_memory_plugin.errors import LatentMemoryError

Progress = Callable[[int, int, str], None]
"""(groups done, groups in all, name of the last one)."""

CHECKS: Mapping[str, Group] = {
    "prompts": prompting,
    "reading": reading,
    "cache": caching,
    "writing": writing,
    "learning": learning,
    "formats": formats,
}
"""Every group of checks by its name."""


def measure(config: ModelConfig = ModelConfig(), progress: Progress | None = None) -> dict[str, Any]:
    """Loads a model and runs every check: `checks`, a row each, and how many `passed`, `failed`, `refused`, `skipped`.

    A model that cannot be loaded raises ModelLoadError; one that the library refuses is a report of one row.
    """
    began = time.monotonic()
    plain, tokenizer, name = load.read(config)
    rows: list[CheckResult] = []
    try:
        subject = Subject.of(plain, tokenizer, name)
    except LatentMemoryError as exc:
        rows.append(CheckResult("the model can be used", "refused", note=str(exc)))
    else:
        for number, group in enumerate(CHECKS):
            rows += check(subject, group)
            if progress is not None:
                progress(number + 1, len(CHECKS), group)
    counts = {outcome: sum(row.outcome == outcome for row in rows) for outcome in ("passed", "failed", "refused")}
    return {
        "model": name,
        "architecture": type(plain).__name__,
        "parameters": sum(weight.numel() for weight in plain.parameters()),
        "format": str(plain.dtype).removeprefix("torch."),
        **counts,
        "skipped": len(rows) - sum(counts.values()),
        "checks": [row.as_dict() for row in rows],
        "seconds": round(time.monotonic() - began, 1),
    }


def check(subject: Subject, group: str) -> Iterator[CheckResult]:
    """The rows of one group. An error of this library's is a refusal by name; any other one is a failure, and ends the
    group."""
    try:
        yield from CHECKS[group](subject)
    except LatentMemoryError as exc:
        yield CheckResult(f"{group}: the rest", "refused", note=str(exc))
    except Exception as exc:  # noqa: BLE001  one group that breaks off must not cost the report of the others
        yield CheckResult(f"{group}: the rest", "failed", note=f"{type(exc).__name__}: {exc}"[:300])
