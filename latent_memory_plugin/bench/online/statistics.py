"""The few statistics of the benchmarks: means with bootstrap intervals, paired differences, pass@k."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

RESAMPLES = 4_000
CONFIDENCE = 0.95
DIGITS = 4

_CELLS_AT_ONCE = 4_000_000


class Interval(NamedTuple):
    """A mean and where it may lie."""

    mean: float
    """Mean of the values."""
    low: float
    """Lower end of the 95 % bootstrap interval of the mean."""
    high: float
    """Upper end."""


def interval(values: Sequence[float], seed: int = 0) -> Interval | None:
    """The mean of independent values with its 95 % percentile bootstrap interval; None where there are no values.

    A value is a problem's: what the samples of one problem share is not counted twice. What all problems of a stream
    share, the luck of its memory, is not in the interval; several seeds show it.
    """
    if not len(values):
        return None
    known = np.asarray(values, dtype=np.float64)  # (N,)
    means = _resampled_means(known, np.random.default_rng(seed))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(*(round(float(value), DIGITS) for value in (known.mean(), low, high)))


def paired(values: Sequence[float], others: Sequence[float], seed: int = 0) -> Interval | None:
    """The mean of `values - others`, problem by problem, with its interval: both sides are resampled together."""
    return interval([value - other for value, other in zip(values, others, strict=True)], seed)


def pass_at_k(samples: int, right: int, k: int) -> float:
    """Unbiased estimate of the chance that one of `k` samples is right, where `right` of `samples` are (2107.03374)."""
    if not 1 <= k <= samples:
        raise ValueError(f"pass@{k} cannot be estimated from {samples} samples; take k from 1 to {samples}.")
    return 1.0 - math.comb(samples - right, k) / math.comb(samples, k)


def mean(values: Sequence[float]) -> float | None:
    """The mean to four digits; None where there are no values."""
    return round(sum(values) / len(values), DIGITS) if len(values) else None


def _resampled_means(values: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(RESAMPLES,) means of as many values drawn with replacement."""
    at_once = max(1, _CELLS_AT_ONCE // len(values))
    parts = [min(at_once, RESAMPLES - start) for start in range(0, RESAMPLES, at_once)]
    return np.concatenate([values[rng.integers(0, len(values), (part, len(values)))].mean(axis=1) for part in parts])
