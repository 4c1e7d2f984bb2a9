"""`answers` and `bench answers`: what kinds of answers a file holds, and how well kinds are told apart."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from latent_memory_plugin.cli import output
from latent_memory_plugin.cli.options import REPORT_ONLY, Shared, command

if TYPE_CHECKING:
    from rich.table import Table

SHOWN = 40
"""Characters of an answer in a table."""


def register(app: typer.Typer) -> None:
    """Adds the command `answers`."""
    command(app, "answers", REPORT_ONLY, answers)


def answers(
    shared: Shared,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE.jsonl",
            help="Per line a JSON text, or an object with 'text' or 'rollouts' (completions) or 'answer' (bare).",
        ),
    ],
) -> None:
    """Shows the kinds and classes of the answers in a file of completions.

    Lines with the same 'question' are one vote. Needs neither a model nor a store.
    """
    from latent_memory_plugin.answers import files

    reports = [group.report() for group in files.groups(file)]
    for report in reports:
        if report["warning"]:
            typer.echo(f"warning: {report['warning']}", err=True)
    output.emit(shared, {"groups": reports}, *map(_table, reports))


def compare(
    shared: Shared,
    pairs: Annotated[int, typer.Option("--pairs", min=1, help="Made pairs that are looked at.")] = 100_000,
    seed: Annotated[int, typer.Option("--seed", help="Draws the pairs.")] = 0,
) -> None:
    """Measures votes on answers, beside math-verify, and counts false merges among made pairs of all kinds."""
    from latent_memory_plugin.bench.answers import ROLLOUTS, measure

    with output.progress("pairs") as advance:
        report = measure(pairs, seed, advance)
    rows = [
        (
            name,
            f"{found['milliseconds']:.1f}",
            f"{found['processor_milliseconds']:.1f}",
            f"{found['math_verify_milliseconds_a_pair']:.2f}" if "math_verify_milliseconds_a_pair" in found else "–",
        )
        for name, found in report["votes"].items()
    ]
    columns = (f"{ROLLOUTS} answers", "vote, ms", "of it processor, ms", "math-verify, ms a pair")
    shown = output.table("Votes", columns, rows, numbers=columns[1:])
    found = f"{report['false_merges']} of {report['pairs']} made pairs merged wrongly, {report['seconds']:.0f} s."
    output.emit(shared, report, shown, found)


def _table(report: dict[str, Any]) -> "Table":
    columns = ("answer", "kind", "value", "unit", "completions")
    rows = [
        (
            output.shortened(one["answer"] or "–", SHOWN),
            one["kind"],
            output.shortened(one["value"], SHOWN),
            one["unit"],
            str(one["count"]),
        )
        for one in report["classes"]
    ]
    title = output.shortened(report["question"], 2 * SHOWN) or "Answers"
    return output.table(title, columns, rows, numbers=("completions",))
