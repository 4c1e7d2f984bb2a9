r"""Text → answer, and "are these two answers equal?": kinds first, extraction by place, equality by meaning."""

import itertools
import json
import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import pytest
from answer_pairs import BARE, DIFFERENT, EXTRACTED, SAME
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from latent_memory_plugin.answers import agree, bare, equal, equality, evaluation, extract, read
from latent_memory_plugin.answers.kinds import BRIDGES, KINDS
from latent_memory_plugin.answers.numbers import parse_number
from latent_memory_plugin.answers.vote import vote, without_equality
from latent_memory_plugin.bench.answers import make, may_be_equal
from latent_memory_plugin.cli import app

SPELLINGS = [
    # decoration
    ("**18**", "18"),
    ("$18.", "18"),
    ("$\\frac{1}{2}$", "0.5"),
    ("\\(5\\)", "5"),
    ("\\boxed{7}", "7"),
    ("\u22125", "-5"),
    ("\\\\frac{1}{2}", "0.5"),
    # numbers
    ("1,000", "1{,}000"),
    ("11,\\! 111,\\! 111,\\! 100", "11111111100"),
    ("10\\,000", "10 000"),
    ("18.00", "18"),
    ("007", "7"),
    ("-0", "0"),
    (".0000672", "6.72\\times10^{-5}"),
    ("3 x 10^5", "3e5"),
    ("0.\\overline{3}", "1/3"),
    # fractions
    ("\\dfrac{1}{2}", "\\frac12"),
    ("\\frac 59", "5/9"),
    ("-\\frac{1}{2}", "\\frac{1}{-2}"),
    ("1\\frac{1}{10}", "1 1/10"),
    ("12\\frac{3}{5}", "63/5"),
    ("½", "\\frac{2}{4}"),
    # units, currency, percent, bases
    ("18 dollars", "$18"),
    ("\\$32,\\!348", "32348"),
    ("$18", "18 dollars per day"),
    ("5^\\circ", "5"),
    ("\\frac{270}7\\text{ degrees}", "270/7"),
    ("100^\\circ\\text{C}", "100 °C"),
    ("5 \\text{ cm}^2", "5 square cm"),
    ("100 square units", "100"),
    ("30 mph", "30 miles per hour"),
    ("20\\sqrt{5} cm", "20\\sqrt5"),
    ("6.29 million", "6290000"),
    ("12 duck eggs", "12 eggs"),
    ("3\\%", "0.03"),
    ("50%", "\\frac12"),
    ("50 percent", "50"),
    ("52_8", "52_{8}"),
    ("52_8", "52"),
    # labels
    ("x = 5", "5"),
    ("5 = x", "x=5"),
    ("x = 2+3 = 5", "5"),
    ("f(x) = x^2", "x^2"),
    ("\\angle ABC = 30^\\circ", "30"),
    ("x \\in [0,1)", "[0,1)"),
    ("\\frac{1}{3} \\approx 0.333", "1/3"),
    # expressions
    ("11\\sqrt2", "11 \\sqrt{2}"),
    ("3 sqrt(2)", "3\\sqrt{2}"),
    ("5π", "\\pi\\cdot 5"),
    ("\\frac{\\sqrt{3}}{3}", "\\frac{1}{\\sqrt3}"),
    ("2^{10}", "1024"),
    ("2**3", "8"),
    ("5!", "120"),
    ("2k+2", "2(k+1)"),
    ("(a+5)(b+2)", "ab+2a+5b+10"),
    ("x^0.5", "\\sqrt{x}"),
    ("x^-1", "\\frac{1}{x}"),
    ("\\frac{x^2-1}{x-1}", "x+1"),
    ("\\sin^2 x", "1-\\cos^2 x"),
    ("\\cot x", "\\frac{\\cos x}{\\sin x}"),
    ("\\log_2 8", "3"),
    ("6 - 5i", "-5i+6"),
    ("\\frac{1+i}{2}", "0.5+0.5i"),
    ("|x-1|", "|1-x|"),
    # what the parser alone takes for mixed numbers
    ("2(3)", "6"),
    ("(2)(3)", "6"),
    ("3(0.5)", "1.5"),
    ("\\frac{4}{2}\\frac{1}{2}", "1"),
    # relations
    ("5x - 7y + 11z + 4 = 0", "-10x+14y-22z=8"),
    ("y=2x+3", "2x - y + 3 = 0"),
    ("x<3", "3>x"),
    ("x \\geq 3", "x>=3"),
    # collections
    ("(1,2)", "\\left( 1, 2 \\right)"),
    ("\\left( 3, \\frac{\\pi}{2} \\right)", "(3, \\pi/2)"),
    ("\\{1,2\\}", "\\{2, 1\\}"),
    ("1,-2", "-2 \\text{ and } 1"),
    ("\\{5\\}", "5"),
    ("x=1 or x=2", "1, 2"),
    ("x=1,y=2", "y=2, x=1"),
    ("1 \\pm \\sqrt{19}", "1-\\sqrt{19}, 1+\\sqrt{19}"),
    ("(2,\\infty)", "(2, +\\infty)"),
    ("(-\\infty,2]\\cup[3,\\infty)", "[3,\\infty) \\cup (-\\infty, 2]"),
    ("\\begin{pmatrix} -1/3 \\\\ 2/3 \\end{pmatrix}", "\\begin{pmatrix} -\\frac13 \\\\ \\frac{4}{6} \\end{pmatrix}"),
    # text
    ("\\text{Evelyn}", "Evelyn"),
    ("\\text{(C)}", "C"),
    ("A", "\\textbf{A}"),
    ("Yes", "yes."),
    ("4:30 \\text{ p.m.}", "4:30 pm"),
]

