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
    """Measures calls while the background worker learns, and its memory over many episodes.

    Seconds per answer, idle and learning, and of every other call while learning. Resident memory after 1,000 episodes
    and after all, on a fake model.
    """
    from latent_memory_plugin.bench.background import measure

    with output.progress("measurements") as advance:
        report = measure(episodes, asks, seed, shared.model, advance)
    asking, memory = report["asking"], report["memory"]
    times = ("count", "median", "p95", "max")
    told = {f"ask, {name}": asking[name] for name in ("idle", "learning")}
    told |= {f"{name}, learning": taken for name, taken in asking["calls"].items()}
    rows = [(name, *(f"{taken.get(one, 0):g}" for one in times)) for name, taken in told.items()]
    sizes = ("first_mib", "last_mib", "growth", "latents", "failed", "seconds")
    grown = [
        (name.replace("_", " "), *(f"{memory[name][one]:g}" for one in sizes))
        for name in ("worker", "journal_and_index")
    ]
    output.emit(
        shared,
        report,
        output.table("Seconds per call", ("call", *times), rows, numbers=times),
        output.table(f"Resident memory, {episodes} episodes", ("of", *sizes), grown, numbers=sizes),
    )
