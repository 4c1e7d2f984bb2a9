"""How fast answers are compared, beside math-verify in the same run, and whether answers of different meaning merge.

Pairs are made of answers whose meaning is known because they were written from it, out of a small range of numbers, so
that readings that miss the kind (2024-05-12 as 2007, 10-20 as -10) meet each other often.
"""

import importlib
import itertools
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from latent_memory_plugin.answers import equal, read
from latent_memory_plugin.answers.vote import vote

ROLLOUTS = 96
"""Answers of a vote."""
Advance = Callable[[int, int, str], None]
Meaning = tuple[Any, ...]


@dataclass(frozen=True)
class Made:
    """An answer written from its meaning."""

    kind: str
    """What it was written as."""
    text: str
    """The answer."""
    means: frozenset[Meaning]
    """What it says; two answers that share one of these may be equal."""
    lacks: frozenset[Meaning] = frozenset()
    """What it may equal where the other says that outright: of 5 km the bare 5."""


def measure(pairs: int, seed: int, advance: Advance) -> dict[str, Any]:
    """The report: milliseconds per vote, per pair of math-verify, and the false merges among `pairs` made pairs."""
    started = time.time()
    votes = {name: _vote_milliseconds(answers, advance) for name, answers in _workloads().items()}
    return {
        "seed": seed,
        "votes": votes,
        **_false_merges(pairs, seed, advance),
        "seconds": time.time() - started,
    }


def _workloads() -> dict[str, list[str]]:
    numbers = range(1, ROLLOUTS + 1)
    return {
        "integers, all different": [str(1000 + number) for number in numbers],
        "integers, ten of them": [str(number % 10) for number in numbers],
        "LaTeX fractions, all different": [rf"\frac{{{number}}}{{{number + 7}}}" for number in numbers],
        "quantities": [f"{number} km" for number in numbers],
        "polynomials": [f"x^2+{number}x+1" for number in numbers],
        "roots": [rf"{number}\sqrt{{{number + 1}}}" for number in numbers],
        "adversarial": [rf"\sum_{{i=1}}^{{1000}} \sin(i+{number})" for number in numbers],
    }


def _vote_milliseconds(answers: Sequence[str], advance: Advance) -> dict[str, float]:
    """A vote on texts that were never read, its processor time, and math-verify's for the same number of pairs."""
    vote(["1", r"\frac{1}{2}", "1 km", "x+1", r"\sqrt{2}"])  # what is imported on first use
    read.cache_clear()
    wall, processor = time.perf_counter(), time.thread_time()
    vote(answers)
    found = {
        "milliseconds": 1e3 * (time.perf_counter() - wall),
        "processor_milliseconds": 1e3 * (time.thread_time() - processor),
    }
    advance(0, 0, answers[0])
    adversarial = "sum" in answers[0]
    return found if adversarial else found | {"math_verify_milliseconds_a_pair": _math_verify(answers)}


def _math_verify(answers: Sequence[str]) -> float:
    """Milliseconds of `verify(parse(a), parse(b))`, the mean over neighbours."""
    library: Any = importlib.import_module("math_verify")
    pairs = list(itertools.pairwise(answers))[:24]
    library.verify(*(library.parse(f"${answer}$") for answer in pairs[0]))
    started = time.perf_counter()
    for first, second in pairs:
        library.verify(library.parse(f"${first}$"), library.parse(f"${second}$"))
    return 1e3 * (time.perf_counter() - started) / len(pairs)


def _false_merges(pairs: int, seed: int, advance: Advance) -> dict[str, Any]:
    rng = random.Random(seed)
    merged: list[tuple[str, str]] = []
    kinds: Counter[str] = Counter()
    for done in range(pairs):
        first, second = make(rng), make(rng)
        kinds[first.kind] += 1
        if not may_be_equal(first, second) and equal(first.text, second.text):
            merged.append((first.text, second.text))
        if done % 1000 == 0:
            advance(done, pairs, first.text)
    return {"pairs": pairs, "kinds": dict(kinds), "false_merges": len(merged), "examples": merged[:20]}


def may_be_equal(a: Made, b: Made) -> bool:
    """Whether two answers were written from meanings that are the same or bridge."""
    return a.text == b.text or bool(a.means & b.means or a.means & b.lacks or a.lacks & b.means)