OTHERS = [
    ("5", "-5"),
    ("1 1/2", "11/2"),
    ("12", "1,2"),
    ("100,200", "100, 200"),
    ("0.333", "1/3"),
    ("3.14", "\\pi"),
    ("10^{-34}", "10^{-35}"),
    ("2^{-60}", "3^{-60}"),
    ("\\pi\\cdot10^{-16}", "2\\pi\\cdot 10^{-16}"),
    ("0", "10^{-30}"),
    ("0.5", "50"),
    ("50%", "0.005"),
    ("$5", "5%"),
    ("3 million", "3"),
    ("5 \\text{ cm}", "5 \\text{ m}"),
    ("5 \\text{ cm}^2", "5 cm"),
    ("2 hours", "2 days"),
    ("5 pm", "5 am"),
    ("52_8", "52_9"),
    ("2516_18", "2516_8"),
    ("4t", "4"),
    ("5m", "5"),
    ("3xyz", "3"),
    (".5x", "5x"),
    ("f'(x)", "f(x)"),
    ("x=5", "y=5"),
    ("x=1,y=2", "x=2,y=1"),
    ("x=2,y=1", "1,2"),
    ("x^2=4", "x=2"),
    ("x<3", "x>3"),
    ("x<3", "x\\le 3"),
    ("1<2", "3<5"),
    ("2x+1", "2x-1"),
    ("a-b", "b-a"),
    ("\\sqrt{x^2}", "x"),
    ("1+i", "1-i"),
    ("2(3)", "5"),
    ("\\Delta", "\\delta"),
    ("1/2x", "\\frac{1}{2x}"),
    ("(1,2)", "(2,1)"),
    ("(1,2)", "(1,2,3)"),
    ("[0,1)", "(0,1)"),
    ("[1,2]", "(1,2)"),
    ("\\{1,2\\}", "(1,2)"),
    ("1,2", "(1,2)"),
    ("1,1,2", "1,2"),
    ("\\infty", "-\\infty"),
    ("2\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}", "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}"),
    ("listen", "silent"),
    ("no", "on"),
    ("A", "B"),
    ("4:30", "2/15"),
    ("5", "x"),
    ("", "."),
]

