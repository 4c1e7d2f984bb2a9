"""Questions from a JSONL file, all checked before one of them is used."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from latent_memory_plugin.errors import InputError
from latent_memory_plugin.records import Problem


@dataclass(frozen=True)
class Row:
    """One question and where it stands."""

    line: int
    """Number of its line, from 1."""
    problem: Problem
    """The question."""


def read(path: Path) -> list[Row]:
    """The questions of a JSONL file whose rows have a `question`; empty lines are passed over, other fields ignored.

    Raises InputError naming the first line that cannot be used.
    """
    try:
        with path.open(encoding="utf-8-sig") as lines:
            rows = list(_rows(path, lines))
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror or str(exc) if isinstance(exc, OSError) else str(exc)
        raise InputError(f"{str(path)!r} cannot be read as UTF-8 text ({reason}); pass a JSONL file.") from exc
    if not rows:
        raise InputError(f"{str(path)!r} holds no question; each line is a JSON object with a 'question'.")
    return rows


def _rows(path: Path, lines: Iterable[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield Row(number, _problem(line))
        except (ValueError, RecursionError) as exc:
            raise InputError(f"Line {number} of {str(path)!r} cannot be used: {exc} Nothing was learnt.") from exc


def _problem(line: str) -> Problem:
    try:
        row: Any = json.loads(line)
    except ValueError as exc:
        raise ValueError(f"{line.strip()!r:.80} is no JSON ({exc}).") from exc
    question = cast(dict[str, Any], row).get("question") if isinstance(row, dict) else None
    if not isinstance(question, str):
        raise ValueError(f"{line.strip()!r:.80} is no object with a text 'question'.")
    try:
        question.encode()
    except UnicodeEncodeError as exc:
        raise ValueError(f"{question!r:.80} holds half a surrogate pair.") from exc
    return Problem(question=question)
