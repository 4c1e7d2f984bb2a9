"""Names of months, currencies and large numbers in many languages. The door to babel, Unicode's locale data.

python-dateutil reads English dates only and guesses what is missing; babel's names need no guess.
"""

import importlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from latent_memory_plugin.answers.patterns import lazy, one_line

LANGUAGES = ("en", *sorted(one_line("de fr es pt it nl da sv pl ru uk tr hi bn ar fa zh ja ko")))
"""Where two of them mean different things by one word, the first one counts: a billion is 10^9."""

_DOLLARS = frozenset({"USD", "AUD", "CAD", "NZD", "SGD", "HKD", "EUR"})
_COLLOQUIAL = {
    **{"buck": ("dollar", 1), "quid": ("pound", 1), "rs": ("rupee", 1), "元": ("CNY", 1), "円": ("JPY", 1)},
    **{"cent": ("cent", 100), "¢": ("cent", 100), "penny": ("GBP", 100), "pence": ("GBP", 100)},
}
"""What Unicode's data lacks: a word, whose it is, and how many of it are one."""
_ORDINAL = lazy(r"(?<=[0-9])(?:st|nd|rd|th|er|\.|º|ª)(?=[\s,]|$)")
_EASTERN = lazy(r"(?:([0-9]{4})[年년]\s*)?([0-9]{1,2})[月월]\s*(?:([0-9]{1,2})[日일])?")


@lru_cache(maxsize=32)
def _locale(language: str) -> Any:
    return importlib.import_module("babel").Locale.parse(language)


def _raw(language: str, table: str) -> Any:
    return _locale(language)._data[table]  # pyright: ignore[reportPrivateUsage]


@lru_cache(maxsize=1)
def months() -> dict[str, int]:
    """Names and abbreviations of months → 1 to 12, in small letters without a dot."""
    found: dict[str, int] = {}
    for language in LANGUAGES:
        for context in ("format", "stand-alone"):
            for width in ("wide", "abbreviated"):
                for month, name in _locale(language).months[context][width].items():
                    if not name[0].isdigit():
                        found.setdefault(name.rstrip(".").casefold(), month)
    return found


@lru_cache(maxsize=1)
def _weekdays() -> frozenset[str]:
    widths = [_locale(one).days["format"][width].values() for one in LANGUAGES for width in ("wide", "abbreviated")]
    return frozenset(name.rstrip(".").casefold() for names in widths for name in names)


def date(text: str) -> tuple[int | None, int, int | None] | None:
    """(year, month, day) of a date with the month's name, None for a missing part; None where it is no date."""
    if match := _EASTERN.fullmatch(text):
        return match[1] and int(match[1]), int(match[2]), match[3] and int(match[3])  # pyright: ignore[reportReturnType]
    words = _ORDINAL.sub(" ", text.casefold()).replace(",", " ").replace(".", " ").split()
    named = [months()[word] for word in words if word in months()]
    figures = [word for word in words if word.isdigit()]
    rest = set(words) - set(figures) - set(months()) - _weekdays() - {"of", "the", "de", "del", "den", "le", "г", "do"}
    if len(named) != 1 or not 1 <= len(figures) <= 2 or rest:
        return None
    years = [int(figure) for figure in figures if len(figure) == 4]
    days = [int(figure) for figure in figures if len(figure) <= 2]
    if len(years) > 1 or len(days) > 1 or any(not 1 <= day <= 31 for day in days):
        return None
    return (years or [None])[0], named[0], (days or [None])[0]


@lru_cache(maxsize=1)
def scales() -> dict[str, int]:
    """Words for large numbers → their value: thousand, Mio, 万, lakh. Short ones are left out: bin, mil, tri."""
    found = {"dozen": 12, "hundred": 100, "lakh": 10**5, "crore": 10**7, "mio": 10**6, "mln": 10**6, "mrd": 10**9}
    found |= {"bn": 10**9, "mld": 10**9, "millions": 10**6, "billions": 10**9, "trillions": 10**12, "dozens": 12}
    for language in LANGUAGES:
        for width in ("long", "short"):
            for patterns in _raw(language, "compact_decimal_formats").get(width, {}).values():
                for power, pattern in patterns.items():
                    zeros, _, word = str(getattr(pattern, "pattern", pattern)).partition("0")
                    figures = word.count("0") + 1
                    word = word.strip("0 '\xa0\u202f.").casefold()
                    if word and not zeros and (len(word) > 3 or not word.isascii()):
                        found.setdefault(word, int(power) // 10 ** (figures - 1))
    return found


def currencies(word: str) -> tuple[frozenset[str], int]:
    """The currencies a sign, code or word may mean, and how many of it are one; empty where it is no currency."""
    folded = word.casefold().rstrip(".")
    name, part = _COLLOQUIAL.get(folded, _COLLOQUIAL.get(folded.removesuffix("s"), (word, 1)))
    if name == "cent":
        return _DOLLARS, part
    table = _currencies()
    return table.get(name) or table.get(name.casefold()) or table.get(
        name.casefold().removesuffix("s"), frozenset()
    ), part


@lru_cache(maxsize=1)
def _currencies() -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {"US$": {"USD"}, "RMB": {"CNY"}, "￥": {"JPY", "CNY"}, "¥": {"JPY", "CNY"}}
    for code, symbol in _locale("en").currency_symbols.items():
        found.setdefault(symbol, set()).add(code)
        found.setdefault(code, set()).add(code)
    for language in LANGUAGES:
        for code, name in _currency_names(language):
            found.setdefault(name.casefold(), set()).add(code)
            found.setdefault(name.split()[-1].casefold(), set()).add(code)
    return {name: frozenset(codes) for name, codes in found.items()}


def _currency_names(language: str) -> Iterator[tuple[str, str]]:
    for code, name in _locale(language).currencies.items():
        plurals = _raw(language, "currency_names_plural").get(code, {})
        yield from ((code, one) for one in {name, *(dict(plurals).values())} if "(" not in one)


@lru_cache(maxsize=1)
def units() -> dict[str, str]:
    """Names of units in other languages than English → Unicode's own, such as `kilometer-per-hour`."""
    found: dict[str, str] = {}
    for language in LANGUAGES[1:]:
        for unit, widths in _raw(language, "unit_patterns").items():
            for pattern in dict(widths.get("long", {})).values():
                name = pattern.replace("{0}", "").replace("\xa0", " ").strip().casefold()
                if len(name) > 2:
                    found.setdefault(name, unit.partition("-")[2])
    return found
