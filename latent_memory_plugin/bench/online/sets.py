"""Real data sets from the hub, as (question, answer, kind). Needs the extra `datasets`."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from latent_memory_plugin.answers import extract
from latent_memory_plugin.errors import InputError

Problem = tuple[str, str, str]
"""(question, answer, kind)."""


class HubSet(NamedTuple):
    """Where a data set lies on the hub, and how its rows are read."""

    hub_id: str
    """`owner/name`."""
    config: str | None
    """Its configuration, where it has several."""
    split: str
    """Its split."""
    read: Callable[[Mapping[str, Any]], Problem]
    """A row → a problem."""
    problems: int
    """How many problems it has."""


def gsm8k(row: Mapping[str, Any]) -> Problem:
    """A row of GSM8K: the label stands behind `####` at the end of the solution."""
    answer = extract(_text(row, "answer"))
    if answer is None:
        raise InputError(f"The solution {row['answer']!r:.80} holds no final answer; GSM8K's end with '#### N'.")
    return _text(row, "question"), answer.replace(",", ""), "gsm8k"


def math_500(row: Mapping[str, Any]) -> Problem:
    """A row of MATH-500; kinds are its subjects."""
    return _text(row, "problem"), _text(row, "answer"), _text(row, "subject")


def amc23(row: Mapping[str, Any]) -> Problem:
    """A row of AMC 2023; answers are numbers."""
    return _text(row, "question"), _whole(_text(row, "answer")), "amc23"


def aime24(row: Mapping[str, Any]) -> Problem:
    """A row of AIME 2024; answers are whole numbers from 0 to 999, some with leading zeros."""
    return _text(row, "problem"), str(int(_text(row, "answer"))), "aime24"


SETS: dict[str, HubSet] = {
    "gsm8k": HubSet("openai/gsm8k", "main", "test", gsm8k, 1319),
    "math-500": HubSet("HuggingFaceH4/MATH-500", None, "test", math_500, 500),
    "amc23": HubSet("math-ai/amc23", None, "test", amc23, 40),
    "aime24": HubSet("HuggingFaceH4/aime_2024", None, "train", aime24, 30),
}
"""The data sets by the names `--problems` knows."""


def load(name: str) -> list[Problem]:
    """All problems of a data set, downloaded where they are not in the local cache.

    Raises `InputError` where the extra is not installed, the hub cannot be reached or a row is not what it should be.
    """
    chosen = SETS[name]
    try:
        from datasets import load_dataset  # pyright: ignore[reportMissingImports, reportUnknownVariableType]
    except ImportError as exc:
        raise InputError(
            f"The data set {name!r} comes from the hub, and the package 'datasets' is not installed; run "
            "`pip install 'latent-memory-plugin[datasets]'`, or pass a JSONL file with 'question' and 'answer'."
        ) from exc
    try:
        rows = cast(Any, load_dataset)(chosen.hub_id, chosen.config, split=chosen.split)
    except Exception as exc:  # a foreign library's door: connection, cache and format errors share no base class
        raise InputError(
            f"The data set {chosen.hub_id!r} cannot be had ({str(exc).strip()[:200]}); check the network, or pass a "
            "JSONL file with 'question' and 'answer'."
        ) from exc
    return read(name, rows)


def load_file(name: str, path: Path) -> list[Problem]:
    """The problems of a JSONL file whose rows have the fields that the data set has on the hub. Raises `InputError`."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        rows = [json.loads(line) for line in lines if line.strip()]
    except (OSError, ValueError) as exc:
        raise InputError(
            f"{str(path)!r} cannot be read as rows of {name!r} ({exc!s:.200}); pass a JSONL file with the fields that "
            f"{SETS[name].hub_id!r} has."
        ) from exc
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{str(path)!r} holds no rows of {name!r}; each line is a JSON object.")
    return read(name, rows)


def read(name: str, rows: Iterable[Mapping[str, Any]]) -> list[Problem]:
    """The rows of a data set as problems. Raises `InputError` naming the first one that cannot be used."""
    found: list[Problem] = []
    for number, row in enumerate(rows):
        try:
            found.append(SETS[name].read(row))
        except (KeyError, ValueError) as exc:
            raise InputError(f"Row {number} of {name!r} cannot be used: {exc!s:.200}") from exc
    return found


def _text(row: Mapping[str, Any], field: str) -> str:
    if row.get(field) is None:
        raise InputError(f"The row has no {field!r}; it has {', '.join(map(repr, row))}.")
    return str(row[field]).strip()


def _whole(text: str) -> str:
    """A number without the `.0` that a column of floats gives it."""
    return text.removesuffix(".0")
