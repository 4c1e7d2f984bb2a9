"""The embedded world: families, solutions, streams, and the text that the model is trained on."""

import random
import re
from collections import Counter
from typing import Any

import pytest
from transformers import AutoTokenizer

from latent_memory_plugin import answers
from latent_memory_plugin.errors import InputError
from latent_memory_plugin.sandbox.corpus import choose_procedure, document
from latent_memory_plugin.sandbox.family import Family, Procedure, WordProblem, calculate
from latent_memory_plugin.sandbox.train import WEIGHTS
from latent_memory_plugin.sandbox.world import FAMILIES, equations, families, solve, stream

every_family = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(WEIGHTS)


def drawn(family: Family, count: int = 40, seed: int = 0) -> list[WordProblem]:
    rng = random.Random(seed)
    return [family.draw(rng) for _ in range(count)]


def right(problem: WordProblem, **slips: Any) -> str:
    return solve(problem, problem.family.procedures[0], **slips)


# -- families ----------------------------------------------------------------------------------------------------------


def test_there_are_twelve_families_for_tuning_and_twelve_others_held_out() -> None:
    tuning, held_out = families("tuning"), families("held-out")
    assert (len(tuning), len(held_out)) == (12, 12)
    assert {family.split for family in tuning} == {"tuning"} and {family.split for family in held_out} == {"held-out"}
    assert families() == FAMILIES == (*tuning, *held_out)
    assert len({family.name for family in FAMILIES}) == 24


def test_no_wording_occurs_twice() -> None:
    wordings = [phrasing for family in FAMILIES for phrasing in family.phrasings]
    assert len(set(wordings)) == len(wordings)


def test_an_unknown_split_is_named() -> None:
    with pytest.raises(InputError, match="'test'"):
        families("test")  # pyright: ignore[reportArgumentType]


@every_family
def test_a_family_has_four_phrasings_each_with_a_belief_and_one_to_three_misconceptions(family: Family) -> None:
    assert len(family.phrasings) == len(family.belief) >= 4
    assert all(0.3 <= belief <= 0.7 for belief in family.belief)
    assert 1 <= len(family.wrong) <= 3
    assert len({procedure.steps for procedure in family.procedures}) == len(family.procedures)


@every_family
def test_every_phrasing_shows_every_number_and_leaves_nothing_to_fill_in(family: Family) -> None:
    for phrasing in range(len(family.phrasings)):
        problem = family.draw(random.Random(phrasing), phrasing)
        assert problem.phrasing == phrasing and not re.search(r"[{}]", problem.question)
        shown = Counter(re.findall(r"\d+", problem.question))
        assert not Counter(map(str, problem.numbers.values())) - shown


@every_family
def test_the_right_procedure_gives_the_label_and_every_misconception_another_answer(family: Family) -> None:
    for problem in drawn(family, 100):
        procedure, *wrong = family.procedures
        assert answers.extract(solve(problem, procedure)) == problem.answer
        for other in wrong:
            assert not answers.equal(str(answers.extract(solve(problem, other))), problem.answer)


@every_family
def test_every_equation_of_a_solution_is_true_and_its_last_value_is_the_answer(family: Family) -> None:
    for problem in drawn(family, 20):
        for procedure in family.procedures:
            text = solve(problem, procedure)
            steps = re.findall(r"(\w+): (\d+)([-+*/])(\d+)=(\d+)\.", text)
            assert len(steps) == len(procedure.steps)
            for _, left, operator, other, value in steps:
                assert calculate(int(left), operator, int(other)) == int(value)
            assert text.endswith(f" #### {steps[-1][-1]}")


def test_a_slip_writes_one_wrong_value_and_goes_on_with_it() -> None:
    [problem] = stream([FAMILIES[0]], 1, 0)
    assert right(problem, slip=random.Random(0), slip_rate=0.0) == right(problem)
    text = right(problem, slip=random.Random(0), slip_rate=1.0)
    values = [int(value) for value in re.findall(r"=(\d+)\.", text)]
    true = [eval(equation) for equation in re.findall(r": (\S+?)=", text)]
    assert all(value != other for value, other in zip(values, true, strict=True))
    assert f"+{problem.numbers['c']}=" in text and f": {values[0]}+" in text


@pytest.mark.parametrize("text", ["sum = a", "sum: a + b", "sum = a + b + c", ""])
def test_a_procedure_that_is_no_list_of_equations_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="unpack"):
        Procedure.parse("broken", text)


