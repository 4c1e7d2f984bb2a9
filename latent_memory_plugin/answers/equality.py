"""Whether two answers mean the same: by kind, or over a bridge of `kinds.BRIDGES`; in doubt different."""

import re
import unicodedata
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from functools import lru_cache

from latent_memory_plugin.answers import evaluation, quantities
from latent_memory_plugin.answers.evaluation import OutOfTime, proportional, within
from latent_memory_plugin.answers.grammar import Tree, difference, parse, symbols
from latent_memory_plugin.answers.kinds import Read
from latent_memory_plugin.answers.normal import MAX_CHARACTERS, compact
from latent_memory_plugin.answers.patterns import lazy
from latent_memory_plugin.answers.reading import as_pieces, read

EqualAnswers = Callable[[str, str], bool]
"""Whether two answers mean the same; symmetric."""
Compare = Callable[[Read, Read], bool]

SECONDS = 1.2
"""Processor time of its own thread that one comparison, or all those of a vote, may take."""
_MAX_PAIRS = 144
_STRICT = lazy(r".{1,2}|(?:([A-Za-z])(?i:\1))+|.*[a-z][A-Z].*")
_SPACED_INITIALS = lazy(r"\b([A-Z])\.\s+(?=[A-Z]\.)")
_SILENT = lazy(r"\.(?![0-9])|[\"“”]")
_ENCLOSED = lazy(r"^[(\[]([^()\[\]]*)[)\]]$")
_ARTICLE = lazy(r"(?:the|an?)\s+(?=\w{3})", re.IGNORECASE)


def equal(a: str, b: str) -> bool:
    r"""Whether two answers mean the same; the package's docstring has the rules.

    Symmetric and reflexive, but not transitive: 50% equals both 0.5 and 50. Never raises; bounded in size and
    time (microseconds for what was read before, `SECONDS` at worst), safe in any thread.

    >>> equal(r"\frac{1}{2}", "0.5"), equal("1,000 dollars", r"\$1000"), equal("(1,2)", "(2,1)")
    (True, True, False)
    """
    if a == b:
        return True
    if len(a) > MAX_CHARACTERS or len(b) > MAX_CHARACTERS:
        return a.split() == b.split()
    first, second = read(a), read(b)
    if (one := key(first)) is not None and (other := key(second)) is not None:
        return one == other
    try:
        with within(SECONDS):
            return same(first, second)
    except OutOfTime:
        return False


def agree(a: str | None, b: str | None, equal: EqualAnswers = equal) -> bool:
    """Whether both are answers and equal; no answer agrees with nothing. `equal` may be the caller's own."""
    return a is not None and b is not None and equal(a, b)


def key(found: Read) -> Hashable | None:
    """What stands for a number, choice letter or name without unit or label: two answers with keys are equal exactly
    where their keys are. None for others."""
    if found.unit or found.label or not found.text:
        return None
    if found.kind == "number":
        return found.value
    if found.kind == "choice":
        return None if found.value[1] else found.value
    return _folded(found.value) or None if found.kind == "name" else None


def same(a: Read, b: Read, *, nested: bool = False) -> bool:
    """Whether two answers that were read mean the same; `nested` demands the same label. Raises OutOfTime."""
    if not a.text or not b.text:
        return False
    if a.label != b.label:
        if _named_relations(a, b):
            return True
        if nested or (a.label and b.label):
            return False
    words = "name" in (a.kind, b.kind) and max(len(a.text), len(b.text)) > 4
    if a.text == b.text or (not words and compact(a.text) == compact(b.text)):
        return True
    if compare := COMPARISONS.get((a.kind, b.kind)):
        return compare(a, b)
    compare = COMPARISONS.get((b.kind, a.kind))
    return compare is not None and compare(b, a)


# -- one kind ----------------------------------------------------------------------------------------------------------


def _values(a: Read, b: Read) -> bool:
    return bool(a.value == b.value and a.unit == b.unit)


def _names(a: Read, b: Read) -> bool:
    return _folded(a.value) == _folded(b.value) != ""


@lru_cache(maxsize=4096)
def _folded(said: str) -> str:
    """Words without accents on Latin letters, quotes, dots, and an article in front; LaTeX is no word. Case stays in
    short ones (Co, CO), in pairs of letters (AABB, aabb) and where it changes within a word (MeV, meV)."""
    if "\\" in said:
        return ""
    letters: list[str] = []
    for character in unicodedata.normalize("NFD", _SPACED_INITIALS.sub(r"\1.", said)):
        if not (unicodedata.combining(character) and letters and letters[-1].isascii()):
            letters.append(character)
    plain = _SILENT.sub("", unicodedata.normalize("NFC", "".join(letters))).strip(" '!?,;:")
    plain = _ENCLOSED.sub(r"\1", plain)
    plain = _ARTICLE.sub("", " ".join(plain.split()), count=1)
    return plain if _STRICT.fullmatch(plain) else plain.casefold()


def _trees(a: Read, b: Read) -> bool:
    return evaluation.same(a.value, b.value)


def _inequalities(a: Read, b: Read) -> bool:
    if a.value and b.value and isinstance(a.value[0], str) and isinstance(b.value[0], str):
        (sign, tree), (other_sign, other) = a.value, b.value
        return sign == other_sign and proportional(tree, other, positive=sign != "≠")
    return bool(a.value == b.value)


