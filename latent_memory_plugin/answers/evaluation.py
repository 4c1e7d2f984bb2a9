"""What expressions are worth. The door to mpmath, the numerical half of SymPy.

Every variable is put to fixed odd rational values at three points. Values are exact fractions as long as they can be, and
numbers of `PRECISION` bits from the first root or sine on. Only expressions whose numbers stay within `MAX_BITS` are
evaluated: at that size two that agree to `PRECISION` bits are the same.

Time is that of the computing thread alone, so that nothing depends on what else the process does; a computation that was
ended is not remembered.
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
"""Expressions with longer numbers, numerator and denominator together, are refused."""
PRECISION = 4320
"""Bits of a value that is not exact."""
EXPRESSION_SECONDS = 0.3
"""Seconds of its own thread that one expression may take."""
POINTS = 3

_MARGIN_BITS = 64
_SYMBOL_BITS, _FUNCTION_BITS = 16, 16
_LARGEST_FACTORIAL = 120
_MAX_TERMS = 1000
_ROUGH_BITS = 120
"""Bits of integrals and of factorials of variables, which take too long otherwise."""
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
    bits: int
    """Bound on the length of numerator and denominator together."""
    rough: complex | None = None
    """The first of them to 15 digits; None where that overflows."""
    tolerance_bits: int = PRECISION
    """Bits to which the values hold; fewer of integrals and factorials of variables."""


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
    if first.rough is not None and second.rough is not None:
        size = max(1.0, abs(first.rough), abs(second.rough))
        if abs(first.rough - second.rough) > 1e-9 * size:
            return False  # most pairs differ, and that much is known at once
    return _close(first.values, second.values, _tolerance(first, second))


def proportional(a: Tree, b: Tree, *, positive: bool = False) -> bool:
    """Whether one expression is a constant multiple of the other, as are the sides' differences of x = 2y and
    2x - 4y = 0; with `positive` a positive multiple. Raises OutOfTime."""
    first, second = sample(a), sample(b)
    if first is None or second is None or not (symbols(a) and symbols(b)):
        return False
    p, q = first.values[0], second.values[0]
    if not p or not q or (positive and _real(p) * _real(q) < 0):
        return False
    with _lock:
        scaled = [_product(value, q) for value in first.values], [_product(value, p) for value in second.values]
    return _close(*scaled, Fraction(1, 2 ** min(2 * (first.bits + second.bits) + _MARGIN_BITS, PRECISION // 2)))


def linear(tree: Tree) -> tuple[str, Fraction, Fraction] | None:
    """(variable, slope, zero) of an expression that is a straight line of one variable; None for others. Raises
    OutOfTime."""
    found, names = sample(tree), symbols(tree)
    if found is None or len(names) != 1 or not all(isinstance(value, Fraction) for value in found.values):
        return None
    (name,), (a, b, c) = names, found.values
    x, y, z = (_point(name, point) for point in range(POINTS))
    slope = (b - a) / (y - x)
    return (name, slope, x - a / slope) if slope and c == a + slope * (z - x) else None


def exact(tree: Tree) -> Fraction | None:
    """The exact value of a constant expression; None where it has none or is not rational."""
    if symbols(tree):
        return None
    try:
        found = sample(tree)
    except OutOfTime:
        return None
    return found.values[0] if found and isinstance(found.values[0], Fraction) else None


def real(tree: Tree) -> Fraction | None:
    """A constant expression as a fraction, rounded to a grid fine enough to tell any two apart; None without one."""
    found = None if symbols(tree) else sample(tree)
    if found is None:
        return None
    value = found.values[0]
    if isinstance(value, Fraction):
        return value
    if getattr(value, "imag", 0):
        return None
    with _lock:
        return Fraction(int(_mp().nint(_mp().ldexp(value.real, PRECISION // 2))), 2 ** (PRECISION // 2))


def sample(tree: Tree) -> Sample | None:
    """The expression at all points; None where it has no value there or is too large. Raises OutOfTime."""
    with within(EXPRESSION_SECONDS):
        return _sample(tree)


@lru_cache(maxsize=4096)
def _sample(tree: Tree) -> Sample | None:
    try:
        bits, magnitude = _measure(tree)
        if bits > MAX_BITS or magnitude > MAX_BITS:
            raise NoValue("the numbers in it are too large")
        names = symbols(tree)
        values = [
            _evaluate(tree, {name: _point(name, point) for name in names}) for point in range(POINTS if names else 1)
        ]
    except (NoValue, ValueError, ZeroDivisionError, OverflowError):
        return None
    is_rough = _has(tree, "integral") or (names and (_has(tree, "!") or _has(tree, "binom")))
    try:
        rough = complex(values[0])
    except OverflowError:
        rough = None
    return Sample(tuple(values * (POINTS // len(values))), math.ceil(bits), rough, _ROUGH_BITS if is_rough else PRECISION)


def _has(tree: Tree, name: str) -> bool:
    return tree.name == name or any(_has(part, name) for part in tree.parts)


def _point(name: str, point: int) -> Fraction:
    """A rational between 1 and 4 in size that stands for a variable; negative at every second point or so."""
    digest = zlib.crc32(f"{name} {point}".encode())
    sign = -1 if point == 1 or (point == 2 and digest & 1) else 1
    return Fraction(sign * (127 + (digest >> 1) % 128), 64 + (digest >> 9) % 63)


def _tolerance(a: Sample, b: Sample) -> Fraction:
    return Fraction(1, 2 ** min(a.bits + b.bits + _MARGIN_BITS, a.tolerance_bits // 2, b.tolerance_bits // 2))


def _close(a: Sequence[Value], b: Sequence[Value], tolerance: Fraction) -> bool:
    if all(isinstance(value, Fraction) for value in (*a, *b)):
        return list(a) == list(b)
    with _lock:
        return all(abs(_inexact(x) - _inexact(y)) < _inexact(tolerance) for x, y in zip(a, b, strict=True))


def _real(value: Value) -> Value:
    return value if isinstance(value, Fraction) else value.real


@lru_cache(maxsize=1)
def _mp() -> Any:
    """A context of mpmath with our precision; its constants are computed once, so threads never see them change."""
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
        return OPERATIONS[tree.name](*values)


def _constant(name: str) -> Value:
    with _lock:
        return {r"\pi": +_mp().pi, "e": +_mp().e, "i": _mp().j}[name]


def _bound(tree: Tree, point: Mapping[str, Value]) -> Value:
    low, high = (_evaluate(part, point) for part in tree.parts[:2])
    name, body = str(tree.value), tree.parts[2]
    if tree.name == "integral":
        with _lock, _mp().workprec(2 * _ROUGH_BITS):
            return _mp().quad(
                lambda at: _inexact(_evaluate(body, {**point, name: at})), [_inexact(low), _inexact(high)]
            )
    if not (isinstance(low, Fraction) and isinstance(high, Fraction)) or low.denominator * high.denominator != 1:
        raise NoValue("a series has whole bounds")
    if not 0 <= high - low < _MAX_TERMS:
        raise NoValue("a series without terms or with too many")
    terms = (_evaluate(body, {**point, name: Fraction(at)}) for at in range(int(low), int(high) + 1))
    total = next(terms)
    for term in terms:
        total = OPERATIONS["+" if tree.name == "sum" else "*"](total, term)
    return total


def _power(base: Value, exponent: Value) -> Value:
    if isinstance(base, Fraction) and isinstance(exponent, Fraction):
        if exponent.denominator == 1:
            return base ** int(exponent)
        if base >= 0 and (root := _exact_root(base, exponent.denominator)) is not None:
            return root**exponent.numerator
    return _mp().power(_inexact(base), _inexact(exponent))


def _root(base: Value, degree: Value) -> Value:
    if isinstance(base, Fraction) and base < 0 and degree.denominator == 1 and degree % 2 == 1:
        return -_power(-base, 1 / degree)
    return _power(base, 1 / degree)


def _exact_root(value: Fraction, degree: int) -> Fraction | None:
    top, bottom = (
        round(part ** (1 / degree)) if part < 2**52 else math.isqrt(part) for part in value.as_integer_ratio()
    )
    root = Fraction(top, bottom or 1)
    return root if root**degree == value else None


def _factorial(value: Value) -> Value:
    """Of a variable, which is put to no whole number, by the gamma function."""
    if not isinstance(value, Fraction) or value.denominator != 1:
        with _mp().workprec(2 * _ROUGH_BITS):
            return _mp().factorial(_inexact(value))
    if not 0 <= value <= _LARGEST_FACTORIAL:
        raise NoValue("only factorials of small whole numbers are computed")
    return Fraction(math.factorial(int(value)))


def _binomial(top: Value, bottom: Value) -> Value:
    under = _product(_factorial(bottom), _factorial(_sum(top, _product(Fraction(-1), bottom))))
    return _product(_factorial(top), 1 / under)


def _whole(function: Callable[..., int]) -> Callable[..., Value]:
    def apply(*values: Value) -> Value:
        if not all(isinstance(value, Fraction) and value.denominator == 1 for value in values):
            raise NoValue("whole numbers only")
        return Fraction(function(*map(int, values)))

    return apply


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


def _ordered(choose: Callable[..., Value]) -> Callable[..., Value]:
    def apply(*values: Value) -> Value:
        if any(getattr(value, "imag", 0) for value in values):
            raise NoValue("complex numbers have no order")
        return choose(*values) if len(values) > 1 else choose(values)

    return apply


def _rounded(exactly: Callable[[Fraction], int], name: str) -> Callable[..., Value]:
    return lambda value: Fraction(exactly(value)) if isinstance(value, Fraction) else getattr(_mp(), name)(value)


def _sum(*values: Value) -> Value:
    total = values[0]
    for value in values[1:]:
        total = total + value if type(total) is type(value) else _inexact(total) + _inexact(value)
    return total


def _product(*values: Value) -> Value:
    total = values[0]
    for value in values[1:]:
        total = total * value if type(total) is type(value) else _inexact(total) * _inexact(value)
    return total


def _named(name: str) -> Callable[..., Value]:
    return lambda value: getattr(_mp(), name)(_inexact(value))


OPERATIONS: dict[str, Callable[..., Value]] = {
    "+": _sum,
    "*": _product,
    "/": lambda value: 1 / value,
    "^": _power,
    "root": _root,
    "!": _factorial,
    "binom": _binomial,
    "log": _logarithm,
    "abs": abs,
    "gcd": _whole(math.gcd),
    "lcm": _whole(math.lcm),
    "max": _ordered(max),
    "min": _ordered(min),
    "lfloor": _rounded(math.floor, "floor"),
    "lceil": _rounded(math.ceil, "ceil"),
    **{name: _named(name) for name in TRIGONOMETRIC},
    **{f"arc{name}": _named(f"a{name}") for name in TRIGONOMETRIC},
}


def _measure(tree: Tree) -> tuple[float, float]:
    """Bounds in bits: of numerator and denominator together, and of the absolute value. Raises NoValue."""
    if isinstance(tree.value, Fraction):
        top, bottom = abs(tree.value.numerator).bit_length(), tree.value.denominator.bit_length()
        return top + bottom, max(0, top - bottom + 1)
    if tree.name == "symbol":
        return _SYMBOL_BITS, 2
    if tree.name in ("sum", "product"):
        return _measure_series(tree)
    parts = [_measure(part) for part in tree.parts]
    bits, magnitudes = sum(part[0] for part in parts), [part[1] for part in parts]
    match tree.name:
        case "^" | "root":
            return _measure_power(tree, parts)
        case "!" | "binom":
            if magnitudes[0] > 7:
                raise NoValue("only factorials of small numbers are computed")
            grown = math.lgamma(2 ** magnitudes[0] + 1) / math.log(2) + 1
            return bits + grown, grown
        case "+":
            return bits + len(parts), max(magnitudes) + math.log2(len(parts))
        case "*":
            return bits, sum(magnitudes)
        case "/":
            return bits, bits
        case _:
            return bits + _FUNCTION_BITS, max(_FUNCTION_BITS, *magnitudes)


def _measure_power(tree: Tree, parts: Sequence[tuple[float, float]]) -> tuple[float, float]:
    (bits, magnitude), (exponent_bits, exponent_magnitude) = parts
    if tree.name == "root":
        return bits + exponent_bits, magnitude
    exponent = exact(tree.parts[1]) if exponent_bits < MAX_BITS else None
    if exponent is not None:
        times = max(1.0, abs(float(exponent)))
        return bits * times + exponent_bits, (magnitude if exponent > 0 else bits) * times
    times = 2 ** min(exponent_magnitude, 64)
    return bits * times + exponent_bits, bits * times


def _measure_series(tree: Tree) -> tuple[float, float]:
    first, last = exact(tree.parts[0]), exact(tree.parts[1])
    if first is None or last is None or not 0 <= last - first < _MAX_TERMS:
        raise NoValue("a series without terms or with too many")
    bits, magnitude = _measure(tree.parts[2])
    bits, magnitude = bits + 10 * len(tree.parts[2].parts), magnitude + 10
    terms = float(last - first) + 1
    return (
        (min(bits * terms, MAX_BITS), magnitude + math.log2(terms))
        if tree.name == "sum"
        else (
            bits * terms,
            magnitude * terms,
        )
    )