def test_an_unknown_operator_is_named() -> None:
    with pytest.raises(ValueError, match=r"'\^'"):
        calculate(2, "^", 3)


@pytest.mark.parametrize(("left", "right", "value"), [(12, 4, 3), (13, 4, None), (1, 0, None)])
def test_division_is_whole_or_nothing(left: int, right: int, value: int | None) -> None:
    assert calculate(left, "/", right) == value


# -- streams -----------------------------------------------------------------------------------------------------------


def test_a_stream_is_seeded_distinct_balanced_and_mixed() -> None:
    problems = stream(families("tuning"), 60, seed=3)
    assert problems == stream(families("tuning"), 60, seed=3)
    assert [one.question for one in problems] != [one.question for one in stream(families("tuning"), 60, seed=4)]
    assert len({problem.question for problem in problems}) == 60
    assert set(Counter(problem.family.name for problem in problems).values()) == {5}
    assert len({problem.family.name for problem in problems[:12]}) < 12


def test_a_stream_of_no_family_is_refused() -> None:
    with pytest.raises(InputError, match="families"):
        stream([], 3, seed=0)


# -- training text -----------------------------------------------------------------------------------------------------


def test_about_half_of_the_training_solutions_use_the_right_procedure() -> None:
    rng = random.Random(0)
    chosen: list[bool] = []
    for family in FAMILIES:
        for problem in drawn(family, 80):
            chosen.append(choose_procedure(family, problem.phrasing, rng) is family.procedures[0])
    assert 0.45 < sum(chosen) / len(chosen) < 0.6


def messages_of(text: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The chat messages and the tools that a training document shows."""
    messages: list[dict[str, Any]] = []
    tools: list[dict[str, Any]] = []
    for role, content in re.findall(r"<\|(system|user|assistant|tool|tools)\|>(.*?)<\|end\|>", text, re.DOTALL):
        said, _, call = content.partition("<tool_call>")
        if role == "tools":
            tools = [{"type": "function", "function": {"name": name}} for name in content.split()]
        elif call:
            function = re.fullmatch(r'\{"name": "(\w+)", "arguments": (\{.*\})\}</tool_call>', call)
            assert function, call
            calls = [{"type": "function", "function": {"name": function[1], "arguments": function[2]}}]
            messages.append({"role": role, "content": said, "tool_calls": calls})
        else:
            messages.append({"role": role, "content": content})
    return messages, tools


def test_the_chat_template_writes_the_messages_of_a_document_as_the_model_was_trained_on_them(
    tokenizer: Any,
) -> None:
    rng = random.Random(0)
    kinds: Counter[str] = Counter()
    for _ in range(60):
        text = "".join(piece for piece, _ in document(FAMILIES, rng))
        messages, tools = messages_of(text)
        assert tokenizer.apply_chat_template(messages, tools=tools or None, tokenize=False) == text
        kinds["tools" if tools else "system" if messages[0]["role"] == "system" else "plain"] += 1
    assert min(kinds[kind] for kind in ("tools", "system", "plain")) > 0


def test_arguments_of_a_tool_call_may_be_a_mapping_or_text(tokenizer: Any) -> None:
    texts: list[Any] = []
    for arguments in ({"expression": "1+2"}, '{"expression": "1+2"}'):
        calls = [{"type": "function", "function": {"name": "calc", "arguments": arguments}}]
        message = {"role": "assistant", "content": "sum: ", "tool_calls": calls}
        texts.append(tokenizer.apply_chat_template([message], tokenize=False))
    expected = 'sum: <tool_call>{"name": "calc", "arguments": {"expression": "1+2"}}</tool_call><|end|>'
    assert texts == [f"<|begin|><|assistant|>{expected}"] * 2


def test_the_assistant_speaks_solutions_and_calls_and_nothing_else() -> None:
    rng = random.Random(1)
    for _ in range(60):
        for text, spoken in document(FAMILIES, rng):
            assert not (spoken and re.search(r"<\|(user|system|tools?)\|>", text))
            assert not (spoken is False and "####" in text)


def test_equations_go_on_with_a_changed_value() -> None:
    procedure = Procedure.parse("sum", "sum = a + b; double = sum * 2")
    known = {"a": 1, "b": 2}
    lines: list[tuple[str, str, int]] = []
    for label, equation, value in equations(procedure, known):
        lines.append((label, equation, value))
        if label == "sum":
            known["sum"] = 10
    assert lines == [("sum", "1+2", 3), ("double", "10*2", 20)]
