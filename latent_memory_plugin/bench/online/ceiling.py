"""How much sampling and scoring a run may take at most, from its methods' settings, and how much it took before."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil

from latent_memory_plugin.bench.cost import Draws, Scores
from latent_memory_plugin.bench.online import after, context, lora, memories, offline, roster
from latent_memory_plugin.bench.online.common import DRAWN_AT_ONCE, PROBLEMS_AT_ONCE
from latent_memory_plugin.bench.online.training import Schedule
from latent_memory_plugin.config import Config, GrpoConfig, ImitateConfig, ImitateThenGrpoConfig

SHARED = "plain rollouts"
"""What all methods share."""
BOTH = 2
"""Sides of an answer that is compared with the plain model's."""
ON_THE_EMBEDDED_WORLD: dict[str, tuple[float, float]] = {
    "reflected_icl": (0.6, 0.0),
    "paper": (2.6, 2.6),
    "ours": (75.7, 41.2),
    "offline_soft_prompt": (0.0, 5.8),
    "lora_per_problem": (0.0, 0.8),
    "lora_offline": (0.0, 2.8),
}
"""Completions sampled to learn and completions scored, per problem, as measured on the embedded world
(docs/results.md: tokens of learning over 300 problems and over the tokens of one answer)."""


@dataclass(frozen=True)
class Work:
    """What a method asks of the model."""

    answering: tuple[Draws, ...] = ()
    """Completions sampled to answer, along the stream and after it."""
    learning: tuple[Draws, ...] = ()
    """Completions sampled to learn."""
    scores: tuple[Scores, ...] = ()
    """Completions scored with gradient to learn."""

    @property
    def sampled(self) -> float:
        """Completions sampled."""
        return sum(one.completions for one in (*self.answering, *self.learning))

    @property
    def scored(self) -> float:
        """Completions scored."""
        return sum(one.completions for one in self.scores)

    def learning_as_much(self, sampled: float, scored: float) -> "Work":
        """The same with that many completions sampled and scored to learn, never more than before."""
        drawn = min(1.0, sampled / (sum(one.completions for one in self.learning) or 1.0))
        read = min(1.0, scored / (self.scored or 1.0))
        return replace(
            self,
            learning=tuple(Draws(one.calls * drawn, one.rows) for one in self.learning),
            scores=tuple(replace(one, steps=one.steps * read) for one in self.scores),
        )


@dataclass(frozen=True)
class Ceiling:
    """The most that a stream of some length may take; true effects of Latents left out."""

    problems: int
    """Length of the stream."""
    samples: int
    """Answers per problem and method."""
    voters: int
    """Plain rollouts of each problem."""

    def of(self, method: str) -> Work:
        """The most a method may take beside the shared rollouts."""
        if method in memories.CONFIGS:
            return self._memory(memories.CONFIGS[method], method == roster.OURS)
        if method == "greedy":
            return Work((Draws(1, self.problems),))
        if method in ("raw_icl", "reflected_icl"):
            reflections = Draws(1, context.REFLECTIONS * self.problems)
            return Work(self._read(), (reflections,) if method == "reflected_icl" else ())
        if method == "lora_per_problem":
            return Work(self._read(), (), (Scores(self.problems * lora.ONE_PROBLEM.steps, lora.COMPLETIONS, 1),))
        if method in roster.TWO_PASS:
            schedule = lora.WHOLE_STREAM if method == "lora_offline" else offline.SOFT_PROMPT
            return Work((Draws(1, self._answers),), (), (_whole_stream(schedule),))
        return Work()

    def likely(self, method: str) -> Work:
        """What it would take if it learnt as much per problem as on the embedded world; the most where that was not
        measured."""
        most = self.of(method)
        if method not in ON_THE_EMBEDDED_WORLD:
            return most
        sampled, scored = (self.problems * each for each in ON_THE_EMBEDDED_WORLD[method])
        return most.learning_as_much(sampled, scored)

    @property
    def shared(self) -> Work:
        """The plain rollouts and answers, which are drawn once for all methods."""
        each = min(self.problems, DRAWN_AT_ONCE)
        calls = self.problems / each
        return Work((Draws(calls, each * self.voters), Draws(calls * self.samples, each)))

    @property
    def _answers(self) -> int:
        return self.problems * self.samples

    @property
    def _again(self) -> int:
        """Problems asked again at the end."""
        return after.after_first_third(self.problems) if self.problems > PROBLEMS_AT_ONCE else 0

    def _read(self) -> tuple[Draws, ...]:
        """Of a method that samples at the end, all problems together, and those of the first third again."""
        return (Draws(1, self._answers), Draws(1, self._again * self.samples))

    def _memory(self, config: Config, passes: bool) -> Work:
        sides = BOTH if config.trial.required and config.trial.probation else 1
        rounds = ceil(self.problems / PROBLEMS_AT_ONCE) * self.samples
        each = -(-self._answers * sides // rounds)
        answering = [Draws(rounds, each), Draws(self.samples, self._again * sides)]
        if passes:
            later = min(after.PASS_PROBLEMS, self.problems - after.after_first_third(self.problems))
            answering.append(Draws(1, later * after.LARGEST_K * sides))
        return Work(tuple(answering), tuple(self._lessons(config)), tuple(self._steps(config)))

    def _lessons(self, config: Config) -> Sequence[Draws]:
        """Votes, rollouts of GRPO, and trials: witnesses, other neighbourhoods, the Latent in its place."""
        drawn = [Draws(self.problems, config.vote.max_rollouts - min(config.vote.rollouts, self.voters))]
        distil, parents = config.distil, config.neighbours.max_parents
        if isinstance(objective := distil.objective, GrpoConfig):
            drawn.append(Draws(self.problems * ceil(_steps(config) / objective.updates), parents * objective.rollouts))
        if config.trial.required:
            drawn.append(Draws(3 * self.problems, config.trial.max_episodes * config.trial.answers))
        return drawn

    def _steps(self, config: Config) -> Sequence[Scores]:
        parents = config.neighbours.max_parents
        return [Scores(self.problems * _steps(config), parents * _rollouts(config), parents)]


def _steps(config: Config) -> int:
    """Passes of one attempt: the value is measured once more after the last step."""
    objective = config.distil.objective
    refined = objective.refine_steps + 1 if isinstance(objective, ImitateThenGrpoConfig) else 0
    return config.distil.steps + 1 + refined


def _whole_stream(schedule: Schedule) -> Scores:
    return Scores(schedule.steps, schedule.problems * offline.COMPLETIONS, schedule.problems)


def _rollouts(config: Config) -> int:
    objective = config.distil.objective
    return objective.rollouts if isinstance(objective, ImitateConfig | GrpoConfig) else 0