PLACES = [
    # a box, whatever else there is
    ("So \\boxed{\\frac{1}{\\sqrt{2}}}. The answer is 7.\n#### 8", "\\frac{1}{\\sqrt{2}}"),
    ("\\boxed{1}, no: \\boxed{2}", "2"),
    ("\\boxed{\\{1,2\\}}", "\\{1,2\\}"),
    ("\\boxed{\\fbox{3}}", "3"),
    ("\\boxed{5} is complete, \\boxed{} empty, \\boxed{\\frac{1}{2} cut off", "5"),
    ("\\boxed 7", "7"),
    ("\\boxed{$18.$}", "18"),
    # hashes before words
    ("The answer is 7.\n#### 18", "18"),
    ("#### 1,800\n\nQuestion: and 7?", "1,800"),
    ("#### Step 1: add\n5+3\nThe answer is 8.", "8"),
    # words before numbers
    ("The answer is **18**. It took 3 steps.", "18"),
    ("the answer to the question is 1,000.", "1,000"),
    ("The answer is $18 for all 7.", "$18"),
    ("the answer is 18 dollars", "18 dollars"),
    ("The answer is 18 because he has 7 left", "18"),
    ("The answer is x = 5.", "x = 5"),
    ("The answer is $\\frac{1}{2}$ because of 7", "\\frac{1}{2}"),
    ("The final answer is:\n\n\\[ 5 \\]\n", "5"),
    ("Final Answer: The final answer is $5$. I hope it is correct.", "5"),
    ("The correct answer is (B) 5", "B"),
    ("**Answer**: Evelyn, the fastest of 5", "Evelyn"),
    ("The answer is (1, 2).", "(1, 2)"),
    ("The answer is 50\\%.", "50\\%"),
    # the last number
    ("He has 5 apples and 7 pears.", "7"),
    ("so 16 - 3 = 13", "13"),
    ("= -13.", "-13"),
    ("it is 5-3", "3"),
    ("a total of $1,234.50!", "1,234.50"),
    ("the area is 5 cm^2", "5"),
    ("we get \\frac{3}{4}", "\\frac{3}{4}"),
    ("which simplifies to \\(4t\\).", "4t"),
    ("the area is $7\\pi$.", "7\\pi"),
    ("for $x$ it is 5, for $y$ more", "5"),
    # nothing
    ("no number", None),
    ("", None),
]

NASTY = [
    "2^3^20",
    "2^{3^{20}}",
    "9^{9^{9^9}}",
    "((((9^{99})^{99})^{99})^{99})",
    "(10^{100})!",
    "99999999!",
    "5!!!!",
    "1e999999999",
    "10^{999999999}",
    "10^{-999999999}x",
    "\\binom{1000000000}{500000000}",
    "\\sum_{k=1}^{10^{9}} k",
    "\\int_0^1 e^{x^{x^x}} dx",
    "e^{e^{e^{e^9}}}",
    "\\sin(10^{99})",
    "(x+y)^{99}",
    "x^{" * 20 + "2" + "}" * 20,
    "(" * 250 + "1" + ")" * 250,
    "|x" * 60,
    "(x+1)" * 40,
    "\\frac{1}{0}",
    "9" * 500,
    "a+1," * 100,
    "5 " + "ab " * 150,
    "\\alpha" * 80 + "=",
]

SIGNS = "0 1 2 7 50 1,000 .5 3.25 - + * / ^ ! = < % $ , . ; : ( ) [ ] { } | _ ' x y i e & ** #### and or x= − ° π"
COMMANDS = (
    r"\{ \} \pi \infty \pm \cup \in \frac \frac{1}{2} \sqrt \sqrt{2} \left \text{cm} \text \boxed{ \boxed{4} \% \$ "
    r"^\circ \begin{pmatrix} \\ \end{pmatrix} \( \) \[ \] answer is dollars Evelyn"
)
PIECES = st.sampled_from([*SIGNS.split(), *COMMANDS.split(), "\n", "\x00", "\ud800"])
ANSWERS = st.one_of(st.lists(PIECES, max_size=8).map("".join), st.lists(PIECES, max_size=6).map(" ".join), st.text())
ENCLOSED = st.sampled_from(["x", "1", "\\{", "\\}"])
NESTED = st.recursive(ENCLOSED, lambda inner: st.lists(inner, min_size=1, max_size=3).map("".join).map("{{{}}}".format))
NUMBERS = st.fractions(min_value=-(10**6), max_value=10**6, max_denominator=10**4)


