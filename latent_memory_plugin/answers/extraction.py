r"""The answer in a text. The order of places is in the package's docstring."""

import re
from collections.abc import Callable

ExtractAnswer = Callable[[str], str | None]
"""The answer in a completion; None where it holds none. Any such function can stand in for `extract`."""

_MAX_STATED = 200
_MAX_UNIT_WORDS = 3

_BRACES = re.compile(r"\\(?P<box>boxed|fbox)\s*\{|\\.|(?P<open>\{)|(?P<close>\})", re.DOTALL)
_BARE_BOX = re.compile(r"\\boxed\s*([^\s{}$\\]+)")
_HASHES = re.compile(r"(?:^[ \t>*]*|(?<=[.!?)]) +)#### *([^\n]+)", re.MULTILINE)
_STATED = re.compile(
    r"\banswers?\b[*_]*"
    r"(?:\s+(?:to|for|of|in|as|choice|option|here|therefore|thus|then|should|must|would|will)\b[^.:\n]{0,60}?)?"
    r"(?:\s+(?:is|are|be)\b|\s*[:=])",
    re.IGNORECASE,
)
_LEAD = re.compile(
    r"[\s*_:]*(?:(?:therefore|thus|then|simply|just|indeed|approximately|about|equal to|given by)\b[\s,:*]*)*",
    re.IGNORECASE,
)
_MATH = re.compile(r"\\\[(.+?)\\\]|\\\((.+?)\\\)|\$\$(.+?)\$\$|\$(?![0-9.,]+\s+[A-Za-z]{2})([^$]+?)\$", re.DOTALL)
_DELIMITERS = (("\\(", "\\)"), ("\\[", "\\]"), ("$$", "$$"), ("$", "$"))
_PROSE = re.compile(r"(?<![\\A-Za-z{])[A-Za-z]{3}|\n\s*\n")
_CHOICE = re.compile(r"\(?([A-E])\)(?=[\s.:,*]|$)|([A-E])[.:](?=\s|$)")
_END = re.compile(
    r"\n|[.?](?=[\s*]|$)|,?\s+(?:because|since|which|where|assuming|but|so)\b|,\s+(?!and\b|or\b)[a-z]{2,}|\*\*"
)
_NUMBER = (
    r"(?:(?<![A-Za-z0-9_)\]}])-)?[$€£]?(?:(?:[0-9]+\s*)?\\[dt]?frac\{-?[0-9]+\}\{-?[0-9]+\}|"
    r"(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?(?:\s?/\s?[0-9]+(?![0-9/]))?|\.[0-9]+)(?:\s?\\?%)?"
)
_LAST_NUMBER = re.compile(rf"(?<![A-Za-z0-9_^.\\])(?<!\^\{{){_NUMBER}")
_QUANTITY = re.compile(rf"({_NUMBER})((?:\s+[A-Za-z]{{2,}})+)")
_UNIT_END = re.compile(r"\s+(?:of|for|to|at|in|on|by|when|if|after|before|from|with|that|and|or|he|she|they|it)\b")
_CURRENCY = re.compile(r"[$€£]")


def extract(text: str) -> str | None:
    r"""The answer in a text, or None where it holds none. Never raises; takes time in proportion to the text.

    >>> extract(r"So it is \boxed{\frac{1}{2}}."), extract("18 eggs\n#### 1,800"), extract("The answer is **x = 5**.")
    ('\\frac{1}{2}', '1,800', 'x = 5')
    """
    return _boxed(text) or _after_hashes(text) or _stated(text) or _last_number(text)


def _boxed(text: str) -> str | None:
    """The content of the box that opens last, so that of nested boxes the inner one counts."""
    opened: list[tuple[bool, int]] = []
    start, found = -1, None
    for match in _BRACES.finditer(text) if "box" in text else ():
        if match["box"] or match["open"]:
            opened.append((bool(match["box"]), match.end()))
        elif match["close"] and opened:
            is_box, inner = opened.pop()
            content = _tidy(text[inner : match.start()]) if is_box and inner > start else ""
            if content:
                start, found = inner, content
    if found is None and (bare := _BARE_BOX.search(text)):
        found = _tidy(bare[1])
    return found or None


def _after_hashes(text: str) -> str | None:
    """The last `#### x`; a heading with more text below it is none, unless it begins with a number."""
    end = len(text.rstrip())
    for match in reversed(list(_HASHES.finditer(text))):
        content = _tidy(re.sub(r"^(?:final )?answer\b\s*[:=]?", "", _tidy(match[1]), flags=re.IGNORECASE))
        if content and (match.end() >= end or re.match(r"[-$€£\\(]*[0-9]|\\", content)):
            return content
    return None


def _stated(text: str) -> str | None:
    for match in reversed(list(_STATED.finditer(text))):
        if answer := _clause(text[match.end() : match.end() + 2 * _MAX_STATED]):
            return answer
    return None


def _clause(text: str) -> str | None:
    """The answer at the start of what follows "the answer is"."""
    lead = _LEAD.match(text)
    text = text[lead.end() :] if lead else text
    if math := _MATH.match(text):
        percent = "%" if re.match(r"\s*\\?%", text[math.end() :]) else ""
        return _tidy("".join(filter(None, math.groups()))) + percent
    if choice := _CHOICE.match(text):
        return choice[1] or choice[2]
    end = _END.search(text)
    clause = text[: end.start()] if end else text
    clause = _tidy(_short_quantity(clause))
    return clause if re.search(r"\w", clause) and len(clause) <= _MAX_STATED else None


def _short_quantity(clause: str) -> str:
    """`18 dollars` of "18 dollars for the eggs"; other clauses unchanged."""
    quantity = _QUANTITY.match(clause)
    if not quantity or re.match(r"\s+(?:and|or)\b", quantity[2]):
        return clause
    unit = _UNIT_END.split(quantity[2])[0]
    return quantity[1] + (unit if len(unit.split()) <= _MAX_UNIT_WORDS else "")


def _last_number(text: str) -> str | None:
    """The last number, with the formula around it where it stands in one: `4t` and not 4."""
    last = None
    for match in _LAST_NUMBER.finditer(text):
        last = match
    if last is None:
        return None
    number = _CURRENCY.sub("", last[0])
    digits = last[0].lstrip("-$€£")
    middle = last.end() - len(digits)
    before, after = text[:middle].rpartition("\n\n")[2], text[last.end() :][:_MAX_STATED]
    for start, end in _DELIMITERS:
        # An odd number of dollars before it: the number stands inside a pair.
        opens = before.count("$") % 2 == 1 if start == "$" else start in before
        if opens and end in after:
            formula = before.rpartition(start)[2] + digits + after.partition(end)[0]
            if end not in formula and not _PROSE.search(formula):
                return _tidy(formula)
    return number


def _tidy(text: str) -> str:
    """Without the white space, emphasis, math delimiters and final dot around it."""
    text = text.strip().strip("*`").strip()
    for before, after in _DELIMITERS:
        inner = text[len(before) : -len(after)]
        if len(text) > len(before + after) and text == before + inner + after and before not in inner:
            text = inner.strip()
    return text.rstrip(".,;: ").strip("*`").strip()
