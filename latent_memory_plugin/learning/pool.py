"""The pool: the threads of this process that learn in the background, and the queues they take from.

A queue belongs to a namespace and stands in the journal; here is a `Lane` for each, with what is under way in it. The
threads are few, whatever the number of namespaces, and take from one lane after the other. Nobody but them waits for
what they do.
"""

import atexit
import logging
import os
import threading
import time
import weakref
from collections.abc import Generator, Hashable
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from latent_memory_plugin.config import WorkerConfig
from latent_memory_plugin.engines.cancellation import Cancellation, Cancelled
from latent_memory_plugin.errors import (
    CancelledError,
    CorruptError,
    LatentMemoryError,
    NotFoundError,
    StoreError,
    WorkerError,
)
from latent_memory_plugin.records import Outcome, Queued, WorkerState
from latent_memory_plugin.store.base import AnyStore

LOOK_SECONDS = 0.5
"""How often whoever waits for a queue looks at it: another thread or process may have emptied it."""
LONGEST_SECONDS = 60.0
"""Longest wait between two attempts to reach a store that fails."""
TURN_SECONDS = 0.05
"""How often whoever waits for a turn looks whether that was cancelled."""
LEAVING_SECONDS = 0.25
"""How long a close waits for the model's step under way: after it, the thread ends by itself and writes nothing."""
EXIT_SECONDS = 30.0
"""How long the end of the process waits for it: a thread inside the model would abort the process."""
REASON_CHARACTERS = 2000
"""Characters of an error that the journal keeps."""

log = logging.getLogger(__name__)


class Work(Protocol):
    """What a memory brings to its lane."""

    @property
    def store(self) -> AnyStore:
        """Holds the queue."""
        ...

    @property
    def settings(self) -> WorkerConfig:
        """How long the queue is, how often an episode is tried, how many threads learn."""
        ...

    def learn_queued(self, episode_id: str, cancellation: Cancellation) -> Outcome:
        """Learns from a queued episode, which leaves the queue. Raises Cancelled at the model's next step once that is
        wished, and what broke it off."""
        ...


class Placed(Protocol):
    """A store that lies somewhere."""

    root: Path
    namespace: str


class UnderWay(NamedTuple):
    """The episode that a thread is learning from."""

    work: Work
    queued: Queued
    cancellation: Cancellation


