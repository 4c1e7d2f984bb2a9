r"""Text → Read: one answer, read into a kind first. `READERS` has the order; the first that knows the text wins.

Nothing here compares, and nothing searches in prose: the whole text is one answer.
"""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import lru_cache, reduce

from latent_memory_plugin.answers import locales, quantities, reals, words
from latent_memory_plugin.answers.evaluation import OutOfTime, exact, linear, real, within
from latent_memory_plugin.answers.grammar import Tree, difference, parse, symbols
from latent_memory_plugin.answers.kinds import Read
from latent_memory_plugin.answers.normal import MAX_CHARACTERS, compact, normal, plain
from latent_memory_plugin.answers.numbers import NUMBER, parse_number
from latent_memory_plugin.answers.patterns import lazy, one_line

SECONDS = 0.6
"""Processor time of its own thread that reading one answer may take; what is not computed then stays an expression."""
_MAX_DEPTH = 6
_MAX_NAME_WORDS, _MAX_NAME = 8, 80
_MAX_LISTED_WORDS = 4
_MAX_LABEL = 60
_MARK = lazy(
    r"(?P<open>[(\[{⦃⟨])|(?P<close>[)\]}⦄⟩])|(?P<cut>[,;](?:\s*(?:and|or)\b)?|\b(?:and|or)\b)|(?P<union>∪)|(?P<less>∖)"
    r"|(?P<sign>[=∈])|(?P<order>[<>≤≥≠])"
)
_THOUSANDS = lazy(r"(?<=[0-9]),(?=(?:[0-9]{2},)*[0-9]{3}(?![0-9]))")
_LEAD = lazy(
    r"(?:[~≈]|(?:the\s+)?(?:final\s+)?answer(?:\s+is\b:?|:)|"
    r"(?:about|approximately|approx\.?|around|roughly|exactly|circa|ca\.)\s+(?=\S*[0-9]))\s*",
    re.IGNORECASE,
)
_CODE = lazy(r"```|^\s*(?:def|class|import|from|return|function|const|let|public|#include|SELECT)\b.*[;:({]", re.M)

_NO_ANSWER = {
    "empty": r"∅|none|(?:the )?empty set|(?:there (?:is|are) )?no (?:(?:real|such|integer|valid|possible|positive) )*"
    r"(?:solutions?|roots?|answers?|values?)(?: exists?)?",
    "does not exist": "dne|(?:it |the limit )?do(?:es)? ?n[o']t exist",
    "undefined": "(?:is )?(?:undefined|not defined)",
    "open": "(?:it )?(?:cannot|can't|can not) be determined|not enough information|insufficient information",
    "impossible": "(?:it is |it's )?(?:impossible|not possible)",
    "not applicable": "n/a|not applicable",
}
_NONE = {name: lazy(pattern) for name, pattern in _NO_ANSWER.items()}
_TRUTH = lazy(r"yes|no|true|false", re.IGNORECASE)
_LETTER = lazy(
    r"(?:(?:option|choice|answer)\s+)?(?:\(([A-Ja-j])\)|\[([A-Ja-j])\]|([A-Ja-j])\)|([A-J])\.?)", re.IGNORECASE
)
_LETTER_AND_TEXT = lazy(
    r"(?:\(([A-J])\)[.:]?\s*(?![-+^*(/=])|\(?([A-Ja-j])\)[.:]?\s+|([A-E])\.\s+(?![a-z]|[A-Z]\.)|([A-J]):\s*)"
    r"(?!\s|(?:and|or)\b|,)(.+)"
)

