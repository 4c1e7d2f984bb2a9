"""Completions from a JSONL file → what kind each answer is, and which are the same. Needs no model and no store."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

from latent_memory_plugin.answers.extraction import bare, extract
from latent_memory_plugin.answers.reading import read
from latent_memory_plugin.answers.vote import merged, without_equality
from latent_memory_plugin.errors import InputError

WANTED = "a text, or an object with a 'text', 'rollouts' (a list of texts) or an 'answer'"
COMPLETIONS, ANSWERS = ("text", "completion", "rollouts", "completions"), ("answer", "answers")
"""Names of fields that hold completions, and of those that hold bare answers; the first that a line has counts."""


@dataclass(frozen=True)
class Group:
    """The answers to one question."""

    question: str
    """As in the file; empty where its lines name none."""
    answers: tuple[str | None, ...]
    """One for each completion; None where it holds none."""

    def report(self) -> dict[str, Any]:
        """Classes of equal answers, most first, each with its spellings and what kind it was read as."""
        classes = [_class(answer, count) for answer, count in merged(self.answers)]
        return {"question": self.question, "classes": classes, "warning": without_equality(self.answers)}


def _class(answer: str | None, count: int) -> dict[str, Any]:
    if answer is None:
        return {"answer": None, "kind": "no answer", "value": "", "unit": "", "count": count}
    found = read(answer)
    value = str(found.value) if isinstance(found.value, (int, float, Fraction)) else found.text
    return {"answer": answer, "kind": found.kind, "value": value, "unit": found.unit, "count": count}


def groups(path: Path) -> list[Group]:
    """The answers of a JSONL file by question, in the order of the file. Raises InputError naming the first line that
    cannot be used."""
    found: dict[str, list[str | None]] = {}
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for question, answers in _rows(path, lines):
                found.setdefault(question, []).extend(answers)
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror or str(exc) if isinstance(exc, OSError) else str(exc)
        raise InputError(f"{str(path)!r} cannot be read as UTF-8 text ({reason}); pass a JSONL file.") from exc
    if not found:
        raise InputError(f"{str(path)!r} holds no completion; each line is JSON: {WANTED}.")
    return [Group(question, tuple(answers)) for question, answers in found.items()]


def _rows(path: Path, lines: Iterable[str]) -> Iterator[tuple[str, list[str | None]]]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield _row(json.loads(line))
            except (ValueError, RecursionError) as exc:
                raise InputError(
                    f"Line {number} of {str(path)!r} cannot be used ({exc}); it must be {WANTED}."
                ) from exc


def _row(row: Any) -> tuple[str, list[str | None]]:
    if isinstance(row, str):
        return "", [extract(row)]
    fields = cast("dict[str, Any]", row) if isinstance(row, dict) else {}
    name = next((name for name in (*COMPLETIONS, *ANSWERS) if fields.get(name) is not None), "")
    given: Any = fields.get(name)
    texts: list[Any] = cast("list[Any]", given) if isinstance(given, list) else [given]
    if not name or not all(isinstance(text, (str, int, float)) for text in texts):
        raise ValueError(f"{row!r:.80} holds no completion")
    reader = extract if name in COMPLETIONS else bare
    return str(fields.get("question", "")), [reader(str(text)) for text in texts]
