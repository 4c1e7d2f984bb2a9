"""`bench background`: the background worker beside whoever asks, and over many episodes."""

from typing import Annotated

import typer

from latent_memory_plugin.cli import output
from latent_memory_plugin.cli.options import Shared


def background(
    shared: Shared,
    episodes: Annotated[int, typer.Option("--episodes", min=2, help="Episodes for the memory measurement.")] = 10_000,
    asks: Annotated[int, typer.Option("--asks", min=1, help="Answers timed while idle, and while learning.")] = 60,
    seed: Annotated[int, typer.Option("--seed", help="Draws the problems and the samples.")] = 0,
) -> None:
    """Measures answers while the background worker learns, and its memory over many episodes.

    Seconds per answer, idle and learning. Resident memory after 1,000 episodes and after all, on a fake model.
    """
    from latent_memory_plugin.bench.background import measure

    with output.progress("measurements") as advance:
        report = measure(episodes, asks, seed, shared.model, advance)
    asking, memory = report["asking"], report["memory"]
    times = ("asks", "median", "p95", "max")
    rows = [(name, *(f"{asking[name].get(one, 0):g}" for one in times)) for name in ("idle", "learning")]
    sizes = ("first_mib", "last_mib", "growth", "latents", "failed", "seconds")
    grown = [
        (name.replace("_", " "), *(f"{memory[name][one]:g}" for one in sizes))
        for name in ("worker", "journal_and_index")
    ]
    output.emit(
        shared,
        report,
        output.table("Seconds per answer", ("while", *times), rows, numbers=times),
        output.table(f"Resident memory, {episodes} episodes", ("of", *sizes), grown, numbers=sizes),
    )
