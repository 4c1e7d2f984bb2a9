"""The text the embedded model is trained on.

A document is a chat. Most hold one problem and one solution, by the right procedure about half the time and by a
misconception otherwise; some hold two problems of a family by one author, who mostly keeps to a way of solving; some
solve with a `calc` tool; some are plain arithmetic. A document is a list of (text, spoken) pieces, spoken where the
assistant says it.
"""

import json
import random
from collections.abc import Mapping

from latent_memory_plugin.sandbox.family import Family, Procedure, WordProblem, World, calculate
from latent_memory_plugin.sandbox.tokenizer import BEGIN, CALL, CALL_END, END
from latent_memory_plugin.sandbox.world import equations, solve

OPENINGS = ("Let us see. ", "Now then: ", "We work it out. ", "So, ")
"""What a solution of the hard half begins with: words that say nothing of its way, so that the last token of a question
does not yet know the way either."""
SLIP_RATE: Mapping[World, float] = {"plain": 0.03, "hard": 0.01}
AUTHOR_KEEPS_PROCEDURE = 0.75
SYSTEM_SHARE = 0.15
SYSTEM_TEXTS = (
    "You are a helpful assistant.",
    "Solve the problem step by step.",
    "You are a math tutor.",
    "Answer the question. End with the answer.",
    "You solve math problems. Think before you answer.",
    "Use the tools where they help.",
)

Document = list[tuple[str, bool]]


def document(chosen: tuple[Family, ...], rng: random.Random) -> Document:
    """One chat of the training text."""
    family = rng.choice(chosen)
    kind = rng.random()
    if kind < 0.12:
        return _drill(rng)
    if kind < 0.24:
        return _with_tool(family, rng)
    if kind < 0.38:
        return _two_problems(family, rng)
    return _one_problem(family, rng)


def choose_procedure(family: Family, phrasing: int, rng: random.Random) -> Procedure:
    """A right way with the phrasing's belief, else a misconception, the first one most often."""
    if rng.random() < family.belief[phrasing]:
        return rng.choice(family.ways) if family.also_right else family.ways[0]
    leading, *others = family.misconceptions
    return leading if rng.random() < family.leading else rng.choice(others)


def _opening(rng: random.Random, extra: str = "") -> str:
    system = f"<|system|>{rng.choice(SYSTEM_TEXTS)}{END}" if rng.random() < SYSTEM_SHARE else ""
    return f"{BEGIN}{extra}{system}"


def _turn(problem: WordProblem, solution: str) -> Document:
    return [(f"<|user|>{problem.question}{END}<|assistant|>", False), (f"{solution}{END}", True)]


def _solve(problem: WordProblem, procedure: Procedure, rng: random.Random) -> str:
    return _said_first(problem.family, rng) + solve(problem, procedure, rng, SLIP_RATE[problem.family.world])


def _said_first(family: Family, rng: random.Random) -> str:
    return rng.choice(OPENINGS) if family.world == "hard" else ""


def _one_problem(family: Family, rng: random.Random) -> Document:
    problem = family.draw(rng)
    procedure = choose_procedure(family, problem.phrasing, rng)
    return [(_opening(rng), False), *_turn(problem, _solve(problem, procedure, rng))]


def _two_problems(family: Family, rng: random.Random) -> Document:
    first, second = family.draw(rng), family.draw(rng)
    procedure = choose_procedure(family, first.phrasing, rng)
    kept = procedure if rng.random() < AUTHOR_KEEPS_PROCEDURE else choose_procedure(family, second.phrasing, rng)
    return [
        (_opening(rng), False),
        *_turn(first, _solve(first, procedure, rng)),
        *_turn(second, _solve(second, kept, rng)),
    ]


def _with_tool(family: Family, rng: random.Random) -> Document:
    problem = family.draw(rng)
    procedure = choose_procedure(family, problem.phrasing, rng)
    pieces: Document = [(f"{_opening(rng, f'<|tools|>calc{END}')}<|user|>{problem.question}{END}<|assistant|>", False)]
    first, value = _said_first(family, rng), 0
    for label, equation, value in equations(procedure, dict(problem.numbers)):
        call = json.dumps({"name": "calc", "arguments": {"expression": equation}})
        pieces.append((f"{first}{label}: {CALL}{call}{CALL_END}{END}", True))
        first = ""
        pieces.append((f"<|tool|>{value}{END}<|assistant|>", False))
    return [*pieces, (f"#### {value}{END}", True)]


def _drill(rng: random.Random) -> Document:
    lines: list[str] = []
    while len(lines) < 10:
        operator = rng.choice("+-*/*/")
        left, right = _operands(operator, rng)
        value = calculate(left, operator, right)
        if value is not None and 1 <= value <= 999:
            lines.append(f"{left}{operator}{right}={value}.")
    return [(f"{BEGIN}<|user|>Calculate.{END}<|assistant|>", False), (" ".join(lines) + END, True)]


def _operands(operator: str, rng: random.Random) -> tuple[int, int]:
    """Operands of the sizes that the families use."""
    if operator == "*":
        return rng.randint(2, 99), rng.randint(2, 15)
    if operator == "/":
        divisor = rng.randint(2, 10)
        return divisor * rng.randint(2, 80), divisor
    if operator == "-":
        left = rng.randint(3, 400)
        return left, rng.randint(1, min(left - 1, 99))
    return rng.randint(1, 400), rng.randint(1, 120)
