"""`list`, `show` and `forget`: the store, without loading a model."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from latent_memory_plugin.cli import output
from latent_memory_plugin.cli.options import STORE, Shared, command

if TYPE_CHECKING:
    from rich.table import Table

    from latent_memory_plugin.records import Latent, Trial
    from latent_memory_plugin.store import Store

SHORTEST_PREFIX = 4
QUESTION_CHARACTERS = 60

LatentId = Annotated[str, typer.Argument(metavar="LATENT_ID", help="Its id, or the beginning where that is enough.")]


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    command(app, "list", STORE, list_latents)
    command(app, "show", STORE, show)
    command(app, "forget", STORE, forget)


def list_latents(shared: Shared) -> None:
    """Lists the live Latents, oldest first."""
    with _store(shared) as store:
        latents = list(store.latents()) if store else []
        questions = {latent.id: _questions(store, latent) for latent in latents if store}
    report = {"latents": [latent.model_dump(mode="json") | {"questions": questions[latent.id]} for latent in latents]}
    title = f"Latents in the namespace {shared.namespace!r}: {len(latents)}"
    columns = ("id", "created", "gain", "vote", "learnt from")
    rows = [
        (
            latent.id[: output.SHORT_ID],
            output.day(latent.created),
            f"{latent.trial.gain:+.2f}",
            f"{latent.vote.share:.2f}",
            output.shortened(next(iter(questions[latent.id]), "?"), QUESTION_CHARACTERS),
        )
        for latent in latents
    ]
    output.emit(shared, report, output.table(title, columns, rows, numbers=("gain", "vote")) if rows else title)


def show(shared: Shared, latent_id: LatentId) -> None:
    """Shows a Latent's record, vote and trial."""
    with _store(shared) as store:
        opened = _existing(store, shared)
        latent = opened.latent(_whole_id(opened, latent_id))
        questions = _questions(opened, latent)
    report = latent.model_dump(mode="json") | {"questions": questions}
    output.emit(
        shared, report, output.facts(_record(latent, questions)), _vote(latent), output.facts(_trial(latent.trial))
    )


def forget(shared: Shared, latent_id: LatentId) -> None:
    """Deletes a Latent."""
    with _store(shared) as store:
        opened = _existing(store, shared)
        whole = _whole_id(opened, latent_id)
        opened.remove(whole)
    output.emit(shared, {"forgotten": whole}, f"Forgot {whole}.")


@contextmanager
def _store(shared: Shared) -> "Generator[Store | None, None, None]":
    """The namespace open for listing; None where nothing was ever stored there, which looking does not change."""
    from latent_memory_plugin.shared import default_root
    from latent_memory_plugin.store import Store
    from latent_memory_plugin.store.root import folder_name

    root = (shared.root or default_root()).expanduser().absolute()
    if not (root / folder_name(shared.namespace)).is_dir():
        yield None
        return
    with Store.open(root, shared.namespace) as store:
        yield store


def _existing(store: "Store | None", shared: Shared) -> "Store":
    from latent_memory_plugin.errors import NotFoundError

    if store is None:
        raise NotFoundError(f"Nothing is stored in the namespace {shared.namespace!r} of this root yet.")
    return store


def _whole_id(store: "Store", latent_id: str) -> str:
    """The one id that begins so, of a readable or an unreadable Latent."""
    from latent_memory_plugin.errors import InputError

    if len(latent_id) < SHORTEST_PREFIX:
        raise InputError(
            f"{latent_id!r} is too short for the beginning of an id; give at least {SHORTEST_PREFIX} digits."
        )
    ids = {latent.id for latent in store.latents()} | {path.stem for path in store.problems}
    found = sorted(one for one in ids if one.startswith(latent_id))
    if len(found) > 1:
        raise InputError(f"{latent_id!r} is the beginning of {len(found)} ids ({', '.join(found)}); give more digits.")
    return found[0] if found else latent_id


def _questions(store: "Store", latent: "Latent") -> list[str]:
    """What the episodes asked that it was learnt from, as far as the journal has them."""
    from latent_memory_plugin.errors import NotFoundError

    found: list[str] = []
    for parent in latent.parents:
        try:
            found.append(store.episode(parent).question)
        except NotFoundError:
            continue
    return found


def _record(latent: "Latent", questions: list[str]) -> list[tuple[str, str]]:
    plain: dict[str, Any] = latent.model_dump(exclude={"vote", "trial", "parents", "shape", "created"})
    return [
        *((name.replace("_", " "), str(value)) for name, value in plain.items()),
        ("shape", f"{latent.shape[0]} vectors of {latent.shape[1]} numbers"),
        ("created", output.day(latent.created)),
        ("vote", f"{latent.vote.answer}, share {latent.vote.share:.2f}, entropy {latent.vote.entropy:.2f} nats"),
        ("trial", latent.trial.reason),
        *(("learnt from", output.shortened(question, 200)) for question in questions),
    ]


def _vote(latent: "Latent") -> "Table":
    rows = [("none" if answer is None else answer, str(count)) for answer, count in latent.vote.counts]
    return output.table("Vote", ("answer", "rollouts"), rows, numbers=("rollouts",))


def _trial(trial: "Trial") -> list[tuple[str, str]]:
    return [
        ("agreement before", f"{trial.agreement_before:.2f}"),
        ("agreement after", f"{trial.agreement_after:.2f}"),
        ("examined on", f"{len(trial.episode_ids)} episodes, {trial.answers} answers"),
    ]
