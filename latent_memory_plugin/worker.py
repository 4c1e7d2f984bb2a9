"""A background thread that learns from one episode after the other."""

import atexit
import logging
import queue
import threading
import weakref
from collections.abc import Callable

from latent_memory_plugin.halting import Halted, halt

log = logging.getLogger(__name__)

SECONDS_AT_EXIT = 30.0
"""How long the end of the process waits for a step of the model."""


class Worker:
    """Calls `work(episode_id)` for each submitted id, in order, in one thread that outlives a failing call."""

    def __init__(self, work: Callable[[str], None], failed: Callable[[str, Exception], None]) -> None:
        self._work = work
        self._failed = failed
        # None ends the thread.
        self._queue: queue.Queue[str | None] = queue.Queue()
        self._lock = threading.Lock()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="latent-memory-worker", daemon=True)
        self._thread.start()
        _workers.add(self)

    def submit(self, episode_id: str) -> None:
        """Queues an episode that is already in the journal; after `close` it just stays pending there."""
        with self._lock:
            if not self._stopping:
                self._queue.put(episode_id)

    def drain(self) -> None:
        """Waits until everything submitted so far is done."""
        self._queue.join()

    def close(self) -> None:
        """Lets the episode under way finish and leaves the rest pending in the journal."""
        self._stop()
        self._thread.join()

    def halt(self) -> None:
        """Breaks off the episode under way at the model's next step; it and the rest stay pending in the journal."""
        self._stop()
        halt(self._thread)

    def join(self, timeout: float) -> None:
        """Waits so many seconds at most for the thread to end."""
        self._thread.join(timeout)

    def _stop(self) -> None:
        with self._lock:
            self._stopping = True
            self._queue.put(None)

    def _run(self) -> None:
        while (episode_id := self._queue.get()) is not None:
            try:
                if not self._stopping:
                    self._learn(episode_id)
            except Halted:
                return
            finally:
                self._queue.task_done()
        self._queue.task_done()

    def _learn(self, episode_id: str) -> None:
        try:
            self._work(episode_id)
        except Exception as exc:  # noqa: BLE001  one bad episode must not end the thread; what happened is journaled
            log.warning("Learning from episode %s failed: %s", episode_id, exc)
            self._record(episode_id, exc)

    def _record(self, episode_id: str, error: Exception) -> None:
        try:
            self._failed(episode_id, error)
        except Exception:  # a full disk fails the journal too: the episode stays pending and the thread goes on
            log.exception("The failure of episode %s could not be journaled; it stays pending.", episode_id)


_workers: "weakref.WeakSet[Worker]" = weakref.WeakSet()


@atexit.register
def _halt_all() -> None:
    """A thread inside the model when the interpreter goes would abort the process."""
    workers = list(_workers)
    for worker in workers:
        worker.halt()
    for worker in workers:
        worker.join(SECONDS_AT_EXIT)
