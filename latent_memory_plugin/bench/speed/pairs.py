"""Ours and the reference in turns, so that what else the machine does meets both."""

from collections.abc import Callable, Sequence
from statistics import median
from typing import Any, Literal, NamedTuple

ENOUGH_PAIRS = 5
"""Fewer are told in the report."""

Measure = Callable[[], float]
"""One run: what came of it, in the unit of its row."""


class Wanted(NamedTuple):
    """What a row's figure should come to."""

    bound: float
    """Of the ratio of ours to the reference; without a reference, of ours."""
    side: Literal["at least", "at most"]
    """On which side of the bound it should be."""

    def met(self, value: float) -> bool:
        """Whether it is."""
        return value >= self.bound if self.side == "at least" else value <= self.bound


class Row(NamedTuple):
    """A row of the table before it is measured."""

    what: str
    """What is measured, in words."""
    reference: str | None
    """What it is compared with."""
    unit: str
    """Of both."""
    wanted: Wanted | None
    """None: it is told, not judged."""


def compare(
    row: Row, ours: Measure, reference: Measure, pairs: int, warm_up: Callable[[], dict[str, Any]] | None = None
) -> dict[str, Any]:
    """A row with medians over `pairs` runs of each, in turns; the ratio is the median of the pairs' ratios.

    `warm_up` is a run of ours whose findings are reported but not its time; the reference warms up after it. Fresh
    processes need none.
    """
    details = warm_up() if warm_up else {}
    if warm_up:
        reference()
    runs = [(ours(), reference()) for _ in range(pairs)]
    ratio = median(one / other for one, other in runs)
    return _report(row, ratio, pairs) | {
        "ours": median(one for one, _ in runs),
        "reference": median(other for _, other in runs),
        "ratio": ratio,
        "runs": runs,
        **details,
    }


def alone(row: Row, runs: Sequence[float], **details: Any) -> dict[str, Any]:
    """A row without a reference, from the figures of its runs."""
    middle = median(runs)
    return _report(row, middle, len(runs)) | {"ours": middle, "runs": list(runs), **details}


def skipped(row: Row, why: str) -> dict[str, Any]:
    """A row that could not be measured, and why."""
    return {"what": row.what, "against": row.reference, "unit": row.unit, "skipped": why}


def _report(row: Row, value: float, pairs: int) -> dict[str, Any]:
    wanted = None if row.wanted is None else f"{row.wanted.side} {row.wanted.bound:g}"
    return {
        "what": row.what,
        "against": row.reference,
        "unit": row.unit,
        "wanted": wanted,
        "met": None if row.wanted is None else row.wanted.met(value),
        "pairs": pairs,
        "enough_pairs": pairs >= ENOUGH_PAIRS,
    }