def _in_order(a: Read, b: Read) -> bool:
    return a.unit == b.unit and _pairwise(a.value, b.value)


def _pairwise(a: Sequence[Read], b: Sequence[Read]) -> bool:
    return len(a) == len(b) and all(same(x, y, nested=True) for x, y in zip(a, b, strict=True))


def _in_any_order(a: Read, b: Read) -> bool:
    rest = list(b.value)
    if len(a.value) != len(rest) or len(rest) ** 2 > _MAX_PAIRS:
        return False
    for item in a.value:
        match = next((other for other in rest if same(item, other, nested=True)), None)
        if match is None:
            return False
        rest.remove(match)
    return True


def _matrices(a: Read, b: Read) -> bool:
    return a.unit == b.unit and len(a.value) == len(b.value) and all(map(_pairwise, a.value, b.value))


def _choices(a: Read, b: Read) -> bool:
    (letter, body), (other, text) = a.value, b.value
    return letter == other and (body is None or text is None or same(body, text))


# -- bridges -----------------------------------------------------------------------------------------------------------


def _choice_and_text(choice: Read, other: Read) -> bool:
    body = choice.value[1]
    if body is not None:
        return same(body, other)
    return (
        other.kind == "expression" and choice.text.strip("()[].").islower() and choice.text.strip("()[].") == other.text
    )


def _named_relations(a: Read, b: Read) -> bool:
    """y = 2x + 3 and 2x - y + 3 = 0: with its label an expression is an equation."""
    first, second = _as_equation(a), _as_equation(b)
    return first is not None and second is not None and proportional(first, second)


def _as_equation(found: Read) -> Tree | None:
    if found.kind == "equation":
        return found.value
    if found.kind not in ("expression", "number") or found.unit or isinstance(found.value, float) or not found.label:
        return None
    label, value = parse(found.label), quantities.as_tree(found.value)
    return label and difference(label, value)


def _number_and_tree(number: Read, expression: Read) -> bool:
    return quantities.same(number, replace(expression, kind="number"))


def _unit_and_tree(quantity: Read, expression: Read) -> bool:
    """5 m and 5m, a product of a number and letters that name the unit; a bare expression lacks its unit."""
    if not symbols(expression.value):
        return quantities.same(quantity, expression)
    match = re.fullmatch(r"(.*?)\s*([A-Za-z]{1,2})", expression.text)
    value = match and read(match[1])
    return bool(value and match and value.kind == "number" and quantities.same(quantity, replace(value, unit=match[2])))


def _number_and_literal(number: Read, literal: Read) -> bool:
    return not number.unit and number.value == literal.value


def _pieces(a: Read, b: Read) -> bool:
    first, second = as_pieces(a), as_pieces(b)
    return first is not None and first == second


def _set_and_tuple(members: Read, ordered: Read) -> bool:
    labels = [member.label for member in members.value]
    if not all(labels) or len(set(labels)) < len(labels) or ordered.unit:
        return False
    by_label = sorted(members.value, key=lambda member: member.label)
    return _pairwise([replace(member, label="") for member in by_label], ordered.value)


def _ratio_and_range(ratio: Read, spelled: Read) -> bool:
    return " to " in spelled.text and ratio.value == tuple(end.value for end in spelled.value)


def _within(compare: Compare, *kinds: str) -> dict[tuple[str, str], Compare]:
    return {(kind, kind): compare for kind in kinds}


_KINDS_WITH_TEXT = "number quantity money duration ratio time date range interval tuple list set matrix expression name"
COMPARISONS: dict[tuple[str, str], Compare] = {
    **_within(quantities.same, "number", "quantity", "money", "duration"),
    **_within(_values, "ratio", "time", "date", "interval", "truth", "none", "identifier", "text", "code"),
    **_within(_in_order, "tuple", "list", "range"),
    **_within(_in_any_order, "set"),
    **_within(_matrices, "matrix"),
    **_within(_names, "name"),
    **_within(_trees, "expression"),
    **_within(lambda a, b: proportional(a.value, b.value), "equation"),
    **_within(_inequalities, "inequality"),
    **_within(_choices, "choice"),
    **dict.fromkeys((("choice", kind) for kind in _KINDS_WITH_TEXT.split()), _choice_and_text),
    **dict.fromkeys((("number", "quantity"), ("number", "money"), ("number", "duration")), quantities.same),
    **dict.fromkeys((("money", "quantity"), ("quantity", "duration")), quantities.same),
    **dict.fromkeys((("tuple", "interval"), ("tuple", "inequality"), ("interval", "inequality")), _pieces),
    **dict.fromkeys((("list", "interval"), ("list", "inequality")), _pieces),
    ("number", "expression"): _number_and_tree,
    ("quantity", "expression"): _unit_and_tree,
    ("number", "identifier"): _number_and_literal,
    ("expression", "equation"): _named_relations,
    ("set", "tuple"): _set_and_tuple,
    ("ratio", "range"): _ratio_and_range,
}
"""How two kinds are compared: each with itself, and the bridges of `kinds.BRIDGES`. Other pairs are different."""
