"""Numbers with units, currencies, percent signs: taken apart, and compared."""

import re
from fractions import Fraction

from latent_memory_plugin.answers import evaluation, locales, units, words
from latent_memory_plugin.answers.grammar import FUNCTIONS, PI, TRIGONOMETRIC, Tree, number, parse, product, symbols
from latent_memory_plugin.answers.kinds import Read
from latent_memory_plugin.answers.normal import plain
from latent_memory_plugin.answers.numbers import NUMBER, Number, leading_number
from latent_memory_plugin.answers.patterns import lazy, one_line

_CURRENCY = "[$＄¢-¥฿\u20a0-\u20c0]"
_LEADING = lazy(rf"([+-]?)\s*(?:([A-Z]{{0,3}}{_CURRENCY})|([A-Z]{{3}}|Rs\.?)(?=\s*[0-9]))\s*(?=[+\-0-9.\\])")
_PERCENT = lazy(r"\s*(?:\\?%|per\s?cent\b|percentage\b|pct\b)(?:\s+(?:of|chance|points?)\b.*)?", re.IGNORECASE)
_DEGREE = lazy(r"\s*(?:°|deg(?:ree)?s?)\s*", re.IGNORECASE)
_SCALE = lazy(r"\s*([^\W\d_]+)\.?(.*)", re.DOTALL)
_SHORT_SCALE = {"k": 10**3, "K": 10**3, "M": 10**6, "B": 10**9}
_UNIT = lazy(
    rf"(?=[\s]*[^\W\d_]|\s*['\"°]|\s*{_CURRENCY})(?:[^\W\d_]|[°'\"./·\s-]|\\cdot|\^\s*\{{?\s*-?[0-9]\s*\}}?|{_CURRENCY})+"
)
_GREEK_UNIT = lazy(r"(?<=[0-9kMm ])\\(Omega|mu)(?![A-Za-z])\s*")
_SINGLE = frozenset("msghLlNJWVAKCFTΩ")
"""Units of one letter; alone behind a number without a space they may be a variable."""
_SURE = lazy(
    r"cm|mm|km|ft|in|yd|mi|kg|lb|oz|ml|hr|mph|kph|st|nd|rd|th|[kmµ](?:W|V|A|J|N|Pa|Hz|L|Wh|eV|cal)|[kMGT]B|[MGT](?:W|Hz|Wh|eV|b)|Hz|eV|"
    r"[^\W\d_]{4,}"
)
_BEHIND_A_TREE = lazy(
    r"(?P<body>.*?(?:[0-9}\])]|\\pi))\s*(?:\\text\s*\{(?P<text>[^{}]*)\}|(?<=\s)(?P<words>(?:[^\W\d_]{3,}|cm|mm|km|kg|ft|ml)\b[^\\0-9]*)"
    r"|(?P<sign>°|%))\s*(?P<power>\^\s*\{?[23]\}?)?"
)
_TIMES = lazy(
    r"(?:(?:milli|micro|nano)?sec(?:ond)?s?|s|ms|min(?:ute)?s?|h|hrs?|hours?|days?|weeks?|months?|years?|yrs?|decades?|"
    r"centur(?:y|ies))"
)
_BEFORE = frozenset({"sq", "cu", "fl"})
_FILLERS = one_line("unit units per a an the in of each old total ago long later away is")
_PROSE = one_line("is are was were because so and or which that for to with than")
_MAX_WORDS = 5
_COMPOUND = lazy(rf"(?:(?:{NUMBER})\s*(?:[^\W\d_]+\.?|['\"])(?:,?\s+and\s+|,\s*|\s*)){{2,4}}")
_PART = lazy(rf"({NUMBER})\s*([^\W\d_]+|['\"])")


def is_symbol(word: str) -> bool:
    """Whether two letters are more likely a unit than a product."""
    return _SURE.fullmatch(word) is not None or word in ("mg", "gm", "ms", "ns", "pt")


def quantity(text: str) -> Read | None:
    """A number or a constant expression with a unit: 5 km, -$5, 50 %, 30°, 1.5 million people, 20√5 cm."""
    said = _GREEK_UNIT.sub(lambda match: "Ω" if match[1] == "Omega" else "µ", plain(text))
    sign, currency, rest = _leading_currency(said)
    value, end = leading_number(rest, comma=True)
    if value is None or "\\" in rest[end:].replace("\\cdot", ""):
        return _of_a_tree(text)
    value, tail = _scaled(-value if sign == "-" else value, rest[end:], currency)
    if currency:
        return Read("money", value, f"{currency} {tail}".strip()) if not tail or _UNIT.fullmatch(tail) else None
    if not tail:
        # 1,5 without anything behind it is a list.
        alone = not rest[end:] and leading_number(rest)[1] != end
        return None if alone else Read("number", value)
    return _measured(value, tail, certain="\\text" in text)


