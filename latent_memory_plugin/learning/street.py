"""The street: how an episode becomes a Latent. Stages are functions from one frozen record to the next.

    gather   episodes          → episodes with votes    rounds of Draw → rollouts, each journaled before the next
    plan     store, episode    → Plan, or an Outcome    reads the store, writes nothing, holds no lock
    run      engines, Plan     → Candidate              no store, no lock, no clock; wherever an executor has it run
    publish  store, Candidate  → Outcome                compare and swap, in milliseconds; outdated is planned again

Whoever asks, gives feedback, forgets or looks waits for none of it.
"""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from latent_memory_plugin.answering.find import covering
from latent_memory_plugin.errors import (
    DistilError,
    IndexUnavailableError,
    ModelError,
    NotFoundError,
    PluginError,
    RewardError,
)
from latent_memory_plugin.learning.lifecycle import Lifecycle
from latent_memory_plugin.learning.neighbourhood import believes
from latent_memory_plugin.learning.planning import plan
from latent_memory_plugin.learning.publish import STATE_AFTER, Outdated, publish
from latent_memory_plugin.learning.rollouts import joined, next_round
from latent_memory_plugin.learning.run import run
from latent_memory_plugin.learning.work import Candidate, Draw, Plan, Scope, outcome_of
from latent_memory_plugin.records import Episode, EpisodeState, Outcome, OutcomeStatus
from latent_memory_plugin.store.base import AnyStore

__all__ = ["Street", "plan", "publish", "run"]

PLANS = 3
"""How often an episode is planned anew where others keep changing what it was planned by."""

NO_TEXT = "Its text was not kept."
"""Why an episode of an earlier process fails with `keep_text=False`."""

STATUS_OF_SETTLED: dict[EpisodeState, OutcomeStatus] = {"learnt": "skipped", "refused": "refused", "failed": "failed"}
"""The outcome of an episode that was settled before its own turn."""

_BREAKS_OFF = (DistilError, ModelError, PluginError, RewardError)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Street:
    """The stages in a row, for the episodes of one memory."""

    store: AnyStore
    """The namespace's store."""
    scope: Scope
    """Whose learning it is."""
    submit: Callable[[Draw | Plan], Any]
    """Has work run somewhere and waits for what it comes to."""
    watch: Callable[[Candidate], None] | None = None
    """Called with every candidate that was examined, passed or not."""

    def learn(self, episode: Episode) -> Outcome:
        """What becomes of a journaled episode; its new state and reason are journaled.

        One that took part in a neighbour's attempt, or failed before, keeps the state it got there. Raises
        IndexUnavailableError: the episode stays pending with that reason; NotFoundError where it is gone.
        """
        if episode.state != "pending":
            reason = f"Settled before its turn. {episode.reason}"
            return outcome_of(episode, STATUS_OF_SETTLED[episode.state], reason)
        began = time.monotonic()
        try:
            if believes(episode.vote, self.scope.config):
                Lifecycle(self.store, self.scope.config.life).witness(episode, self.scope.judge)
            outcome = self._attempt(episode)
        except _BREAKS_OFF as exc:
            outcome = outcome_of(episode, "failed", str(exc))
        except IndexUnavailableError as exc:
            self.store.settle(episode.id, "pending", str(exc))
            raise
        self.store.settle(episode.id, STATE_AFTER[outcome.status], outcome.reason)
        log.info("Episode %s: %s. %s", episode.id, outcome.status, outcome.reason)
        return outcome.model_copy(update={"seconds": time.monotonic() - began})

    def _attempt(self, episode: Episode) -> Outcome:
        overtaken = ""
        for _ in range(PLANS):
            if episode.vote is None and not self._is_covered(episode):  # it was, when the others were gathered
                [episode] = self.gather([episode])
                if episode.state == "failed":
                    return outcome_of(episode, "failed", episode.reason)
            made = plan(self.store, episode, self.scope)
            if isinstance(made, Outcome):
                return made
            candidate: Candidate = self.submit(made)
            if self.watch is not None and not made.waits_for_trial:
                self.watch(candidate)
            try:
                return publish(self.store, candidate)
            except Outdated as exc:
                overtaken = str(exc)
                episode = self.store.episode(episode.id)
        return outcome_of(episode, "waiting", overtaken)

    def gather(self, episodes: Sequence[Episode]) -> list[Episode]:
        """The episodes with rollouts and a vote, journaled round by round; of a covered question whose rollouts nobody
        handed over, none.

        All that need more are sampled together. One that the model cannot sample, too long for its context for
        instance, that the caller's reward cannot judge, or whose text was not kept, comes back as failed.
        """
        lost = {one.id: self._failed(one, NO_TEXT) for one in episodes if not one.problem.has_text}
        wanted = [one for one in episodes if one.id not in lost and (one.rollouts or not self._is_covered(one))]
        done = lost | {one.id: one for one in self._gathered(wanted)}
        return [done.get(episode.id, episode) for episode in episodes]

    def _gathered(self, episodes: Sequence[Episode]) -> list[Episode]:
        gathered = list(episodes)
        try:
            for number, episode in enumerate(episodes):
                gathered[number] = self._joined(episode, ())
            while (wanted := next_round(gathered, self.scope)) is not None:
                draw, numbers = wanted
                for number, fresh in zip(numbers, self.submit(draw), strict=True):
                    gathered[number] = self._joined(gathered[number], fresh)
        except (ModelError, RewardError) as exc:
            if len(gathered) > 1:
                return [found for episode in gathered for found in self._gathered([episode])]
            return [self._failed(gathered[0], str(exc))]
        return gathered

    def _joined(self, episode: Episode, fresh: Sequence[Any]) -> Episode:
        """The episode with these rollouts more and its vote, in the journal."""
        found = joined(episode, fresh, self.scope)
        if found != episode:
            with suppress(NotFoundError):  # forgotten meanwhile
                self.store.update(found)
        return found

    def _failed(self, episode: Episode, reason: str) -> Episode:
        failed = episode.model_copy(update={"state": "failed", "reason": reason})
        self.store.update(failed)
        return failed

    def _is_covered(self, episode: Episode) -> bool:
        """Whether nothing is left to learn there, or the index, without which nothing can be, does not answer."""
        try:
            key = self.store.episode_key(episode.id)  # (D,)
            return covering(self.store, key, self.scope.config.retrieve).latent_id is not None
        except (IndexUnavailableError, NotFoundError):  # the latter: forgotten meanwhile
            return True
