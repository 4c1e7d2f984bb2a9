"""The hook after an episode: journal → vote → distil → trial → store."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from latent_memory_plugin.answering.find import covering
from latent_memory_plugin.config import Config
from latent_memory_plugin.engines.base import Model
from latent_memory_plugin.errors import DistilError, IndexUnavailableError, ModelError, RewardError
from latent_memory_plugin.forms.soft_prompt import start
from latent_memory_plugin.keys.encoder import Encoder
from latent_memory_plugin.learning.eviction import Budget
from latent_memory_plugin.learning.judge import Judge
from latent_memory_plugin.learning.lifecycle import Life
from latent_memory_plugin.learning.neighbourhood import (
    Neighbourhood,
    believes,
    distrust,
    nearby,
    neighbourhood,
    witnesses,
)
from latent_memory_plugin.learning.publish import Registry, array
from latent_memory_plugin.learning.race import Overtaken, Race, repeated, settle
from latent_memory_plugin.learning.rollouts import Gatherer, derived_seed
from latent_memory_plugin.learning.trial import Court, Evidence, trial, untried
from latent_memory_plugin.objectives import Attempt, distil, lessons
from latent_memory_plugin.records import (
    Candidate,
    Episode,
    EpisodeState,
    Latent,
    LatentState,
    Outcome,
    OutcomeStatus,
    Trial,
    Vote,
)
from latent_memory_plugin.store.base import AnyStore

STATE_AFTER: dict[OutcomeStatus, EpisodeState] = {
    "live": "learnt",
    "probation": "learnt",
    "skipped": "learnt",
    "waiting": "pending",
    "refused": "refused",
    "failed": "failed",
}
"""The journal's state of an episode after each outcome."""

STATUS_OF_SETTLED: dict[EpisodeState, OutcomeStatus] = {"learnt": "skipped", "refused": "refused", "failed": "failed"}
"""The outcome of an episode that was settled before its own turn."""