_TIME = lazy(
    r"(\d{1,2})(?:\s?[:h]\s?([0-5]\d)(?::([0-5]\d))?)?\s*(?:([ap])\.?\s?m\b\.?|(o'clock|hrs?|h))?", re.IGNORECASE
)
_NAMED_TIMES = {"noon": 12, "12 noon": 12, "midday": 12, "midnight": 0, "12 midnight": 0}
_RATIO = lazy(rf"{NUMBER}(?:\s*:\s*{NUMBER})+")
_ISO = lazy(r"(\d{4})([-/.])(\d{1,2})\2(\d{1,2})")
_DOTTED = lazy(r"(\d{1,2})\.\s?(\d{1,2})\.\s?(\d{4})")
_OPEN_DATE = lazy(r"(\d{1,2})([-/])(\d{1,2})\2(\d{4}|\d{2})")
_WORD_OF_A_DATE = lazy(r"[^\W\d_]{3}|[月월]")
_LITERAL = lazy(r"0x([0-9a-fA-F]+)|0b([01]+)|0o([0-7]+)")
_BASED = lazy(r"([0-9A-Fa-f]+)_\s*\{?\s*([0-9]{1,2})\s*\}?")
_ADDRESS = lazy(
    r"v?\d+(?:\.\d+){2,3}(?:[-+][\w.]+)?|[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5}|\S+@\S+\.\w+|[a-z]+://\S+|(?:\d+[-/]){2,}\d+"
    r"|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|\+?\d+(?:[- ]\d+){2,}"
)
_FORMULA = lazy(r"\d*(?:[A-Z][a-z]?|\((?=[A-Z])|\)|\[|\])(?:[A-Z][a-z]?|[()\[\]]|_?\d|_\{\d+\})*")
_DESIGNATION = lazy(r"[A-Za-z]+[0-9][\w.]*|1[A-Za-z]|[0-9]+[A-Za-z][0-9]\w*|[\w.]*°[NSEW]|(?:([A-Za-z])(?i:\1))+")
_END = r"(?:[$＄€£¥]\s?)?[+-]?(?:NUMBER)(?:\s?(?:[ap]\.?m\.?|[^\W\d_]+|[%°$€£]))?".replace("NUMBER", NUMBER)
_RANGE = lazy(
    rf"(?:between\s+|from\s+)?({_END})(?:\s*[-~]\s*|\s+(?:to|and|through|until|bis)\s+)({_END})", re.IGNORECASE
)
_LABELLED_RANGE = lazy(r"([^\W\d_]{3,})\s+(\d.*)")

_LABEL = lazy(r"[A-Za-z\\](?:[A-Za-z'\\\s_{}°|]|(?<=[_{])[0-9]|\([^()]*\))*")
_NOT_IN_LABELS = lazy(r"\\(?:sqrt|pi|cdot|times|div|begin|sin|cos|tan|log|ln|exp|frac\{[^{}]*[0-9])")
_INTEGERS = lazy(
    r"[,;]?\s*(?:where\s+|for\s+(?:any|all|every|some)\s+)?(?:integers?\s+([a-z])|([a-z])\s*"
    r"(?:∈\s*\\mathbb\s*\{?\s*Z\s*\}?|(?:is\s+)?(?:an\s+|any\s+)?integer))"
)
_SET_BUILDER = lazy(r"([a-z])\s*(?:∈\s*\\mathbb\s*\{?\s*R\s*\}?)?\s*[|:]\s*(.*[<>≤≥≠].*)")
_TURNED = {"<": ">", ">": "<", "≤": "≥", "≥": "≤"}
_MATRIX = lazy(r"\[?\(?\s*\\begin\s*\{([pbvBV]?matrix|array)\}(?:\{[lcr|]*\})?(.*)\\end\s*\{\1\}\s*\)?\]?")
_REALS = lazy(r"\\mathbb\s*\{?\s*R\s*\}?|(?:all|any|every) real (?:numbers?|values?)", re.IGNORECASE)
_ROW_END, _CELL_END = lazy(r"\\\\"), "&"
_SIGN_WORD = lazy(r"^(?:negative|minus)\s+(?=[0-9.\\])", re.IGNORECASE)
_COMMON = one_line("am an as at be by do go he if in is it me my no of oh ok on or so to up us we")
"""Two letters that are an English word and no product."""


@lru_cache(maxsize=8192)
def read(text: str) -> Read:
    r"""What kind of answer a text is, and what it says. Never raises; bounded in size and time.

    >>> read("5 km/h").kind, read(r"\frac{1}{2}").value, read("2024-05-12").kind
    ('quantity', Fraction(1, 2), 'date')
    """
    if text.isascii() and text.isdecimal() and len(text) < 100:
        return Read("number", int(text), "", text)
    if len(text) > MAX_CHARACTERS:
        return Read("code" if _CODE.search(text) else "text", tuple(text.split()), "", text)
    if _CODE.search(text) and ("\n" in text or "(" in text):
        return Read("code", tuple(text.strip().splitlines()), "", text)
    with within(SECONDS):
        return _answer(normal(text), 0)


def _answer(text: str, depth: int) -> Read:
    if depth > _MAX_DEPTH:
        return _name(text)
    if lead := _LEAD.match(text):
        text = text[lead.end() :]
    for reader in READERS:
        found = reader(text, depth) if reader in _NESTED else reader(text)  # pyright: ignore[reportCallIssue]
        if found is not None:
            return found if found.text else replace(found, text=text)
    return _name(text)


