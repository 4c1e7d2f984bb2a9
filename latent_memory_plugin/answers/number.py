r"""Plain numbers as exact fractions: 1,200.50, 3/4, \frac{3}{4}, 1 1/2, 6.3\times10^{-34}, 1e3, 0.\overline{3}."""

import re
from fractions import Fraction

MAX_EXPONENT = 1000
"""Larger powers of ten are not written out."""

_NUMBER = r"(?:[0-9]{1,3}(?:,[0-9]{3})+|[0-9]{1,3}(?: [0-9]{3})+|[0-9]+)(?:\.[0-9]*)?|\.[0-9]+"
_SIGNED = rf"([+-]?)\s*({_NUMBER})"
_RATIO = re.compile(rf"{_SIGNED}(?:\s*/\s*{_SIGNED})?")
_FRACTION = re.compile(rf"([+-]?)\s*([0-9]*)\s*\\frac\s*\{{\s*{_SIGNED}\s*\}}\s*\{{\s*{_SIGNED}\s*\}}")
_MIXED = re.compile(r"([+-]?)\s*([0-9]+)\s+([0-9]+)\s*/\s*([0-9]+)")
_TIMES = r"\s*(?:\\times|\\cdot|\*|x)\s*"
_EXPONENT = r"(?:\^|\*\*)\s*(?:\{\s*([+-]?[0-9]+)\s*\}|([+-]?[0-9]+))"
_POWER = re.compile(rf"([+-]?)\s*(?:({_NUMBER}){_TIMES})?10\s*{_EXPONENT}")
_E_NOTATION = re.compile(rf"{_SIGNED}[eE]([+-]?[0-9]+)()")
_REPEATING = re.compile(r"([+-]?)\s*([0-9]*)\.([0-9]*)\s*\\(?:overline|bar)\s*\{([0-9]+)\}")


def parse_number(text: str) -> Fraction | None:
    """The exact value of a plain number in normal spelling; None for anything else."""
    try:
        for pattern, value in _FORMS:
            if match := pattern.fullmatch(text):
                return value(match)
    except (ValueError, ZeroDivisionError):
        return None
    return None


def _signed(sign: str, digits: str) -> Fraction:
    value = Fraction(re.sub("[ ,]", "", digits))
    return -value if sign == "-" else value


def _ratio(match: re.Match[str]) -> Fraction:
    return _signed(match[1], match[2]) / (_signed(match[3], match[4]) if match[4] else 1)


def _fraction(match: re.Match[str]) -> Fraction:
    value = _signed(match[3], match[4]) / _signed(match[5], match[6])
    if match[2]:
        if not 0 <= value < 1:
            raise ValueError("a whole number before an improper fraction is no mixed number")
        value += int(match[2])
    return -value if match[1] == "-" else value


def _mixed(match: re.Match[str]) -> Fraction:
    value = int(match[2]) + Fraction(int(match[3]), int(match[4]))
    return -value if match[1] == "-" else value


def _power(match: re.Match[str]) -> Fraction:
    exponent = int(match[3] or match[4])
    if abs(exponent) > MAX_EXPONENT:
        raise ValueError("too large a power of ten")
    return _signed(match[1], match[2] or "1") * Fraction(10) ** exponent


def _repeating(match: re.Match[str]) -> Fraction:
    sign, whole, fixed, period = match.groups()
    value = Fraction(int(whole + fixed or "0"), 10 ** len(fixed))
    value += Fraction(int(period), 10 ** len(fixed) * (10 ** len(period) - 1))
    return -value if sign == "-" else value


_FORMS = (
    (_RATIO, _ratio),
    (_FRACTION, _fraction),
    (_MIXED, _mixed),
    (_POWER, _power),
    (_E_NOTATION, _power),
    (_REPEATING, _repeating),
)
