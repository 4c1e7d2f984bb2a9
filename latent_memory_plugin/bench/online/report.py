"""From the results of all methods and seeds to one report."""

from collections.abc import Sequence
from typing import Any

from latent_memory_plugin.bench.online.after import after_first_third
from latent_memory_plugin.bench.online.roster import OURS, TWO_PASS
from latent_memory_plugin.bench.online.statistics import DIGITS, Interval, interval, mean, paired

Result = dict[str, Any]
"""What one method came to along one stream."""

COUNTS = (
    "live",
    "refused",
    "harmful_live",
    "refused_helpful",
    "refused_first",
    "refused_first_helpful",
    "probation",
    "harmful_probation",
    "candidates",
)
"""What is counted of a memory, summed over the seeds."""


def summarise(streams: Sequence[Sequence[Result]]) -> dict[str, Any]:
    """The report of one or several streams, each with the results of the same methods.

    Accuracies are of the problems after the first third of each stream; differences and intervals pool the problems of
    all streams.
    """
    by_method = {results[0]["method"]: list(results) for results in zip(*streams, strict=True)}
    return {
        "methods": {name: _method(results) for name, results in by_method.items()},
        "seconds": round(sum(result["seconds"] for results in streams for result in results), 1),
        "streams": [_stream(results[0]) for results in streams],
        "two_pass": [name for name in TWO_PASS if name in by_method],
        "ours_minus": _differences(by_method),
        "pass_at_k": {name: _passes(results) for name, results in by_method.items() if "pass_at_k" in results[0]},
        "forgetting": {name: _forgotten(results) for name, results in by_method.items() if "forgetting" in results[0]},
        "transfer": {name: _transfer(results) for name, results in by_method.items() if "transfer" in results[0]},
        "curves": {name: _curve(results) for name, results in by_method.items()},
    }


def later(result: Result) -> list[dict[str, Any]]:
    """The problems after the first third."""
    return result["problems"][after_first_third(len(result["problems"])) :]


def accuracies(results: Sequence[Result]) -> list[float]:
    """The accuracy of each problem after the first third, stream after stream."""
    return [_share(problem) for result in results for problem in later(result)]


def _method(results: Sequence[Result]) -> dict[str, Any]:
    found, problems = interval(accuracies(results)), [one for result in results for one in later(result)]
    return {
        "after_first_third": found and found.mean,
        "coverage": mean([_covered(one) for one in problems]),
        **_counts(results),
        "interval": found and [found.low, found.high],
        "by_seed": [mean([_share(one) for one in later(result)]) for result in results],
        "whole_stream": mean([_share(one) for result in results for one in result["problems"]]),
        "where_read": mean([_share(one) for one in problems if _covered(one) > 0]),
        "tokens_per_answer": mean([value for one in problems for value in one["tokens"]]),
        "read_tokens_per_answer": mean([value for one in problems for value in one["read_tokens"]]),
        **_costs(results),
    }


def _counts(results: Sequence[Result]) -> dict[str, Any]:
    if "live" not in results[0]:
        return {}
    return {name: _total([result[name] for result in results]) for name in COUNTS}


def _total(values: Sequence[int | None]) -> int | None:
    """The sum; None where one is not known."""
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _costs(results: Sequence[Result]) -> dict[str, float]:
    """Means over the streams."""
    costs = [result["cost"] for result in results]
    summed = [cost | {"learning_tokens": cost["given_tokens"] + cost["sampled_tokens"]} for cost in costs]
    return {name: round(sum(cost[name] for cost in summed) / len(summed), 1) for name in summed[0]}


def _differences(by_method: dict[str, list[Result]]) -> dict[str, Any]:
    if OURS not in by_method:
        return {}
    ours = accuracies(by_method[OURS])
    others = {name: accuracies(results) for name, results in by_method.items() if name != OURS}
    return {name: _as_fields(paired(ours, other)) for name, other in others.items()}


def _as_fields(found: Interval | None) -> dict[str, float] | None:
    return None if found is None else found._asdict()


def _passes(results: Sequence[Result]) -> dict[str, float | None]:
    return _averaged([result["pass_at_k"] for result in results])


def _forgotten(results: Sequence[Result]) -> dict[str, float | None]:
    """Means over the streams, each with the weight of its problems."""
    rows = [result["forgetting"] for result in results]
    everywhere = {name: _weighted(rows, name, "problems") for name in ("then", "now")}
    read = {name: _weighted(rows, name, "read_then") for name in ("then_where_read", "now_where_read")}
    return {"problems": sum(row["problems"] for row in rows)} | everywhere | read


def _transfer(results: Sequence[Result]) -> dict[str, Any]:
    rows = [result["transfer"] for result in results]
    kinds = {name: [row[name] for row in rows] for name in rows[0]}
    summed = {
        name: {"answers": sum(one["answers"] for one in some)}
        | {each: _weighted(some, each, "answers") for each in ("without", "with", "read")}
        for name, some in kinds.items()
    }
    foreign = mean([row["other_kinds"]["share_of_answers"] for row in rows])
    summed["other_kinds"]["share_of_answers"] = foreign
    latents = [one for result in results for one in result["latents"] if one["effect"] is not None]
    return summed | {"applied_to_unseen_phrasings": _applied(latents)}


def _applied(latents: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Usable Latents read on every fresh problem of their kind in phrasings that none of their parents had."""
    rows = [one["effect"]["unseen_phrasings"] for one in latents if one["effect"]["unseen_phrasings"]["problems"]]
    shares = {name: mean([row[name] for row in rows]) for name in ("without", "with")}
    return {"latents": len(rows)} | shares


def _weighted(rows: Sequence[dict[str, Any]], name: str, weight: str) -> float | None:
    known = [row for row in rows if row[name] is not None and row[weight]]
    total = sum(row[weight] for row in known)
    return round(sum(row[name] * row[weight] for row in known) / total, DIGITS) if total else None


def _averaged(rows: Sequence[dict[str, float]]) -> dict[str, float | None]:
    names = [name for name in rows[0] if all(name in row for row in rows)]
    return {name: mean([row[name] for row in rows]) for name in names}


def _curve(results: Sequence[Result]) -> list[float | None]:
    """Accuracy at each place of the stream, the mean over the streams that are long enough."""
    problems = [result["problems"] for result in results]
    longest = max(map(len, problems))
    return [mean([_share(one[place]) for one in problems if len(one) > place]) for place in range(longest)]


def _share(problem: dict[str, Any]) -> float:
    return sum(problem["right"]) / len(problem["right"])


def _covered(problem: dict[str, Any]) -> float:
    return sum(source is not None for source in problem["sources"]) / len(problem["sources"])


def _stream(result: Result) -> dict[str, Any]:
    key = result["key"]
    return {
        "name": key["stream"],
        "seed": key["settings"]["seed"],
        "problems": len(result["problems"]),
        "samples": key["settings"]["samples"],
        "model": key["model"],
        "version": key["version"],
    }
