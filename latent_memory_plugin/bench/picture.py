"""The pictures of the benchmarks; the only door to matplotlib."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from latent_memory_plugin.errors import ConfigError

WINDOW = 40
FEWEST = 10
LINES = (
    ("with_memory", "one sample with memory", "#0b6e4f", 2.6),
    ("majority_16", "majority of 16 without memory", "#8a8d91", 1.6),
    ("greedy", "greedy without memory", "#4f6d9b", 1.6),
    ("without_memory", "one sample without memory", "#c8553d", 1.6),
)

STRONG = {"ours": ("#0b6e4f", 2.6), "none": ("#c8553d", 1.8), "paper": ("#7b4fa0", 1.8), "oracle": ("#222222", 1.4)}
"""Colour and width of the methods a reader looks for first; the others are thin."""
PALE = ("#4f6d9b", "#c08a2d", "#3d98a8", "#b0648a", "#7d8c3a", "#9a6b4b", "#5b5f97", "#6aa06a", "#a0a3a8")


def check_plotting() -> None:
    """Raises ConfigError where nothing can be drawn, before anything is measured for it."""
    if find_spec("matplotlib") is None:
        raise ConfigError(
            "Drawing the learning curve needs the package matplotlib; pip install 'latent-memory-plugin[plot]'."
        )


def learning_curve(report: dict[str, Any], path: Path) -> None:
    """Draws accuracy along the stream, each point the mean of the last `WINDOW` problems."""
    from matplotlib.figure import Figure

    problems = report["problems"]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.add_subplot()
    for name, label, colour, width in LINES:
        known = [problem[name] for problem in problems if problem[name] is not None]
        axes.plot(*_rolling(known), label=label, color=colour, linewidth=width)
    read = [float(problem["latent"] is not None) for problem in problems]
    axes.fill_between(*_rolling(read), color="#0b6e4f", alpha=0.08, label="share answered with a Latent", linewidth=0)
    axes.set(
        xlabel="problems seen", ylabel=f"accuracy (mean of the last {WINDOW})", ylim=(0, 1), xlim=(1, len(problems))
    )
    axes.set_title("A frozen model on its own stream of problems", loc="left")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right", frameon=False, fontsize=9)
    figure.savefig(path, dpi=150)


def method_curves(curves: Mapping[str, Sequence[float]], path: Path, title: str) -> None:
    """Draws one line per method along the stream, each point the mean of the last `WINDOW` problems."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.4), layout="constrained")
    axes = figure.add_subplot()
    for number, (name, values) in enumerate(curves.items()):
        colour, width = STRONG.get(name, (PALE[number % len(PALE)], 1.0))
        style = ":" if name.startswith(("majority", "greedy")) else "-"
        axes.plot(*_rolling(values), label=name, color=colour, linewidth=width, linestyle=style)
    longest = max(map(len, curves.values()), default=1)
    axes.set(
        xlabel="problems seen", ylabel=f"accuracy (mean of the last {WINDOW})", ylim=(0, 1), xlim=(1, max(2, longest))
    )
    axes.set_title(title, loc="left")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right center", frameon=False, fontsize=9)
    figure.savefig(path, dpi=150)


def _rolling(values: Sequence[float]) -> tuple[list[int], list[float]]:
    """Positions and the mean of up to `WINDOW` values before each, from the first that has `FEWEST`."""
    ends = range(min(FEWEST, len(values)), len(values) + 1)
    return list(ends), [sum(values[max(0, end - WINDOW) : end]) / min(end, WINDOW) for end in ends]
