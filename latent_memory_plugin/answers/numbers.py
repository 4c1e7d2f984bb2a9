r"""Plain numbers as exact values: 1,200.50, 12,50,000, 1.234,56, 3/4, \frac{3}{4}, 1 1/2, 6.3\times10^{-34}, 0.333...

A comma before one, two or four digits (1,5) is a decimal point only where a unit follows: alone it may be a list.
"""

import re
from fractions import Fraction

from latent_memory_plugin.answers.patterns import lazy

MAX_EXPONENT = 1000
"""Larger powers of ten are not written out."""

Number = int | Fraction

_WESTERN = r"[0-9]{1,3}(?:,[0-9]{3})+(?![0-9,])(?:\.[0-9]+)?|[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}(?![0-9,])(?:\.[0-9]+)?"
_SPACED = r"[0-9]{1,3}(?:([ '_])[0-9]{3})(?:\1[0-9]{3})*(?![0-9])(?:[.,][0-9]+)?"
_EUROPEAN = r"[0-9]{1,3}(?:\.[0-9]{3})+,[0-9]+|[0-9]{1,3}(?:\.[0-9]{3}){2,}(?![0-9.])"
_DECIMAL = r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+"
_GROUPED = _SPACED.replace("([ '_])", "[ '_]").replace(r"\1", "[ '_]")
NUMBER = rf"(?:{_WESTERN}|{_EUROPEAN}|{_GROUPED}|{_DECIMAL})"
"""One number without sign, as a pattern without groups."""
_SIGNED = rf"([+-]?)\s*({NUMBER})"
_RATIO = lazy(rf"{_SIGNED}(?:\s*/\s*{_SIGNED})?")
_FRACTION = lazy(rf"([+-]?)\s*([0-9]*)\s*\\frac\s*\{{\s*{_SIGNED}\s*\}}\s*\{{\s*{_SIGNED}\s*\}}")
_MIXED = lazy(r"([+-]?)\s*([0-9]+)\s+([0-9]+)\s*/\s*([0-9]+)")
_TIMES = r"\s*(?:\\times|\\cdot|\*|x)\s*"
_EXPONENT = r"(?:\^|\*\*)\s*(?:\{\s*([+-]?[0-9]+)\s*\}|([+-]?[0-9]+))"
_POWER = lazy(rf"([+-]?)\s*(?:({NUMBER}){_TIMES})?10\s*{_EXPONENT}(?![0-9])")
_E_NOTATION = lazy(rf"{_SIGNED}[eE]([+-]?[0-9]+)()(?![0-9])")
_REPEATING = lazy(r"([+-]?)\s*([0-9]*)\.([0-9]*)\s*(?:\\(?:overline|bar|dot)\s*\{?|\()([0-9]+)[})]?")
_GOING_ON = lazy(r"([+-]?)\s*([0-9]*)\.([0-9]+)\s*\.\.\.+")
_COMMA = lazy(r"([+-]?)\s*([0-9]+),([0-9]{1,2}|[0-9]{4,})(?![0-9,])|([+-]?)\s*(0),([0-9]+)(?![0-9,])")


def parse_number(text: str) -> Number | None:
    """The exact value of a plain number in normal spelling; None for anything else."""
    value, end = leading_number(text)
    return value if end == len(text) else None


def leading_number(text: str, comma: bool = False) -> tuple[Number | None, int]:
    """The longest plain number at the start of a text in normal spelling, and where it ends; (None, 0) without one.

    With `comma`, one comma may be a decimal point.
    """
    best: tuple[Number | None, int] = (None, 0)
    if not text[:1].isdigit() and text[:1] not in ("-", "+", ".", "\\"):
        return best
    for pattern, value in (*_FORMS, *(((_COMMA, _comma),) if comma else ())):
        match = pattern.match(text)
        if match and match.end() > best[1]:
            try:
                best = _plain(value(match)), match.end()
            except (ValueError, ZeroDivisionError):
                return None, 0  # 1/0 and 4 10/3 are no numbers, and their first part is not the number either
    return best


def _plain(value: Fraction) -> Number:
    return value.numerator if value.denominator == 1 else value


def _signed(sign: str, digits: str) -> Fraction:
    if re.fullmatch(_EUROPEAN, digits):
        digits = digits.replace(".", "").replace(",", ".")
    elif re.fullmatch(_SPACED, digits):
        digits = re.sub("[ '_]", "", digits).replace(",", ".")
    value = Fraction(digits.replace(",", ""))
    return -value if sign == "-" else value


def _ratio(match: re.Match[str]) -> Fraction:
    return _signed(match[1], match[2]) / (_signed(match[3], match[4]) if match[4] else 1)


def _fraction(match: re.Match[str]) -> Fraction:
    value = _signed(match[3], match[4]) / _signed(match[5], match[6])
    if match[2]:
        value = _mix(int(match[2]), value)
    return -value if match[1] == "-" else value


def _mixed(match: re.Match[str]) -> Fraction:
    value = _mix(int(match[2]), Fraction(int(match[3]), int(match[4])))
    return -value if match[1] == "-" else value


def _mix(whole: int, part: Fraction) -> Fraction:
    if not 0 <= part < 1:
        raise ValueError("a whole number before an improper fraction is no mixed number")
    return whole + part


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


def _going_on(match: re.Match[str]) -> Fraction:
    """0.333... is 1/3 and 0.1212... is 4/33; 3.14... repeats nothing, so its value is not known."""
    sign, whole, digits = match.groups()
    for length in range(1, len(digits) // 2 + 1):
        period, times = digits[-length:], 3 if length == 1 else 2
        if digits.endswith(period * times):
            stem = digits[: len(digits) - length * times]
            value = Fraction(int(whole + stem or "0") * (10**length - 1) + int(period), 10 ** len(stem))
            value /= 10**length - 1
            return -value if sign == "-" else value
    raise ValueError("nothing repeats")


def _comma(match: re.Match[str]) -> Fraction:
    sign, whole, part = match.groups()[:3] if match[2] else match.groups()[3:]
    return _signed(sign, f"{whole}.{part}")


_FORMS = (
    (_RATIO, _ratio),
    (_FRACTION, _fraction),
    (_MIXED, _mixed),
    (_POWER, _power),
    (_E_NOTATION, _power),
    (_REPEATING, _repeating),
    (_GOING_ON, _going_on),
)
