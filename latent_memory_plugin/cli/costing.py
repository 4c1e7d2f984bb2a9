"""What a plan of `bench online` would cost: tables, and the arithmetic behind them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from latent_memory_plugin.cli import output
from latent_memory_plugin.cli.options import Shared

if TYPE_CHECKING:
    from rich.table import Table

    from latent_memory_plugin.bench.online.plan import Plan

NUMBERS = ("sampled_tokens", "most_sampled_tokens", "scored_tokens", "most_scored_tokens", "hours", "most_hours")
COLUMNS = ("sampled", "≤", "trained", "≤ ", "hours", "≤  ")


def estimate(shared: Shared, plans: "Sequence[Plan]", device: str, completion_tokens: int | None = None) -> None:
    """Shows what plans cost on a device. No model is loaded, no hub asked, nothing measured.

    Raises ConfigError for a device that is not known, and what `Expense.report` raises.
    """
    from latent_memory_plugin.bench.cost import Lengths, device_of
    from latent_memory_plugin.bench.online.expense import Expense

    chosen, each = device_of(device), completion_tokens or Lengths().completion
    reports = [
        {"model": str(plan.model.name or "embedded"), "stream": plan.problems, **Expense(plan, chosen, each).report()}
        for plan in plans
    ]
    shown = [part for report in reports for part in (_title(report), _table(report), _arithmetic(report))]
    output.emit(shared, {"plans": reports}, *shown, _assumed())


def _title(report: dict[str, Any]) -> str:
    each = f"{report['problems']:,} problems, {report['seeds']} seed{'s' * (report['seeds'] > 1)}"
    return f"{report['model']} on {report['stream']}: {each}. Millions of tokens; hours on {report['device']['name']}."


def _table(report: dict[str, Any]) -> "Table":
    rows = [(name, *(_figure(row[one], one) for one in NUMBERS)) for name, row in report["methods"].items()]
    return output.table("", ("method", *COLUMNS), rows, COLUMNS)


def _figure(value: float, name: str) -> str:
    return f"{value:,.1f}" if name.endswith("hours") else f"{value / 1e6:,.1f}"


def _arithmetic(report: dict[str, Any]) -> str:
    memory, shape, device = report["memory"], report["shape"], report["device"]
    lengths, gib = report["lengths"], device["memory_bytes"] / 2**30
    return "\n".join(
        (
            f"Weights: {shape['parameters']:,} parameters in {report['precision']}, {memory['copies']} times: "
            f"{memory['weights_gib']:.1f} of {gib:.0f} GiB.",
            f"A row: {lengths['prompt']} tokens of prompt, {lengths['longest']} new ones and the Latent's: "
            f"{memory['row_tokens']:,} tokens. Cache: 2 × {shape['layers']} layers × {shape['key_value']} × bytes = "
            f"{memory['cache_token_kib']:.0f} KiB a token, {memory['cache_row_gib']:.2f} GiB a row, "
            f"{memory['rows_together']:,} rows together.",
            f"Learning: {memory['pass_token_mib']:.1f} MiB a token, {memory['pass_row_gib']:.1f} GiB a row, "
            f"{memory['pass_tokens']:,} tokens in one pass. A Latent: {memory['latent_kib']:.0f} KiB.",
            f"Device: {device['bandwidth'] / 1e9:,.0f} GB/s, {device['flops'] / 1e12:,.0f} TFLOPS.\n",
        )
    )


def _assumed() -> str:
    from latent_memory_plugin.bench import cost

    return (
        f"Sampling reads the weights once per token of a batch and every row's cache, at {cost.BANDWIDTH_SHARE:.0%} of "
        f"the bandwidth, or takes 2 operations per parameter and token at {cost.COMPUTE_SHARE:.0%} of the arithmetic, "
        "whichever is slower; training takes 4. These shares are assumed and were never measured on a GPU. Expected "
        "are completions of the mean length, and as much learning per problem as was measured on the embedded world; "
        "at most (≤), every completion is as long as it may be, every vote open and every problem learnt from. "
        "docs/real-models.md has the formulas."
    )
