"""The thread. The queue is in the journal; what is here is the episode under way and what broke off last."""

import logging
import os
import threading
import time
from contextlib import suppress

from latent_memory_plugin.engines.cancellation import Halted, halt
from latent_memory_plugin.errors import StoreError
from latent_memory_plugin.learning.worker.delays import LOOK_SECONDS, Delays
from latent_memory_plugin.learning.worker.work import Work, is_hopeless, is_of_the_store, said
from latent_memory_plugin.records import Queued, WorkerState
from latent_memory_plugin.store.base import AnyStore

log = logging.getLogger(__name__)


class Worker:
    """Learns from what is queued, with the settings of the first memory attached to it, until the last one leaves."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._works: list[Work] = []
        self._thread: threading.Thread | None = None
        self._current: tuple[Work, Queued] | None = None
        self._paused = False
        self._delays = Delays()
        self._done = self._failed = 0
        self._error = ""
        # A forked process has neither the thread nor, perhaps, the lock in a usable state.
        self._process = os.getpid()

    def attach(self, work: Work) -> None:
        """Takes up what is queued, in the name of this memory. Raises StoreError, ReadOnlyError among it."""
        with self._changed:
            if not any(one is work for one in self._works):
                self._works.append(work)
            self._wake()

    def submit(self, work: Work, episode_id: str) -> bool:
        """Queues an episode that is in the journal; False where the queue is full and the settings say to leave it, or
        where nobody would make room. Raises StoreError."""
        with self._changed:
            self.attach(work)
            while not work.store.enqueue(episode_id, work.settings.queue):
                if work.settings.full == "leave" or self._obstacle(work):
                    return False
                self._changed.wait(LOOK_SECONDS)
            self._wake()
            return True

    def pause(self) -> None:
        """Takes no further episode; the one under way is finished."""
        with self._changed:
            self._paused = True
            self._changed.notify_all()

    def resume(self, work: Work) -> None:
        """Goes on, and tries at once what would be tried later. Raises StoreError."""
        with self._changed:
            self._paused, self._delays = False, Delays()
            self.attach(work)

    def settle(self, work: Work, timeout: float | None = None) -> str:
        """Waits until nothing is queued; why it still is, in words, where something stands in the way or so many
        seconds have passed. Raises StoreError."""
        end = float("inf") if timeout is None else time.monotonic() + timeout
        with self._changed:
            while self._current is not None or work.store.queued():
                if obstacle := self._obstacle(work):
                    return obstacle
                left = end - time.monotonic()
                if left <= 0:
                    return f"The background worker still had {work.store.queued()} queued after {timeout!r} seconds."
                self._changed.wait(min(left, LOOK_SECONDS))
        return ""

    def state(self, store: AnyStore) -> WorkerState:
        """What it is doing, with the queue as this store sees it. Raises StoreError."""
        with self._changed:
            waiting = store.queued()
            busy = "running" if waiting else "idle"
            idle = "paused" if self._paused else busy if self._works else "stopped"
            return WorkerState(
                status="running" if self._current else idle,
                waiting=waiting,
                done=self._done,
                failed=self._failed,
                episode_id=self._current[1].episode_id if self._current else None,
                error=self._error,
            )

    def detach(self, work: Work) -> None:
        """Lets this memory's episode under way finish; with the last memory the thread ends, and the rest stays
        queued. Does nothing in a forked process, which has no such thread."""
        if self._inherited:
            return
        with self._changed:
            self._works = [one for one in self._works if one is not work]
            self._changed.notify_all()
            if threading.current_thread() is not self._thread:
                self._changed.wait_for(lambda: not self._serves(work) and (self._works or self._thread is None))

    def halt(self) -> None:
        """Breaks off the episode under way at the model's next step; it and the rest stay queued."""
        if self._inherited:
            return
        with self._changed:
            self._works = []
            if self._thread is not None:
                halt(self._thread)
            self._changed.notify_all()

    def join(self, timeout: float) -> None:
        """Waits so many seconds at most for the thread to end."""
        if not self._inherited:
            with self._changed:
                self._changed.wait_for(lambda: self._thread is None, timeout)

    @property
    def _inherited(self) -> bool:
        return os.getpid() != self._process

    def _serves(self, work: Work) -> bool:
        return self._current is not None and self._current[0] is work

    def _obstacle(self, work: Work) -> str:
        """Why it is no use to wait for the queue; empty where it is."""
        waiting = work.store.queued()
        if threading.current_thread() is self._thread:
            return "The background worker cannot wait for itself; wait in another thread."
        if self._paused:
            return f"The background worker is paused with {waiting} queued; call resume() first."
        if self._thread is None:
            return f"The background worker is stopped with {waiting} queued; call resume() first."
        if self._delays.store_failures >= work.settings.attempts:
            return f"The background worker is held up with {waiting} queued. {self._error}"
        return ""

    def _wake(self) -> None:
        if self._thread is None and self._works and not self._paused and self._works[0].store.next_queued():
            self._thread = threading.Thread(target=self._run, name="latent-memory-worker", daemon=True)
            self._thread.start()
        self._changed.notify_all()

    def _run(self) -> None:
        try:
            with suppress(Halted):
                while (taken := self._take()) is not None:
                    self._attempt(*taken)
        finally:
            self._leave()

    def _take(self) -> tuple[Work, Queued] | None:
        """The next episode that is due, as soon as there is one; None where the last memory has left."""
        with self._changed:
            while self._works:
                work = self._works[0]
                queued, seconds = (None, None) if self._paused else self._look(work)
                if queued is not None:
                    self._current = (work, queued)
                    return self._current
                self._changed.notify_all()
                self._changed.wait(seconds)
            self._leave()
        return None

    def _look(self, work: Work) -> tuple[Queued | None, float | None]:
        """The next episode that is due, or how long to wait until looking again; None is until something happens."""
        if held := self._delays.held_seconds():
            return None, held
        try:
            queued = work.store.next_queued(self._delays.later())
            return queued, self._delays.next_seconds() if work.store.queued() else None
        except StoreError as exc:
            self._hold(work, exc)
            return None, self._delays.held_seconds()

    def _attempt(self, work: Work, queued: Queued) -> None:
        try:
            outcome = work.consolidate_one(queued.episode_id)
        except Exception as exc:  # noqa: BLE001  one bad episode must not end the thread; what happened is journaled
            log.warning("Learning from episode %s broke off: %s", queued.episode_id, exc)
            with self._changed:
                self._broken_off(work, queued, exc)
        else:
            with self._changed:
                self._delays.store_works()
                self._count(outcome.status == "failed", outcome.reason)
        finally:
            with self._changed:
                self._current = None
                self._changed.notify_all()

    def _broken_off(self, work: Work, queued: Queued, error: Exception) -> None:
        """Journals an error and that the episode is tried again; or not, where that cannot help."""
        if is_of_the_store(error):
            self._hold(work, error)
            return
        attempts = queued.attempts + 1
        final = attempts >= work.settings.attempts or is_hopeless(error)
        reason = f"{said(error)} (attempt {attempts} of {attempts if final else work.settings.attempts})"
        try:
            if not final:
                work.store.broke_off(queued.episode_id, reason)
                self._delays.put_off(queued, work.settings.backoff)
                self._error = reason
            elif work.store.give_up(queued.episode_id, reason):
                self._count(True, reason)
            self._delays.store_works()
        except StoreError as exc:
            self._hold(work, exc)

    def _hold(self, work: Work, error: Exception) -> None:
        log.warning("The background worker waits for the store: %s", error)
        self._delays.hold(work.settings.backoff)
        self._error = said(error)

    def _count(self, failed: bool, reason: str) -> None:
        self._done, self._failed = self._done + (not failed), self._failed + failed
        if failed:
            self._error = reason

    def _leave(self) -> None:
        with self._changed:
            if threading.current_thread() is self._thread:
                self._thread, self._current = None, None
                self._changed.notify_all()