def make(rng: random.Random) -> Made:
    """One answer of a kind drawn evenly."""
    kind = rng.choice(list(_WRITERS))
    return _WRITERS[kind](rng)


def _number(rng: random.Random) -> Made:
    value = Fraction(rng.randint(-40, 40), rng.choice((1, 1, 1, 2, 4, 5)))
    spelled = [str(value), f"{float(value):g}", rf"\frac{{{value.numerator}}}{{{value.denominator}}}", f"${value}$"]
    return Made("number", rng.choice(spelled), frozenset({("number", value)}))


def _percent(rng: random.Random) -> Made:
    value = Fraction(rng.randint(0, 100))
    return Made("percent", f"{value}%", frozenset({("percent", value)}), _numbers(value, value / 100))


def _quantity(rng: random.Random) -> Made:
    value, (unit, base, factor) = Fraction(rng.randint(1, 30)), rng.choice(_UNITS)
    return Made("quantity", f"{value} {unit}", frozenset({(base, value * factor)}), _numbers(value))


def _noun(rng: random.Random) -> Made:
    value, noun = rng.randint(1, 30), rng.choice(("egg", "box", "duck egg", "win", "loss", "red ball"))
    plural = noun + ("es" if noun[-1] in "xs" else "s")
    means = {(noun.split()[-1], value)} if noun != "red ball" else {("ball", value)}
    return Made("noun", f"{value} {plural}", frozenset(means), _numbers(Fraction(value)))


def _money(rng: random.Random) -> Made:
    value, (sign, currency) = Fraction(rng.randint(1, 3000), 100), rng.choice(_MONEY)
    return Made("money", f"{sign}{float(value):.2f}", frozenset({(currency, value)}), _numbers(value))


def _time(rng: random.Random) -> Made:
    hour, minute = rng.randint(0, 23), rng.choice((0, 5, 15, 30, 45, 50))
    half = "am" if hour < 12 else "pm"
    if rng.random() < 0.5:
        return Made("time", f"{hour % 12 or 12}:{minute:02} {half}", frozenset({("time", hour, minute)}))
    open_half = 1 <= hour <= 12
    return Made("time", f"{hour}:{minute:02}", frozenset({("open time" if open_half else "time", hour, minute)}))


def _date(rng: random.Random) -> Made:
    year, month, day = rng.choice((2020, 2024)), rng.randint(1, 12), rng.randint(1, 28)
    name = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")[month - 1]
    spelled = [
        f"{year}-{month:02}-{day:02}",
        f"{name} {day}, {year}",
        f"{day:02}.{month:02}.{year}",
        f"{day} {name} {year}",
    ]
    return Made("date", rng.choice(spelled), frozenset({("date", year, month, day)}))


def _ratio(rng: random.Random) -> Made:
    first, second = rng.randint(1, 12), rng.randint(1, 9)
    return Made("ratio", f"{first}:{second}", frozenset({("ratio", first, second)}))


def _range(rng: random.Random) -> Made:
    low, high, dash = rng.randint(1, 30), rng.randint(1, 30), rng.choice(("-", "–", " - "))
    return Made("range", f"{low}{dash}{high}", frozenset({("range", low, high)}))


def _interval(rng: random.Random) -> Made:
    low, high = sorted(rng.sample(range(-9, 10), 2))
    opening, closing = rng.choice("(["), rng.choice(")]")
    ends = (low, opening == "[", high, closing == "]")
    if opening + closing == "()" or rng.random() < 0.5:
        left, right = ("≤" if ends[1] else "<"), ("≤" if ends[3] else "<")
        return Made("interval", f"{low} {left} x {right} {high}", frozenset({("interval", *ends)}))
    return Made("interval", f"{opening}{low}, {high}{closing}", frozenset({("interval", *ends), ("list", low, high)}))


def _tuple(rng: random.Random) -> Made:
    values = [rng.randint(-9, 9) for _ in range(rng.choice((2, 2, 3)))]
    means: set[Meaning] = {("tuple", *values)}
    if len(values) == 2 and values[0] < values[1]:
        means.add(("interval", values[0], False, values[1], False))
    return Made("tuple", f"({', '.join(map(str, values))})", frozenset(means))