# -- single values -----------------------------------------------------------------------------------------------------


def _number(text: str) -> Read | None:
    value = parse_number(text)
    if value is None and compact(text).lstrip("+-") in ("∞", "oo", "inf", "infinity", "Infinity"):
        value = -math.inf if text.startswith("-") else math.inf
    return None if value is None else Read("number", value)


def _class(text: str) -> Read | None:
    """Yes, no, and the ways to say that there is no answer."""
    said = plain(text).rstrip("!.").casefold()
    if _TRUTH.fullmatch(said):
        return Read("truth", said)
    return next((Read("none", name) for name, pattern in _NONE.items() if pattern.fullmatch(said)), None)


def _choice(text: str, depth: int) -> Read | None:
    said = plain(text)
    if match := _LETTER.fullmatch(said):
        letter = next(filter(None, match.groups()))
        bare = letter == said and letter.islower()
        return None if bare else Read("choice", (letter.upper(), None), "", said)
    if match := _LETTER_AND_TEXT.fullmatch(said):
        letter, body = list(filter(None, match.groups()))
        return Read("choice", (letter.upper(), _answer(normal(body), depth + 1)), "", said)
    return None


def _time(text: str) -> Read | None:
    said = plain(text)
    if said.casefold() in _NAMED_TIMES:
        return Read("time", ((_NAMED_TIMES[said.casefold()], 0, 0), False))
    if not (match := _TIME.fullmatch(said)) or not (match[2] or match[4] or match[5] == "o'clock"):
        return None
    hour, minute, second = int(match[1]), int(match[2] or 0), int(match[3] or 0)
    half = (match[4] or "").casefold()
    if hour > (12 if half else 24) or (half and not hour):
        return None
    if half:
        hour = hour % 12 + (12 if half == "p" else 0)
    open_half = not half and 1 <= hour <= 12
    return Read("time", ((hour, minute, second), open_half))


def _ratio(text: str) -> Read | None:
    if not _RATIO.fullmatch(text):
        return None
    parts = [parse_number(part.strip()) for part in text.split(":")]
    return None if None in parts else Read("ratio", tuple(parts))


def _date(text: str) -> Read | None:
    said = plain(text)
    if not 3 <= len(said) <= 40 or not any(map(str.isdigit, said)):
        return None
    if match := _ISO.fullmatch(said):
        return _day(int(match[1]), int(match[3]), int(match[4]))
    if match := _DOTTED.fullmatch(said):
        return _day(int(match[3]), int(match[2]), int(match[1]))
    if match := _OPEN_DATE.fullmatch(said):
        return _open_day(int(match[1]), int(match[3]), match[4])
    named = _WORD_OF_A_DATE.search(said) and not re.search(r"[^\w\s.,]", said) and locales.date(said)
    return Read("date", named) if named else None


def _day(year: int, month: int, day: int) -> Read | None:
    return Read("date", (year, month, day)) if 1 <= month <= 12 and 1 <= day <= 31 else None


def _open_day(first: int, second: int, year: str) -> Read | None:
    """Day and month in the order of the one country or the other: known where one of them is above 12."""
    if len(year) == 4 and ((first > 12) != (second > 12) or first == second):
        return _day(int(year), *sorted((first, second)))
    return Read("date", (first, second, year)) if first <= 31 and second <= 31 and len(year) == 4 else None


def _literal(text: str) -> Read | None:
    """0x1F, and numbers to a base: 11_5."""
    if match := _LITERAL.fullmatch(text):
        base = 16 if match[1] else 2 if match[2] else 8
        return Read("identifier", int(text[2:], base), f"base {base}")
    if match := _BASED.fullmatch(text):
        digits, base = match[1], int(match[2])
        if 2 <= base <= 36 and all(int(digit, 36) < base for digit in digits) and digits[0].isdigit():
            return Read("number", int(digits, base), f"base {base}")
    return None


def _address(text: str) -> Read | None:
    return Read("identifier", text.removeprefix("v")) if _ADDRESS.fullmatch(text) else None


def _designation(text: str) -> Read | None:
    """Formulas and names with figures: H_2O, C6H12O6, Nf3, x2, 1B, AaBb, 40°N. Case and order count."""
    said = plain(text).removeprefix("\\ce")
    if _FORMULA.fullmatch(said) and re.search(r"[A-Za-z)\]]_?\{?[0-9]", said):
        return Read("identifier", re.sub("[_{}]", "", said))
    return Read("identifier", said) if _DESIGNATION.fullmatch(said) else None


