"""What expressions are worth. The door to mpmath, the numerical half of SymPy.

Every variable is put to fixed odd rational values at three points. Values are exact fractions as long as they can be,
and numbers of `PRECISION` bits from the first root or sine on. Numbers of more than `MAX_BITS` bits are not computed;
what agrees to half the precision at these sizes is the same.

Time is that of the computing thread alone, so nothing depends on what else the process does, and a computation that ran
out of it is not remembered.
"""

import importlib
import math
import time
import zlib
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from threading import RLock
from typing import Any

from latent_memory_plugin.answers.grammar import TRIGONOMETRIC, Tree, symbols

MAX_BITS = 1024
"""Longer numerators, denominators and magnitudes are not computed."""
PRECISION = 4320
"""Bits of a value that is not exact."""
EXPRESSION_SECONDS = 0.3
"""Seconds of its own thread that one expression may take."""
POINTS = 3

_ROUGH_BITS = 120
"""Bits of integrals and of factorials of variables, which take too long otherwise."""
_LARGEST_FACTORIAL = 120
_MAX_TERMS = 1000
_lock = RLock()
_deadline: ContextVar[float] = ContextVar("deadline", default=math.inf)

Value = Any
"""A Fraction, or a real or complex number of mpmath."""


class OutOfTime(Exception):
    """The computation took more than its share of its own thread's time."""


class NoValue(ValueError):
    """The expression has no value, or none that is computed here."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One expression at every point."""

    values: tuple[Value, ...]
    """Its value at each of `POINTS` points."""
    rough: complex
    """The first of them to 15 digits."""
    bits: int
    """To how many bits they hold."""


@contextmanager
def within(seconds: float) -> Generator[None, None, None]:
    """Bounds what is computed inside, in seconds of this thread's own processor time; bounds inside bounds add none."""
    token = _deadline.set(min(_deadline.get(), time.thread_time() + seconds))
    try:
        yield
    finally:
        _deadline.reset(token)


def same(a: Tree, b: Tree) -> bool:
    """Whether two expressions have the same value everywhere. Raises OutOfTime."""
    first, second = sample(a), sample(b)
    if first is None or second is None:
        return False
    # Most pairs differ, and that much is known at once.
    near = abs(first.rough - second.rough) <= 1e-9 * max(1.0, abs(first.rough), abs(second.rough))
    return near and _close(first.values, second.values, min(first.bits, second.bits))


def proportional(a: Tree, b: Tree, *, positive: bool = False) -> bool:
    """Whether one expression is a constant multiple of the other, as are the sides' differences of x = 2y and
    2x - 4y = 0; with `positive` a positive multiple. Raises OutOfTime."""
    first, second = sample(a), sample(b)
    if first is None or second is None or not (symbols(a) and symbols(b)):
        return False
    p, q = first.values[0], second.values[0]
    if not p or not q or (positive and first.rough.real * second.rough.real < 0):
        return False
    with _lock:
        scaled = [_product(value, q) for value in first.values], [_product(value, p) for value in second.values]
    return _close(*scaled, min(first.bits, second.bits))


def exact(tree: Tree) -> Fraction | None:
    """The exact value of a constant expression; None where it has none or is not rational, or out of time."""
    try:
        found = None if symbols(tree) else sample(tree)
    except OutOfTime:
        return None
    return found.values[0] if found and isinstance(found.values[0], Fraction) else None


def real(tree: Tree) -> Fraction | None:
    """A constant expression as a fraction on a grid fine enough to tell any two apart; None where it is none. Raises
    OutOfTime."""
    found = None if symbols(tree) else sample(tree)
    return None if found is None or found.rough.imag else _on_grid(found.values[0])


def linear(tree: Tree) -> tuple[str, bool, Fraction] | None:
    """(variable, whether it rises, zero) of an expression that is a straight line of one variable; None for others.
    Raises OutOfTime."""
    found, names = sample(tree), symbols(tree)
    if found is None or len(names) != 1 or any(getattr(value, "imag", 0) for value in found.values):
        return None
    (name,), (a, b, c) = names, found.values
    x, y, z = (_point(name, point) for point in range(POINTS))
    with _lock:
        if not all(isinstance(value, Fraction) for value in found.values):
            x, y, z, a, b, c = map(_inexact, (x, y, z, a, b, c))
        slope = (b - a) / (y - x)
        straight = slope and _close([c], [a + slope * (z - x)], found.bits)
        return (name, slope > 0, _on_grid(x - a / slope)) if straight else None


