"""The hook after an episode: journal → vote → distil → trial → store."""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from latent_memory_plugin import __version__
from latent_memory_plugin.answers import agree
from latent_memory_plugin.config import Config
from latent_memory_plugin.distil import Attempt, Lesson, distil
from latent_memory_plugin.errors import DistilError, ModelError
from latent_memory_plugin.forms.soft_prompt import start
from latent_memory_plugin.records import Episode, EpisodeState, Latent, Outcome, OutcomeStatus, Rollout, Trial, Vote
from latent_memory_plugin.retrieve import retrieve
from latent_memory_plugin.seams import Model, Store
from latent_memory_plugin.trial import Court, trial
from latent_memory_plugin.vote import vote

NEIGHBOURS_LOOKED_AT = 64
ENOUGH_FOR_A_VOTE = 2

STATE_AFTER: dict[OutcomeStatus, EpisodeState] = {
    "live": "learnt",
    "skipped": "learnt",
    "waiting": "pending",
    "refused": "refused",
    "failed": "failed",
}
"""The journal's state of an episode after each outcome."""

STATUS_OF_SETTLED: dict[EpisodeState, OutcomeStatus] = {"learnt": "skipped", "refused": "refused", "failed": "failed"}
"""The outcome of an episode that was settled before its own turn."""


@dataclass(frozen=True)
class Neighbourhood:
    """Near episodes, divided into those to learn from and those to be examined on."""

    parents: tuple[Episode, ...]
    """To learn from, the most trusted first."""
    witnesses: tuple[Episode, ...]
    """To be examined on; no question stands in both."""