def _range(text: str, depth: int) -> Read | None:
    if not (match := _RANGE.fullmatch(plain(text))):
        named = _LABELLED_RANGE.fullmatch(plain(text))
        found = _range(named[2], depth) if named and named[1].casefold() not in ("between", "from") else None
        return found and named and replace(found, unit=named[1], text=text)
    if re.search(r"\band\b", match[0]) and not match[0].casefold().startswith("between"):
        return None
    ends = [_answer(end.strip(), depth + 1) for end in match.groups()]
    if any(end.kind not in ("number", "quantity", "money", "time", "duration") for end in ends):
        return None
    if measured := next((end for end in reversed(ends) if end.unit), None):  # 10-20 km is 10 km to 20 km
        ends = [end if end.unit else replace(measured, value=end.value, text=end.text) for end in ends]
    return Read("range", tuple(ends))


# -- collections -------------------------------------------------------------------------------------------------------


def _collection(text: str, depth: int) -> Read | None:
    if _REALS.fullmatch(text):
        return Read("interval", reals.LINE)
    if matrix := _matrix(text, depth):
        return matrix
    if _is_enclosed(text):
        return _enclosed(text, depth)
    if pieces := _set_of_reals(text, depth):
        return pieces
    pieces = _split(text, "cut", thousands=True)
    if len(pieces) > 1:
        return _listed(text, pieces, depth)
    if text.count("±") == 1 or text.startswith("+-"):
        text = text.replace("+-", "±", text.startswith("+-"))
        return _listed(text, [text.replace("±", sign).removeprefix("+") for sign in "+-"], depth)
    return None


def _listed(text: str, pieces: Sequence[str], depth: int) -> Read | None:
    """`1, 2 and 3`, `x = 1 or x = 2`, `x > 1 and x < 3`. Clauses of prose are no members."""
    if any(len(piece.split()) > _MAX_NAME_WORDS or not piece.strip() for piece in pieces):
        return None
    items = [_answer(piece.strip(), depth + 1) for piece in pieces]
    ranges = [as_pieces(item) for item in items if item.kind == "inequality"]
    if len(ranges) == len(items) and None not in ranges and len({item.label for item in items}) == 1:
        joined = reals.union if re.search(r"\bor\b", text) else reals.both if re.search(r"\band\b|≠", text) else None
        if joined:
            sets = [one for one in ranges if one is not None]
            return Read("inequality", reduce(joined, sets), "", "", items[0].label)
    prose = [item for item in items if item.kind == "name" and len(item.text.split()) > _MAX_LISTED_WORDS]
    if prose or any(item.kind in ("text", "code") for item in items):
        return None
    labels = [item.label for item in items]
    if labels[0] and (len(set(labels)) == 1 or not any(labels[1:])):
        items = [replace(item, label="") for item in items]
    return Read("set", tuple(items))


def _enclosed(text: str, depth: int) -> Read | None:
    brackets, inner = text[0] + text[-1], text[1:-1].strip()
    unordered = brackets in ("⦃⦄", "{}")
    if not inner:
        return Read("none", "empty") if unordered else None
    if unordered and (builder := _SET_BUILDER.fullmatch(inner)):
        found = _answer(builder[2], depth + 1)
        return found if found.kind == "inequality" and found.label == builder[1] else None
    pieces = _split(inner, "cut", thousands=False)
    if unordered and len(pieces) == 1 and "\\choose" in inner:
        return None
    if len(pieces) == 1 and inner != "∅" and (unordered or brackets == "()"):
        return _answer(inner, depth + 1)
    items = tuple(_answer(piece.strip(), depth + 1) for piece in pieces)
    if len(items) > 1 and all(item.kind == "list" and len(item.value) == len(items[0].value) for item in items):
        return Read("matrix", tuple(item.value for item in items))
    if len(items) == 2 and (brackets in ("[)", "(]") or any(isinstance(item.value, float) for item in items)):
        ends = [_end(item) for item in items]
        if None not in ends:
            return Read("interval", reals.piece(ends[0], brackets[0] == "[", ends[1], brackets[1] == "]"))  # pyright: ignore[reportArgumentType]
    kind = "set" if unordered else "list" if brackets == "[]" else "tuple"
    return Read(kind, items, "" if unordered or brackets in ("()", "[]") else brackets)


