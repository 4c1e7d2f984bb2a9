"""The ledger: a file in which the writer notes each call before it is made, where that matters, and after it returned.

A line is in the file as soon as it is written: a killed process loses none, only a killed machine would.
"""

import os
from collections import defaultdict
from pathlib import Path
from typing import Literal, get_args

Word = Literal[
    "committed", "updated", "stood", "put", "used", "suspending", "suspended", "removing", "removed", "opened", "failed"
]
"""What a line says happened, or, in `-ing`, is about to happen."""

Noted = dict[Word, set[str]]
"""Ids by word."""


class Ledger:
    """The writer's end."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(self, word: Word, text: str) -> None:
        """Adds one line."""
        os.write(self._file, f"{word} {' '.join(text.split())}\n".encode())


def noted(path: Path) -> Noted:
    """What the file says; a last line without its end was never finished and is left out."""
    found: Noted = defaultdict(set)
    words: dict[str, Word] = {word: word for word in get_args(Word)}
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    for line in text.splitlines(keepends=True):
        word, _, rest = line.rstrip("\n").partition(" ")
        if line.endswith("\n"):
            found[words[word]].add(rest)
    return found
