"""The background worker as a memory offers it: the part of `LatentMemory` that watches and steers it."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from latent_memory_plugin.learning.worker import worker_of
from latent_memory_plugin.records import WorkerState
from latent_memory_plugin.shared import Opened

if TYPE_CHECKING:
    from latent_memory_plugin.learning.learner import Learner


class Background(ABC):
    """The background worker of one namespace, which all its memories in a process share.

    It learns from what `observe(when="background")` has queued, oldest first, with the settings of the first memory
    that learnt. The queue is in the journal: what an ended process has left in it is taken up by the next `learn`,
    `observe`, `drain` or `resume`.
    """

    @property
    @abstractmethod
    def opened(self) -> Opened:
        """The loaded model and the open store, for extensions of this library."""

    @property
    @abstractmethod
    def _learner(self) -> "Learner": ...

    def pause(self) -> None:
        """Makes the worker take no further episode until `resume()`; the one under way is finished."""
        self._learner.worker.pause()

    def resume(self) -> None:
        """Lets the worker go on, at once also with what it would try again later."""
        self._learner.resume()

    def drain(self, timeout: float | None = None) -> None:
        """Waits until nothing is queued. Raises `WorkerError` where the worker is paused, is held up by the disk, or is
        not done after so many seconds; what is queued stays so."""
        self._learner.drain(timeout)

    def progress(self) -> WorkerState:
        """What the worker of this process is doing, how much waits, and what broke off last."""
        store = self.opened.store
        return worker_of(store).state(store)
