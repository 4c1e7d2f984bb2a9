"""What a check of the conformance suite finds."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from latent_memory_plugin.bench.conformance.subject import Subject

Outcome = Literal["passed", "failed", "refused", "skipped"]
"""`refused`: the library names what it cannot do, with an error. `skipped`: nothing to check here, as the note says."""


@dataclass(frozen=True)
class CheckResult:
    """One row of the report."""

    name: str
    """What holds where the check passed, in a few words."""
    outcome: Outcome
    """How it ended."""
    measured: float | None = None
    """The number that decided, None where none did."""
    limit: float | None = None
    """What the number may be at most."""
    unit: str = ""
    """What the number counts."""
    note: str = ""
    """Number format, exceptions and errors, in words."""

    def as_dict(self) -> dict[str, Any]:
        """The row for a JSON report."""
        return asdict(self)


def measured(name: str, value: float, limit: float, unit: str, note: str = "") -> CheckResult:
    """Passed where the value is a number up to the limit."""
    return CheckResult(name, "passed" if value <= limit else "failed", value, limit, unit, note)


def holds(name: str, truth: bool, note: str = "") -> CheckResult:
    """Passed where it is true."""
    return CheckResult(name, "passed" if truth else "failed", note=note)


def skipped(name: str, note: str) -> CheckResult:
    """Nothing to check."""
    return CheckResult(name, "skipped", note=note)


Group = Callable[[Subject], Iterator[CheckResult]]
"""A group of checks; it yields a row as soon as it is known."""