SEEDS = st.integers(0, 2**32)


def cpu_seconds(*pairs: tuple[str, str]) -> float:
    start = time.process_time()
    for a, b in pairs:
        equal(a, b)
    return time.process_time() - start


@pytest.mark.parametrize(("a", "b"), [*SPELLINGS, *itertools.chain(*SAME.values())])
def test_the_same_answer_in_two_spellings_is_equal_both_ways(a: str, b: str) -> None:
    assert equal(a, b)
    assert equal(b, a)


@pytest.mark.parametrize(("a", "b"), [*OTHERS, *itertools.chain(*DIFFERENT.values())])
def test_different_answers_are_unequal_both_ways(a: str, b: str) -> None:
    assert not equal(a, b)
    assert not equal(b, a)


@pytest.mark.parametrize(("text", "answer"), PLACES)
def test_the_answer_is_found_in_the_documented_order_of_places(text: str, answer: str | None) -> None:
    assert extract(text) == answer


@pytest.mark.parametrize(("text", "answer"), EXTRACTED)
def test_what_a_completion_declares_is_its_answer(text: str, answer: str | None) -> None:
    found = extract(text)
    assert found is answer is None or agree(found, answer), found


@pytest.mark.parametrize("given", BARE)
def test_an_answer_that_is_handed_over_is_kept_as_it_is(given: str) -> None:
    assert bare(f"  {given}\n") == given
    assert equal(bare(given) or "", given)


def test_an_empty_answer_that_is_handed_over_is_none() -> None:
    assert bare(" \n") is None


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("He has 3 apples and buys 4", None),
        ("The answer is 1", None),
        ("The answer is $\\frac{1}", None),
        ("#### 1", None),
        ("so \\boxed{7} is what", "7"),
        ("The answer is 7. Let me check: 3 + 4", "7"),
        ("The answer is $7$", "7"),
        ("#### 18\nLet me", "18"),
        ("<answer>7</answer> and 8", "7"),
        ("<answer>7", None),
    ],
)
def test_a_completion_that_was_cut_off_has_an_answer_only_where_it_declared_one(text: str, answer: str | None) -> None:
    assert extract(text, finished=False) == answer


def test_a_percent_equals_its_share_and_its_figure_but_these_are_not_equal() -> None:
    assert equal("50%", "0.5")
    assert equal("50%", "50")
    assert not equal("0.5", "50")


def test_no_answer_agrees_with_nothing() -> None:
    assert agree("1/2", "0.5")
    assert not agree(None, None)
    assert not agree("1", None)


def test_agreement_may_be_by_an_equality_of_the_callers_own() -> None:
    assert agree("Ann", "ann!", lambda a, b: a[0].lower() == b[0].lower())
    assert not agree("1/2", "0.5", lambda a, b: False)


# -- kinds -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind", "value", "unit"),
    [
        ("1,200.50", "number", Fraction(2401, 2), ""),
        ("12.5 %", "number", Fraction(25, 2), "percent"),
        ("11_2", "number", 3, "base 2"),
        ("5 km/h", "quantity", 5, "km/h"),
        ("$1.5 million", "money", 1_500_000, "$"),
        ("2 h 30 min", "duration", Fraction(5, 2), "h"),
        ("3:4", "ratio", (3, 4), ""),
        ("3:45 pm", "time", ((15, 45, 0), False), ""),
        ("2024-05-12", "date", (2024, 5, 12), ""),
        ("x > 3", "inequality", ((3, False, float("inf"), False),), ""),
        ("[0, 1)", "interval", ((0, True, 1, False),), ""),
        ("DNE", "none", "does not exist", ""),
        ("Yes!", "truth", "yes", ""),
        ("(B)", "choice", ("B", None), ""),
        ("0x1F", "identifier", 31, "base 16"),
        ("C_6H_{12}O_6", "identifier", "C6H12O6", ""),
        ("São Paulo", "name", "São Paulo", ""),
    ],
)
def test_an_answer_is_read_into_its_kind(text: str, kind: str, value: object, unit: str) -> None:
    found = read(text)
    assert (found.kind, found.value, found.unit) == (kind, value, unit)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("10-20", "range"),
        ("(1, 2)", "tuple"),
        ("[1, 2]", "list"),
        ("1, 2", "set"),
        ("\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "matrix"),
        ("x^2+1", "expression"),
        ("x^2+y^2=1", "equation"),
        ("The train is late because of snow, so nobody was there in time.", "text"),
        ("def f(x):\n    return x", "code"),
    ],
)
def test_structured_answers_have_kinds_of_their_own(text: str, kind: str) -> None:
    assert read(text).kind == kind