class Lane:
    """One namespace's background learning, which all its memories of this process share."""

    def __init__(self) -> None:
        self._works: list[Work] = []
        # Who queued an episode in this process: it is learnt from with that memory's settings, where it is still open.
        self._owners: dict[str, Work] = {}
        self._current: UnderWay | None = None
        self._is_taken = False
        self._paused = False
        self._done = self._failed = 0
        self._error = ""
        # What broke off waits for its time, by the monotonic clock; everything waits while the store fails.
        self._due: dict[str, float] = {}
        self._held_until, self._store_failures = 0.0, 0
        self._look_at = 0.0
        self._turn = threading.RLock()
        self._waiting = 0
        self._foreground: set[Cancellation] = set()

    # What a memory asks of it

    def attach(self, work: Work) -> None:
        """Takes up what is queued, in the name of this memory."""
        with _pool.changed:
            if not any(one is work for one in self._works):
                self._works.append(work)
            self._look_at = 0.0
            _pool.enter(self)

    def submit(self, work: Work, episode_id: str) -> bool:
        """Queues an episode that is in the journal; False where the queue is full and the settings say to leave it, or
        where nobody would make room. Raises StoreError."""
        self.attach(work)
        while not work.store.enqueue(episode_id, work.settings.queue):
            if work.settings.full == "leave" or self._obstacle(work):
                return False
            self._wait(LOOK_SECONDS)
        with _pool.changed:
            self._owners[episode_id] = work
            self._look_at = 0.0
            _pool.changed.notify_all()
        return True

    def pause(self) -> None:
        """Takes no further episode; the one under way is finished."""
        with _pool.changed:
            self._paused = True
            _pool.changed.notify_all()

    def resume(self, work: Work) -> None:
        """Goes on, and tries at once what would be tried later."""
        with _pool.changed:
            self._paused, self._due = False, {}
            self._held_until, self._store_failures = 0.0, 0
            self.attach(work)

    def cancel(self) -> None:
        """Breaks off all learning in the namespace at the model's next step, and takes no further episode."""
        with _pool.changed:
            self._paused = True
            self._break_off()
            for cancellation in self._foreground:
                cancellation.cancel()
            _pool.changed.notify_all()

    def settle(self, work: Work, timeout: float | None = None) -> str:
        """Waits until nothing is queued; why it still is, in words, where something stands in the way or so many
        seconds have passed. Raises StoreError."""
        end = float("inf") if timeout is None else time.monotonic() + timeout
        while self._current is not None or work.store.queued():
            if obstacle := self._obstacle(work):
                return obstacle
            left = end - time.monotonic()
            if left <= 0:
                return f"The background worker still had {work.store.queued()} queued after {timeout!r} seconds."
            self._wait(min(left, LOOK_SECONDS))
        return ""

    def state(self, store: AnyStore) -> WorkerState:
        """What it is doing, with the queue as this store sees it. Raises StoreError."""
        waiting = store.queued()
        with _pool.changed:
            idle = "paused" if self._paused else "stopped" if not self._works else "running" if waiting else "idle"
            return WorkerState(
                status="running" if self._current else idle,
                waiting=waiting,
                done=self._done,
                failed=self._failed,
                episode_id=self._current.queued.episode_id if self._current else None,
                error=self._error,
            )

    def detach(self, work: Work) -> None:
        """Breaks off this memory's episode under way; it and the rest stay queued."""
        with _pool.changed:
            self._works = [one for one in self._works if one is not work]
            self._owners = {one: owner for one, owner in self._owners.items() if owner is not work}
            if self._current is not None and self._current.work is work:
                self._break_off()
                if threading.current_thread() not in _pool.threads:
                    _pool.changed.wait_for(lambda: not self._serves(work), LEAVING_SECONDS)
            if not self._works:
                self._paused = False
                _pool.leave(self)
            _pool.changed.notify_all()

    @contextmanager
    def turn(self, cancellation: Cancellation) -> Generator[None, None, None]:
        """Held by a thread of the caller's that learns: one at a time in a namespace, before the background's next
        episode. Raises CancelledError where that is wished first."""
        with _pool.changed:
            self._waiting += 1
            self._foreground.add(cancellation)
        try:
            while not self._turn.acquire(timeout=TURN_SECONDS):
                if cancellation.is_wished:
                    raise CancelledError("Learning was cancelled before its turn; what was journaled stays pending.")
            try:
                yield
            finally:
                self._turn.release()
        finally:
            with _pool.changed:
                self._waiting -= 1
                self._foreground.discard(cancellation)
                self._look_at = 0.0
                _pool.changed.notify_all()

    # What the pool's threads do with it

    def due_at(self) -> float:
        """When there may be something to take, by the monotonic clock; infinite until something happens. Under the
        pool's lock."""
        if self._paused or self._is_taken or self._waiting or not self._works:
            return float("inf")
        return max(self._look_at, self._held_until)

    def reserve(self) -> None:
        """Is taken by one thread alone. Under the pool's lock."""
        self._is_taken = True

    def take(self) -> UnderWay | None:
        """The next episode that is due, now under way; None where there is none. Not under the pool's lock: the store
        may be slow."""
        with _pool.changed:
            works, now = list(self._works), time.monotonic()
            self._due = {one: due for one, due in self._due.items() if due > now}
            self._look_at = min(self._due.values(), default=float("inf"))
        try:
            queued = works[0].store.next_queued(frozenset(self._due)) if works else None
            # What another process has claimed is queued and not to be taken, until that process dies.
            elsewhere = queued is None and bool(works) and not self._due and bool(works[0].store.queued())
        except StoreError as exc:
            queued, elsewhere = None, False
            self._hold(works[0], exc)
        with _pool.changed:
            if elsewhere:
                self._look_at = min(self._look_at, now + LOOK_SECONDS)
            if queued is None or self._paused or not self._works:
                self._is_taken = False
                return None
            owner = self._owners.get(queued.episode_id)
            work = owner if owner is not None and owner in self._works else self._works[0]
            self._current = UnderWay(work, queued, Cancellation())
            return self._current

    def attempt(self, taken: UnderWay) -> None:
        """Learns from the episode and notes what came of it."""
        work, queued, cancellation = taken
        if not self._turn.acquire(blocking=False):  # a thread of the caller's was faster
            self._finish()
            return
        try:
            outcome = work.learn_queued(queued.episode_id, cancellation)
        except Cancelled:
            log.info("Learning from episode %s was broken off; it stays queued.", queued.episode_id)
        except Exception as exc:  # noqa: BLE001  one bad episode must not end the thread; what happened is journaled
            if not cancellation.is_wished:  # else its store is closed by now
                log.warning("Learning from episode %s broke off: %s", queued.episode_id, exc)
                self._broken_off(work, queued, exc)
        else:
            with _pool.changed:
                self._store_failures, self._held_until = 0, 0.0
                self._owners.pop(queued.episode_id, None)
                self._count(outcome.status == "failed", outcome.reason)
        finally:
            self._turn.release()
            self._finish()

    def break_off(self) -> None:
        """Ends what is under way at the model's next step, and takes nothing more."""
        with _pool.changed:
            self._works = []
            self._break_off()
            _pool.changed.notify_all()

    # Within

    def _finish(self) -> None:
        with _pool.changed:
            self._current, self._is_taken, self._look_at = None, False, 0.0
            _pool.changed.notify_all()

    def _break_off(self) -> None:
        if self._current is not None:
            self._current.cancellation.cancel()

    def _serves(self, work: Work) -> bool:
        return self._current is not None and self._current.work is work

    def _wait(self, seconds: float) -> None:
        with _pool.changed:
            _pool.changed.wait(seconds)

    def _obstacle(self, work: Work) -> str:
        """Why it is no use to wait for the queue; empty where it is."""
        waiting = work.store.queued()
        if threading.current_thread() in _pool.threads:
            return "The background worker cannot wait for itself; wait in another thread."
        if self._paused:
            return f"The background worker is paused with {waiting} queued; call resume() first."
        if not self._works:
            return f"The background worker is stopped with {waiting} queued; call resume() first."
        if self._store_failures >= work.settings.attempts:
            return f"The background worker is held up with {waiting} queued. {self._error}"
        return ""

    def _broken_off(self, work: Work, queued: Queued, error: Exception) -> None:
        """Journals an error and that the episode is tried again; or not, where that cannot help."""
        if isinstance(error, StoreError) and not isinstance(error, CorruptError | NotFoundError):
            self._hold(work, error)  # no episode can be learnt from for now, whichever it is
            return
        attempts, most = queued.attempts + 1, work.settings.attempts
        # What this library says of an episode it says every time; a store and a process can be there again.
        again = (StoreError, WorkerError)
        final = attempts >= most or (isinstance(error, LatentMemoryError) and not isinstance(error, again))
        reason = f"{_said(error)} (attempt {attempts} of {attempts if final else most})"
        try:
            if final:
                given_up = work.store.give_up(queued.episode_id, reason)
            else:
                work.store.broke_off(queued.episode_id, reason)
                given_up = False
        except StoreError as exc:
            self._hold(work, exc)
            return
        with _pool.changed:
            self._store_failures, self._held_until = 0, 0.0
            if given_up:
                self._count(True, reason)
            elif not final:
                self._due[queued.episode_id] = time.monotonic() + work.settings.backoff * 2.0**queued.attempts
                self._error = reason

    def _hold(self, work: Work, error: Exception) -> None:
        """Tries nothing for a while, twice as long as the last time."""
        log.warning("The background worker waits for the store: %s", error)
        with _pool.changed:
            seconds = min(work.settings.backoff * 2.0 ** min(self._store_failures, 30), LONGEST_SECONDS)
            self._store_failures += 1
            self._held_until = self._look_at = time.monotonic() + seconds
            self._error = _said(error)
            _pool.changed.notify_all()

    def _count(self, failed: bool, reason: str) -> None:
        self._done, self._failed = self._done + (not failed), self._failed + failed
        if failed:
            self._error = reason

    @property
    def learners(self) -> int:
        """How many threads its memories ask for."""
        return max((one.settings.learners for one in self._works), default=0)


