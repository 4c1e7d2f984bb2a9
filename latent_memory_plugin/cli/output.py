"""Reports: tables for people on standard output, JSON for programs, progress on standard error."""

import json
import re
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from latent_memory_plugin.cli.options import Shared

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

Advance = Callable[[int, int, str], None]
"""(steps done, steps in all, what the last one came to)."""

SHORT_ID = 12
"""Characters of an id in a table; commands take them instead of the whole."""
REASONS_SHOWN = 3
NUMBER = re.compile(r"[0-9a-f]{32}|\d+(\.\d+)?")
"""An id or a number in a reason."""
CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
"""Control characters but tab and line feed, and those that reverse what follows."""


def emit(shared: Shared, report: Any, *shown: "RenderableType") -> None:
    """Shows a report to people, and writes it as JSON where that is asked for; never both on standard output."""
    if not shared.quiet:
        out = console()
        for part in shown:
            out.print(part, soft_wrap=isinstance(part, str))
    if shared.json is None:
        return
    text = json.dumps(report, indent=2, ensure_ascii=shared.quiet)
    if shared.quiet:
        typer.echo(text)
    else:
        Path(shared.json).write_text(text + "\n", encoding="utf-8")


def console(error: bool = False) -> "Console":
    """A console that prints texts as they are: brackets and colons in a question are not markup."""
    from rich.console import Console

    return Console(stderr=error, markup=False, emoji=False, highlight=False)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[str] = ()) -> "Table":
    """A table with one row per item; columns named in `numbers` are set flush right."""
    from rich import box
    from rich.table import Table

    made = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD)
    for column in columns:
        made.add_column(column, justify="right" if column in numbers else "left", no_wrap=column in ("id", *numbers))
    for row in rows:
        made.add_row(*map(harmless, row))
    return made


def facts(pairs: Iterable[tuple[str, str]]) -> "Table":
    """Names and values, one pair per line."""
    from rich.table import Table

    made = Table.grid(padding=(0, 2))
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for pair in pairs:
        made.add_row(*map(harmless, pair))
    return made


@contextmanager
def progress(title: str) -> Generator[Advance, None, None]:
    """A bar on standard error, where that is a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    err = console(error=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[last]}", markup=False),
    )
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(title, total=None, last="")
        yield lambda done, total, last: bar.update(task, completed=done, total=total, last=last)


def day(created: float) -> str:
    """A Unix time as local date and time."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(created))


def harmless(text: str) -> str:
    """The text with its control characters spelled out: one from a foreign file may hold orders to the terminal."""
    return CONTROLS.sub(lambda found: found.group().encode("unicode_escape").decode(), text)


def shortened(text: str, characters: int) -> str:
    """The text on one line, cut at a number of characters."""
    line = " ".join(text.split())
    return line if len(line) <= characters else f"{line[: characters - 1]}…"


def grouped(reasons: Sequence[str]) -> list[str]:
    """The commonest reasons; those that differ in their numbers alone are one."""
    kinds: dict[str, list[str]] = {}
    for reason in reasons:
        kinds.setdefault(NUMBER.sub("", reason), []).append(reason)
    commonest = sorted(kinds.values(), key=len, reverse=True)[:REASONS_SHOWN]
    return [one[0] if len(one) == 1 else f"{len(one)} times, such as: {one[0]}" for one in commonest]
