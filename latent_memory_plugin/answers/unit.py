r"""Units, currencies, percent signs and bases of numbers: taken off an answer, and compared."""

import re

_CURRENCIES = {"$": "dollar", "＄": "dollar", "€": "euro", "£": "pound", "¥": "yen", "₹": "rupee"}
_SYNONYMS = {
    **{"usd": "dollar", "buck": "dollar", "¢": "cent", "percentage": "percent", "pct": "percent", "deg": "degree"},
    **{"m": "meter", "metre": "meter", "cm": "centimeter", "centimetre": "centimeter", "mm": "millimeter"},
    **{"km": "kilometer", "kilometre": "kilometer", "ft": "foot", "feet": "foot", "inche": "inch"},
    **{"yd": "yard", "mi": "mile", "kg": "kilogram", "g": "gram", "lb": "pound", "oz": "ounce", "l": "liter"},
    **{"litre": "liter", "ml": "milliliter", "h": "hour", "hr": "hour", "min": "minute", "sec": "second"},
    **{"s": "second", "people": "person", "mph": "mile hour", "kph": "kilometer hour", "rad": "radian"},
}
_FILLERS = ("unit", "per", "a", "an", "the", "in", "of", "each")
_SHORT = "cm|mm|km|ft|in|yd|mi|kg|lb|oz|ml|hr|mph|kph|am|pm|st|nd|rd|th"
_FUNCTIONS = "a?(?:sin|cos|tan|cot|sec|csc)h?|arc[a-z]+|log|exp|sqrt|mod|over"
_POWER = r"(?:\^\s*(?:[23]|\{[23]\}))?"
# A word of three letters with a vowel is a unit, xyz is a product; two letters must be known, one never is enough.
_WORDS = re.compile(
    rf"(?:(?<=[0-9)}}.])|(?<=\\pi))(?:\s*(?:{_SHORT})s?(?![A-Za-z])|"
    rf"\s+(?:(?:sq|cu)\b|(?!(?:{_FUNCTIONS})\b)(?=[A-Za-z]*[AEIOUaeiou])[A-Za-z]{{3}}))[A-Za-z./\s]*{_POWER}$"
)
_TEXT = re.compile(rf"\\text\s*\{{([^{{}}]*)\}}\s*({_POWER})$")
_BASE = re.compile(r"(?<=[0-9])_\s*(?:([0-9])|\{\s*([0-9]{1,2})\s*\})$")
_LEADING = re.compile(r"([+-]?)\s*(?:(?:USD?\s*)?([$＄€£¥₹])|USD)\s*(?=[+\-0-9.\\])")
_SCALE = re.compile(r"(?<=°)\s*([CFK])$")


def split_unit(text: str) -> tuple[str, str]:
    """The value and its unit in canonical words; the unit is empty where there is none."""
    units: list[str] = []
    if match := _LEADING.match(text):
        units.append(_CURRENCIES[match[2] or "$"])
        text = match[1] + text[match.end() :]
    for _ in range(3):
        text, unit = _split_last(text)
        units.append(unit)
    return text, " ".join(filter(None, map(_canonical, reversed(units))))


def units_agree(a: str, b: str) -> bool:
    """Whether two units may be the same; one may be missing or name the other less fully (egg, duck egg)."""
    first, second = set(a.split()), set(b.split())
    return first <= second or second <= first


def _split_last(text: str) -> tuple[str, str]:
    last = text[-1:]
    if len(text) > 1 and (last in "%°" or last in _CURRENCIES):
        return text[:-1].rstrip(), {"%": "percent", "°": "degree"}.get(last) or _CURRENCIES[last]
    for pattern in (_BASE, _SCALE, _TEXT, _WORDS):
        match = pattern.search(text)
        if match and re.search(r"[0-9]|\\pi", text[: match.start()]):
            return text[: match.start()].rstrip(), f"base{match[1] or match[2]}" if pattern is _BASE else match[0]
    return text, ""


def _canonical(unit: str) -> str:
    unit = re.sub(r"\\text|[{}]", " ", unit.casefold().replace(".", ""))
    unit = re.sub(r"\b(?:square|sq)\s+(\w+)", r"\1^2", unit)
    unit = re.sub(r"\b(?:cubic|cu)\s+(\w+)", r"\1^3", unit)
    words = [_singular(word) for word in re.sub(r"\s*\^\s*", "^", unit.replace("/", " ")).split()]
    return " ".join(word for word in words if word not in _FILLERS)


def _singular(word: str) -> str:
    stem, power, exponent = word.partition("^")
    if stem not in _SYNONYMS and len(stem) > 2 and stem.endswith("s") and not stem.endswith("ss"):
        stem = stem[:-1]
    stem = _SYNONYMS.get(stem, stem)
    return stem if stem == "unit" else stem + power + exponent
