"""The demo: a frozen model meets a stream of problems, once with memory and once without.

Each problem is answered before anything is learnt from it. Labels are used for the score only: the memory sees
questions and the model's own rollouts.
"""

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from latent_memory_plugin import LatentMemory, questions
from latent_memory_plugin.answers import agree
from latent_memory_plugin.answers.vote import vote
from latent_memory_plugin.bench import DEMO_PROBLEMS
from latent_memory_plugin.records import Answer, Outcome
from latent_memory_plugin.sandbox.family import World
from latent_memory_plugin.sandbox.world import MODELS, families, stream

PROBLEMS_AT_ONCE = 8
VOTERS = 16
SAMPLES_WITH_MEMORY = 4

Progress = Callable[[int, int, str], None]
"""(problems done, problems in all, what the last one came to)."""


@dataclass(frozen=True)
class Question:
    """One problem of the stream."""

    question: str
    """The text the model sees."""
    answer: str | None
    """The right answer, for the score only; None where it is not known."""
    kind: str
    """Family of the embedded world, or the file it comes from."""


@dataclass(frozen=True)
class Scored:
    """How one problem went."""

    kind: str
    """Family or file."""
    without_memory: float | None
    """Share of right samples without memory, 0 to 1; None without a label, here and below."""
    with_memory: float | None
    """Share of right samples with memory, 0 to 1."""
    majority_16: float | None
    """1 where the majority of 16 samples without memory is right."""
    greedy: float | None
    """1 where the likeliest completion without memory is right."""
    latent: str | None
    """The Latent that was read."""
    tokens_without: float
    """Tokens sampled per answer without memory."""
    tokens_with: float
    """The same with memory."""
    tokens_greedy: float
    """Tokens of the likeliest completion."""


def run(
    seed: int = 0,
    problems: int = DEMO_PROBLEMS,
    model: str | None = None,
    file: Path | None = None,
    progress: Progress | None = None,
    split: Literal["tuning", "held-out"] = "held-out",
    world: World = "hard",
) -> dict[str, Any]:
    """Runs the stream in a store of its own and returns the report; nothing is left on the disk.

    `world` is the half of the embedded world that the problems come from, and, without `model`, whose model it is.
    """
    asked = own(file) if file else embedded(split, problems, seed, world)
    model = model or MODELS[world]
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as root, LatentMemory(root=root, model=model, namespace="demo") as memory:
        scores, outcomes = _stream(memory, asked, seed, progress)
        report = summarise(scores, outcomes)
        report |= {"world": None if file else world}
        report |= {"model": memory.model.name, "live_latents": [one.model_dump() for one in memory.latents()]}
    return report | {"seconds": round(time.monotonic() - started, 1), "seed": seed}


def embedded(split: Literal["tuning", "held-out"], problems: int, seed: int, world: World) -> list[Question]:
    """A stream of one half of the embedded world."""
    drawn = stream(families(split, world), problems, seed)
    return [Question(problem.question, problem.answer, problem.family.name) for problem in drawn]


def own(path: Path) -> list[Question]:
    """The problems of a JSONL file with `question` and, for the score, `answer`. Raises `InputError`."""
    return [Question(row.problem.question, row.answer, path.stem) for row in questions.read(path)]


def _stream(
    memory: LatentMemory, asked: Sequence[Question], seed: int, progress: Progress | None
) -> tuple[list[Scored], list[Outcome]]:
    scores: list[Scored] = []
    outcomes: list[Outcome] = []
    for start in range(0, len(asked), PROBLEMS_AT_ONCE):
        some = asked[start : start + PROBLEMS_AT_ONCE]
        texts = [one.question for one in some]
        memory.off()
        plain = memory.ask(texts, n=VOTERS, seed=seed)
        likeliest = memory.ask(texts, seed=seed, temperature=0.0)
        memory.on()
        recalled = memory.ask(texts, n=SAMPLES_WITH_MEMORY, seed=seed + 1)
        scores += [_score(*went) for went in zip(some, plain, likeliest, recalled, strict=True)]
        for outcome in memory.observe_all(texts, [answer.rollouts for answer in plain]):
            outcomes.append(outcome)
            if progress is not None:
                progress(len(outcomes), len(asked), outcome.status)
    return scores, outcomes


def _score(asked: Question, plain: Answer, likeliest: Answer, recalled: Answer) -> Scored:
    winner = vote([rollout.answer for rollout in plain.rollouts]).answer
    return Scored(
        kind=asked.kind,
        without_memory=_right(plain, asked.answer),
        with_memory=_right(recalled, asked.answer),
        majority_16=None if asked.answer is None else float(agree(winner, asked.answer)),
        greedy=_right(likeliest, asked.answer),
        latent=recalled.latent_ids[0] if recalled.latent_ids else None,
        tokens_without=plain.usage.completion_tokens / len(plain.rollouts),
        tokens_with=recalled.usage.completion_tokens / len(recalled.rollouts),
        tokens_greedy=float(likeliest.usage.completion_tokens),
    )


def _right(answer: Answer, label: str | None) -> float | None:
    if label is None:
        return None
    return sum(agree(rollout.answer, label) for rollout in answer.rollouts) / len(answer.rollouts)


def summarise(scores: Sequence[Scored], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The report of a stream: accuracies of both halves, tokens, Latents, and every problem."""
    half = len(scores) // 2
    status = Counter(outcome.status for outcome in outcomes)
    return {
        "second_half": _accuracies(scores[half:]),
        "first_half": _accuracies(scores[:half]),
        "latents": {"live": status["live"], "refused": sum(_tried(outcome) for outcome in outcomes)},
        "refusals": [outcome.reason for outcome in outcomes if _tried(outcome)],
        "outcomes": dict(status),
        "tokens_per_answer": {
            "without_memory": _mean([one.tokens_without for one in scores[half:]]),
            "with_memory": _mean([one.tokens_with for one in scores[half:]]),
            "greedy": _mean([one.tokens_greedy for one in scores[half:]]),
            "majority_16": _mean([VOTERS * one.tokens_without for one in scores[half:]]),
        },
        "problems": [asdict(score) for score in scores],
    }


def _tried(outcome: Outcome) -> bool:
    return outcome.status == "refused" and outcome.trial is not None


def _accuracies(scores: Sequence[Scored]) -> dict[str, float | None]:
    names = ("without_memory", "with_memory", "majority_16", "greedy")
    accuracies = {name: _mean([getattr(score, name) for score in scores]) for name in names}
    return accuracies | {"coverage": _mean([float(score.latent is not None) for score in scores])}


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean of the values that are known, to four digits; None where none is."""
    known = [value for value in values if value is not None]
    return round(sum(known) / len(known), 4) if known else None
