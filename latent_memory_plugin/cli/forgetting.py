"""`forget`: deletes, texts and all, without loading a model."""

import math
import time
from typing import TYPE_CHECKING, Annotated

import typer

from latent_memory_plugin.cli import output
from latent_memory_plugin.cli.opening import existing, listed, whole_id
from latent_memory_plugin.cli.options import STORE, Shared, command

if TYPE_CHECKING:
    from latent_memory_plugin.store import Store
    from latent_memory_plugin.store.store import Forgotten

SECONDS_PER_DAY = 86_400.0


def register(app: typer.Typer) -> None:
    """Adds the command of this file."""
    command(app, "forget", STORE, forget)


def forget(
    shared: Shared,
    latent_id: Annotated[
        str | None, typer.Argument(metavar="LATENT_ID", help="A Latent: its id, or the beginning of it.")
    ] = None,
    question: Annotated[
        str | None,
        typer.Option("--question", help="Every episode of this question, what was learnt from it, its answers."),
    ] = None,
    older_than: Annotated[
        float | None, typer.Option("--older-than", metavar="DAYS", help="What was made before so many days.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of the namespace.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Goes with --all: it is meant.")] = False,
) -> None:
    """Deletes a Latent, or what a question, an age or the namespace has left; texts too."""
    named = [latent_id is not None, question is not None, older_than is not None, everything]
    if sum(named) != 1:
        raise typer.BadParameter("Name one thing: a LATENT_ID, --question, --older-than or --all.")
    if everything and not yes:
        raise typer.BadParameter(f"--all deletes all of {shared.namespace!r}; say --yes too.")
    with listed(shared) as store:
        gone = _forgotten(existing(store, shared), latent_id, question, older_than)
    told = f"Forgot {gone.latents} Latents, {gone.episodes} episodes and {gone.uses} uses."
    output.emit(shared, {"forgotten": gone._asdict()}, told)


def _forgotten(store: "Store", latent_id: str | None, question: str | None, older_than: float | None) -> "Forgotten":
    from latent_memory_plugin.errors import InputError
    from latent_memory_plugin.records import Problem

    if latent_id is not None:
        return store.forget_latents([whole_id(store, latent_id)])
    if question is not None:
        return store.forget_problem(Problem(question=question).hash)
    if older_than is not None:
        if not (math.isfinite(older_than) and older_than >= 0):
            raise InputError(f"--older-than {older_than!r} is no number of days; pass 0 or more.")
        return store.forget_older(time.time() - older_than * SECONDS_PER_DAY)
    return store.forget_everything()
