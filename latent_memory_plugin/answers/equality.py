r"""Whether two answers mean the same: by kind, or over a bridge of `kinds.BRIDGES`; in doubt different."""

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import replace

from latent_memory_plugin.answers import evaluation, quantities
from latent_memory_plugin.answers.evaluation import OutOfTime, proportional, within
from latent_memory_plugin.answers.grammar import Tree, difference, parse, symbols
from latent_memory_plugin.answers.kinds import Read
from latent_memory_plugin.answers.normal import MAX_CHARACTERS, compact
from latent_memory_plugin.answers.patterns import lazy
from latent_memory_plugin.answers.reading import as_pieces, read

EqualAnswers = Callable[[str, str], bool]
"""Whether two answers mean the same; symmetric."""

SECONDS = 2.0
"""Processor time of its own thread that one comparison, or all those of a vote, may take."""
_MAX_PAIRS = 144
_PAIRED = lazy(r"(?:([A-Za-z])(?i:\1))+")
_INNER_CAPITAL = lazy(r"[a-z][A-Z]")


def equal(a: str, b: str) -> bool:
    r"""Whether two answers mean the same; the package's docstring has the rules.

    Symmetric and reflexive, but not transitive: 50% equals both 0.5 and 50. Never raises; bounded in size and
    time (a microsecond for numbers that were read before, `SECONDS` at worst), safe in any thread.

    >>> equal(r"\frac{1}{2}", "0.5"), equal("1,000 dollars", r"\$1000"), equal("(1,2)", "(2,1)")
    (True, True, False)
    """
    if a == b:
        return True
    if len(a) > MAX_CHARACTERS or len(b) > MAX_CHARACTERS:
        return a.split() == b.split()
    first, second = read(a), read(b)
    if first.kind == second.kind == "number" and not (first.unit or second.unit or first.label or second.label):
        return first.value == second.value
    try:
        with within(SECONDS):
            return same(first, second)
    except OutOfTime:
        return False


def agree(a: str | None, b: str | None, equal: EqualAnswers = equal) -> bool:
    """Whether both are answers and equal; no answer agrees with nothing. `equal` stands in for this module's."""
    return a is not None and b is not None and equal(a, b)


def same(a: Read, b: Read, *, nested: bool = False) -> bool:
    """Whether two answers that were read mean the same; `nested` demands the same label. Raises OutOfTime."""
    if not a.text or not b.text:
        return False
    if a.label != b.label:
        if _named_relations(a, b):
            return True
        if nested or (a.label and b.label):
            return False
    if a.text == b.text or (_says_itself(a, b) and compact(a.text) == compact(b.text)):
        return True
    if a.kind != b.kind and "choice" in (a.kind, b.kind):
        return _choice_and_other(*((a, b) if a.kind == "choice" else (b, a)))
    if a.kind == b.kind:
        return _WITHIN[a.kind](a, b)
    if compare := _ACROSS.get((a.kind, b.kind)):
        return compare(a, b)
    compare = _ACROSS.get((b.kind, a.kind))
    return compare is not None and compare(b, a)


def _says_itself(a: Read, b: Read) -> bool:
    """Whether white space means nothing in both: not in words."""
    return "name" not in (a.kind, b.kind) or max(len(a.text), len(b.text)) <= 4


# -- one kind ----------------------------------------------------------------------------------------------------------


def _values(a: Read, b: Read) -> bool:
    return bool(a.value == b.value and a.unit == b.unit)


def _words(a: Read, b: Read) -> bool:
    """The same words; case counts in short ones (Co, CO), in pairs of letters (AABB, aabb) and where it changes
    within a word (MeV, meV)."""
    first, second = _folded(a.value), _folded(b.value)
    if first.casefold() != second.casefold() or not first:
        return False
    strict = (
        len(first) <= 2 or _PAIRED.fullmatch(first) or _INNER_CAPITAL.search(first) or _INNER_CAPITAL.search(second)
    )
    return first == second or not strict


def _folded(said: str) -> str:
    """Words without accents on Latin letters, quotes, dots, and an article in front. LaTeX is no word."""
    if "\\" in said:
        return ""
    said = re.sub(r"\b([A-Z])\.\s+(?=[A-Z]\.)", r"\1.", said)
    letters: list[str] = []
    for character in unicodedata.normalize("NFD", said):
        if not (unicodedata.combining(character) and letters and letters[-1].isascii()):
            letters.append(character)
    plain = re.sub(r"\.(?![0-9])|[\"“”]", "", unicodedata.normalize("NFC", "".join(letters))).strip(" ()[]'!?,;:")
    return re.sub(r"^(?:the|an?)\s+(?=\w{3})", "", " ".join(plain.split()), flags=re.IGNORECASE)


def _trees(a: Read, b: Read) -> bool:
    return evaluation.same(a.value, b.value)


def _equations(a: Read, b: Read) -> bool:
    return proportional(a.value, b.value)


def _inequalities(a: Read, b: Read) -> bool:
    if (
        isinstance(a.value[:1], tuple)
        and a.value
        and b.value
        and isinstance(a.value[0], str)
        and isinstance(b.value[0], str)
    ):
        (sign, tree), (other_sign, other) = a.value, b.value
        return sign == other_sign and proportional(tree, other, positive=sign != "≠")
    return bool(a.value == b.value and a.label == b.label)