class _Pool:
    """The threads. Each takes from the lane that has waited longest for one."""

    def __init__(self) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.threads: set[threading.Thread] = set()
        self.lanes: list[Lane] = []
        self.places: weakref.WeakValueDictionary[Hashable, Lane] = weakref.WeakValueDictionary()

    def enter(self, lane: Lane) -> None:
        """A lane may have something to take. Under the lock."""
        if lane not in self.lanes:
            self.lanes.append(lane)
        if len(self.threads) < max(one.learners for one in self.lanes):
            thread = threading.Thread(target=self._learn, name="latent-memory-learner", daemon=True)
            self.threads.add(thread)
            thread.start()
        self.changed.notify_all()

    def leave(self, lane: Lane) -> None:
        """Nobody learns in a lane any more. Under the lock."""
        self.lanes = [one for one in self.lanes if one is not lane]

    def _learn(self) -> None:
        try:
            while (lane := self._next()) is not None:
                if (taken := lane.take()) is not None:
                    lane.attempt(taken)
        finally:
            with self.changed:
                self.threads.discard(threading.current_thread())
                self.changed.notify_all()

    def _next(self) -> Lane | None:
        """The lane that is due and was served longest ago, as soon as there is one; None where this thread is one too
        many."""
        with self.changed:
            while len(self.threads) <= max((one.learners for one in self.lanes), default=0):
                now = time.monotonic()
                due = [(one.due_at(), one) for one in self.lanes]
                ready = next((one for at, one in due if at <= now), None)
                if ready is not None:
                    ready.reserve()
                    self.lanes = [*(one for one in self.lanes if one is not ready), ready]
                    return ready
                soonest = min((at for at, _ in due), default=float("inf"))
                self.changed.wait(None if soonest == float("inf") else soonest - now)
            self.threads.discard(threading.current_thread())
        return None


_pool = _Pool()


def lane_of(store: Placed, encoder: str | None) -> Lane:
    """The lane of the namespace that a store opens, for the keys of one encoder; made where there is none, and lasting
    as long as somebody holds it."""
    place = (store.root, store.namespace, encoder)
    with _pool.changed:
        lane = _pool.places.get(place)
        if lane is None:
            lane = _pool.places[place] = Lane()
        return lane


def _said(error: Exception) -> str:
    """The error as the journal keeps it."""
    return f"{type(error).__name__}: {error}"[:REASON_CHARACTERS].encode(errors="replace").decode()


def _forget_after_fork() -> None:
    """A forked process has none of its parent's threads."""
    global _pool
    _pool = _Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)


@atexit.register
def _end() -> None:
    """A thread inside the model when the interpreter goes would abort the process."""
    pool = _pool
    for lane in list(pool.lanes):
        lane.break_off()
    with pool.changed:
        pool.lanes = []
        pool.changed.notify_all()
        pool.changed.wait_for(lambda: not pool.threads, EXIT_SECONDS)
