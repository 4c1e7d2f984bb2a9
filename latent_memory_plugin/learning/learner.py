"""Question in, episode journaled, outcome out: the learning half of `LatentMemory`, now or in the background."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from latent_memory_plugin.answering.find import covering
from latent_memory_plugin.config import Config, WorkerConfig
from latent_memory_plugin.errors import ContextLengthError, IndexUnavailableError, WorkerError
from latent_memory_plugin.learning.judge import Judge
from latent_memory_plugin.learning.street import Consolidator
from latent_memory_plugin.learning.worker import Worker, worker_of
from latent_memory_plugin.records import Candidate, Episode, Hit, Outcome, Problem, Rollout
from latent_memory_plugin.store.base import AnyStore

if TYPE_CHECKING:
    from latent_memory_plugin.shared import Opened

EPISODES_AT_ONCE = 16
"""Episodes whose rollouts are sampled together before each is learnt from."""

QUEUED = "Recorded; the background worker learns from it."
LEFT = "Recorded, but the background worker's queue of {} is full; the next consolidate() learns from it."
MANUAL = "Recorded; the next consolidate() learns from it."

Progress = Callable[[Outcome], None]


@dataclass
class Learner:
    """Journals episodes and hands them to the consolidator, one at a time in a namespace."""

    consolidator: Consolidator
    """Learns from one journaled episode."""
    turn: threading.RLock
    """Held while an episode is learnt from; shared by all memories of the namespace."""
    worker: Worker = field(default_factory=Worker)
    """The background worker; shared by all memories of the namespace."""

    @property
    def store(self) -> AnyStore:
        """The namespace's store."""
        return self.consolidator.store

    @property
    def settings(self) -> WorkerConfig:
        """Of the background worker."""
        return self.consolidator.config.worker

    def check(self, problems: Sequence[Problem]) -> None:
        """Raises ContextLengthError where a question leaves no room to learn from it, before anything is journaled."""
        config, model = self.consolidator.config, self.consolidator.model
        room = model.context_tokens - config.distil.latent_tokens - config.sampling.max_new_tokens
        for problem in problems:
            if (tokens := len(model.prompt_ids(problem.question))) > room:
                raise ContextLengthError(
                    f"The question starting {problem.question[:40]!r} has {tokens} tokens with its template; learning "
                    f"with {model.name!r} leaves room for {room}. Shorten it or lower max_new_tokens."
                )

    def learn(self, problems: Sequence[Problem], progress: Progress | None) -> list[Outcome]:
        """The outcome of each problem; those that a live Latent covers cost no sample. Raises ContextLengthError."""
        self.check(problems)
        outcomes: list[Outcome] = []
        for start in range(0, len(problems), EPISODES_AT_ONCE):
            outcomes += self._learn_some(problems[start : start + EPISODES_AT_ONCE], progress)
        return outcomes

    def observe(self, problems: Sequence[Problem], rollouts: Sequence[tuple[Rollout, ...]], when: str) -> list[Outcome]:
        """Journals episodes and learns from them now, in the background or at the next `consolidate`."""
        self.check(problems)
        rows = zip(problems, rollouts, self.keys(problems), strict=True)
        episodes = [self.commit(problem, seen, key) for problem, seen, key in rows]
        if when == "now":
            return self.consolidate(episodes, None)
        return [
            Outcome(
                question=one.question,
                status="waiting",
                reason=MANUAL if when == "manual" else self.consolidate_later(one),
                episode_id=one.id,
            )
            for one in episodes
        ]

    def broken_off(self, problem: Problem, rollouts: tuple[Rollout, ...], error: str) -> Outcome:
        """Journals an episode that ended in an error, whatever its length."""
        consolidator, reason = self.consolidator, f"The agent broke off. {error}".encode(errors="replace").decode()
        episode = Episode(problem=problem, rollouts=rollouts, state="failed", reason=reason)
        try:
            [key] = self.keys([problem])
        except ContextLengthError:  # perhaps the very reason; a key of nothing is near to nothing
            key = np.zeros_like(self.keys([Problem(question="?")])[0])
        consolidator.store.commit(episode, key)
        return Outcome(question=problem.question, status="failed", reason=reason, episode_id=episode.id)

    def commit(self, problem: Problem, rollouts: tuple[Rollout, ...], key: np.ndarray) -> Episode:
        """A new pending episode, durable in the journal; the background worker takes up what was left in its queue."""
        episode = Episode(problem=problem, rollouts=rollouts, reason="Not yet learnt from.")
        self.consolidator.store.commit(episode, key)
        self.worker.attach(self)
        return episode

    def keys(self, problems: Sequence[Problem]) -> np.ndarray:
        """(N, D) float32 unit-length keys."""
        return self.consolidator.encoder.keys([problem.question for problem in problems])

    def consolidate(self, episodes: Sequence[Episode], progress: Progress | None) -> list[Outcome]:
        """The outcome of each journaled episode, in order. None of them waits for the background worker any more."""
        outcomes: list[Outcome] = []
        with self.turn:
            for start in range(0, len(episodes), EPISODES_AT_ONCE):
                some = episodes[start : start + EPISODES_AT_ONCE]
                with self.store.claimed([episode.id for episode in some]) as mine:
                    self._gather(mine)
                    for episode in some:
                        outcomes.append(self._learn_or_leave(episode, mine))
                        if progress is not None:
                            progress(outcomes[-1])
        return outcomes

    def consolidate_one(self, episode_id: str) -> Outcome:
        """What becomes of one journaled episode. Raises NotFoundError, IndexUnavailableError: it stays queued."""
        with self.turn, self.store.claimed([episode_id]) as mine:
            self._gather(mine)
            return self._learn_claimed(self.store.episode(episode_id), mine)

    def consolidate_later(self, episode: Episode) -> str:
        """Queues a journaled episode for the background worker; when it is learnt from, in words."""
        return QUEUED if self.worker.submit(self, episode.id) else LEFT.format(self.settings.queue)

    def resume(self) -> None:
        """Lets the background worker take up what is queued, at once."""
        self.worker.resume(self)

    def settle(self) -> None:
        """Waits until the background worker has nothing left to do, or cannot do it."""
        self.worker.settle(self)

    def drain(self, timeout: float | None = None) -> None:
        """Waits until the background worker has nothing left to do. Raises WorkerError where it cannot do it, or is
        not done after so many seconds."""
        self.worker.attach(self)
        if reason := self.worker.settle(self, timeout):
            raise WorkerError(reason)

    def close(self) -> None:
        """Ends the background worker after its current episode, where no other memory needs it; the rest stays
        queued."""
        self.worker.detach(self)

    def _gather(self, episode_ids: Sequence[str]) -> None:
        # As they are by now: another thread or process may have settled one before its turn.
        some = [self.store.episode(episode_id) for episode_id in episode_ids]
        self.consolidator.gather([episode for episode in some if episode.state == "pending"])

    def _learn_claimed(self, episode: Episode, mine: Sequence[str]) -> Outcome:
        if episode.id not in mine:
            return _left(episode, "Another process is learning from it.")
        outcome = self.consolidator.learn(self.store.episode(episode.id))
        self.store.dequeue(episode.id)
        return outcome

    def _learn_or_leave(self, episode: Episode, mine: Sequence[str]) -> Outcome:
        try:
            return self._learn_claimed(episode, mine)
        except IndexUnavailableError as exc:
            return _left(episode, str(exc))

    def _covering(self, key: np.ndarray) -> Hit:
        """The live Latent that covers this key (D,); while the index does not answer, none is known."""
        try:
            return covering(self.store, key, self.consolidator.config.retrieve)
        except IndexUnavailableError as exc:
            return Hit(latent_id=None, similarity=None, reason=str(exc))

    def _learn_some(self, problems: Sequence[Problem], progress: Progress | None) -> list[Outcome]:
        skipped: dict[int, Outcome] = {}
        episodes: list[Episode] = []
        for index, (problem, key) in enumerate(zip(problems, self.keys(problems), strict=True)):
            hit = self._covering(key)
            if hit.latent_id is None:
                episodes.append(self.commit(problem, (), key))
                continue
            reason = f"Covered by {hit.reason}"
            skipped[index] = Outcome(
                question=problem.question, status="skipped", reason=reason, latent_id=hit.latent_id
            )
            if progress is not None:
                progress(skipped[index])
        learnt = iter(self.consolidate(episodes, progress))
        return [skipped[index] if index in skipped else next(learnt) for index in range(len(problems))]


def make_learner(
    opened: "Opened", namespace: str, config: Config, judge: Judge, watch: Callable[[Candidate], None] | None
) -> Learner:
    """The learner of a memory; its turns and its worker it shares with all others of the namespace."""
    consolidator = Consolidator(opened.model, opened.store, opened.encoder, namespace, config, judge, watch)
    return Learner(consolidator, opened.learning, worker_of(opened.store))


def _left(episode: Episode, reason: str) -> Outcome:
    """The outcome of an episode that stays pending."""
    return Outcome(question=episode.question, status="waiting", reason=reason, episode_id=episode.id)
