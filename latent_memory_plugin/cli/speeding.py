"""`bench speed`: sampling, learning and starting, each beside its reference."""

from typing import Annotated, Any, Literal

import typer

from latent_memory_plugin.cli import output
from latent_memory_plugin.cli.options import Shared


def speed(
    shared: Shared,
    shape: Annotated[
        Literal["tiny", "0.5b", "1.7b", "8b"],
        typer.Option("--shape", help="Size of the model with random weights."),
    ] = "0.5b",
    dtype: Annotated[Literal["bfloat16", "float32"], typer.Option("--dtype", help="Number format of it.")] = "bfloat16",
    pairs: Annotated[int, typer.Option("--pairs", min=1, help="Runs of ours and of the reference, in turns.")] = 5,
    only: Annotated[
        list[str] | None, typer.Option("--only", metavar="ROW", help="A row to measure; may be repeated.")
    ] = None,
) -> None:
    """Measures rollouts, learning, memory and cold starts, each beside its reference in the same run.

    Rows of the embedded model (or --model): rollouts, to_the_end, problems, learning, waiting. Of --shape: long_prompt,
    latent, memory. Of fresh processes: import, help, ask. Learning and memory need the extra `bench`.
    """
    from latent_memory_plugin.bench.speed.run import measure

    with output.progress("rows") as advance:
        report = measure(shared.model, shape, dtype, pairs, only or (), advance)
    columns = ("row", "unit", "ours", "reference", "ratio", "wanted", "met", "in the model", "pairs")
    rows = [(name, *_cells(row)) for name, row in report["rows"].items()]
    machine = report["machine"]
    title = f"{machine['processor']}, {machine['threads']} threads, GPU: {machine['gpu'] or 'none'}"
    skips = [f"{name}: {row['skipped']}" for name, row in report["rows"].items() if "skipped" in row]
    output.emit(shared, report, output.table(title, columns, rows, numbers=columns[2:]), *skips)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    if "skipped" in row:
        return (row["unit"], *[""] * 7)
    met = {True: "yes", False: "no", None: ""}[row["met"]]
    share = f"{row['model_share']:.0%}" if "model_share" in row else ""
    numbers = (f"{row[name]:.4g}" if name in row else "" for name in ("ours", "reference", "ratio"))
    return (row["unit"], *numbers, row["wanted"] or "", met, share, str(row["pairs"]))