def compound(text: str) -> Read | None:
    """5 ft 3 in, 2 h 30 min, 29 dollars and 50 cents: in the first unit."""
    said = plain(text)
    if not _COMPOUND.fullmatch(said):
        return None
    parts = [(leading_number(figures)[0] or 0, unit) for figures, unit in _PART.findall(said)]
    if _TIMES.fullmatch(parts[0][1]):
        parts = [(value, "min" if unit == "m" else unit) for value, unit in parts]
    codes = [locales.currencies(unit) for _, unit in parts]
    if all(code for code, _ in codes):
        shares = [Fraction(1, part) for _, part in codes]
    else:
        found = [units.unit(unit) for _, unit in parts]
        if None in found or len({one.dimensions for one in found if one}) > 1:
            return None
        shares = [one.factor / found[0].factor for one in found if one and found[0]]
    if sorted(shares, reverse=True) != shares or len(set(shares)) < len(shares):
        return None
    total = sum((Fraction(value) * share for (value, _), share in zip(parts, shares, strict=True)), Fraction(0))
    kind = "money" if codes[0][0] else "duration" if _TIMES.fullmatch(parts[0][1]) else "quantity"
    return Read(kind, total.numerator if total.denominator == 1 else total, parts[0][1])


def _leading_currency(said: str) -> tuple[str, str, str]:
    match = _LEADING.match(said)
    if not match or (match[3] and not locales.currencies(match[3].strip())[0]):
        return "", "", said
    return match[1], (match[2] or match[3]).replace("＄", "$"), said[match.end() :]


def _scaled(value: Number, tail: str, currency: str) -> tuple[Number, str]:
    """1.5 million people, $2M: the value counted out, and what is left."""
    short = tail[:1] in ("M", "B") and (isinstance(value, Fraction) or value >= 10)
    if tail[:1] in _SHORT_SCALE and (currency or short) and not tail[1:2].isalpha():
        return _plain(value * _SHORT_SCALE[tail[0]]), tail[1:].strip()
    if (match := _SCALE.fullmatch(tail)) and len(match[1]) < 20:
        word = match[1].casefold()
        if (scale := locales.scales().get(word)) and (currency or not tail[0].isalpha() or not tail[0].isascii()):
            return _scaled(_plain(value * scale), match[2], currency)
        east = next(
            (length for length in (2, 1) if tail.strip()[:length] in locales.scales() and not tail.isascii()), 0
        )
        if east:
            return _plain(value * locales.scales()[tail.strip()[:east]]), tail.strip()[east:].strip()
    return value, tail if tail[:1].isspace() and tail.strip() else tail.strip()


def _plain(value: Number) -> Number:
    return value.numerator if value.denominator == 1 else value


def _measured(value: Number | Tree, tail: str, *, certain: bool) -> Read | None:
    if _PERCENT.fullmatch(tail):
        return Read("number", value, "percent")
    if _DEGREE.fullmatch(tail):
        return Read("quantity", value, "degree")
    unit = " ".join(tail.replace(".", " ").replace("^ ", "^").replace(" ^", "^").split())
    if unit.casefold() in ("rad", "rads", "radian", "radians"):
        return Read("quantity", value, "radian")
    names = re.findall(r"°?[^\W\d_]+|['\"]", unit)
    if not _UNIT.fullmatch(tail) or not _is_unit(names, tail, certain):
        return None
    if _currencies(unit)[0] and not (names and names[0].islower() and units.known(names[0])):
        return Read("money", value, unit)
    rest = [name for name in names if name not in _FILLERS]
    return Read("duration" if rest and all(map(_TIMES.fullmatch, rest)) else "quantity", value, unit)


def _is_unit(names: list[str], tail: str, certain: bool) -> bool:
    if len(names) > _MAX_WORDS or {name.casefold() for name in names} & _PROSE or FUNCTIONS & set(names[:-1]):
        return False
    if any(re.fullmatch("°[^CFK]", name) for name in names):
        return False
    if certain or not names or not tail.isascii() or any(len(name) > 2 + (not tail[0].isspace()) for name in names):
        return True
    if tail[0].isspace() or "/" in tail or "°" in tail or tail[0] in "'\"":
        return all(
            name[0] in "'\"°" or name in _SINGLE | _BEFORE or (len(name) > 1 and units.known(name)) for name in names
        )
    return all(_SURE.fullmatch(name) or (len(name) > 2 and units.known(name)) for name in names)