def _matrix(text: str, depth: int) -> Read | None:
    if not (match := _MATRIX.fullmatch(text)):
        return None
    rows = [row.split(_CELL_END) for row in _ROW_END.split(match[2]) if row.strip()]
    if not rows or len({len(row) for row in rows}) > 1:
        return None
    determinant = "determinant" if match[1][0] in "vV" else ""
    return Read("matrix", tuple(tuple(_answer(normal(cell), depth + 1) for cell in row) for row in rows), determinant)


def _set_of_reals(text: str, depth: int) -> Read | None:
    """Unions and differences of intervals."""
    for mark, joined in (("union", reals.union), ("less", reals.without)):
        parts = _split(text, mark, thousands=True)
        if 1 < len(parts) <= reals.MAX_PIECES:
            sets = [as_pieces(_answer(part.strip(), depth + 1)) for part in parts]
            if None not in sets:
                return Read("interval", joined(*(one for one in sets if one is not None)))
    return None


def as_pieces(found: Read) -> tuple[reals.Piece, ...] | None:
    """The set of real numbers that an interval, an inequality, a pair or a set of numbers may stand for."""
    if found.kind in ("interval", "inequality") and (not found.value or isinstance(found.value[0], tuple)):
        return found.value
    if found.kind in ("tuple", "list") and len(found.value) == 2 and not found.unit:
        low, high = map(_end, found.value)
        closed = found.kind == "list"
        return None if low is None or high is None else reals.piece(low, closed, high, closed) or None
    members = found.value if found.kind == "set" else (found,)
    ends = [_end(member) for member in members]
    return None if None in ends else tuple((end, True, end, True) for end in ends)  # pyright: ignore[reportReturnType]


def _end(found: Read) -> Fraction | float | None:
    """A bound of an interval."""
    if found.unit or found.label:
        return None
    if found.kind == "number":
        return found.value if isinstance(found.value, float) else Fraction(found.value)
    try:
        return real(found.value) if found.kind == "expression" else None
    except OutOfTime:
        return None


def _is_enclosed(text: str) -> bool:
    """Whether the bracket that opens the text closes at its end; `[0,1)` does."""
    depth = 0
    for match in _MARK.finditer(text) if text[:1] in tuple("([{⦃⟨") else ():
        depth += (match.lastgroup == "open") - (match.lastgroup == "close")
        if depth == 0:
            return match.end() == len(text)
    return False


def _split(text: str, mark: str, *, thousands: bool) -> list[str]:
    """The pieces between marks outside all brackets; `thousands` True keeps 1,000 whole."""
    pieces: list[str] = []
    depth = start = 0
    for match in _MARK.finditer(text):
        depth += (match.lastgroup == "open") - (match.lastgroup == "close")
        if depth or match.lastgroup != mark or (thousands and _THOUSANDS.match(text, match.start())):
            continue
        pieces.append(text[start : match.start()])
        start = match.end()
    return [*pieces, text[start:]]


# -- relations ---------------------------------------------------------------------------------------------------------


def _family(text: str, depth: int) -> Read | None:
    """`kπ, k ∈ ℤ`: whatever the integer is called."""
    match = next((found for found in _INTEGERS.finditer(text) if found.end() == len(text) and found.start()), None)
    if match is None:
        return None
    found = _answer(text[: match.start()].strip(), depth + 1)
    tree = found.value if found.kind == "expression" else None
    return None if tree is None else replace(found, value=_renamed(tree, match[1] or match[2]), text=text)


def _renamed(tree: Tree, name: str) -> Tree:
    if tree.name == "symbol":
        return Tree("symbol", (), "integer") if tree.value == name else tree
    return Tree(tree.name, tuple(_renamed(part, name) for part in tree.parts), tree.value)


def _inequality(text: str) -> Read | None:
    """x > 3, 0 < x ≤ 1 and 2x + 1 ≠ 7 as sets of real numbers; others as a relation."""
    sides = [side.strip() for side in _split(text, "order", thousands=True)]
    signs = [match[0] for match in _MARK.finditer(text) if match.lastgroup == "order"]
    trees = [tree for tree in map(parse, sides) if tree]
    if not 2 <= len(trees) == len(sides) <= 3 or len(signs) != len(sides) - 1:
        return None
    halves = [_half_line(left, right, sign) for left, right, sign in zip(trees, trees[1:], signs, strict=False)]
    names, sets = {half[0] for half in halves if half}, [half[1] for half in halves if half]
    if len(names) == 1 and len(sets) == len(signs) and ("≠" not in signs or len(signs) == 1):
        return Read("inequality", sets[0] if len(sets) == 1 else reals.both(*sets), "", "", *names)
    if len(signs) != 1 or not symbols(trees[0]) | symbols(trees[1]):
        return None
    left, right = trees if signs[0] in "<≤≠" else trees[::-1]
    sign = signs[0] if signs[0] in "<≤≠" else _TURNED[signs[0]]
    return Read("inequality", (sign, difference(left, right)))


