"""The executor `thread`: in the thread that submits, on the model that answers."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from latent_memory_plugin.config import ModelConfig
from latent_memory_plugin.engines.base import Model
from latent_memory_plugin.engines.cancellation import Cancellation, Cancelled, cancellable
from latent_memory_plugin.executors.base import Run


class ThreadExecutor:
    """Runs work at once; a learner is a thread already."""

    def __init__(self, model: Model, config: ModelConfig | None, run: Run) -> None:
        self._model, self._run = model, run

    def submit(self, work: Any, cancellation: Cancellation, watch: Callable[[Any], None]) -> "Future[Any]":
        """A future that is done; an interrupt of the thread goes through."""
        future: Future[Any] = Future()
        try:
            with cancellable(cancellation):
                future.set_result(self._run(self._model, work, watch))
        except (Exception, Cancelled) as exc:  # noqa: BLE001  whatever the work raises is the future's
            future.set_exception(exc)
        return future

    def close(self) -> None:
        """Nothing is held."""