def _in_order(a: Read, b: Read) -> bool:
    return a.unit == b.unit and _pairwise(a.value, b.value)


def _pairwise(a: Sequence[Read], b: Sequence[Read]) -> bool:
    return len(a) == len(b) and all(same(x, y, nested=True) for x, y in zip(a, b, strict=True))


def _in_any_order(a: Read, b: Read) -> bool:
    if len(a.value) != len(b.value) or len(a.value) ** 2 > _MAX_PAIRS:
        return False
    rest = list(b.value)
    for item in a.value:
        match = next((other for other in rest if same(item, other, nested=True)), None)
        if match is None:
            return False
        rest.remove(match)
    return True


def _ranges(a: Read, b: Read) -> bool:
    units_agree = a.unit == b.unit or not a.unit or not b.unit
    return units_agree and _pairwise(a.value, b.value)


def _matrices(a: Read, b: Read) -> bool:
    return a.unit == b.unit and len(a.value) == len(b.value) and all(map(_pairwise, a.value, b.value))


def _choices(a: Read, b: Read) -> bool:
    (letter, body), (other, text) = a.value, b.value
    return letter == other and (body is None or text is None or same(body, text))


_WITHIN: dict[str, Callable[[Read, Read], bool]] = {
    **dict.fromkeys(("number", "quantity", "money", "duration"), quantities.same),
    **dict.fromkeys(("ratio", "time", "date", "interval", "truth", "none", "identifier", "text", "code"), _values),
    **dict.fromkeys(("tuple", "list"), _in_order),
    **{"set": _in_any_order, "range": _ranges, "matrix": _matrices, "choice": _choices, "name": _words},
    **{"expression": _trees, "equation": _equations, "inequality": _inequalities},
}


# -- bridges -----------------------------------------------------------------------------------------------------------


def _choice_and_other(choice: Read, other: Read) -> bool:
    letter, body = choice.value
    if body is not None:
        return same(body, other)
    return other.kind == "expression" and compact(choice.text).strip("()[].") == compact(other.text) != letter


def _named_relations(a: Read, b: Read) -> bool:
    """y = 2x + 3 and 2x - y + 3 = 0: with its label an expression is an equation."""
    first, second = _as_equation(a), _as_equation(b)
    return first is not None and second is not None and proportional(first, second)


def _as_equation(found: Read) -> Tree | None:
    if found.kind == "equation":
        return found.value
    plain = found.kind in ("expression", "number") and not found.unit and not isinstance(found.value, float)
    label = parse(found.label) if found.label and plain else None
    return label and difference(label, quantities.as_tree(found.value))


def _number_and_tree(number: Read, expression: Read) -> bool:
    if number.unit == "degree" or not number.unit:
        return quantities.same(number, replace(expression, kind="number"))
    return quantities.same(number, expression)


def _unit_and_tree(quantity: Read, expression: Read) -> bool:
    """5 m and 5m, a product of a number and letters that name the unit; a bare expression lacks its unit."""
    if not symbols(expression.value):
        return quantities.same(quantity, expression)
    match = re.fullmatch(r"(.*?)\s*([A-Za-z]{1,2})", expression.text)
    value = match and read(match[1])
    return bool(value and match and value.kind == "number" and quantities.same(quantity, replace(value, unit=match[2])))


def _number_and_literal(number: Read, literal: Read) -> bool:
    return not number.unit and number.value == literal.value


def _tree_and_equation(expression: Read, equation: Read) -> bool:
    return _named_relations(expression, equation)


def _pieces(a: Read, b: Read) -> bool:
    first, second = as_pieces(a), as_pieces(b)
    return first is not None and first == second


def _set_and_tuple(members: Read, ordered: Read) -> bool:
    labels = [member.label for member in members.value]
    if not all(labels) or len(set(labels)) < len(labels) or ordered.unit:
        return False
    return _pairwise(
        [replace(one, label="") for one in sorted(members.value, key=lambda one: one.label)], ordered.value
    )


def _ratio_and_range(ratio: Read, spelled: Read) -> bool:
    return " to " in spelled.text and ratio.value == tuple(end.value for end in spelled.value)


_ACROSS: dict[tuple[str, str], Callable[[Read, Read], bool]] = {
    **dict.fromkeys((("number", "quantity"), ("number", "money"), ("number", "duration")), quantities.same),
    **dict.fromkeys((("money", "quantity"), ("quantity", "duration")), quantities.same),
    **dict.fromkeys((("tuple", "interval"), ("tuple", "inequality"), ("interval", "inequality")), _pieces),
    **dict.fromkeys((("list", "interval"), ("list", "inequality")), _pieces),
    ("number", "expression"): _number_and_tree,
    ("quantity", "expression"): _unit_and_tree,
    ("number", "identifier"): _number_and_literal,
    ("expression", "equation"): _tree_and_equation,
    ("set", "tuple"): _set_and_tuple,
    ("ratio", "range"): _ratio_and_range,
}
"""How the kinds of `kinds.BRIDGES` are compared; a choice letter is compared before."""