def test_every_kind_and_bridge_of_the_tables_is_compared_and_no_other() -> None:
    compared = {frozenset(pair) for pair in equality.COMPARISONS if pair[0] != pair[1] and "choice" not in pair}
    bridged = {pair for pair in BRIDGES if "choice" not in pair}
    assert compared == bridged
    assert {pair[0] for pair in equality.COMPARISONS if pair[0] == pair[1]} == set(KINDS)


def test_a_name_in_front_is_kept_as_a_label() -> None:
    assert (read("x = 5").label, read("x = 5").value) == ("x", 5)
    assert not equal("x = 5", "y = 5")


# -- properties --------------------------------------------------------------------------------------------------------


@given(NUMBERS)
def test_a_number_is_read_exactly_in_every_spelling(value: Fraction) -> None:
    top, bottom = value.numerator, value.denominator
    spellings = [f"{top}/{bottom}", f"\\frac{{{top}}}{{{bottom}}}", f"$\\dfrac{{{-top}}}{{{-bottom}}}$"]
    if bottom == 1:
        spellings += [str(top), f"{top:,}", f"{top}.0", f"{top}e0"]
    elif value > 1:
        spellings.append(f"{top // bottom}\\frac{{{top % bottom}}}{{{bottom}}}")
    assert {parse_number(spelling) for spelling in spellings[:2]} == {value}
    assert all(equal(spelling, other) for spelling in spellings for other in spellings)


@given(NUMBERS, NUMBERS)
def test_two_fractions_are_equal_exactly_where_their_values_are(a: Fraction, b: Fraction) -> None:
    assert equal(str(a), f"\\frac{{{b.numerator}}}{{{b.denominator}}}") == (a == b)


@settings(max_examples=150, deadline=None)
@given(ANSWERS, ANSWERS)
def test_equality_of_any_texts_is_symmetric_and_reflexive_and_never_raises(a: str, b: str) -> None:
    assert equal(a, b) == equal(b, a)
    assert equal(a, a)


@settings(max_examples=200, deadline=None)
@given(SEEDS)
def test_equality_is_symmetric_and_says_the_same_in_any_wrapping_and_spacing(seed: int) -> None:
    rng = random.Random(seed)
    a, b = make(rng).text, make(rng).text
    found = equal(a, b)
    assert equal(b, a) == found
    for wrapped in (f"  {a} ", f"**{a}**", f"`{a}`", f"\\boxed{{{a}}}", f"{a}\n"):
        assert equal(wrapped, a)
        assert equal(wrapped, b) == found, wrapped


@settings(max_examples=200, deadline=None)
@given(st.integers(-40, 40), st.integers(-40, 40), st.sampled_from("xyzRr"))
def test_equality_is_invariant_under_latex_spelling(a: int, b: int, letter: str) -> None:
    spellings = [
        f"{a}{letter}{b:+}",
        f"{b}{a:+} {letter}",
        f"$ {a} \\cdot {letter} {b:+} $",
        f"\\left( {a} \\times {letter} \\right) {b:+}",
        f"\\frac{{{2 * a}{letter}{2 * b:+}}}{{2}}",
        f"{{{a}}}{{{letter}}}{b:+}",
    ]
    if a:
        assert all(equal(spelling, other) for spelling in spellings for other in spellings)
        assert not any(equal(spelling, f"{a}{letter}{b + 1:+}") for spelling in spellings)
        assert not any(equal(spelling, f"{a}{letter.swapcase()}{b:+}") for spelling in spellings)


