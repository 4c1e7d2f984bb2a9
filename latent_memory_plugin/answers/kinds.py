"""What an answer can be: the record of one, the kinds, and the bridges between kinds."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Read:
    """One answer, read."""

    kind: str
    """One of `KINDS`."""
    value: Any
    """What the kind's row in `KINDS` says; hashable."""
    unit: str = ""
    """As written, in one spelling: a unit (`km/h`), a currency (`$`), a noun (`duck eggs`), `percent`, `base 8`,
    `degree`; empty where there is none."""
    text: str = ""
    """What was read, without decoration."""
    label: str = ""
    """The name in front of the answer, `x` of `x = 5`; empty where there is none."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A row of the table of kinds."""

    value: str
    """What `Read.value` holds."""
    equal: str
    """When two of the kind are the same."""
    compared: bool = True
    """False where only the same text is the same answer, so that a vote would count strings."""


_SAME_NUMBER = "the values are the same, exactly"
_PAIRWISE = "the members are the same, one by one in their order, in the same brackets"

KINDS: dict[str, Kind] = {
    "number": Kind("int, Fraction or ±inf; 12 of `12 %` and 6 of `11_5`", _SAME_NUMBER),
    "quantity": Kind("number or `Tree`", "one unit converts to the other and the values are the same then"),
    "money": Kind("number; cents are of the unit `cents`", "the currency may be the same and the amounts are"),
    "duration": Kind("number", "as quantities"),
    "ratio": Kind("tuple of numbers", "the same numbers in the same order: 2:4 is not 1:2, it may be a score"),
    "time": Kind("(hour, minute, second), and whether it could be of the other half of the day", "the same second"),
    "date": Kind("(year, month, day) with None for what is missing, or the digits where their order is open", "equal"),
    "range": Kind("(first, last), each a Read", "the same ends"),
    "interval": Kind("pieces (low, closed, high, closed) of the real line, in order", "the same set of real numbers"),
    "inequality": Kind("pieces as of an interval, or (relation, Tree)", "the same set, or one a multiple of the other"),
    "tuple": Kind("tuple of Reads", _PAIRWISE),
    "list": Kind("tuple of Reads", _PAIRWISE),
    "set": Kind("tuple of Reads", "the same members in any order, each as often"),
    "matrix": Kind("tuple of rows of Reads", "the same entries"),
    "expression": Kind("Tree", "the same value wherever its variables are put"),
    "equation": Kind("Tree, left side less right side", "one is a multiple of the other"),
    "choice": Kind("(letter, Read of its text or None)", "the same letter, and the same text where both have one"),
    "truth": Kind("the word", "the same word"),
    "none": Kind("`empty` or the word", "the same class: no solution, does not exist, undefined"),
    "identifier": Kind("text, or the int of a hexadecimal or binary literal", "the same characters in the same case"),
    "name": Kind("the words", "the same words but for accents, quotes, and case where case says nothing"),
    "text": Kind("the words", "the same words", compared=False),
    "code": Kind("the lines", "the same lines", compared=False),
}
"""Every kind that `read` gives."""

BRIDGES: dict[frozenset[str], str] = {
    frozenset(pair): why
    for pair, why in [
        (("number", "quantity"), "a unit left out: 5 km and 5"),
        (("number", "money"), "a currency left out: $5 and 5"),
        (("number", "duration"), "a unit left out: 5 hours and 5"),
        (("money", "quantity"), "pounds are money or weight"),
        (("quantity", "duration"), "units of time in other languages, or with more words"),
        (("number", "expression"), "an expression that can be computed: 1/2 and 2^{-1}"),
        (("quantity", "expression"), "a unit of one letter without a space: 5 m and 5m"),
        (("number", "identifier"), "a hexadecimal or binary literal: 0x10 and 16"),
        (("expression", "equation"), "a name given to an expression: y = 2x and 2x - y = 0"),
        (("tuple", "interval"), "two numbers in round brackets may be an open interval"),
        (("tuple", "inequality"), "the same"),
        (("list", "interval"), "two numbers in square brackets may be a closed interval"),
        (("list", "inequality"), "the same"),
        (("interval", "inequality"), "x > 3 and (3, ∞)"),
        (("set", "tuple"), "a name for each member: x = 2, y = 3 and (2, 3)"),
        (("ratio", "range"), "3:4 and 3 to 4"),
        (("choice", "expression"), "a choice in small letters: (a) and a"),
    ]
}
"""Pairs of kinds that may be equal, each with its reason. Besides, a choice letter with its text may equal that text,
of whatever kind it is."""