def _of_a_tree(text: str) -> Read | None:
    match = _BEHIND_A_TREE.fullmatch(text)
    if match is None or (match["sign"] and any(name in match["body"] for name in TRIGONOMETRIC)):
        return None
    body = parse(match["body"])
    if body is None or symbols(body):
        return None
    value, power = evaluation.exact(body), match["power"] or ""
    tail = match["sign"] or f" {(match['text'] or match['words']).strip()}{power}"
    return _measured(body if value is None else _plain(value), tail, certain=match["text"] is not None)


# -- comparison --------------------------------------------------------------------------------------------------------


def same(a: Read, b: Read) -> bool:
    """Whether two numbers with or without units are the same."""
    if a.unit == b.unit:
        return same_values(a.value, b.value)
    if not a.unit or not b.unit:
        return _one_unit_left_out(*((a, b) if a.unit else (b, a)))
    if "percent" in (a.unit, b.unit) or "base " in a.unit[:5] + b.unit[:5]:
        return a.unit[:5] == b.unit[:5] == "base " and a.value == b.value
    if {a.unit, b.unit} & {"degree"}:
        return _same_angle(*((a, b) if a.unit == "degree" else (b, a)))
    codes, others = _currencies(a.unit), _currencies(b.unit)
    if codes[0] and others[0]:
        return bool(codes[0] & others[0]) and same_values(
            _times(a.value, Fraction(1, codes[1])), _times(b.value, Fraction(1, others[1]))
        )
    if "money" in (a.kind, b.kind):
        return False
    first, second = units.unit(a.unit), units.unit(b.unit)
    if first and second:
        return first.dimensions == second.dimensions and same_values(_base(a.value, first), _base(b.value, second))
    return _same_words(a.unit, b.unit) and same_values(a.value, b.value)


def same_values(a: Number | float | Tree, b: Number | float | Tree) -> bool:
    """Whether two numbers or constant expressions are the same."""
    if isinstance(a, Tree) or isinstance(b, Tree):
        return not isinstance(a, float) and not isinstance(b, float) and evaluation.same(as_tree(a), as_tree(b))
    return a == b


def as_tree(value: Number | Tree) -> Tree:
    """A number as an expression."""
    return value if isinstance(value, Tree) else number(value)


def _times(value: Number | Tree, factor: Fraction) -> Number | Tree:
    return product(number(factor), value) if isinstance(value, Tree) else value * factor


def _base(value: Number | Tree, unit: units.Unit) -> Number | Tree:
    if isinstance(value, Tree):
        return _times(value, unit.factor)
    return (value + unit.offset) * unit.factor


def _one_unit_left_out(a: Read, b: Read) -> bool:
    if a.unit == "percent":
        return same_values(a.value, b.value) or same_values(_times(a.value, Fraction(1, 100)), b.value)
    if a.unit.startswith("base "):
        return b.value == a.value or str(b.value) == a.text.partition("_")[0]
    radians = a.unit == "degree" and not isinstance(b.value, float)
    return same_values(a.value, b.value) or (radians and same_values(_radians(a), b.value))


def _radians(a: Read) -> Tree:
    return product(as_tree(a.value), PI, number(Fraction(1, 180)))


def _same_angle(degrees: Read, other: Read) -> bool:
    if other.unit == "radian":
        return same_values(_radians(degrees), other.value)
    return other.unit.startswith("°") and same_values(degrees.value, other.value)


def _currencies(unit: str) -> tuple[frozenset[str], int]:
    whole = locales.currencies(unit)
    return whole if whole[0] else locales.currencies(unit.split()[0])


def _same_words(a: str, b: str) -> bool:
    """Whether two nouns may be the same: one may name the other less fully (egg, duck egg)."""
    first, second = _nouns(a), _nouns(b)
    return first <= second or second <= first


def _nouns(unit: str) -> frozenset[str]:
    names = re.findall(r"[^\W\d_]+|\^\{?-?[0-9]", unit)
    return frozenset(
        words.singular(name) if len(name) > 2 else name for name in names if name.casefold() not in _FILLERS
    )