@dataclass(frozen=True)
class Consolidator:
    """Turns journaled episodes of one namespace into Latents."""

    model: Model
    """The frozen model."""
    store: Store
    """The namespace's store."""
    namespace: str
    """Its name."""
    config: Config
    """All settings."""
    extract: Callable[[str], str | None]
    """Completion text → answer."""

    def gather(self, episodes: Sequence[Episode]) -> list[Episode]:
        """The episodes with rollouts and a vote each; those with too few rollouts for a vote are sampled together.

        An episode that the model cannot sample, one too long for its context for instance, comes back as failed.
        """
        try:
            return self._gather(episodes)
        except ModelError as exc:
            if len(episodes) > 1:
                return [gathered for episode in episodes for gathered in self.gather([episode])]
            failed = episodes[0].model_copy(update={"state": "failed", "reason": str(exc)})
            self.store.update(failed)
            return [failed]

    def _gather(self, episodes: Sequence[Episode]) -> list[Episode]:
        bare = [episode for episode in episodes if len(episode.rollouts) < ENOUGH_FOR_A_VOTE]
        questions = [episode.question for episode in bare]
        groups = self.model.sample(
            questions, [None] * len(bare), self.config.vote.rollouts, self.config.sampling, self.config.seed
        )
        sampled = {episode.id: tuple(group) for episode, group in zip(bare, groups, strict=True)}
        return [self._voted(episode, (*episode.rollouts, *sampled.get(episode.id, ()))) for episode in episodes]

    def learn(self, episode: Episode) -> Outcome:
        """What becomes of a gathered episode; its new state and reason are journaled.

        One that took part in a neighbour's attempt, or failed before, keeps the state it got there.
        """
        if episode.state != "pending":
            reason = f"Settled before its turn. {episode.reason}"
            return self._outcome(episode, STATUS_OF_SETTLED[episode.state], reason)
        began = time.monotonic()
        try:
            outcome = self._attempt(episode)
        except (DistilError, ModelError) as exc:
            outcome = self._outcome(episode, "failed", str(exc))
        outcome = outcome.model_copy(update={"seconds": time.monotonic() - began})
        self._settle(episode, STATE_AFTER[outcome.status], outcome.reason)
        return outcome

    def _voted(self, episode: Episode, rollouts: Sequence[Rollout]) -> Episode:
        if episode.vote is not None:
            return episode
        read = tuple(rollout.model_copy(update={"answer": self._answer(rollout)}) for rollout in rollouts)
        taken = vote([rollout.answer for rollout in read])
        gathered = episode.model_copy(update={"rollouts": read, "vote": taken})
        self.store.update(gathered)
        return gathered

    def _answer(self, rollout: Rollout) -> str | None:
        return rollout.answer if rollout.answer is not None else self.extract(rollout.text)

    def _attempt(self, episode: Episode) -> Outcome:
        refusal = self._distrust(episode.vote)
        if refusal:
            return self._outcome(episode, "refused", refusal)
        key = self.store.episode_key(episode.id)  # (D,)
        hit = retrieve(self.store, key, self.config.retrieve)
        if hit.latent_id is not None:
            return self._outcome(episode, "skipped", f"Covered by {hit.reason}", latent_id=hit.latent_id)
        near = self._near(episode, key)
        missing = self.config.neighbours.min_parents + self.config.trial.min_episodes - len(near) - 1
        if missing > 0:
            return self._outcome(episode, "waiting", f"{missing} more near episodes are needed.")
        return self._candidate(episode, self._divide(episode, near))

    def _distrust(self, taken: Vote | None) -> str:
        if taken is None or taken.answer is None:
            return "No rollout holds an answer, so there is nothing to agree on."
        if taken.share < self.config.vote.min_share:
            least = self.config.vote.min_share
            return f"The vote is too split: its winner has a share of {taken.share:.2f}, below {least:.2f}."
        return ""

    def _near(self, episode: Episode, key: np.ndarray) -> list[Episode]:
        """Other near episodes whose votes are believed, nearest first, each question once."""
        found: dict[str, Episode] = {episode.problem.hash: episode}
        for other, similarity in self.store.near_episodes(key, NEIGHBOURS_LOOKED_AT):
            if similarity >= self.config.neighbours.threshold and not self._distrust(other.vote):
                found.setdefault(other.problem.hash, other)
        return list(found.values())[1:]

    def _divide(self, episode: Episode, near: list[Episode]) -> Neighbourhood:
        """The most trusted episodes become parents; the nearest of the rest are kept for the trial."""
        parents = min(self.config.neighbours.max_parents, len(near) + 1 - self.config.trial.min_episodes)
        trusted = sorted([episode, *near], key=lambda one: -_vote(one).share)[:parents]
        rest = [one for one in (episode, *near) if one not in trusted]
        return Neighbourhood(tuple(trusted), tuple(rest[: self.config.trial.max_episodes]))

    def _candidate(self, episode: Episode, around: Neighbourhood) -> Outcome:
        seed = attempt_seed(self.config.seed, episode)
        tensor = self._distil(around.parents, seed)  # (P, H)
        verdict = trial(self._court(seed), tensor, around.witnesses)
        status: OutcomeStatus = "live" if verdict.passed else "refused"
        latent_id = self._store(around.parents, tensor, verdict, seed) if verdict.passed else None
        reason = f"{'Live' if verdict.passed else 'Refused'}: {verdict.reason}"
        for other in (*around.parents, *around.witnesses):
            if other.id != episode.id and other.state == "pending":
                self._settle(other, STATE_AFTER[status], reason)
        return self._outcome(episode, status, reason, latent_id=latent_id, verdict=verdict)

    def _distil(self, parents: Sequence[Episode], seed: int) -> Tensor:
        lessons = tuple(
            Lesson(parent.problem, believed.answer, parent.rollouts, trust=believed.share)
            for parent, believed in zip(parents, map(_vote, parents), strict=True)
            if believed.answer is not None
        )
        config = self.config.distil
        attempt = Attempt(self.model, lessons, config, self.config.sampling, self.extract, agree, seed)
        return distil(attempt, start(self.model, parents[0].problem, config.latent_tokens))  # (P, H)

    def _court(self, seed: int) -> Court:
        return Court(self.model, self.config.trial, self.config.sampling, self.extract, agree, seed)

    def _store(self, parents: Sequence[Episode], tensor: Tensor, verdict: Trial, seed: int) -> str:
        keys = np.stack([self.store.episode_key(parent.id) for parent in parents])  # (N, D)
        centre = keys.mean(axis=0)  # (D,)
        latent = Latent(
            namespace=self.namespace,
            shape=(tensor.shape[0], tensor.shape[1]),
            model=self.model.name,
            fingerprint=self.model.fingerprint,
            encoder=self.model.encoder,
            problem_hash=parents[0].problem.hash,
            vote=_vote(parents[0]),
            trial=verdict,
            parents=tuple(parent.id for parent in parents),
            objective=self.config.distil.objective,
            seed=seed,
            version=__version__,
        )
        array = tensor.detach().to("cpu", torch.float32).numpy()  # (P, H)
        self.store.put(latent, array, centre / np.linalg.norm(centre))
        return latent.id

    def _settle(self, episode: Episode, state: EpisodeState, reason: str) -> None:
        self.store.update(episode.model_copy(update={"state": state, "reason": reason}))

    def _outcome(
        self,
        episode: Episode,
        status: OutcomeStatus,
        reason: str,
        latent_id: str | None = None,
        verdict: Trial | None = None,
    ) -> Outcome:
        return Outcome(
            question=episode.question,
            status=status,
            reason=reason,
            episode_id=episode.id,
            vote=episode.vote,
            latent_id=latent_id,
            trial=verdict,
        )


def attempt_seed(seed: int, episode: Episode) -> int:
    """A seed below 2³¹ that depends on the configured seed and on the question."""
    digest = hashlib.sha256(f"{seed}/{episode.problem.hash}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def _vote(episode: Episode) -> Vote:
    if episode.vote is None:
        raise DistilError(f"Episode {episode.id!r} has no vote; gather its rollouts before it is learnt from.")
    return episode.vote
