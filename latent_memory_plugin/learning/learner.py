"""Question in, episode journaled, outcome out: the learning half of a memory, now or in the background."""

import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from latent_memory_plugin.answering.find import covering
from latent_memory_plugin.config import WorkerConfig
from latent_memory_plugin.engines.base import Model
from latent_memory_plugin.engines.cancellation import Cancellation, Cancelled
from latent_memory_plugin.errors import (
    CancelledError,
    ContextLengthError,
    IndexUnavailableError,
    NotFoundError,
    WorkerError,
)
from latent_memory_plugin.executors import Executor
from latent_memory_plugin.keys import Encoder
from latent_memory_plugin.learning.pool import Lane
from latent_memory_plugin.learning.street import Street
from latent_memory_plugin.learning.work import Candidate, Draw, Plan, Progress, Scope, Watch, outcome_of, unwatched
from latent_memory_plugin.records import Episode, Hit, Outcome, Problem, Rollout
from latent_memory_plugin.store.base import AnyStore

EPISODES_AT_ONCE = 16
"""Episodes whose rollouts are sampled together before each is learnt from."""

QUEUED = "Recorded; the background worker learns from it."
LEFT = "Recorded, but the background worker's queue of {} is full; the next consolidate() learns from it."
MANUAL = "Recorded; the next consolidate() learns from it."


