"""`demo` and `bench world`: what memory is worth, and what the embedded model can do."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from latent_memory_plugin.bench import DEMO_PROBLEMS
from latent_memory_plugin.cli import (
    checking,
    conforming,
    growing,
    output,
    reading,
    speeding,
    streaming,
    sweeping,
    working,
)
from latent_memory_plugin.cli.options import MODEL_ONLY, REPORT_ONLY, Shared, command, writable_file

if TYPE_CHECKING:
    from rich.table import Table

Seed = Annotated[int, typer.Option("--seed", help="Draws the problems and the samples.")]

FIRST_IN_REPORT = ("second_half", "latents", "seconds", "seed")
"""What most readers of a demo's JSON look for."""


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    command(app, "demo", MODEL_ONLY, demo)
    bench = typer.Typer(help="Measures what the documentation states.", no_args_is_help=True)
    bench.callback()(lambda: None)
    command(bench, "world", MODEL_ONLY, world)
    command(bench, "model", MODEL_ONLY, conforming.model)
    command(bench, "online", MODEL_ONLY, streaming.online)
    command(bench, "candidates", MODEL_ONLY, sweeping.candidates)
    command(bench, "background", MODEL_ONLY, working.background)
    command(bench, "kill", REPORT_ONLY, checking.kill)
    command(bench, "store", REPORT_ONLY, growing.store)
    command(bench, "answers", REPORT_ONLY, reading.compare)
    command(bench, "speed", MODEL_ONLY, speeding.speed)
    app.add_typer(bench, name="bench")


def demo(
    shared: Shared,
    problems: Annotated[int, typer.Option("--problems", min=2, help="Length of the stream.")] = DEMO_PROBLEMS,
    questions: Annotated[
        Path | None,
        typer.Option("--questions", metavar="FILE.jsonl", help="Your own problems, with 'question' and 'answer'."),
    ] = None,
    picture: Annotated[
        str, typer.Option("--picture", metavar="FILE", callback=writable_file, help="Where the learning curve goes.")
    ] = "demo.png",
    seed: Seed = 0,
    families: streaming.Families = "held-out",
    half: streaming.World = "hard",
) -> None:
    """Shows a frozen model getting better at its problems."""
    from latent_memory_plugin.bench.demo import run
    from latent_memory_plugin.bench.picture import check_plotting

    check_plotting()
    with output.progress("problems") as advance:
        report = run(seed, problems, shared.model, questions, advance, families, half)
    present(shared, report, Path(picture))


def present(shared: Shared, report: dict[str, Any], picture: Path) -> None:
    """Draws the learning curve of a demo's report, shows its tables, and writes it as JSON where that is asked for."""
    from latent_memory_plugin.bench.picture import learning_curve

    learning_curve(report, picture)
    ordered = {name: report[name] for name in FIRST_IN_REPORT} | report
    run = f"Model {report['model']}, seed {report['seed']}, {report['seconds']:.0f} s."
    output.emit(shared, ordered, _accuracies(report), _latents(report), f"{run} The learning curve is in {picture}.")


def world(
    shared: Shared,
    problems: Annotated[int, typer.Option("--problems", min=1, help="Problems of each family.")] = 40,
    rollouts: Annotated[int, typer.Option("--rollouts", min=1, help="Samples of each problem.")] = 16,
    seed: Seed = 0,
    half: Annotated[
        Literal["plain", "hard"],
        typer.Option("--world", help="Which half; without --model, the embedded model of this half is measured."),
    ] = "plain",
    split: Annotated[
        Literal["tuning", "held-out", "all"], typer.Option("--families", help="Which families of it.")
    ] = "all",
) -> None:
    """Measures a model on the embedded world.

    Accuracy of one sample, of the majority and of greedy decoding, for each family of problems.
    """
    from latent_memory_plugin.bench.world import measure

    with output.progress("families") as advance:
        report = measure(shared.model, problems, rollouts, seed, advance, half, split)
    measured = [name for name in report["mean"]]
    title = f"{report['model']}, {problems} problems of each family, seed {seed}, {report['seconds']:.0f} s"
    columns = ("family", "kind", "split", *(name.replace("_", " ") for name in measured))
    output.emit(shared, report, output.table(title, columns, _measured(report, measured), numbers=columns[3:]))


def _measured(report: dict[str, Any], names: list[str]) -> list[tuple[str, ...]]:
    """A row for each family, for each kind and split, for each split, and for all."""
    rows = [
        (name, " ".join(family["kinds"]), family["split"], *_shares(family, names))
        for name, family in report["families"].items()
    ]
    for kind, splits in report["kinds"].items():
        rows += [("mean", kind, split, *_shares(means, names)) for split, means in splits.items()]
    rows += [("mean", "", split, *_shares(means, names)) for split, means in report["splits"].items()]
    return [*rows, ("mean", "", "", *_shares(report["mean"], names))]


def _share(value: float | None) -> str:
    return "no labels" if value is None else f"{value:.2f}"


def _accuracies(report: dict[str, Any]) -> "Table":
    names = {
        "without_memory": "one sample without memory",
        "with_memory": "one sample with memory",
        "greedy": "greedy without memory",
        "majority_16": "majority of 16 without memory",
    }
    half, tokens = report["second_half"], report["tokens_per_answer"]
    rows = [(words, _share(half[name]), f"{tokens[name]:.0f}") for name, words in names.items()]
    columns = ("one answer", "accuracy", "tokens sampled")
    title = f"Second half of {len(report['problems'])} problems; {half['coverage']:.0%} read a Latent"
    return output.table(title, columns, rows, numbers=columns[1:])


def _latents(report: dict[str, Any]) -> "Table":
    latents = report["latents"]
    rows = [("live", str(latents["live"]), "")]
    rows.append(("refused", str(latents["refused"]), "\n".join(output.grouped(report["refusals"]))))
    return output.table("Latents", ("state", "number", "why"), rows, numbers=("number",))


def _shares(measured: dict[str, float], names: list[str]) -> list[str]:
    return [f"{measured[name]:.2f}" for name in names]