def sample(tree: Tree) -> Sample | None:
    """The expression at all points; None where it has no value there or is too large. Raises OutOfTime."""
    with within(EXPRESSION_SECONDS):
        return _sample(tree)


@lru_cache(maxsize=4096)
def _sample(tree: Tree) -> Sample | None:
    names = symbols(tree)
    rough = _has(tree, "integral") or (names and (_has(tree, "!") or _has(tree, "binom")))
    try:
        values = [
            _evaluate(tree, {name: _point(name, point) for name in names}) for point in range(POINTS if names else 1)
        ]
        return Sample(tuple(values * (POINTS // len(values))), complex(values[0]), _ROUGH_BITS if rough else PRECISION)
    except (ValueError, ArithmeticError):
        return None


def _has(tree: Tree, name: str) -> bool:
    return tree.name == name or any(_has(part, name) for part in tree.parts)


def _point(name: str, point: int) -> Fraction:
    """A rational between 1 and 4 in size that stands for a variable; negative at every second point or so."""
    digest = zlib.crc32(f"{name} {point}".encode())
    sign = -1 if point == 1 or (point == 2 and digest & 1) else 1
    return Fraction(sign * (127 + (digest >> 1) % 128), 64 + (digest >> 9) % 63)


def _close(a: Sequence[Value], b: Sequence[Value], bits: int) -> bool:
    """Whether values are the same: exact ones exactly, others to half the bits they hold to."""
    if all(isinstance(value, Fraction) for value in (*a, *b)) and bits == PRECISION:
        return list(a) == list(b)
    with _lock:
        pairs = [(_inexact(x), _inexact(y)) for x, y in zip(a, b, strict=True)]
        return all(abs(x - y) <= _mp().ldexp(max(1, abs(x), abs(y)), -bits // 2) for x, y in pairs)


def _on_grid(value: Value) -> Fraction:
    if isinstance(value, Fraction):
        return value
    with _lock:
        return Fraction(int(_mp().nint(_mp().ldexp(value.real, PRECISION // 4))), 2 ** (PRECISION // 4))


@lru_cache(maxsize=1)
def _mp() -> Any:
    """A context of mpmath with our precision; used behind the lock, since its constants grow with the precision."""
    context: Any = importlib.import_module("mpmath").MPContext()
    context.prec = PRECISION
    return context


def _inexact(value: Value) -> Value:
    return _mp().mpf(value.numerator) / value.denominator if isinstance(value, Fraction) else value


def _evaluate(tree: Tree, point: Mapping[str, Value]) -> Value:
    if time.thread_time() > _deadline.get():
        raise OutOfTime(f"{tree.name!r} was ended; the bound is {EXPRESSION_SECONDS} s")
    if tree.name == "number":
        return tree.value
    if tree.name == "symbol":
        return point[str(tree.value)] if tree.value in point else _constant(str(tree.value))
    if tree.name in ("sum", "product", "integral"):
        return _bound(tree, point)
    values = [_evaluate(part, point) for part in tree.parts]
    with _lock:
        if not all(isinstance(value, Fraction) for value in values):
            values = [_inexact(value) for value in values]
        return _bounded(_operation(tree.name, values))


def _bounded(value: Value) -> Value:
    if isinstance(value, Fraction):
        too_large = max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS
    else:
        too_large = not _mp().isfinite(value) or (value and abs(int(_mp().mag(value))) > MAX_BITS)
    if too_large:
        raise NoValue("the numbers in it are too large")
    return value


def _constant(name: str) -> Value:
    with _lock:
        return {r"\pi": +_mp().pi, "e": +_mp().e, "i": _mp().j}[name]


def _bound(tree: Tree, point: Mapping[str, Value]) -> Value:
    """A sum, a product or an integral over its variable."""
    low, high = (_evaluate(part, point) for part in tree.parts[:2])
    name, body = str(tree.value), tree.parts[2]

    def term(at: Value) -> Value:
        return _evaluate(body, {**point, name: at})

    if tree.name == "integral":
        with _lock, _mp().workprec(2 * _ROUGH_BITS):
            return _mp().quad(lambda at: _inexact(term(at)), [_inexact(low), _inexact(high)])  # pyright: ignore
    if not _whole(low, high) or not 0 <= high - low < _MAX_TERMS:
        raise NoValue("a series has whole bounds and at most a thousand terms")
    total, add = term(low), _total if tree.name == "sum" else _product
    for at in range(int(low) + 1, int(high) + 1):
        with _lock:
            total = _bounded(add(total, term(Fraction(at))))
    return total


def _whole(*values: Value) -> bool:
    return all(isinstance(value, Fraction) and value.denominator == 1 for value in values)


def _operation(name: str, values: Sequence[Value]) -> Value:
    """An operation or a function of values that are all exact or all not. Raises ValueError, ArithmeticError."""
    if name in OPERATIONS:
        return OPERATIONS[name](*values)
    if name in ("gcd", "lcm"):
        if not _whole(*values):
            raise NoValue("whole numbers only")
        return Fraction(getattr(math, name)(*map(int, values)))
    if any(getattr(value, "imag", 0) for value in values) and name in ("max", "min", "lfloor", "lceil"):
        raise NoValue("complex numbers have no order")
    if name in ("max", "min"):
        return max(values) if name == "max" else min(values)
    if name in ("lfloor", "lceil"):
        return Fraction(int(_mp().floor(_inexact(*values)) if name == "lfloor" else _mp().ceil(_inexact(*values))))
    if name.removeprefix("arc") not in TRIGONOMETRIC:
        raise NoValue(f"{name} is not computed")
    return getattr(_mp(), name.replace("arc", "a"))(*map(_inexact, values))


def _total(*values: Value) -> Value:
    total = values[0]
    for value in values[1:]:
        total = total + value if type(total) is type(value) else _inexact(total) + _inexact(value)
    return total


def _product(*values: Value) -> Value:
    total = values[0]
    for value in values[1:]:
        total = total * value if type(total) is type(value) else _inexact(total) * _inexact(value)
    return total


def _inverse(value: Value) -> Value:
    return 1 / value


def _power(base: Value, exponent: Value) -> Value:
    if isinstance(base, Fraction):
        size = max(base.numerator.bit_length(), base.denominator.bit_length()) * abs(exponent)
        if size > 2 * MAX_BITS:
            raise NoValue("too large a power")
        if exponent.denominator == 1:
            return base ** int(exponent)
        if base >= 0 and (root := _exact_root(base, exponent.denominator)) is not None:
            return root**exponent.numerator
    if exponent and abs(_mp().mag(_inexact(exponent))) > 64:
        raise NoValue("too large a power")
    return _mp().power(_inexact(base), _inexact(exponent))


def _root(base: Value, degree: Value) -> Value:
    if isinstance(base, Fraction) and base < 0 and degree.denominator == 1 and degree % 2 == 1:
        return -_power(-base, 1 / degree)
    return _power(base, 1 / degree)


def _exact_root(value: Fraction, degree: int) -> Fraction | None:
    parts = [round(part ** (1 / degree)) if part < 2**52 else math.isqrt(part) for part in value.as_integer_ratio()]
    root = Fraction(parts[0], parts[1] or 1)
    return root if root**degree == value else None


def _factorial(value: Value) -> Value:
    """Of a variable, which is put to no whole number, by the gamma function."""
    if not _whole(value):
        with _mp().workprec(2 * _ROUGH_BITS):
            return _mp().factorial(_inexact(value))
    if not 0 <= value <= _LARGEST_FACTORIAL:
        raise NoValue("only factorials of small whole numbers are computed")
    return Fraction(math.factorial(int(value)))


def _binomial(top: Value, bottom: Value) -> Value:
    under = _product(_factorial(bottom), _factorial(_total(top, _product(Fraction(-1), bottom))))
    return _product(_factorial(top), 1 / under)


def _logarithm(value: Value, base: Value | None = None) -> Value:
    """Natural without a base; exact where it is whole."""
    natural = _mp().log(_inexact(value))
    if base is None:
        return natural
    found = natural / _mp().log(_inexact(base))
    if isinstance(value, Fraction) and isinstance(base, Fraction) and not getattr(found, "imag", 0):
        whole = int(_mp().nint(found.real))
        if abs(whole) <= MAX_BITS and base**whole == value:
            return Fraction(whole)
    return found


OPERATIONS: dict[str, Callable[..., Value]] = {
    **{"+": _total, "*": _product, "/": _inverse, "^": _power, "root": _root, "abs": abs},
    **{"!": _factorial, "binom": _binomial, "log": _logarithm},
}
"""What is not a function of mpmath by the same name."""