class Learner:
    """Journals episodes and sends them along the street, one at a time in a namespace. Usable from threads."""

    def __init__(
        self,
        store: AnyStore,
        model: Model,
        encoder: Encoder,
        scope: Scope,
        executor: Executor,
        lane: Lane,
        watch: Callable[[Candidate], None] | None = None,
    ) -> None:
        self.store, self.model, self.encoder, self.scope = store, model, encoder, scope
        self.executor, self.lane, self.watch = executor, lane, watch

    @property
    def settings(self) -> WorkerConfig:
        """Of the background worker."""
        return self.scope.config.worker

    def check(self, problems: Sequence[Problem]) -> None:
        """Raises ContextLengthError where a question leaves no room to learn from it, before anything is journaled."""
        config, model = self.scope.config, self.model
        room = model.context_tokens - config.distil.latent_tokens - config.sampling.max_new_tokens
        for problem in problems:
            if (tokens := len(model.prompt_ids(problem.question))) > room:
                raise ContextLengthError(
                    f"The question starting {problem.question[:40]!r} has {tokens} tokens with its template; learning "
                    f"with {model.name!r} leaves room for {room}. Shorten it or lower max_new_tokens."
                )

    def learn(self, problems: Sequence[Problem], watch: Watch = unwatched) -> list[Outcome]:
        """The outcome of each problem; those that a live Latent covers cost no sample. Raises ContextLengthError,
        CancelledError."""
        self.check(problems)
        outcomes: list[Outcome] = []
        tell = _Teller(watch, len(problems))
        for start in range(0, len(problems), EPISODES_AT_ONCE):
            outcomes += self._learn_some(problems[start : start + EPISODES_AT_ONCE], tell)
        return outcomes

    def observe(self, problems: Sequence[Problem], rollouts: Sequence[tuple[Rollout, ...]], when: str) -> list[Outcome]:
        """Journals episodes and learns from them now, in the background or at the next `consolidate`."""
        self.check(problems)
        rows = zip(problems, rollouts, self.keys(problems), strict=True)
        episodes = [self.commit(problem, seen, key) for problem, seen, key in rows]
        if when == "now":
            return self.consolidate(episodes)
        return [
            outcome_of(one, "waiting", MANUAL if when == "manual" else self.consolidate_later(one)) for one in episodes
        ]

    def broken_off(self, problem: Problem, rollouts: tuple[Rollout, ...], error: str) -> Outcome:
        """Journals an episode that ended in an error, whatever its length."""
        reason = f"The agent broke off. {error}".encode(errors="replace").decode()
        episode = Episode(problem=problem, rollouts=rollouts, state="failed", reason=reason)
        try:
            [key] = self.keys([problem])
        except ContextLengthError:  # perhaps the very reason; a key of nothing is near to nothing
            key = np.zeros_like(self.keys([Problem(question="?")])[0])
        self.store.commit(episode, key)
        return outcome_of(episode, "failed", reason)

    def commit(self, problem: Problem, rollouts: tuple[Rollout, ...], key: np.ndarray) -> Episode:
        """A new pending episode, durable in the journal."""
        episode = Episode(problem=problem, rollouts=rollouts, reason="Not yet learnt from.")
        self.store.commit(episode, key)
        return episode

    def keys(self, problems: Sequence[Problem]) -> np.ndarray:
        """(N, D) float32 unit-length keys."""
        return self.encoder.keys([problem.question for problem in problems])

    def consolidate(self, episodes: Sequence[Episode], watch: Watch = unwatched) -> list[Outcome]:
        """The outcome of each journaled episode, in order. Raises CancelledError."""
        return self._consolidate(episodes, _Teller(watch, len(episodes)))

    def learn_queued(self, episode_id: str, cancellation: Cancellation) -> Outcome:
        """What becomes of one queued episode. Raises NotFoundError, IndexUnavailableError, Cancelled: it stays
        queued."""
        street = self._street(cancellation, unwatched)
        with self.store.claimed([episode_id]) as mine:
            _gather(street, mine)
            return self._learn_claimed(street, self.store.episode(episode_id), mine)

    def consolidate_later(self, episode: Episode) -> str:
        """Queues a journaled episode for the background worker; when it is learnt from, in words."""
        return QUEUED if self.lane.submit(self, episode.id) else LEFT.format(self.settings.queue)

    def drain(self, timeout: float | None = None) -> None:
        """Waits until the background worker has nothing left to do. Raises WorkerError where it cannot do it, or is
        not done after so many seconds."""
        self.lane.attach(self)
        if reason := self.lane.settle(self, timeout):
            raise WorkerError(reason)

    def close(self) -> None:
        """Breaks off what the background worker is doing for this memory; it and the rest stay queued."""
        self.lane.detach(self)

    def _consolidate(self, episodes: Sequence[Episode], tell: "_Teller") -> list[Outcome]:
        outcomes: list[Outcome] = []
        with self._turn() as cancellation:
            street = self._street(cancellation, tell.progress)
            for start in range(0, len(episodes), EPISODES_AT_ONCE):
                some = episodes[start : start + EPISODES_AT_ONCE]
                with self.store.claimed([episode.id for episode in some]) as mine:
                    _gather(street, mine)
                    for episode in some:
                        outcomes.append(self._learn_or_leave(street, episode, mine))
                        tell.outcome(outcomes[-1])
        return outcomes

    @contextmanager
    def _turn(self) -> Generator[Cancellation, None, None]:
        """A turn of the caller's own thread. Raises CancelledError where it was cancelled."""
        cancellation = Cancellation()
        try:
            with self.lane.turn(cancellation):
                yield cancellation
        except Cancelled as exc:
            raise CancelledError(
                "Learning was cancelled; what was sampled is journaled, and consolidate() goes on with it."
            ) from exc

    def _street(self, cancellation: Cancellation, watch: Watch) -> Street:
        def submit(work: Draw | Plan) -> Any:
            return self.executor.submit(work, cancellation, watch).result()

        return Street(self.store, self.scope, submit, self.watch)

    def _learn_claimed(self, street: Street, episode: Episode, mine: Sequence[str]) -> Outcome:
        if episode.id not in mine:
            return outcome_of(episode, "waiting", "Another process is learning from it.")
        outcome = street.learn(self.store.episode(episode.id))
        self.store.dequeue(episode.id)
        return outcome

    def _learn_or_leave(self, street: Street, episode: Episode, mine: Sequence[str]) -> Outcome:
        try:
            return self._learn_claimed(street, episode, mine)
        except IndexUnavailableError as exc:
            return outcome_of(episode, "waiting", str(exc))
        except NotFoundError:
            return outcome_of(episode, "skipped", "It was forgotten meanwhile.")

    def _covering(self, key: np.ndarray) -> Hit:
        """The live Latent that covers this key (D,); while the index does not answer, none is known."""
        try:
            return covering(self.store, key, self.scope.config.retrieve)
        except IndexUnavailableError as exc:
            return Hit(latent_id=None, similarity=None, reason=str(exc))

    def _learn_some(self, problems: Sequence[Problem], tell: "_Teller") -> list[Outcome]:
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
            tell.outcome(skipped[index])
        learnt = iter(self._consolidate(episodes, tell))
        return [skipped[index] if index in skipped else next(learnt) for index in range(len(problems))]


class _Teller:
    """Tells whoever watches how far a call has come, with an estimate of the time that is left."""

    def __init__(self, watch: Watch, total: int) -> None:
        self._watch, self._total, self._done = watch, total, 0
        self._began = self._stage_began = time.monotonic()
        self._stage = ""

    def progress(self, progress: Progress) -> None:
        """A step within an episode."""
        if progress.stage != self._stage or progress.done == 0:
            self._stage, self._stage_began = progress.stage, time.monotonic()
        self._watch(progress._replace(seconds_left=_left(self._stage_began, progress.done, progress.total)))

    def outcome(self, outcome: Outcome) -> None:
        """An episode is done."""
        self._done += 1
        left = _left(self._began, self._done, self._total)
        self._watch(Progress("done", self._done, self._total, left, outcome.question, outcome))


def _left(began: float, done: int, total: int) -> float | None:
    return (time.monotonic() - began) / done * (total - done) if done else None


def _gather(street: Street, episode_ids: Sequence[str]) -> None:
    # As they are by now: another thread or process may have settled or forgotten one before its turn.
    some: list[Episode] = []
    for episode_id in episode_ids:
        try:
            some.append(street.store.episode(episode_id))
        except NotFoundError:
            continue
    street.gather([episode for episode in some if episode.state == "pending"])