def _half_line(left: Tree, right: Tree, sign: str) -> tuple[str, tuple[reals.Piece, ...]] | None:
    """The variable of one relation and the numbers it may be, where both sides are straight lines of it."""
    try:
        line = linear(difference(left, right))
    except OutOfTime:
        return None
    if line is None:
        return None
    name, rises, zero = line
    if sign == "≠":
        return name, ((-math.inf, False, zero, False), (zero, False, math.inf, False))
    sign = sign if rises else _TURNED[sign]
    below = reals.piece(-math.inf, False, zero, sign == "≤")
    return name, below if sign in "<≤" else reals.piece(zero, sign == "≥", math.inf, False)


def _relation(text: str, depth: int) -> Read | None:
    exact_side, _, rounded = (side.strip() for side in text.partition("≈"))
    sides = [side.strip() for side in _split(exact_side, "sign", thousands=True)]
    if rounded:
        labelled = _is_label(exact_side)
        return replace(
            _answer(rounded if labelled else exact_side, depth + 1), label=compact(exact_side) if labelled else ""
        )
    if len(sides) == 1 or not all(sides):
        return None
    value = _answer(sides[-1], depth + 1)
    if _is_label(sides[0]) and not ("\\frac" in sides[0] and value.kind != "number"):
        return replace(value, label=compact(plain(sides[0])))
    if _is_enclosed(sides[0]) and value.kind == "tuple":
        return replace(value, label=compact(sides[0]))
    if not any(map(_has_letters, sides)):
        return value
    if len(sides) == 2 and _is_label(sides[1]) and not _has_letters(sides[0]):
        return replace(_answer(sides[0], depth + 1), label=compact(plain(sides[1])))
    left, right = parse(sides[0]), parse(sides[-1])
    return Read("equation", difference(left, right)) if left and right and len(sides) == 2 else None


def _is_label(text: str) -> bool:
    return len(text) <= _MAX_LABEL and _LABEL.fullmatch(text) is not None and _NOT_IN_LABELS.search(text) is None


def _has_letters(text: str) -> bool:
    return re.search(r"[A-Za-z]", re.sub(r"\\(?:frac|pi|cdot|times|sqrt|div)", "", text)) is not None


# -- the rest ----------------------------------------------------------------------------------------------------------


def _number_words(text: str, depth: int) -> Read | None:
    said = plain(text)
    if not said[:1].isalpha():
        return None
    figures = _SIGN_WORD.sub("-", said) if _SIGN_WORD.match(said) else words.figures(said)
    if figures != said:
        return replace(_answer(figures, depth + 1), text=text)
    value = words.number(said) if len(said) <= 60 else None
    return None if value is None else Read("number", value)


def _expression(text: str) -> Read | None:
    """What the grammar reads, computed where it is rational. Letters alone are a product only if they are two small
    ones that make no word and no unit: ab, but not no, cm, abc or AB."""
    product = len(text) == 2 and text.islower() and text not in _COMMON and not quantities.is_symbol(text)
    if text.isalpha() and len(text) > 1 and text != "pi" and not product:
        return None
    tree = parse(text)
    value = exact(tree) if tree else None
    if value is None:
        return tree and Read("expression", tree)
    return Read("number", value.numerator if value.denominator == 1 else value)


def _name(text: str) -> Read:
    said = plain(text)
    prose = len(said.split()) > _MAX_NAME_WORDS or len(said) > _MAX_NAME or re.search(r"[a-z]{2}[.!?;] ", said)
    return Read("text" if prose else "name", said, "", text)


READERS: tuple[Callable[..., Read | None], ...] = (
    _number,
    _class,
    _choice,
    _literal,
    _time,
    _ratio,
    _date,
    _range,
    _address,
    _number_words,
    quantities.compound,
    quantities.quantity,
    _family,
    _collection,
    _inequality,
    _relation,
    _designation,
    _expression,
)
_NESTED = frozenset({_choice, _range, _family, _collection, _relation, _number_words})
"""Readers whose answers hold answers; they count how deep."""
