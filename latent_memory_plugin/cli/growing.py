"""`evict` and `bench store`: how large a namespace is, and may be."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from latent_memory_plugin.cli import output
from latent_memory_plugin.cli.opening import listed
from latent_memory_plugin.cli.options import STORE_AND_MODEL, Shared, command

if TYPE_CHECKING:
    from latent_memory_plugin.config import StoreConfig
    from latent_memory_plugin.records import Evicted


def register(app: typer.Typer) -> None:
    """Adds the command `evict`."""
    command(app, "evict", STORE_AND_MODEL, evict)


def evict(
    shared: Shared,
    max_latents: Annotated[int | None, typer.Option("--max-latents", min=1, help="How many Latents may stay.")] = None,
    max_bytes: Annotated[int | None, typer.Option("--max-bytes", min=1, help="How large their files may be.")] = None,
    max_age_days: Annotated[
        float | None, typer.Option("--max-age-days", help="How long one may stay that is not read.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Shows what would go, and changes nothing.")] = False,
    past: Annotated[bool, typer.Option("--past", help="Shows what has gone so far, and changes nothing.")] = False,
) -> None:
    """Deletes the least useful Latents until the rest is within the bounds, and says why each.

    What is not read any more goes first, then what lost, what another covers, what was read long ago.
    """
    from latent_memory_plugin.config import StoreConfig

    bounds = StoreConfig(max_latents=max_latents, max_bytes=max_bytes, max_age_days=max_age_days)
    if past == (bounds != StoreConfig()) or (past and dry_run):
        raise typer.BadParameter("Give --max-latents, --max-bytes or --max-age-days, or --past alone.")
    gone = _past(shared) if past else _evicted(shared, bounds, dry_run)
    words = "would be evicted" if dry_run else "were evicted"
    title = f"{len(gone)} Latents of {shared.namespace!r} {words}"
    rows = [(one.latent_id[: output.SHORT_ID], output.day(one.created), one.reason) for one in gone]
    shown = output.table(title, ("id", "when", "why"), rows) if rows else title
    output.emit(shared, {"dry_run": dry_run, "evicted": [one.model_dump(mode="json") for one in gone]}, shown)


def store(
    shared: Shared,
    latents: Annotated[int, typer.Option("--latents", min=100, help="Latents in the namespace.")] = 10_000,
    episodes: Annotated[int, typer.Option("--episodes", min=0, help="Episodes in its journal.")] = 0,
    seed: Annotated[int, typer.Option("--seed", help="Draws the keys.")] = 0,
) -> None:
    """Measures a store of many Latents: openings, searches, writes, listings, sizes.

    The index is built once, so 100,000 Latents take some minutes and 2 GB of disk.
    """
    from latent_memory_plugin.bench.growth import measure

    with output.progress("steps") as advance:
        report = measure(latents, episodes, seed, advance)
    title = f"{latents:,} Latents, {episodes:,} episodes, keys of {report['key_size']} values, seed {seed}"
    output.emit(shared, report, output.table(title, ("measure", "value"), _measures(report), ("value",)))


def _past(shared: Shared) -> "list[Evicted]":
    with listed(shared, read_only=True) as opened:
        return list(opened.evictions()) if opened else []


def _evicted(shared: Shared, bounds: "StoreConfig", dry_run: bool) -> "list[Evicted]":
    from latent_memory_plugin.config import Config
    from latent_memory_plugin.learning.eviction import Budget

    with listed(shared, read_only=dry_run) as opened:
        budget = Budget(opened, Config(store=bounds)) if opened else None
        return [] if budget is None else budget.plan() if dry_run else budget.keep()


def _measures(report: dict[str, Any]) -> list[tuple[str, str]]:
    searches = {"first_opening": "without an index", "opening": "after a close", "opening_after_kill": "after a kill"}
    rows = [("opening", _seconds(report["opening"]["open"]))]
    rows += [(f"first search {words}", _seconds(report[name]["search"])) for name, words in searches.items()]
    rows.append(("close", _seconds(report["opening"]["close"])))
    for name in ("hit", "put"):
        times = report[f"{name}_milliseconds"]
        rows.append((f"{name} p50, p99", f"{times['p50']:.1f} ms, {times['p99']:.1f} ms"))
    rows.append((f"list of the newest {report['list']['newest']:,}", _seconds(report["list"])))
    rows += [(name, _seconds(report[name])) for name in ("stream", "holdings")]
    rows.append(("resident memory, opened", f"{report['opening']['resident_mib']:.0f} MiB"))
    rows += [(f"{name} on the disk", f"{size:,.0f} MiB") for name, size in report["mib"].items()]
    return rows


def _seconds(cost: dict[str, float]) -> str:
    return f"{cost['seconds']:.2f} s ({cost['processor_seconds']:.2f} s of processor)"
