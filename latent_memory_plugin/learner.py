"""Question in, episode journaled, outcome out: the learning half of `LatentMemory`, now or in the background."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from latent_memory_plugin.consolidate import Consolidator
from latent_memory_plugin.errors import ContextLengthError
from latent_memory_plugin.records import Episode, Outcome, Problem, Rollout
from latent_memory_plugin.retrieve import covering
from latent_memory_plugin.worker import Worker

EPISODES_AT_ONCE = 16
"""Episodes whose rollouts are sampled together before each is learnt from."""

WAITING = {
    "background": "Recorded; the background worker learns from it.",
    "manual": "Recorded; the next consolidate() learns from it.",
}
"""Why an episode is not learnt from yet, by when it will be."""

Progress = Callable[[Outcome], None]


@dataclass
class Learner:
    """Journals episodes and hands them to the consolidator, one at a time in a namespace."""

    consolidator: Consolidator
    """Learns from one journaled episode."""
    turn: threading.RLock
    """Held while an episode is learnt from; shared by all memories of the namespace."""
    worker: Worker | None = None
    """The background thread, started with its first episode."""
    starting: threading.Lock = field(default_factory=threading.Lock)
    """Held while the background thread is started. Not `turn`: recording an episode must not wait for learning."""

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
        for episode in episodes if when == "background" else ():
            self.consolidate_later(episode)
        return [
            Outcome(question=one.question, status="waiting", reason=WAITING[when], episode_id=one.id)
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
        """A new pending episode, durable in the journal."""
        episode = Episode(problem=problem, rollouts=rollouts, reason="Not yet learnt from.")
        self.consolidator.store.commit(episode, key)
        return episode

    def keys(self, problems: Sequence[Problem]) -> np.ndarray:
        """(N, D) float32 unit-length keys."""
        return self.consolidator.encoder.keys([problem.question for problem in problems])

    def consolidate(self, episodes: Sequence[Episode], progress: Progress | None) -> list[Outcome]:
        """The outcome of each journaled episode, in order."""
        outcomes: list[Outcome] = []
        with self.turn:
            for start in range(0, len(episodes), EPISODES_AT_ONCE):
                for episode in self.consolidator.gather(episodes[start : start + EPISODES_AT_ONCE]):
                    outcomes.append(self.consolidator.learn(self.consolidator.store.episode(episode.id)))
                    if progress is not None:
                        progress(outcomes[-1])
        return outcomes

    def consolidate_later(self, episode: Episode) -> None:
        """Queues a journaled episode for the background thread."""
        with self.starting:
            if self.worker is None:
                self.worker = Worker(self._consolidate_one, self._failed)
        self.worker.submit(episode.id)

    def drain(self) -> None:
        """Waits until the background thread has nothing left to do."""
        if self.worker is not None:
            self.worker.drain()

    def close(self) -> None:
        """Ends the background thread after its current episode; the rest stays pending."""
        if self.worker is not None:
            self.worker.close()

    def _learn_some(self, problems: Sequence[Problem], progress: Progress | None) -> list[Outcome]:
        skipped: dict[int, Outcome] = {}
        episodes: list[Episode] = []
        for index, (problem, key) in enumerate(zip(problems, self.keys(problems), strict=True)):
            hit = covering(self.consolidator.store, key, self.consolidator.config.retrieve)
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

    def _consolidate_one(self, episode_id: str) -> None:
        self.consolidate([self.consolidator.store.episode(episode_id)], None)

    def _failed(self, episode_id: str, error: Exception) -> None:
        store = self.consolidator.store
        reason = f"{type(error).__name__}: {error}"
        store.update(store.episode(episode_id).model_copy(update={"state": "failed", "reason": reason}))
