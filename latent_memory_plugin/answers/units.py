"""Units of measurement, and what converts to what, exactly. The door to pint."""

import importlib
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from threading import Lock
from typing import Any

from latent_memory_plugin.answers import locales
from latent_memory_plugin.answers.patterns import lazy

_SPELLINGS = tuple(
    (lazy(pattern, re.IGNORECASE), one)
    for pattern, one in [
        (r"\b(?:degrees?|deg)\s+(?=celsius|fahrenheit|[cf]\b)|°\s+", "°"),
        (r"\bfluid\s+ounces?\b|\bfl\.?\s*oz\b", "fluidounce"),
        (r"\bnautical\s+miles?\b", "nauticalmile"),
        (r"\b(electron|light)[\s-]+(volts?|years?)\b", r"\1\2"),
        (r"\bper\b", "/"),
        (r"\b(?:square|sq)\b\.?\s*(\w+)", r"\1^2"),
        (r"\b(?:cubic|cu)\b\.?\s*(\w+)", r"\1^3"),
        (r"(\w+)\s+squared\b", r"\1^2"),
        (r"(\w+)\s+cubed\b", r"\1^3"),
        (r"\s*\^\s*\{?\s*(-?[0-9])\s*\}?", r"^\1"),
        (r"\\cdot|[*.]|(?<!\^)-", " "),
    ]
)
_FACTOR = r"\s*(/?)\s*(°?[^\W\d_]+|['\"])(?:\^(-?[0-9]))?"
_WORD = lazy("°?[^\\W\\d_]+|['\"]")
_PRODUCT = lazy(rf"(?:{_FACTOR})+\s*")
_NOT_UNITS = frozenset({"degree", "radian", "percent", "dozen", "count", "permille", "decade", "hundred", "page"})
_NAMES = {
    **{"°C": "degC", "°F": "degF", "°celsius": "degC", "°fahrenheit": "degF", "celsius": "degC", "fahrenheit": "degF"},
    **{"'": "foot", '"': "inch", "kph": "kilometer_per_hour", "mph": "mile_per_hour", "fluidounce": "fluid_ounce"},
    **{"nauticalmile": "nautical_mile", "lightyear": "light_year", "lightyears": "light_year", "amps": "ampere"},
    **{"sec": "second", "secs": "second", "mins": "minute", "hrs": "hour", "yr": "year", "yrs": "year", "lbs": "pound"},
    **{"kb": "kilobit", "Mb": "megabit", "Gb": "gigabit", "C": "coulomb", "T": "tesla", "kms": "kilometer"},
    **{"KM": "kilometer", "Km": "kilometer", "KG": "kilogram", "Kg": "kilogram", "kgs": "kilogram", "CM": "centimeter"},
}
"""What pint spells otherwise, or means by another sign than people do."""
_TEMPERATURES = {"degC": (Fraction(1), Fraction("273.15")), "degF": (Fraction(5, 9), Fraction("459.67"))}
_lock = Lock()


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit in base units."""

    dimensions: frozenset[tuple[str, Fraction]]
    """Base units and their powers."""
    factor: Fraction
    """How many base units are one."""
    offset: Fraction = Fraction(0)
    """What is added before that, of temperatures."""


@lru_cache(maxsize=1)
def _registry() -> Any:
    return importlib.import_module("pint").UnitRegistry(non_int_type=Fraction, cache_folder=None)


@lru_cache(maxsize=1024)
def unit(text: str) -> Unit | None:
    """What a text names: `m/s^2`, `meters per second squared`, `square feet`, `Meter`; None where pint knows none."""
    english = _of_words(text)
    if english is None and (foreign := locales.units().get(text.casefold())):
        return _of_words(foreign.replace("-", " "))
    return english


def _of_words(text: str) -> Unit | None:
    for pattern, one in _SPELLINGS:
        text = pattern.sub(one, text)
    if not _PRODUCT.fullmatch(text):
        return None
    with _lock:
        return _combined(text)


@lru_cache(maxsize=4096)
def known(word: str) -> bool:
    """Whether one word or sign names a unit."""
    with _lock:
        return _name(word) is not None


def _name(word: str) -> str | None:
    """pint's name for a word. Case counts but for words that are long enough to be nothing else."""
    if not _WORD.fullmatch(word):
        return None
    spellings = [_NAMES.get(word), _NAMES.get(word.casefold()) if len(word) > 2 else None, word]
    spellings += [word.casefold()] if len(word) > 3 else []
    found = next((spelling for spelling in spellings if spelling and spelling in _registry()), None)
    return None if found is None or _registry().get_name(found) in _NOT_UNITS else found


def _combined(spelled: str) -> Unit | None:
    total, sign, factors = _registry().Quantity(Fraction(1), ""), 1, re.findall(_FACTOR, spelled)
    for slash, word, power in factors:
        sign, name = (-1 if slash else sign), _name(word)
        if name in _TEMPERATURES and len(factors) == 1 and not power:
            return Unit(frozenset({("kelvin", Fraction(1))}), *_TEMPERATURES[name])
        if name is None:
            return None
        total = total * _registry().Quantity(Fraction(1), f"delta_{name}" if name in _TEMPERATURES else name) ** (
            sign * int(power or 1)
        )
    base = total.to_root_units()
    if not isinstance(base.magnitude, (int, Fraction)):  # of angles, whose factor is π
        return None
    return Unit(frozenset((name, Fraction(power)) for name, power in base.unit_items()), Fraction(base.magnitude))
