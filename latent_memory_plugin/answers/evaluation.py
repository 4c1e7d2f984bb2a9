r"""What an expression is worth: parsed by math-verify, evaluated by SymPy. Only `door` may use this.

math-verify's own `verify` is left aside: it calls numbers equal that differ by less than 1e-15 (1e-34 and 1e-19
among them), takes words for products of letters (listen, silent), drops subscripts of numbers (52_8, 52_9) and
simplifies without bound. Here an expression becomes its values, to `DIGITS` digits, at points where every
variable has a fixed odd rational value: two expressions that agree there to hundreds of digits are the same.
"""

import importlib
import math
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

MAX_BITS = 1024
"""Expressions with longer numbers, numerator and denominator together, are refused."""
DIGITS = 1300
"""Decimal digits of a value: enough to tell two numbers of `MAX_BITS` bits apart."""

_POINTS = 3
_SYMBOL_BITS, _FUNCTION_BITS = 16, 16
_LARGEST_FACTORIAL = 120
_DECIMAL = re.compile(r"([0-9]*)\.([0-9]+)|([0-9]+)\.(?![0-9])")
_SIDE_BY_SIDE = re.compile(
    r"(\\[A-Za-z]+\s*[\^_]\s*\{[^{}]*\}\s*(?:\(|[0-9]|\\frac)?)|(?<=[)}])\s*(?=[(0-9]|\\frac)|(?<![_^0-9.])([0-9]+)\s*(?=\()"
)
_WHOLE_AND_FRACTION = re.compile(r"([0-9]+)\s*\\frac\s*\{\s*([0-9]+)\s*\}\s*\{\s*([0-9]+)\s*\}")
_BARE_FUNCTION = re.compile(r"(?<![A-Za-z\\])(arcsin|arccos|arctan|sin|cos|tan|cot|sec|csc|log|ln|exp|pi)(?![A-Za-z])")
_BARE_POWER = re.compile(r"\^\s*(?:\(([^()]*)\)|(-\s*(?:[0-9]+|[A-Za-z])))")


@dataclass(frozen=True)
class Sample:
    """One expression at every point."""

    values: tuple[tuple[Fraction, Fraction], ...]
    """Real and imaginary part at each of three points."""
    bits: int
    """Bound on the length of numerator and denominator together."""


@dataclass(frozen=True)
class Meaning:
    """An expression, a matrix, or the difference of a relation's sides."""

    relation: str
    """`=`, `≠`, `<` or `≤`; empty for an expression or matrix."""
    shape: tuple[int, ...]
    """Rows and columns of a matrix; empty for a scalar."""
    samples: tuple[Sample, ...]
    """One per entry."""


@lru_cache(maxsize=1)
def load_libraries() -> tuple[Any, Any, Any]:
    """SymPy, math-verify's parser and its settings, imported and warmed up on first need."""
    sympy: Any = importlib.import_module("sympy")
    parser: Any = importlib.import_module("math_verify.parser")
    # Without its timeouts, which are signals, the parser would tell the user to bound the time; `door` does.
    parser.TIMEOUT_WARNING_SHOWN = True
    normalization = parser.NormalizationConfig(units=False, malformed_operators=True, boxed="none")
    settings = parser.LatexExtractionConfig(boxed_match_priority=-1, normalization_config=normalization)
    parser.parse(r"$\frac{1}{2}$", [settings], parsing_timeout=None)
    (sympy.Symbol("x") + 1).xreplace({sympy.Symbol("x"): sympy.sqrt(2)}).evalf(DIGITS)
    return sympy, parser, settings


def evaluate(relation: str, *sides: str) -> Meaning:
    """The meaning of an expression (`relation` empty, one side) or of a relation (two). Raises anything."""
    trees = [_parse(_latex(side)) for side in sides]
    if relation:
        left, right = trees
        tree = load_libraries()[0].Add(left, -right, evaluate=False)
        if not tree.free_symbols:
            raise ValueError("a relation between constants says nothing that could be compared")
        return Meaning(relation, (), (_sample(tree),))
    (tree,) = trees
    shape = tuple(getattr(tree, "shape", ()))
    return Meaning("", shape, tuple(map(_sample, list(tree) if shape else [tree])))


def _latex(text: str) -> str:
    """The text as the parser reads it rightly: decimals as fractions, which are exact, and products written out.

    The parser takes any whole number beside a positive rational for a mixed number: 2(3) would be 5.
    """
    text = _BARE_FUNCTION.sub(r"\\\1 ", text.replace("**", "^"))
    text = _BARE_POWER.sub(lambda match: f"^{{{match[1] or match[2] or ''}}}", text)
    text = _DECIMAL.sub(lambda match: _ratio(match[1] or match[3] or "", match[2] or ""), text)
    text = _WHOLE_AND_FRACTION.sub(_mixed_or_product, text)
    return text if r"\begin" in text else _SIDE_BY_SIDE.sub(lambda match: match[1] or rf"{match[2] or ''} \cdot ", text)


