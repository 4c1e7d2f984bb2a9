"""What travels along the street: `Scope`, `Draw`, `Plan`, `Candidate`. Frozen and picklable, tensors as arrays, so that
they can be sent to another thread, process or machine.

Legend: P latent tokens, H hidden size, D key size.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from latent_memory_plugin import __version__
from latent_memory_plugin.answers.judge import Judge
from latent_memory_plugin.config import Config
from latent_memory_plugin.forms import Loaded
from latent_memory_plugin.records import Episode, Latent, LatentState, Outcome, OutcomeStatus, Rollout

if TYPE_CHECKING:
    import numpy as np

Arrays = Mapping[str, "np.ndarray"]
"""Tensors of a Latent by name, float32."""


@dataclass(frozen=True)
class Scope:
    """Whose learning it is: the same for all episodes of a memory."""

    namespace: str
    """Where it is stored."""
    model: str
    """Name of the model."""
    fingerprint: str
    """What identifies it: a plan is run by no other."""
    encoder: str
    """Name of the method that makes the keys."""
    config: Config
    """All settings."""
    judge: Judge
    """Completions → answers → vote, and whether an answer agrees."""


@dataclass(frozen=True)
class Draw:
    """Rollouts to be sampled: the next round of votes that are open."""

    scope: Scope
    """Whose they are."""
    questions: tuple[str, ...]
    """What is asked, without any Latent."""
    count: int
    """Rollouts of each."""
    seed: int
    """The same seed samples the same rollouts."""
    version: str = __version__
    """Version of this library that drew it up."""


Drawn = list[list[Rollout]]
"""What a draw comes to: `count` rollouts for each of its questions, their answers not extracted."""


@dataclass(frozen=True)
class Plan:
    """One attempt at a Latent: all that is needed to learn and to examine it."""

    attempt: str
    """Id of this attempt; the Latent that comes of it has it as its own."""
    scope: Scope
    """Whose it is."""
    episode: Episode
    """The episode it starts from."""
    teachers: tuple[Episode, ...]
    """Episodes to learn from, the most trusted first; none where the Latent in place is examined as it is."""
    held_out: tuple[Episode, ...]
    """Episodes of the neighbourhood to be examined on, the most trusted first; none is of a teacher's problem."""
    nearby: tuple[Episode, ...]
    """Episodes of other neighbourhoods that would read it, examined for harm."""
    key: "np.ndarray"
    """(D,) float32: under which it will be found."""
    known: int
    """Episodes of the neighbourhood."""
    look: int
    """How many attempts of this neighbourhood there were with this one; the more, the surer it must be."""
    missing: int
    """Held-out episodes that a trial lacks; there is one where it lacks none."""
    current: Latent | None
    """The Latent in place that covers the episode."""
    current_state: LatentState | None
    """What that one may do."""
    tensors: Arrays
    """Its tensors by name; empty without one."""
    seed: int
    """Of all that is sampled on the way."""
    created: float
    """Unix time in seconds."""
    version: str = __version__
    """Version of this library that made the plan; another one does not run it."""

    @property
    def waits_for_trial(self) -> bool:
        """True where there must be a trial and cannot be one yet."""
        return self.scope.config.trial.required and self.missing > 0


@dataclass(frozen=True)
class Candidate:
    """What a plan came to, whatever becomes of it: the same plan on the same engine gives the same, bit for bit."""

    plan: Plan
    """What was carried out."""
    latent: Latent
    """Its record as it would be stored, the trial in it."""
    tensors: Arrays
    """By name, float32."""

    @property
    def tensor(self) -> "np.ndarray":
        """The first of them: (P, H) of a soft prompt."""
        return next(iter(self.tensors.values()))

    @property
    def loaded(self) -> Loaded:
        """As a model reads it."""
        return Loaded.from_arrays(self.latent.form, self.tensors)


def outcome_of(episode: Episode, status: OutcomeStatus, reason: str, latent_id: str | None = None) -> Outcome:
    """What became of an episode."""
    return Outcome(
        question=episode.question,
        status=status,
        reason=reason,
        latent_id=latent_id,
        episode_id=episode.id,
        vote=episode.vote,
    )


def derived_seed(seed: int, purpose: str) -> int:
    """A seed below 2³¹ that depends on the configured seed and on what it is for."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{purpose}".encode()).digest()[:4], "big") >> 1


class Progress(NamedTuple):
    """How far learning has come."""

    stage: str
    """`sampling`, `distilling`, `examining`, or `done` where an episode has its outcome."""
    done: int
    """Steps of this stage so far; of `done`, episodes."""
    total: int
    """Steps of it in all, at most."""
    seconds_left: float | None = None
    """Estimate for the rest of the stage; None where nothing is known yet."""
    question: str = ""
    """What is being learnt from."""
    outcome: Outcome | None = None
    """What became of the episode; None while it is under way."""


Watch = Callable[[Progress], None]
"""Called whenever something has moved."""


def unwatched(progress: Progress) -> None:
    """Nobody looks."""
