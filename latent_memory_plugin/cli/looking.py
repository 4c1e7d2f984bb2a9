"""`list` and `show`: the store, without loading a model."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, get_args

import typer

from latent_memory_plugin.cli import output
from latent_memory_plugin.cli.opening import LatentId, existing, listed, whole_id
from latent_memory_plugin.cli.options import LOOKING, Shared, command

if TYPE_CHECKING:
    from rich.table import Table

    from latent_memory_plugin.records import Latent, Standing, Trial, Use
    from latent_memory_plugin.store import Store

QUESTION_CHARACTERS = 60
SHOWN = 1_000
"""Latents that are listed where nothing else is asked for."""


class Seen(NamedTuple):
    """One Latent as it is listed."""

    latent: "Latent"
    """Its record."""
    standing: "Standing"
    """What it may do now."""
    questions: list[str]
    """What it was learnt from, as far as the journal has it."""

    @property
    def report(self) -> dict[str, Any]:
        """The record with standing and questions, for JSON."""
        added = {"standing": self.standing.model_dump(mode="json"), "questions": self.questions}
        return self.latent.model_dump(mode="json") | added


def register(app: typer.Typer) -> None:
    """Adds the commands of this file."""
    command(app, "list", LOOKING, list_latents)
    command(app, "show", LOOKING, show)


def list_latents(
    shared: Shared,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many of the newest are shown.")] = SHOWN,
) -> None:
    """Lists Latents with their states, the newest last."""
    from latent_memory_plugin.records import LatentState

    with listed(shared, read_only=True) as store:
        seen = [_seen(store, latent) for latent in store.latents(newest=limit)] if store else []
        states = store.states() if store else Counter[str]()
    counts = ", ".join(f"{states[state]} {state}" for state in get_args(LatentState) if states[state])
    title = f"Latents in {shared.namespace!r}: {counts or 'none'}"
    if states.total() > limit:
        title += f"; the newest {limit} are shown (--limit)"
    columns = ("id", "created", "state", "gain", "vote", "learnt from")
    rows = [
        (
            latent.id[: output.SHORT_ID],
            output.day(latent.created),
            standing.state,
            _gain(latent.trial),
            f"{latent.vote.share:.2f}",
            output.shortened(next(iter(questions), "?"), QUESTION_CHARACTERS),
        )
        for latent, standing, questions in seen
    ]
    shown = output.table(title, columns, rows, numbers=("gain", "vote")) if rows else title
    report = {"latents": [one.report for one in seen], "states": dict(states)}
    output.emit(shared, report, shown)


def show(shared: Shared, latent_id: LatentId) -> None:
    """Shows a Latent's record, standing, versions, uses, vote and trial."""
    with listed(shared, read_only=True) as store:
        opened = existing(store, shared)
        wanted = opened.latent(whole_id(opened, latent_id))
        earlier, later = _lineage(wanted, opened)
        seen = {latent.id: _seen(opened, latent) for latent in (wanted, *_readable(opened, (*earlier, *later)))}
        uses = _counted(opened.uses(latent_id=wanted.id))
    one = seen[wanted.id]
    report = one.report | {"versions": {"earlier": earlier, "later": later}, "uses": uses}
    versions = [_versions(seen, wanted.id, (*earlier, wanted.id, *later))] if earlier or later else []
    output.emit(shared, report, output.facts([*_record(one, uses), *_trial(wanted.trial)]), _vote(wanted), *versions)


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


def _seen(store: "Store", latent: "Latent") -> Seen:
    return Seen(latent, store.standing(latent.id), _questions(store, latent))


def _counted(uses: "Sequence[Use]") -> dict[str, int]:
    """How many answers read it, and how many of them were right."""
    verdicts = Counter(use.correct for use in uses)
    return {"total": len(uses), "correct": verdicts[True], "wrong": verdicts[False], "unknown": verdicts[None]}


def _lineage(latent: "Latent", store: "Store") -> tuple[list[str], list[str]]:
    """Ids of its earlier and its later versions, oldest first; an earlier one may have been forgotten. A version knows
    the one before it alone, so what took its place is looked for in the headers of all."""
    previous = {one.id: one.previous for one in store.latents() if one.previous}

    def before(latent_id: str | None) -> list[str]:
        chain: list[str] = []
        while latent_id and (latent_id := previous.get(latent_id)) and latent_id not in chain:
            chain.append(latent_id)
        return chain

    return before(latent.id)[::-1], [one for one in previous if latent.id in before(one)]


def _readable(store: "Store", ids: "Sequence[str]") -> "Iterator[Latent]":
    """Those of the Latents that are there and can be read."""
    from latent_memory_plugin.errors import StoreError

    for latent_id in ids:
        try:
            yield store.latent(latent_id)
        except StoreError:
            continue


def _versions(seen: dict[str, Seen], shown: str, ids: "Sequence[str]") -> "Table":
    rows: list[tuple[str, ...]] = []
    for number, latent_id in enumerate(ids, 1):
        mark = "shown here" if latent_id == shown else ""
        short = latent_id[: output.SHORT_ID]
        if latent_id not in seen:
            rows.append((str(number), short, "", "forgotten", "", mark))
            continue
        latent, standing, _ = seen[latent_id]
        rows.append((str(number), short, output.day(latent.created), standing.state, _gain(latent.trial), mark))
    return output.table("Versions", ("version", "id", "created", "state", "gain", ""), rows, ("version", "gain"))


def _record(one: Seen, uses: dict[str, int]) -> list[tuple[str, str]]:
    latent, standing, questions = one
    left_out = {"vote", "trial", "parents", "shapes", "created", "previous", "version"}
    plain: dict[str, Any] = latent.model_dump(exclude=left_out)
    right = f", {uses['correct']} right, {uses['wrong']} wrong, {uses['unknown']} not known" if uses["total"] else ""
    return [
        *((name.replace("_", " "), str(value)) for name, value in plain.items()),
        ("tensors", ", ".join(f"{name} {' × '.join(map(str, shape))}" for name, shape in latent.shapes.items())),
        ("created", f"{output.day(latent.created)} by version {latent.version} of this library"),
        ("state", f"{standing.state} since {output.day(standing.since)}"),
        *([("because", standing.reason)] if standing.reason else []),
        ("previous", latent.previous or "none, it is the first of its neighbourhood"),
        ("read for", f"{uses['total']} answers{right}"),
        ("vote", f"{latent.vote.answer}, share {latent.vote.share:.2f}, entropy {latent.vote.entropy:.2f} nats"),
        *(("learnt from", output.shortened(question, 200)) for question in questions),
    ]


def _vote(latent: "Latent") -> "Table":
    rows = [("none" if answer is None else answer, str(count)) for answer, count in latent.vote.counts]
    return output.table("Vote", ("answer", "rollouts"), rows, numbers=("rollouts",))


def _gain(trial: "Trial") -> str:
    return f"{trial.gain:+.2f}" if trial.answers else "–"


def _trial(trial: "Trial") -> list[tuple[str, str]]:
    pairs = [("trial", trial.reason)]
    if trial.answers:
        pairs += [
            ("examined on", f"{len(trial.episode_ids)} episodes, {trial.answers} answers"),
            ("agreement", f"{trial.agreement_before:.2f} before, {trial.agreement_after:.2f} after"),
        ]
    if trial.least_gain is not None:
        pairs.append(("least gain", f"{trial.least_gain:+.2f} at the confidence asked for"))
    if trial.nearby_change is not None:
        pairs.append(("nearby", f"{trial.nearby_change:+.2f} on {len(trial.nearby_ids)} episodes that would read it"))
    return pairs
