"""What the tests of `bench online` share: a small stream over the fake world, and results of its methods."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from latent_memory_plugin.bench.online.common import Common, Settings, kept_or_drawn, plain_answers, plain_pool
from latent_memory_plugin.bench.online.plan import Plan, Steps
from latent_memory_plugin.bench.online.stream import Asked, Stream
from latent_memory_plugin.bench.online.stretch import Stretch
from latent_memory_plugin.engines.base import Model
from latent_memory_plugin.testing import FakeModel

KINDS = ("sum", "age")
SPARE = 10


def asked(kind: str, number: int) -> Asked:
    return Asked(f"{kind}: number {number}", str(100 + number), kind, number % 4)


def small_stream(problems: int = 16, seed: int = 0) -> Stream:
    """Two kinds in turn; the first answer of the fake model is right."""
    posed = tuple(asked(KINDS[number % 2], number) for number in range(problems))
    spare = {kind: tuple(asked(kind, 500 + number) for number in range(SPARE)) for kind in KINDS}
    return Stream("small", seed, posed, spare)


def knowing(stream: Stream, **changes: Any) -> FakeModel:
    """A fake that answers every problem of the stream and its spare ones, rightly or with 0."""
    everyone = [*stream.asked, *(one for some in stream.spare.values() for one in some)]
    answers = {one.question: (one.answer, "0") for one in everyone}
    settings: dict[str, Any] = {"bias": 1.2, "name": "embedded", **changes}
    return FakeModel(answers, **settings)


@dataclass
class Said:
    """What a progress bar was told."""

    steps: list[tuple[int, int, str]] = field(default_factory=list[tuple[int, int, str]])

    def __call__(self, done: int, total: int, what: str) -> None:
        self.steps.append((done, total, what))


def no_weights() -> Any:
    raise AssertionError("A fake model has no weights.")


def stretch(out: Path, methods: str, stream: Stream | None = None, model: Model | None = None) -> Stretch:
    chosen = small_stream() if stream is None else stream
    plan = Plan(methods=tuple(methods.split(",")), seeds=(chosen.seed,), out=out)
    return Stretch(plan, knowing(chosen) if model is None else model, no_weights, Steps(None, 0), chosen)


def results(out: Path, methods: str, stream: Stream | None = None, model: Model | None = None) -> dict[str, Any]:
    """Method → its result."""
    return {one["method"]: one for one in stretch(out, methods, stream, model).results()}


def common(out: Path, model: Model, stream: Stream, weights: Any = no_weights, **settings: Any) -> Common:
    """What methods share, made as a run makes it."""
    chosen = Settings(seed=stream.seed, **settings)
    questions = [one.question for one in stream.asked]
    pool = kept_or_drawn(plain_pool(model, chosen), questions, out / "pool.jsonl", {}, lambda _: None)
    bare = kept_or_drawn(plain_answers(model, chosen), questions, out / "answers.jsonl", {}, lambda _: None)
    return Common(model, weights, pool.rollouts, bare.rollouts, 0.0, chosen)


def answers_of(result: Mapping[str, Any]) -> list[list[str | None]]:
    return [problem["answers"] for problem in result["problems"]]
