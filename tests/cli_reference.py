"""The command line's reference, made of its own help texts: `make docs` writes it to docs/cli.md."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner

from latent_memory_plugin.cli import app

PAGE = Path(__file__).parents[1] / "docs" / "cli.md"
NAME = "latent-memory"
COLUMNS = 100
EXITS = "Exit codes: 0 done, 1 an error (one line on standard error), 2 wrong usage, 130 interrupted."


def render() -> str:
    """The page as Markdown."""
    sections = (f"## {' '.join((NAME, *words))}\n\n```text\n{help_of(words)}\n```\n" for words in all_words())
    return "\n".join(("# Command line\n", f"{EXITS}\n", *sections))


def all_words() -> Iterator[tuple[str, ...]]:
    """The words of every command, groups before their members."""
    yield from _below(typer.main.get_command(app), ())


def _below(command: Any, words: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    yield words
    for name, child in getattr(command, "commands", {}).items():
        yield from _below(child, (*words, name))


def help_of(words: tuple[str, ...]) -> str:
    """What `--help` of a command prints."""
    result = CliRunner().invoke(
        app, [*words, "--help"], prog_name=NAME, terminal_width=COLUMNS, max_content_width=COLUMNS
    )
    assert result.exit_code == 0, result.output
    return "\n".join(line.rstrip() for line in result.output.strip().splitlines())


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