@dataclass(frozen=True)
class Consolidator:
    """Turns journaled episodes of one namespace into Latents."""

    model: Model
    """The frozen model."""
    store: AnyStore
    """The namespace's store."""
    encoder: Encoder
    """Makes the keys."""
    namespace: str
    """Its name."""
    config: Config
    """All settings."""
    judge: Judge
    """Completions → answers → vote, and whether an answer agrees."""
    watch: Callable[[Candidate], None] | None = None
    """Called with every candidate after its trial, passed or not."""

    def gather(self, episodes: Sequence[Episode]) -> list[Episode]:
        """The episodes with rollouts and a vote; of a covered question whose rollouts nobody handed over, none."""
        wanted = [one for one in episodes if one.rollouts or not one.problem.has_text or not self._covered(one)]
        done = {one.id: one for one in Gatherer(self.model, self.store, self.config, self.judge).gather(wanted)}
        return [done.get(episode.id, episode) for episode in episodes]

    def learn(self, episode: Episode) -> Outcome:
        """What becomes of a gathered episode; its new state and reason are journaled.

        One that took part in a neighbour's attempt, or failed before, keeps the state it got there. Raises
        IndexUnavailableError: the episode stays pending with that reason.
        """
        if episode.state != "pending":
            reason = f"Settled before its turn. {episode.reason}"
            return self._outcome(episode, STATUS_OF_SETTLED[episode.state], reason)
        began = time.monotonic()
        try:
            if believes(episode.vote, self.config):
                Life(self.store, self.config.life).witness(episode)
            outcome = repeated(lambda: self._attempt(episode))
        except (DistilError, ModelError, RewardError) as exc:
            outcome = self._outcome(episode, "failed", str(exc))
        except Overtaken as exc:
            outcome = self._outcome(episode, "waiting", str(exc))
        except IndexUnavailableError as exc:
            settle(self.store, episode.id, "pending", str(exc))
            raise
        outcome = outcome.model_copy(update={"seconds": time.monotonic() - began})
        settle(self.store, episode.id, STATE_AFTER[outcome.status], outcome.reason)
        return outcome

    @property
    def _registry(self) -> Registry:
        return Registry(self.model, self.store, self.encoder.name, self.namespace, self.config.distil.objective)

    @property
    def _race(self) -> Race:
        return Race(self.store, self.config.retrieve)

    def _covered(self, episode: Episode) -> bool:
        """Whether nothing is left to learn there, or the index, without which nothing can be, does not answer."""
        try:
            key = self.store.episode_key(episode.id)  # (D,)
            return covering(self.store, key, self.config.retrieve).latent_id is not None
        except IndexUnavailableError:
            return True

    def _attempt(self, episode: Episode) -> Outcome:
        key, current = self.store.episode_key(episode.id), self._race.current(episode.id)  # (D,)
        if current is not None:
            return self._review(episode, key, self.store.latent(current))
        if refusal := distrust(episode.vote, self.config):
            return self._outcome(episode, "refused", refusal)
        around = neighbourhood(self.store, episode, key, self.config)
        missing = self.config.neighbours.min_parents - len(around.parents)
        if missing > 0:
            return self._outcome(episode, "waiting", f"{missing} more near episodes with a clear vote are needed.")
        if _vote(episode).share > self.config.vote.max_share:
            reason = f"Nothing to learn: {_vote(episode).share:.0%} of the rollouts agree already."
            return self._outcome(episode, "skipped", reason)
        return self._enter(episode, around)

    def _review(self, episode: Episode, key: np.ndarray, current: Latent) -> Outcome:
        """A covered episode: it may make the trial of a Latent on probation possible, or a better version."""
        standing = self.store.standing(current.id)
        covered = f"Covered by Latent {current.id}."
        if episode.vote is None:
            return self._outcome(episode, "skipped", covered, current.id)
        around = neighbourhood(self.store, episode, key, self.config)
        if standing.state == "probation":
            apart = witnesses(around.known, current.parents, self.config)
            if len(apart) < self.config.trial.min_episodes:
                return self._outcome(episode, "skipped", f"{covered} It is on probation.", current.id)
            return self._promote(episode, around, current, apart)
        grown = len(around.known) >= self.config.neighbours.growth * max(standing.known, 1)
        if not (grown and self._enough(around) and believes(episode.vote, self.config)):
            return self._outcome(episode, "skipped", covered, current.id)
        return self._renew(episode, around, current)

    def _enough(self, around: Neighbourhood) -> bool:
        """Whether a candidate can be learnt and tried."""
        witnesses_needed = self.config.trial.min_episodes if self.config.trial.required else 0
        return len(around.parents) >= self.config.neighbours.min_parents and len(around.witnesses) >= witnesses_needed

    def _enter(self, episode: Episode, around: Neighbourhood) -> Outcome:
        """The first Latent of a neighbourhood: tried, or on probation where that is not possible yet."""
        missing = self.config.trial.min_episodes - len(around.witnesses)
        if missing > 0 and self.config.trial.required and not self.config.trial.probation:
            return self._outcome(episode, "waiting", f"{missing} more near episodes are needed for a trial.")
        seed = derived_seed(self.config.seed, episode.problem.hash)
        tensor = self._distil(around.parents, seed)  # (P, H)
        if missing > 0 and self.config.trial.required:
            why = f"No trial yet: {missing} more near episodes with a vote are needed."
            latent = self._registry.record(around, tensor, untried(why), seed)
            return self._admit(episode, around, latent, tensor, "probation")
        return self._tried(episode, around, tensor, seed, None)

    def _promote(self, episode: Episode, around: Neighbourhood, current: Latent, apart: tuple[Episode, ...]) -> Outcome:
        """The trial of a Latent on probation, whether or not the episodes it was learnt from are still there."""
        tensor = torch.from_numpy(self.store.tensor(current.id))  # (P, H)
        return self._tried(episode, replace(around, parents=(), witnesses=apart), tensor, current.seed, current)

    def _renew(self, episode: Episode, around: Neighbourhood, current: Latent) -> Outcome:
        """A new version from a neighbourhood that has grown; where it fails, the current one stays."""
        known = {"known": len(around.known)}
        with self._race.unchanged(episode.id, current.id):
            self.store.stand(self.store.standing(current.id).model_copy(update=known))
        seed = derived_seed(self.config.seed, episode.problem.hash)
        return self._tried(episode, around, self._distil(around.parents, seed), seed, current)

    def _tried(
        self, episode: Episode, around: Neighbourhood, tensor: Tensor, seed: int, current: Latent | None
    ) -> Outcome:
        """A candidate (P, H) after its trial: live, in the place of the current Latent if there is one, or refused."""
        verdict = self._trial(around, tensor, seed, current)
        latent = self._registry.record(around, tensor, verdict, seed, current)
        if self.watch is not None:
            self.watch(Candidate(latent, array(tensor)))
        if verdict.passed or not self.config.trial.required:
            return self._admit(episode, around, latent, tensor, "live")
        if current is not None and self.store.standing(current.id).state == "probation":
            with self._race.unchanged(episode.id, current.id):
                self._registry.stand(current.id, "retired", f"It failed its trial. {verdict.reason}", around)
        return self._concluded(episode, around, latent, "refused", f"Refused. {verdict.reason}")

    def _trial(self, around: Neighbourhood, tensor: Tensor, seed: int, current: Latent | None) -> Trial:
        if not self.config.trial.required:
            return untried("No trial is required.")
        court = Court(self.model, self.config.trial, self.config.sampling, self.judge.score, seed, around.attempt)
        centre = self._registry.centre(around.parents, current.id if current else None)  # (D,)
        others = nearby(self.store, centre, around.known, self.config)
        rival = None
        if current is not None and self.store.standing(current.id).state == "live":
            rival = torch.from_numpy(self.store.tensor(current.id))  # (P, H)
        return trial(court, tensor, Evidence(around.witnesses, others, rival))

    def _admit(
        self, episode: Episode, around: Neighbourhood, latent: Latent, tensor: Tensor, state: LatentState
    ) -> Outcome:
        with self._race.unchanged(episode.id, latent.previous):
            self._registry.admit(latent, tensor, state, around)
        Budget(self.store, self.config).keep({latent.id})
        status: OutcomeStatus = "live" if state == "live" else "probation"
        return self._concluded(episode, around, latent, status, f"{status.capitalize()}. {latent.trial.reason}")

    def _concluded(
        self, episode: Episode, around: Neighbourhood, latent: Latent, status: OutcomeStatus, reason: str
    ) -> Outcome:
        """Settles everyone who took part."""
        for other in (*around.parents, *around.witnesses):
            if other.id != episode.id:
                settle(self.store, other.id, STATE_AFTER[status], reason)
        stored = latent.id if status != "refused" else None
        return self._outcome(episode, status, reason, stored, latent.trial)

    def _distil(self, parents: Sequence[Episode], seed: int) -> Tensor:
        config = self.config.distil
        attempt = Attempt(self.model, lessons(parents), config, self.config.sampling, self.judge.score, seed)
        return distil(attempt, start(self.model, parents[0].problem, config.latent_tokens))  # (P, H)

    def _outcome(
        self,
        episode: Episode,
        status: OutcomeStatus,
        reason: str,
        latent_id: str | None = None,
        verdict: Trial | None = None,
    ) -> Outcome:
        told = Outcome(question=episode.question, status=status, reason=reason, latent_id=latent_id, trial=verdict)
        return told.model_copy(update={"episode_id": episode.id, "vote": episode.vote})


def _vote(episode: Episode) -> Vote:
    if episode.vote is None:
        raise DistilError(f"Episode {episode.id!r} has no vote; gather its rollouts before it is learnt from.")
    return episode.vote
