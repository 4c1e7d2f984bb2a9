r"""One answer without commas: an optional label, a number or expression, an optional unit.

`x = 1.2 \text{ million people}` is label `x`, number 1,200,000, unit `person`.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from latent_memory_plugin.answers import door
from latent_memory_plugin.answers.normal import compact
from latent_memory_plugin.answers.number import parse_number
from latent_memory_plugin.answers.unit import split_unit, units_agree

_MULTIPLIERS = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_EQUALS = re.compile(r"[=∈]")
_LABEL = re.compile(r"[A-Za-z\\](?:[A-Za-z'\\\s_{}°]|(?<=[_{])[0-9]|\([^()]*\))*")
_NOT_IN_LABELS = re.compile(r"\\(?:frac|sqrt|pi|cdot|times|div|begin|sin|cos|tan|log|ln|exp)(?![A-Za-z])")
_MAX_LABEL = 60
_WRAPPED = re.compile(r"\\text\s*\{([^{}]*)\}")


@dataclass(frozen=True)
class Scalar:
    """One answer without commas, taken apart."""

    label: str
    """The name before `=` or ∈; empty where there is none."""
    body: str
    """The rest without its unit, in normal spelling."""
    unit: str
    """Canonical words, `percent` and `base8` among them; empty where there is none."""
    number: Fraction | None
    """The exact value where the body is a plain number; a multiplier such as `million` is counted in."""


@lru_cache(maxsize=8192)
def read(text: str) -> Scalar:
    """A text in normal spelling, taken apart. Never raises."""
    label, value = split_label(text)
    if wrapped := _WRAPPED.fullmatch(value):
        value = wrapped[1].strip()
    body, unit = split_unit(value.removeprefix("+").lstrip())
    number, words = parse_number(body), unit.split()
    if number is not None and words and words[0] in _MULTIPLIERS:
        number *= _MULTIPLIERS[words.pop(0)]
    return Scalar(label, body, " ".join(words), number)


def split_label(text: str) -> tuple[str, str]:
    """The name before `=` or ∈, and what it names; an approximation after ≈ is dropped."""
    exact, _, rounded = (side.strip() for side in text.partition("≈"))
    if rounded and _is_label(exact):
        return compact(exact), rounded
    sides = [side.strip() for side in _EQUALS.split(exact)]
    if len(sides) == 1 or not all(sides):
        return "", exact
    if _is_label(sides[0]):
        return compact(sides[0]), sides[-1]
    if not any(map(_has_letters, sides)):
        return "", sides[-1]
    if len(sides) == 2 and _is_label(sides[1]) and not _has_letters(sides[0]):
        return compact(sides[1]), sides[0]
    return "", exact


def equal_scalars(a: Scalar, b: Scalar, *, labels: bool, compute: bool) -> bool:
    """Whether two scalars mean the same.

    `labels` True demands the same label on both sides, else one side may lack it. `compute` False leaves out
    what takes more than reading.
    """
    if a.label != b.label:
        if compute and _has_letters(a.body) and _has_letters(b.body) and door.equal(_relation(a), _relation(b)):
            return True
        if labels or (a.label and b.label):
            return False
    if a.number is not None and b.number is not None:
        return _equal_quantities(a.number, a.unit, b.number, b.unit)
    if not units_agree(a.unit, b.unit):
        return False
    if compact(a.body) == compact(b.body) or _words(a.body) == _words(b.body) != "":
        return True
    return compute and door.equal(a.body, b.body)


def _equal_quantities(a: Fraction, a_unit: str, b: Fraction, b_unit: str) -> bool:
    if {a_unit, b_unit} == {"percent", ""}:
        share, bare = (a, b) if a_unit else (b, a)
        return bare in (share, share / 100)
    return a == b and units_agree(a_unit, b_unit)


def _relation(scalar: Scalar) -> str:
    return f"{scalar.label}={scalar.body}" if scalar.label else scalar.body


def _is_label(text: str) -> bool:
    return len(text) <= _MAX_LABEL and _LABEL.fullmatch(text) is not None and _NOT_IN_LABELS.search(text) is None


def _has_letters(text: str) -> bool:
    return re.search(r"[A-Za-z]", re.sub(r"\\[A-Za-z]+", "", text)) is not None


def _words(text: str) -> str:
    """The text as plain words without `\\text`, case, dots and brackets around it; empty where it is LaTeX."""
    plain = _WRAPPED.sub(r" \1 ", text)
    if "\\" in plain:
        return ""
    plain = re.sub(r"\.(?![0-9])", "", plain.casefold()).strip(' ()[]"`')
    return " ".join(plain.split())