def _set(rng: random.Random) -> Made:
    values = rng.sample(range(-9, 10), rng.choice((2, 3)))
    text = ", ".join(map(str, values))
    return Made("set", rng.choice((text, rf"\{{{text}\}}")), frozenset({("set", *sorted(values))}))


def _expression(rng: random.Random) -> Made:
    factor, rest, letter = rng.choice((-3, -2, 2, 3, 4)), rng.randint(-9, 9), rng.choice("xyRr")
    text = f"{factor}{letter}{rest:+}" if rng.random() < 0.5 else f"{rest}{factor:+}{letter}"
    return Made("expression", text, frozenset({("line", letter, factor, rest)}))


def _equation(rng: random.Random) -> Made:
    factor, rest = rng.choice((-3, -2, 2, 3, 4)), rng.randint(-9, 9)
    text = f"y = {factor}x{rest:+}" if rng.random() < 0.5 else f"{factor}x - y = {-rest}"
    lacks = {("line", "x", factor, rest)} if text.startswith("y =") else set[Meaning]()
    return Made("equation", text, frozenset({("equation", factor, rest)}), frozenset(lacks))


def _choice(rng: random.Random) -> Made:
    letter = rng.choice("ABCDE")
    if rng.random() < 0.5:
        return Made("choice", rng.choice((letter, f"({letter})", f"{letter})")), frozenset({("choice", letter)}))
    value = Fraction(rng.randint(1, 30))
    return Made(
        "choice",
        f"({letter}) {value}",
        frozenset({("text", letter, value), ("number", value)}),
        frozenset({("choice", letter)}),
    )


def _class(rng: random.Random) -> Made:
    text = rng.choice(("yes", "no", "true", "false", "no solution", "does not exist", "undefined"))
    return Made("class", text, frozenset({("class", text)}))


def _formula(rng: random.Random) -> Made:
    text = "".join(f"{element}{rng.choice(('', 2, 3, 4))}" for element in rng.sample(("C", "H", "O", "N", "Fe"), 2))
    return Made("formula", text, frozenset({("formula", text)}))


def _literal(rng: random.Random) -> Made:
    value = rng.randint(1, 40)
    return Made("literal", rng.choice((f"0x{value:X}", f"0b{value:b}")), frozenset({("number", Fraction(value))}))


def _version(rng: random.Random) -> Made:
    text = ".".join(str(rng.randint(0, 12)) for _ in range(rng.choice((3, 4))))
    return Made("version", text, frozenset({("version", text)}))


def _name(rng: random.Random) -> Made:
    text = rng.choice(
        ("Paris", "London", "Evelyn", "Co", "CO", "MeV", "meV", "listen", "silent", "A-", "A+", "C++", "C#")
    )
    return Made("name", text, frozenset({("name", text)}))


def _numbers(*values: Fraction) -> frozenset[Meaning]:
    return frozenset(("number", value) for value in values)


_UNITS = [
    ("km", "m", 1000), ("m", "m", 1), ("cm", "m", Fraction(1, 100)), ("kg", "g", 1000), ("mg", "g", Fraction(1, 1000)),
    ("Mg", "g", 10**6), ("mW", "W", Fraction(1, 1000)), ("MW", "W", 10**6), ("hours", "s", 3600), ("min", "s", 60),
    ("m^2", "m2", 1), ("km/h", "m/s", Fraction(5, 18)), ("mL", "L", Fraction(1, 1000)), ("ML", "L", 10**6),
]  # fmt: skip
_MONEY = [("$", "USD"), ("€", "EUR"), ("£", "GBP"), ("₹", "INR")]
_WRITERS: dict[str, Callable[[random.Random], Made]] = {
    "number": _number, "percent": _percent, "quantity": _quantity, "noun": _noun, "money": _money, "time": _time,
    "date": _date, "ratio": _ratio, "range": _range, "interval": _interval, "tuple": _tuple, "set": _set,
    "expression": _expression, "equation": _equation, "choice": _choice, "class": _class, "formula": _formula,
    "literal": _literal, "version": _version, "name": _name,
}  # fmt: skip
