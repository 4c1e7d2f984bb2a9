"""Sets of real numbers in one form, so that x ≠ 3 is (-∞, 3) ∪ (3, ∞). The door to SymPy's sets."""

import importlib
import math
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

Piece = tuple[Fraction | float, bool, Fraction | float, bool]
"""(low end, whether it belongs to the set, high end, whether it belongs to the set)."""
MAX_PIECES = 16
"""Unions of more are not brought into one form."""

LINE: tuple[Piece, ...] = ((-math.inf, False, math.inf, False),)
"""All real numbers."""


def piece(low: Fraction | float, closed: bool, high: Fraction | float, up_to: bool) -> tuple[Piece, ...]:
    """The numbers between two ends; none where these cross."""
    closed, up_to = closed and low != -math.inf, up_to and high != math.inf
    return ((low, closed, high, up_to),) if low < high or (low == high and closed and up_to) else ()


def union(*sets: tuple[Piece, ...]) -> tuple[Piece, ...]:
    """The numbers of any of the sets."""
    given = [one for pieces in sets for one in pieces]
    return tuple(given) if len(given) < 2 else _pieces(_sympy().Union(*map(_interval, given)))


def without(pieces: tuple[Piece, ...], taken: tuple[Piece, ...]) -> tuple[Piece, ...]:
    """The numbers of the first set that are not of the second."""
    sympy = _sympy()
    return _pieces(sympy.Union(*map(_interval, pieces)) - sympy.Union(*map(_interval, taken)))


def both(a: tuple[Piece, ...], b: tuple[Piece, ...]) -> tuple[Piece, ...]:
    """The numbers of both sets."""
    return without(a, without(LINE, b))


@lru_cache(maxsize=1)
def _sympy() -> Any:
    return importlib.import_module("sympy")


def _interval(one: Piece) -> Any:
    low, closed, high, up_to = one
    return _sympy().Interval(_number(low), _number(high), not closed, not up_to)


def _number(value: Fraction | float) -> Any:
    if isinstance(value, float):
        return _sympy().oo if value > 0 else -_sympy().oo
    return _sympy().Rational(value.numerator, value.denominator)


def _pieces(found: Any) -> tuple[Piece, ...]:
    parts: Sequence[Any] = found.args if found.is_Union else [found]
    pieces: list[Piece] = []
    for part in parts:
        if part.is_FiniteSet:
            pieces += [(_fraction(one), True, _fraction(one), True) for one in part.args]
        elif not part.is_empty:
            pieces.append((_fraction(part.inf), not part.left_open, _fraction(part.sup), not part.right_open))
    return tuple(sorted(pieces, key=lambda one: (one[0], one[2])))


def _fraction(value: Any) -> Fraction | float:
    return Fraction(int(value.p), int(value.q)) if value.is_Rational else float(value)
