"""Questions from a JSONL file, all checked before one of them is used."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from latent_memory_plugin.answers import bare
from latent_memory_plugin.errors import InputError
from latent_memory_plugin.records import Problem


@dataclass(frozen=True)
class Row:
    """One question and where it stands."""

    line: int
    """Number of its line, from 1."""
    problem: Problem
    """The question."""
    answer: str | None
    """Its label, where the row has one; for scores only."""


def read(path: Path) -> list[Row]:
    """The rows of a JSONL file, each with a `question` and perhaps an `answer`; empty lines are passed over.

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
            yield _row(number, line)
        except (ValueError, RecursionError) as exc:
            raise InputError(f"Line {number} of {str(path)!r} cannot be used: {exc} Nothing was learnt.") from exc


def _row(number: int, line: str) -> Row:
    try:
        row: Any = json.loads(line)
    except ValueError as exc:
        raise ValueError(f"{line.strip()!r:.80} is no JSON ({exc}).") from exc
    fields = cast(dict[str, Any], row) if isinstance(row, dict) else {}
    question, answer = fields.get("question"), fields.get("answer")
    if not isinstance(question, str):
        raise ValueError(f"{line.strip()!r:.80} is no object with a text 'question'.")
    return Row(number, Problem(question=question), None if answer is None else bare(str(answer)))