def _mixed_or_product(match: re.Match[str]) -> str:
    whole, top, bottom = map(int, match.groups())
    return f"({whole * bottom + top}/{bottom})" if top < bottom else rf"{whole} \cdot \frac{{{top}}}{{{bottom}}}"


def _ratio(whole: str, decimals: str) -> str:
    return f"({int(whole + decimals)}/{10 ** len(decimals)})"


def _parse(text: str) -> Any:
    sympy, parser, settings = load_libraries()
    (tree,) = parser.parse(f"${text}$", [settings], fallback_mode="no_fallback", parsing_timeout=None)
    if not isinstance(tree, (sympy.Expr, sympy.MatrixBase)) or isinstance(tree, sympy.MatrixExpr):
        raise TypeError(f"{type(tree)} is neither a scalar expression nor a plain matrix")
    return tree


def _sample(tree: Any) -> Sample:
    bits, magnitude = _measure(tree)
    if bits > MAX_BITS or magnitude > MAX_BITS:
        raise OverflowError("the numbers in it are too large")
    values = [_number(_at(tree, point)) for point in range(_POINTS if tree.free_symbols else 1)]
    return Sample(tuple(values * (_POINTS // len(values))), math.ceil(bits))


def _at(tree: Any, point: int) -> Any:
    return tree.xreplace({symbol: _value(symbol.name, point) for symbol in tree.free_symbols})


def _value(name: str, point: int) -> Any:
    """A rational between 1 and 4 in size that stands for a variable; negative at every second point or so."""
    sympy = load_libraries()[0]
    if name in ("i", "e"):
        return sympy.I if name == "i" else sympy.E
    digest = zlib.crc32(f"{name} {point}".encode())
    sign = -1 if point == 1 or (point == 2 and digest & 1) else 1
    return sympy.Rational(sign * (127 + (digest >> 1) % 128), 64 + (digest >> 9) % 63)


def _number(tree: Any) -> tuple[Fraction, Fraction]:
    real, imaginary = tree.evalf(DIGITS).as_real_imag()
    return _exact(real), _exact(imaginary)


def _exact(number: Any) -> Fraction:
    rational = load_libraries()[0].Rational(number)
    return Fraction(int(rational.p), int(rational.q))


def _measure(tree: Any) -> tuple[float, float]:
    """Bounds in bits: of numerator and denominator together, and of the absolute value. Raises where unknown."""
    kind = type(tree).__name__
    if tree.is_Rational:
        top, bottom = abs(int(tree.p)).bit_length(), int(tree.q).bit_length()
        return top + bottom, max(0, top - bottom + 1)
    if tree.is_Symbol or tree.is_NumberSymbol or kind == "ImaginaryUnit":
        return _SYMBOL_BITS, 2
    if kind in ("Pow", "exp"):
        return _measure_power(*tree.as_base_exp())
    if kind == "factorial":
        return _measure_factorial(tree.args[0])
    return _combine(kind, [_measure(argument) for argument in tree.args])


def _measure_power(base: Any, exponent: Any) -> tuple[float, float]:
    bits, magnitude = _measure(base)
    exponent_bits, exponent_magnitude = _measure(exponent)
    if exponent.is_Rational:
        times = max(1.0, abs(float(exponent)))
        return bits * times + exponent_bits, (magnitude if exponent > 0 else bits) * times
    times = 2 ** min(exponent_magnitude, 64)
    return bits * times + exponent_bits, bits * times


def _measure_factorial(argument: Any) -> tuple[float, float]:
    if not argument.is_Integer or not 0 <= argument <= _LARGEST_FACTORIAL:
        raise OverflowError("only factorials of small numbers are evaluated")
    bits = math.lgamma(int(argument) + 1) / math.log(2) + 1
    return bits, bits


def _combine(kind: str, parts: Sequence[tuple[float, float]]) -> tuple[float, float]:
    bits, magnitudes = sum(part[0] for part in parts), [part[1] for part in parts]
    if kind == "Add":
        return bits + len(parts), max(magnitudes) + math.log2(len(parts))
    if kind == "Mul":
        return bits, sum(magnitudes)
    if kind in ("Abs", "floor", "ceiling"):
        return bits, max(magnitudes)
    if kind in ("sin", "cos", "tan", "cot", "sec", "csc", "asin", "acos", "atan", "log"):
        return bits + _FUNCTION_BITS, _FUNCTION_BITS
    raise TypeError(f"{kind} is not evaluated")