@settings(max_examples=100, deadline=None)
@given(SEEDS)
def test_within_a_class_of_a_vote_all_answers_are_equal(seed: int) -> None:
    rng = random.Random(seed)
    answers = [make(rng).text for _ in range(12)] + ["50%", "0.5", "50", "1/2"]
    rng.shuffle(answers)
    classes: dict[str, list[str]] = {}
    for answer, count in vote(answers).counts:
        assert answer is not None
        members = [other for other in answers if equal(answer, other)]
        assert count <= len(members)
        classes[answer] = members
    assert sum(count for _, count in vote(answers).counts) == len(answers)


@settings(max_examples=300, deadline=None)
@given(SEEDS)
def test_answers_of_different_meaning_are_not_merged(seed: int) -> None:
    rng = random.Random(seed)
    a, b = make(rng), make(rng)
    assert may_be_equal(a, b) or not equal(a.text, b.text), (a, b)


@pytest.mark.slow
def test_of_a_hundred_thousand_made_pairs_none_is_merged_falsely() -> None:
    rng = random.Random(7)
    pairs = ((make(rng), make(rng)) for _ in range(100_000))
    assert [(a.text, b.text) for a, b in pairs if not may_be_equal(a, b) and equal(a.text, b.text)] == []


@settings(max_examples=150, deadline=None)
@given(st.lists(ANSWERS, max_size=6).map(" ".join))
def test_extraction_from_any_text_gives_a_trimmed_answer_or_none(text: str) -> None:
    answer = extract(text)
    assert answer is None or (answer and answer == answer.strip())


@given(NESTED)
def test_a_box_holds_whatever_its_braces_enclose(content: str) -> None:
    assert extract(f"2 \\boxed{{3}} then \\boxed{{{content}}} then 4") == content


# -- bounds ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", NASTY, ids=lambda text: text[:20])
def test_no_answer_takes_more_than_seconds(text: str) -> None:
    equal("\\sqrt{x}+1", "1+\\sqrt{x}")
    assert cpu_seconds((text, "5"), (text, "1+x"), (text, text + "+0"), (text[::-1], text)) < 8


def test_a_vote_on_adversarial_answers_is_bounded_as_a_whole() -> None:
    vote(["\\sqrt{2}", "1"])
    start = time.thread_time()
    vote([f"\\sum_{{i=1}}^{{1000}} \\sin(i+{number})" for number in range(96)])
    assert time.thread_time() - start < 2


