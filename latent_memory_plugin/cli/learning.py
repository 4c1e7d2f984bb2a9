"""`learn`: a file of questions, learnt from one after the other; stopping at any moment loses nothing."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from latent_memory_plugin.cli import output
from latent_memory_plugin.cli.options import INTERRUPTED, STORE_AND_MODEL, Shared, command

if TYPE_CHECKING:
    from rich.table import Table

    from latent_memory_plugin.learning.work import Progress
    from latent_memory_plugin.memory import LatentMemory
    from latent_memory_plugin.questions import Row
    from latent_memory_plugin.records import Outcome


def register(app: typer.Typer) -> None:
    """Adds the command of this file."""
    command(app, "learn", STORE_AND_MODEL, learn)


def learn(
    shared: Shared,
    file: Annotated[Path, typer.Argument(metavar="FILE.jsonl", help="One JSON object with a 'question' per line.")],
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="First learns from what is pending, then from the questions never recorded before."
        ),
    ] = False,
) -> None:
    """Learns from a file of questions.

    Each is sampled and voted on, a Latent is distilled, and it is stored where it passes its trial.
    """
    from latent_memory_plugin import questions
    from latent_memory_plugin.errors import LatentMemoryError

    rows = questions.read(file)
    with shared.memory() as memory:
        lesson = Lesson(memory, resume)
        lesson.check(file, rows)
        try:
            lesson.give(rows)
        except KeyboardInterrupt as exc:
            lesson.interrupted = True
            _report(shared, lesson)
            typer.echo(f"Interrupted. {lesson.kept} The same command with --resume goes on.", err=True)
            raise typer.Exit(INTERRUPTED) from exc
        except LatentMemoryError:
            if lesson.outcomes:
                typer.echo(lesson.kept, err=True)
            raise
        _report(shared, lesson)


@dataclass
class Lesson:
    """One run through a file: what it has come to so far."""

    memory: "LatentMemory"
    """Learns."""
    resume: bool
    """Whether pending episodes come first and known questions are left out."""
    outcomes: "list[Outcome]" = field(default_factory=list["Outcome"])
    """One for each question learnt from so far."""
    interrupted: bool = False
    """True after Ctrl-C."""

    def check(self, file: Path, rows: "Sequence[Row]") -> None:
        """Raises ContextLengthError where the model cannot read a row, before anything is learnt."""
        from latent_memory_plugin.errors import ContextLengthError

        config, model = self.memory.config, self.memory.model
        room = model.context_tokens - config.sampling.max_new_tokens - config.distil.latent_tokens
        for row in rows:
            tokens = len(model.prompt_ids(row.problem.question))
            if tokens > room:
                raise ContextLengthError(
                    f"Line {row.line} of {str(file)!r} has a question of {tokens} tokens, more than the {room} that "
                    f"{model.name!r} has room for; shorten it or leave it out. Nothing was learnt."
                )

    def give(self, rows: "Sequence[Row]") -> None:
        """Learns from all rows, pending episodes first where the lesson resumes."""
        known = {one.problem.hash for one in self.memory.episodes()} if self.resume else set[str]()
        new = [row.problem.question for row in rows if row.problem.hash not in known]
        pending = self.pending if self.resume else 0
        with output.progress("learning") as advance:

            def step(one: "Progress") -> None:
                if one.outcome is not None:
                    self.outcomes.append(one.outcome)
                advance(len(self.outcomes), pending + len(new), _stage(one))

            advance(0, pending + len(new), "")
            if pending:
                self.memory.consolidate(step)
            self.memory.learn(new, step)

    @property
    def counts(self) -> Counter[str]:
        """Outcomes by status."""
        return Counter(outcome.status for outcome in self.outcomes)

    @property
    def pending(self) -> int:
        """Episodes of the journal that nothing is known of yet."""
        return sum(1 for _ in self.memory.episodes("pending"))

    @property
    def kept(self) -> str:
        """What the store holds of this run, in words."""
        reached = ", ".join(f"{count} {status}" for status, count in self.counts.items()) or "none"
        return f"Kept: the outcomes of {len(self.outcomes)} questions ({reached}); {self.pending} episodes are pending."


def _stage(one: "Progress") -> str:
    """What is under way, as a bar shows it."""
    if one.outcome is not None:
        return one.outcome.status
    left = "" if one.seconds_left is None else f", {one.seconds_left:.0f} s left"
    return f"{one.stage} {one.done}/{one.total}{left}"


def _report(shared: Shared, lesson: Lesson) -> None:
    from latent_memory_plugin.records import OutcomeStatus

    counts = lesson.counts
    report: dict[str, Any] = {
        "summary": {status: counts[status] for status in get_args(OutcomeStatus)},
        "pending": lesson.pending,
        "interrupted": lesson.interrupted,
        "outcomes": [outcome.model_dump(mode="json") for outcome in lesson.outcomes],
    }
    output.emit(shared, report, _summary(lesson.outcomes, get_args(OutcomeStatus)))


def _summary(outcomes: "Sequence[Outcome]", statuses: Sequence[str]) -> "Table":
    rows: list[tuple[str, str, str]] = []
    for status in statuses:
        reasons = [outcome.reason for outcome in outcomes if outcome.status == status]
        rows.append((status, str(len(reasons)), "\n".join(output.grouped(reasons))))
    return output.table("Learnt", ("outcome", "questions", "reasons"), rows, numbers=("questions",))
