"""`bench model`: does the library do with your model what it promises?"""

from typing import Any, Literal

import typer

from latent_memory_plugin.cli import output
from latent_memory_plugin.cli.options import Shared


def model(
    shared: Shared,
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = typer.Option(
        "auto", "--dtype", help="Number format of the weights; auto keeps the checkpoint's own."
    ),
    device: str = typer.Option("auto", "--device", help="cuda, cuda:1, mps or cpu; auto takes the first there is."),
) -> None:
    """Checks a model: Latents, batches, cache, completions, learning, number formats.

    Each check compares the library with plain transformers. Ends with 1 where one fails.
    """
    from latent_memory_plugin.bench.conformance import measure
    from latent_memory_plugin.config import ModelConfig

    config = ModelConfig(name=shared.model, dtype=dtype, device=device)
    with output.progress("checks") as advance:
        report = measure(config, advance)
    output.emit(shared, report, _table(report), _summary(report))
    if report["failed"]:
        raise typer.Exit(1)


def _table(report: dict[str, Any]) -> Any:
    rows = [
        (row["outcome"], row["name"], *map(_number, (row["measured"], row["limit"])), _note(row))
        for row in report["checks"]
    ]
    title = f"{report['model']}: {report['architecture']}, {report['parameters']:,} parameters, {report['format']}"
    columns = ("outcome", "check", "measured", "limit", "note")
    return output.table(title, columns, rows, numbers=("measured", "limit"))


def _summary(report: dict[str, Any]) -> str:
    counts = ", ".join(f"{report[name]} {name}" for name in ("passed", "failed", "refused", "skipped"))
    return f"{counts} in {report['seconds']:.0f} s."


def _note(row: dict[str, Any]) -> str:
    return "; ".join(part for part in (row["unit"], row["note"]) if part)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}"