@pytest.mark.parametrize(
    "piece",
    [
        "\\boxed{",
        "{",
        "\\(",
        "$",
        "answer is ",
        "#### \n",
        "1,",
        "answer to ",
        "-",
        "<answer>",
        "1 ",
        "final_answer(",
        '"answer": "',
        '"answer": \'',
    ],
)
def test_extraction_takes_time_in_proportion_to_the_text(piece: str) -> None:
    start = time.process_time()
    extract(piece * (400_000 // len(piece)))
    assert time.process_time() - start < 3


def test_the_time_of_other_threads_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same expressions get a value beside threads that compute all the time, in a bound of little more."""
    texts = [f"\\sin(x+{number})+\\cos(x)+\\ln({number}+2)" for number in range(5)]
    evaluation._sample.cache_clear()
    start = time.thread_time()
    alone = [evaluation.sample(read(text).value) for text in texts]
    taken = time.thread_time() - start
    evaluation._sample.cache_clear()
    monkeypatch.setattr(evaluation, "EXPRESSION_SECONDS", max(3 * taken / len(texts), 0.02))
    done = threading.Event()

    def busy() -> None:
        while not done.is_set():
            sum(range(1000))

    threads = [threading.Thread(target=busy, daemon=True) for _ in range(6)]
    for thread in threads:
        thread.start()
    try:
        beside = [evaluation.sample(read(text).value) for text in texts]
    finally:
        done.set()
    assert all(alone)
    assert [one is not None for one in beside] == [one is not None for one in alone]


def test_a_computation_that_ran_out_of_time_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = "\\sin(x+31)+\\ln(7)", "\\ln(7)+\\sin(31+x)"
    monkeypatch.setattr(evaluation, "EXPRESSION_SECONDS", 0.0)
    assert not equal(a, b)
    monkeypatch.undo()
    assert equal(a, b)


def test_equality_is_the_same_from_eight_threads_at_once() -> None:
    pairs = [(f"(x+\\sqrt{{{n}}})^2", f"x^2+2\\sqrt{{{n}}}x+{n + n % 2}") for n in range(101, 109)]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda pair: equal(*pair), pairs * 4))
    assert found == [n % 2 == 0 for n in range(101, 109)] * 4


def test_numbers_and_words_are_compared_without_loading_libraries() -> None:
    program = (
        "import sys; from latent_memory_plugin.answers import equal, extract, read;"
        "assert equal('1,000', '1000') and not equal('1/2', '(1,2)') and equal('\\\\frac12', '0.5');"
        "assert not equal('Evelyn', 'Briana') and extract('so 5') == '5' and equal('(A)', 'A');"
        "heavy = {'sympy', 'mpmath', 'pint', 'babel', 'simplemma', 'math_verify', 'torch', 'pydantic', 'numpy'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


# -- the page and the command ------------------------------------------------------------------------------------------

PAGE = Path(__file__).parents[1] / "docs" / "answers.md"


def test_the_page_has_every_kind_and_bridge() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert not [kind for kind, row in KINDS.items() if f"| {kind} | " not in page or row.value not in page]
    assert not [pair for pair, why in BRIDGES.items() if f"| {' and '.join(sorted(pair))} | {why} |" not in page]


def test_the_command_shows_kinds_and_classes_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "completions.jsonl"
    rows = [
        {"question": "a", "rollouts": ["so \\boxed{1/2}", "The answer is 0.5.", "I don't know"]},
        {"question": "b", "answer": "2x+3"},
        {"question": "b", "text": "The answer is 3+2x."},
    ]
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    result = CliRunner().invoke(app, ["answers", str(file), "--json", "-"])
    assert result.exit_code == 0, result.output
    first, second = json.loads(result.output)["groups"]
    assert [(one["answer"], one["kind"], one["count"]) for one in first["classes"]] == [
        ("1/2", "number", 2),
        (None, "no answer", 1),
    ]
    assert [(one["answer"], one["kind"], one["count"]) for one in second["classes"]] == [("2x+3", "expression", 2)]


@pytest.mark.parametrize("line", ["not json", "3", '{"question": "a"}', '{"text": [[1]]}'])
def test_a_line_that_holds_no_completion_is_named(tmp_path: Path, line: str) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text(f'"The answer is 5."\n{line}\n', encoding="utf-8")
    result = CliRunner().invoke(app, ["answers", str(file)])
    assert result.exit_code == 1
    assert "Line 2 of" in result.output


def test_a_vote_on_prose_says_that_it_means_nothing() -> None:
    answers = [f"The {word} fox ran over the hill and then it slept for long." for word in ("red", "old", "shy")]
    with pytest.warns(UserWarning, match=r"3 of 3 answers are text.*extract=.*equal=.*reward="):
        vote(answers)
    assert "reward=" in without_equality(["def f(x):\n    return x", "def f(y):\n    return y"])
    assert without_equality(["1", "2", "3"]) == without_equality([None]) == ""


@pytest.mark.filterwarnings("error")
def test_a_vote_on_prose_that_a_reward_or_an_equality_judges_says_nothing() -> None:
    answers = [f"The {word} fox ran over the hill and then it slept for long." for word in ("red", "old", "shy")]
    vote(answers, confirmed=True)
    assert len(vote(answers, equal=lambda a, b: True).counts) == 1


UNDECLARED = "We add 3 and 4 to get 7, and then we go home and sleep for long."
CODE = "def f(x):\n    return 3"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("First we add 3 and 4 and get 7. Then we double that. The answer is 14.", "14"),
        (UNDECLARED, UNDECLARED),
        (CODE, CODE),
        ("\\boxed{7}", "7"),
        ("3 + 4 = 7\n#### 7", "7"),
    ],
)
def test_of_a_completion_in_prose_that_is_handed_over_only_a_declared_answer_is_taken(text: str, answer: str) -> None:
    assert bare(text) == answer
