"""`bench online`: every method along the same streams."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from latent_memory_plugin.bench import DEMO_PROBLEMS
from latent_memory_plugin.cli import costing, output
from latent_memory_plugin.cli.options import Shared, given

if TYPE_CHECKING:
    from rich.table import Table

    from latent_memory_plugin.bench.online.plan import Plan

OUT = Path("bench-online")
PICTURE = "learning-curve.png"
KINDS = {
    "seen_phrasings": "parents' phrasings",
    "unseen_phrasings": "other phrasings",
    "kinds_without_latent": "no Latent of the kind",
    "other_kinds": "another kind's Latent",
}
TRANSFERRED = ("without", "with", "read")
KS = ("1", "2", "4", "8", "16")
SETS = "one of gsm8k, math-500, amc23, aime24"

COST = "Only says what it would cost there: rtx-4090, a100-80gb, h100-80gb, h200, or GIB:GB/S:TFLOPS."
Problems = Annotated[
    str, typer.Option("--problems", metavar="N|SET|FILE", help=f"Length of the stream, or {SETS}, or a JSONL file.")
]
Families = Annotated[
    Literal["tuning", "held-out"],
    typer.Option("--families", help="Which families of the embedded world the stream is from."),
]
World = Annotated[
    Literal["plain", "hard"],
    typer.Option("--world", help="Which half of the embedded world, and, without --model, whose model."),
]


def online(
    shared: Shared,
    problems: Problems = str(DEMO_PROBLEMS),
    families: Families = "held-out",
    seed: Annotated[list[int] | None, typer.Option("--seed", help="Draws a stream; several are pooled.")] = None,
    methods: Annotated[
        str | None, typer.Option("--methods", metavar="A,B,...", help="Some of the methods [default: all].")
    ] = None,
    samples: Annotated[int, typer.Option("--samples", min=1, help="Answers per problem and method.")] = 4,
    voters: Annotated[int, typer.Option("--voters", min=2, help="Plain rollouts of each problem.")] = 16,
    first: Annotated[int | None, typer.Option("--first", min=1, help="Problems of a set or file at most.")] = None,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="Results of each method and stream.")] = OUT,
    temperature: Annotated[float | None, typer.Option(help="0 takes the likeliest token each time.")] = None,
    top_p: Annotated[float | None, typer.Option(help="Sample from the likeliest tokens of this probability.")] = None,
    max_new_tokens: Annotated[int | None, typer.Option(help="Longest completion.")] = None,
    instruction: Annotated[str, typer.Option("--instruction", help="Stands behind every question.")] = "",
    cost: Annotated[str | None, typer.Option("--cost", metavar="DEVICE", help=COST)] = None,
    world: World = "plain",
) -> None:
    """Measures memory along a stream, against everything else that could be done there.

    Finished methods are kept in FOLDER and not run again: an interrupted run goes on where it was, and streams that
    were run apart are pooled by naming their seeds together.
    """
    from latent_memory_plugin.bench.online.asking import Asking
    from latent_memory_plugin.bench.online.plan import Plan
    from latent_memory_plugin.config import ModelConfig, SamplingConfig
    from latent_memory_plugin.sandbox.world import MODELS

    chosen = tuple(one.strip() for one in methods.split(",")) if methods is not None else ()
    model, seeds = ModelConfig(name=shared.model or MODELS[world]), tuple(dict.fromkeys(seed or [0]))
    sampling = SamplingConfig(**given(temperature=temperature, top_p=top_p, max_new_tokens=max_new_tokens))
    asking = Asking(sampling, instruction)
    plan = Plan(problems, families, seeds, chosen, samples, voters, first, model, out, asking, world=world)
    if cost is not None:
        return costing.estimate(shared, [plan], cost)
    _run(shared, plan)


def _run(shared: Shared, plan: "Plan") -> None:
    from latent_memory_plugin.bench.online.report import summarise
    from latent_memory_plugin.bench.online.run import measure
    from latent_memory_plugin.bench.picture import check_plotting

    check_plotting()
    with output.progress("problems") as advance:
        report = summarise(measure(plan, advance))
    present(shared, report, plan.out)


def present(shared: Shared, report: dict[str, Any], out: Path) -> None:
    """Draws the learning curves, shows the tables, and writes the report as JSON where that is asked for."""
    from latent_memory_plugin.bench.picture import method_curves

    streams = report["streams"]
    names = ", ".join(f"{one['name']} {one['seed']}" for one in streams)
    picture = out / PICTURE
    method_curves(report["curves"], picture, f"Accuracy along the stream ({names})")
    tables = [_accuracies(report), _costs(report), _latents(report), _passes(report), _forgetting(report)]
    shown = [table for table in [*tables, _transfer(report)] if table.row_count]
    output.emit(shared, report, *shown, f"{_remarks(report)} The learning curves are in {picture}.")


def _remarks(report: dict[str, Any]) -> str:
    streams, two_pass = report["streams"], report["two_pass"]
    problems = sum(one["problems"] for one in streams)
    said = f"{problems} problems in {len(streams)} streams, {report['seconds']:.0f} s."
    if two_pass:
        said += f" Two passes, having seen the whole stream before they answer: {', '.join(two_pass)}."
    return said


def _accuracies(report: dict[str, Any]) -> "Table":
    rows: list[Sequence[str]] = []
    for name, found in report["methods"].items():
        minus = report["ours_minus"].get(name)
        difference = "" if minus is None else f"{minus['mean']:+.3f}  {_range((minus['low'], minus['high']))}"
        rows.append((name, _number(found["after_first_third"]), _range(found["interval"]), difference))
    columns = ("method", "accuracy", "95 %", "ours minus it, 95 %")
    return output.table("After the first third of the stream", columns, rows, numbers=columns[1:])


def _costs(report: dict[str, Any]) -> "Table":
    names = ("tokens_per_answer", "read_tokens_per_answer", "answering_seconds", "learning_seconds")
    rows = [
        (
            name,
            _number(found["coverage"]),
            *(f"{found[each]:.0f}" for each in names),
            f"{found['learning_tokens']:,.0f}",
        )
        for name, found in report["methods"].items()
        if found["after_first_third"] is not None
    ]
    columns = ("method", "read", "out", "in", "answer s", "learn s", "learn tokens")
    title = "Share of answers that read something; tokens out and in per answer; what a stream took"
    return output.table(title, columns, rows, numbers=columns[1:])


def _latents(report: dict[str, Any]) -> "Table":
    counted = {name: found for name, found in report["methods"].items() if "live" in found}
    names = ("live", "harmful_live", "probation", "harmful_probation", "refused", "refused_helpful")
    rows = [(name, *(_count(found[each]) for each in names)) for name, found in counted.items()]
    columns = ("method", "live", "harmful", "probation", "harmful ", "refused", "would have helped")
    return output.table("Latents at the end, by their true effect on fresh problems", columns, rows, columns[1:])


def _passes(report: dict[str, Any]) -> "Table":
    rows = [(name, *(_number(found.get(k)) for k in KS)) for name, found in report["pass_at_k"].items()]
    columns = ("method", *(f"pass@{k}" for k in KS))
    return output.table("One of k samples is right, at the end of the stream", columns, rows, columns[1:])


def _forgetting(report: dict[str, Any]) -> "Table":
    names = ("then", "now", "then_where_read", "now_where_read")
    rows = [(name, *(_number(found[each]) for each in names)) for name, found in report["forgetting"].items()]
    columns = ("method", "then", "now", "then, where read", "now, where read")
    return output.table("Problems of the first third asked again at the end", columns, rows, columns[1:])


def _transfer(report: dict[str, Any]) -> "Table":
    rows = [
        (name, words, str(found[kind]["answers"]), *(_number(found[kind][each]) for each in TRANSFERRED))
        for name, found in report["transfer"].items()
        for kind, words in KINDS.items()
    ]
    columns = ("method", "problems", "answers", "without", "with", "read")
    return output.table(
        "Transfer: fresh problems, and problems of the stream that met a foreign Latent", columns, rows, columns[2:]
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _count(value: int | None) -> str:
    return "-" if value is None else str(value)


def _range(ends: Sequence[float] | None) -> str:
    return "" if ends is None else f"{ends[0]:.3f} to {ends[1]:.3f}"
