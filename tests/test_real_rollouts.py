"""Extraction, equality and votes on text that a real model wrote. Skipped where the data is not there."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from latent_memory_plugin.answers import agree, equal, extract
from latent_memory_plugin.answers.vote import vote

DATA = Path(__file__).parent.parent.parent / "shared" / "data"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the data is not beside the repository")

JUDGED_OTHERWISE: frozenset[tuple[int, int]] = frozenset()
"""Problem and rollout where the recorded judgement differs from ours."""


def rows(name: str) -> Iterator[dict[str, Any]]:
    with (DATA / name).open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def test_extraction_and_equality_reproduce_the_recorded_judgement() -> None:
    differing, total = set[tuple[int, int]](), 0
    for problem, row in enumerate(rows("math_rollouts.jsonl")):
        for rollout, (text, correct) in enumerate(zip(row["rollouts"], row["correct"], strict=True)):
            total += 1
            if agree(extract(text), row["answer"]) != correct:
                differing.add((problem, rollout))
    assert differing <= JUDGED_OTHERWISE
    assert total == 400
    assert len(differing) <= 0.01 * total


def test_without_its_box_the_answer_is_still_found_in_nine_of_ten_rollouts() -> None:
    found = total = 0
    for row in rows("math_rollouts.jsonl"):
        for text, correct in zip(row["rollouts"], row["correct"], strict=True):
            boxed = extract(text) or ""
            found += agree(extract(text.replace(f"\\boxed{{{boxed}}}", boxed)), row["answer"]) == correct
            total += 1
    assert found >= 0.9 * total


def test_every_gold_solution_gives_its_answer() -> None:
    assert [row["answer"] for row in rows("gsm8k.jsonl") if not agree(extract(row["solution"]), row["answer"])] == []


@pytest.mark.parametrize(
    "ending", ["The answer is {}.", "**Answer:** ${}$", "So it is \\boxed{{{}}}.", "Final answer: **{}**"]
)
def test_a_gold_answer_is_found_however_it_is_stated(ending: str) -> None:
    for row in rows("gsm8k.jsonl"):
        text = row["solution"].partition("####")[0] + ending.format(row["answer"])
        assert agree(extract(text), row["answer"]), text


@pytest.mark.parametrize("spelling", ["{}", "${}$", "\\( {} \\)", " {}. ", "\\boxed{{{}}}", "**{}**"])
def test_every_competition_answer_equals_itself_in_any_wrapping(spelling: str) -> None:
    for row in rows("math.jsonl"):
        assert equal(row["answer"], spelling.format(row["answer"])), row["answer"]


def test_no_two_distinct_competition_answers_are_merged_but_by_unit_label_or_base() -> None:
    answers = sorted({row["answer"] for row in rows("math.jsonl")})
    merged = {(a, b) for position, a in enumerate(answers) for b in answers[position + 1 :] if equal(a, b)}
    by_unit_label_or_base = {(angle, f"{angle}^\\circ") for angle in ("120", "30", "90")} | {
        ("40", "40_9"),
        ("5", "x=5"),
    }
    by_value_in_another_base = {("42", "52_8"), ("36", "40_9"), ("204_5", "54")}
    assert merged == by_unit_label_or_base | by_value_in_another_base


def test_the_vote_is_right_wherever_most_rollouts_are() -> None:
    for row in rows("math_rollouts.jsonl"):
        taken = vote([extract(text) for text in row["rollouts"]])
        if sum(row["correct"]) > len(row["correct"]) / 2:
            assert agree(taken.answer, row["answer"])
            assert taken.share == sum(row["correct"]) / len(row["correct"])
