"""An executor: where a plan runs. It is given work, and gives back a future of what the work comes to."""

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol

from latent_memory_plugin.config import ModelConfig
from latent_memory_plugin.engines.base import Model
from latent_memory_plugin.engines.cancellation import Cancellation

Run = Callable[..., Any]
"""`learning.street.run`: (engines, work, watch) → what the work comes to. A function of a module, so that another
process can import it."""


class Executor(Protocol):
    """Runs work. A plug-in is a function that makes one, registered by `executors.register(name, make)`."""

    def submit(self, work: Any, cancellation: Cancellation, watch: Callable[[Any], None]) -> "Future[Any]":
        """Has work run; `watch` is called with its progress. Once the cancellation is wished, the work ends at the
        model's next step and the future raises `Cancelled`. What the work raises, the future raises."""
        ...

    def close(self) -> None:
        """Gives back what it holds; nothing is submitted afterwards."""
        ...


MakeExecutor = Callable[[Model, ModelConfig | None, Run], Executor]
"""(the loaded model, what it was loaded by or None where the caller had loaded it, what runs work) → an executor.
Raises ConfigError where it cannot run this model."""
