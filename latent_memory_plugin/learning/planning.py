"""Planning: what is to be done with an episode whose vote is taken, by what the store knows. Nothing is written."""

import time

import numpy as np

from latent_memory_plugin.answering.find import retrieve
from latent_memory_plugin.errors import NotFoundError
from latent_memory_plugin.learning.neighbourhood import (
    Neighbourhood,
    believes,
    distrust,
    held_out,
    nearby,
    neighbourhood,
)
from latent_memory_plugin.learning.work import Plan, Scope, derived_seed, outcome_of
from latent_memory_plugin.records import Episode, Latent, Neighbour, Outcome, OutcomeStatus, new_id
from latent_memory_plugin.store.base import AnyStore


def plan(store: AnyStore, episode: Episode, scope: Scope) -> Plan | Outcome:
    """The attempt that an episode with a vote gives reason for, or why there is none. Raises NotFoundError where the
    episode is gone, IndexUnavailableError."""
    return _Planner(store, episode, scope).plan()


def covering(store: AnyStore, episode_id: str, scope: Scope) -> str | None:
    """Id of the usable Latent that is read for an episode, if there is one."""
    return retrieve(store, store.episode_key(episode_id), scope.config.retrieve).latent_id


class _Planner:
    """One look at the store on behalf of one episode."""

    def __init__(self, store: AnyStore, episode: Episode, scope: Scope) -> None:
        self.store, self.episode, self.scope, self.config = store, episode, scope, scope.config
        self.key = store.episode_key(episode.id)  # (D,)

    def plan(self) -> Plan | Outcome:
        latent_id = covering(self.store, self.episode.id, self.scope)
        if latent_id is not None:
            return self._covered(self.store.latent(latent_id))
        if refusal := distrust(self.episode.vote, self.config):
            return self._outcome("refused", refusal)
        around = neighbourhood(self.store, self.episode, self.key, self.config)
        missing = self.config.neighbours.min_parents - len(around.teachers)
        if missing > 0:
            return self._outcome("waiting", f"{missing} more near episodes with a clear vote are needed.")
        share = 0.0 if self.episode.vote is None else self.episode.vote.share
        if share > self.config.vote.max_share:
            return self._outcome("skipped", f"Nothing to learn: {share:.0%} of the rollouts agree already.")
        return self._first(around)

    def _covered(self, current: Latent) -> Plan | Outcome:
        """It may make the trial of a Latent on probation possible, or a better version."""
        standing = self.store.standing(current.id)
        covered = f"Covered by Latent {current.id}."
        if self.episode.vote is None:
            return self._outcome("skipped", covered, current.id)
        around = neighbourhood(self.store, self.episode, self.key, self.config)
        if standing.state == "probation":
            apart = held_out(around.known, self._problems(current), self.config)
            if len(apart) < self.config.trial.min_episodes:
                return self._outcome("skipped", f"{covered} It is on probation.", current.id)
            return self._plan(around, (), apart, current)
        grown = len(around.known) >= self.config.neighbours.growth * max(standing.known, 1)
        if not (grown and self._is_enough(around) and believes(self.episode.vote, self.config)):
            return self._outcome("skipped", covered, current.id)
        return self._plan(around, around.teachers, around.held_out, current)

    def _first(self, around: Neighbourhood) -> Plan | Outcome:
        """The first Latent of a neighbourhood: tried, or on probation where that is not possible yet."""
        trial = self.config.trial
        missing = max(0, trial.min_episodes - len(around.held_out))
        if missing and trial.required and not trial.probation:
            return self._outcome("waiting", f"{missing} more near episodes are needed for a trial.")
        return self._plan(around, around.teachers, around.held_out, None, missing)

    def _is_enough(self, around: Neighbourhood) -> bool:
        """Whether a candidate can be learnt and tried."""
        needed = self.config.trial.min_episodes if self.config.trial.required else 0
        return len(around.teachers) >= self.config.neighbours.min_parents and len(around.held_out) >= needed

    def _plan(
        self,
        around: Neighbourhood,
        teachers: tuple[Neighbour, ...],
        apart: tuple[Neighbour, ...],
        current: Latent | None,
        missing: int = 0,
    ) -> Plan:
        key = self._centre(teachers, current)  # (D,)
        tried = self.config.trial.required and not missing
        others = nearby(self.store, key, around.known, self.config) if tried else ()
        return Plan(
            attempt=new_id(),
            scope=self.scope,
            episode=self.episode,
            teachers=self._read(teachers),
            held_out=self._read(apart),
            nearby=self._read(others),
            key=key,
            known=len(around.known),
            look=around.look,
            missing=missing,
            current=current,
            current_state=None if current is None else self.store.standing(current.id).state,
            tensors={} if current is None else self.store.tensors(current.id),
            seed=derived_seed(self.config.seed, self.episode.problem.hash) if teachers else _seed_of(current),
            created=time.time(),
        )

    def _read(self, some: tuple[Neighbour, ...]) -> tuple[Episode, ...]:
        """Whole episodes; the starting one as it was handed in."""
        return tuple(self.episode if one.id == self.episode.id else self.store.episode(one.id) for one in some)

    def _centre(self, teachers: tuple[Neighbour, ...], current: Latent | None) -> np.ndarray:
        """The key of the Latent (D,): the mean direction of its teachers' keys; without any, that of the one in
        place."""
        if not teachers and current is not None:
            return self.store.latent_key(current.id)
        mean = np.stack([self.store.episode_key(one.id) for one in teachers]).mean(axis=0)  # (D,)
        return mean / np.linalg.norm(mean)

    def _problems(self, current: Latent) -> set[str]:
        """Hashes of what a Latent was learnt from: it is examined on none of it, in whichever episode."""
        found = {current.problem_hash, *current.problems}
        for parent in current.parents:
            try:
                found.add(self.store.episode(parent).problem.hash)
            except NotFoundError:  # forgotten; files of schema 1 do not name its problem
                continue
        return found

    def _outcome(self, status: OutcomeStatus, reason: str, latent_id: str | None = None) -> Outcome:
        return outcome_of(self.episode, status, reason, latent_id)


def _seed_of(current: Latent | None) -> int:
    return 0 if current is None else current.seed
