"""`check` and `bench kill`: is everything there that was stored, and does it survive a kill?"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from latent_memory_plugin.cli import output
from latent_memory_plugin.cli.opening import root_of
from latent_memory_plugin.cli.options import ROOT_ONLY, Shared, command

if TYPE_CHECKING:
    from latent_memory_plugin.store.check import Finding, Report


def register(app: typer.Typer) -> None:
    """Adds the command `check`."""
    command(app, "check", ROOT_ONLY, check)


def check(
    shared: Shared,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair", help="Builds the index anew, moves what cannot be read into quarantine, clears leftovers."
        ),
    ] = False,
    namespace: Annotated[
        str | None, typer.Option("--namespace", help="Checks this part of the store alone [default: all of them].")
    ] = None,
) -> None:
    """Checks every file, the journal and the index of a store.

    Without --repair nothing is changed. Ends with 0 where nothing is wrong, or all of it was repaired, else with 1.
    """
    from latent_memory_plugin.store.check import check as run

    report = run(root_of(shared), namespace, repair, shared.access)
    shown = (_told(one) for one in report.findings)
    output.emit(shared, report.model_dump(mode="json") | {"left": len(report.left)}, *shown, _summary(report))
    if report.left:
        raise typer.Exit(1)


def kill(
    shared: Shared,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="How often a writer is killed.")] = 200,
    seed: Annotated[int, typer.Option("--seed", help="Draws the instants.")] = 0,
) -> None:
    """Kills a process that writes a store, again and again, and looks for what was lost.

    Ends with 1 where anything was.
    """
    from latent_memory_plugin.bench.kill import run

    with output.progress("kills") as advance:
        report = run(rounds, seed, advance)
    measures = [
        *((f"killed {name}", str(count)) for name, count in report["killed"].items()),
        *((f"acknowledged {name}", str(count)) for name, count in report["acknowledged"].items()),
        *((name.replace("_", " "), str(report[name])) for name in ("looked_at", "mended_openings")),
        *((name.replace("_", " "), str(report[name])) for name in ("lost", "half_written", "index_differs", "other")),
    ]
    title = f"{rounds} kills, seed {seed}, {report['seconds']:.0f} s"
    output.emit(shared, report, output.table(title, ("measure", "number"), measures, ("number",)), *report["faults"])
    if report["faults"]:
        raise typer.Exit(1)


def _told(one: "Finding") -> str:
    """A finding in lines of its own: a path in a table is broken where it cannot be copied."""
    return f"{'repaired' if one.repaired else one.kind}: {one.path}\n    {one.problem}\n    {one.remedy}"


def _summary(report: "Report") -> str:
    read: dict[str, Any] = {
        name: getattr(report, name) for name in ("latents", "episodes", "standings", "uses", "keys")
    }
    counts = ", ".join(f"{count:,} {name}" for name, count in read.items())
    verdict = f"{len(report.left)} findings are left." if report.left else "Nothing is wrong."
    where = f"{len(report.namespaces)} namespaces of {report.root}"
    return f"Read {counts} in {where} in {report.seconds:.1f} s. {verdict}"
