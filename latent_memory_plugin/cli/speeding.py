"""`bench speed`: sampling, learning and starting, each beside its reference."""

from pathlib import Path
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

    Each row is told on standard error as soon as it is measured, and is in the file of --json: an interrupted run with
    the same file goes on where it was. Delete the file to measure anew.
    """
    from latent_memory_plugin.bench.speed.run import measure

    file = Path(shared.json) if shared.json is not None and not shared.quiet else None
    with output.progress("rows") as advance:

        def told(done: int, total: int, name: str, row: dict[str, Any]) -> None:
            advance(done, total, name)
            typer.echo(f"{name}: {row.get('skipped') or '  '.join(filter(None, _cells(row)))}", err=True)

        report = measure(shared.model, shape, dtype, pairs, only or (), told, file)
    columns = ("row", "ours", "reference", "ratio", "wanted", "in the model")
    rows = [(name, *_cells(row)) for name, row in report["rows"].items()]
    machine = report["machine"]
    title = f"{pairs} pairs, {machine['processor']}, {machine['threads']} threads, GPU: {machine['gpu'] or 'none'}"
    skips = [f"{name}: {row['skipped']}" for name, row in report["rows"].items() if "skipped" in row]
    output.emit(shared, report, output.table(title, columns, rows, numbers=columns[1:4]), *skips)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    if "skipped" in row:
        return ("skipped", *[""] * 4)
    wanted = f"{row['wanted']}: {'met' if row['met'] else 'missed'}" if row["wanted"] else ""
    share = f"{row['model_share']:.0%}" if "model_share" in row else ""
    reference, ratio = (f"{row[name]:.4g}" if name in row else "" for name in ("reference", "ratio"))
    return (f"{row['ours']:.4g} {row['unit']}", reference, ratio, wanted, share)
