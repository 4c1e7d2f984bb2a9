"""The executor `process`: in a process of its own with a model of its own, so that whoever answers keeps a core.

One process serves all memories of this one that name the same model. It is started with the first work, and ends with
the last memory that uses it or with its parent.
"""

import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from multiprocessing.connection import Connection
from typing import Any

from latent_memory_plugin.config import ModelConfig
from latent_memory_plugin.engines.base import Model
from latent_memory_plugin.engines.cancellation import Cancellation, Cancelled, cancellable
from latent_memory_plugin.errors import ConfigError, WorkerError
from latent_memory_plugin.executors.base import Run

LOOK_SECONDS = 0.05
"""How often a wish to cancel is looked for while the other process works."""
END_SECONDS = 2.0
"""How long the other process may take to end by itself."""


class ProcessExecutor:
    """Runs work in a spawned process."""

    def __init__(self, model: Model, config: ModelConfig | None, run: Run) -> None:
        if config is None:
            raise ConfigError(
                f"executor='process' loads the model {model.name!r} again in another process, and cannot where a "
                "loaded model was passed; name it by path, hub id or ModelConfig, or choose executor='thread'."
            )
        self._config, self._run = config, run
        self._child: _Child | None = None
        self._lock = threading.Lock()

    def submit(self, work: Any, cancellation: Cancellation, watch: Callable[[Any], None]) -> "Future[Any]":
        """A future that is done once the other process has answered; others wait for their turn. It raises ConfigError
        where the work cannot be sent, WorkerError where the process died."""
        future: Future[Any] = Future()
        try:
            with self._lock:
                if self._child is None or not self._child.is_alive:
                    self._child = _Child(self._config, self._run)
                future.set_result(self._child.ask(work, cancellation, watch))
        except (Exception, Cancelled) as exc:  # noqa: BLE001  whatever the work raises is the future's
            future.set_exception(exc)
        except BaseException:
            self.close()  # interrupted while the other process works
            raise
        return future

    def close(self) -> None:
        """Ends the other process."""
        child, self._child = self._child, None
        if child is not None:
            child.end()


class _Child:
    """A spawned process and the pipe to it."""

    def __init__(self, config: ModelConfig, run: Run) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        settings = (config, run, _threads())
        self._process = context.Process(target=_serve, args=(other, *settings), name="latent-memory", daemon=True)
        self._process.start()
        other.close()

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    def ask(self, work: Any, cancellation: Cancellation, watch: Callable[[Any], None]) -> Any:
        """What the work comes to. Raises what it raised, Cancelled, ConfigError where it cannot be sent, WorkerError
        where the process died."""
        wished = False
        try:
            self._give(work)
            while True:
                if cancellation.is_wished and not wished:
                    self._pipe.send(_CANCEL)
                    wished = True
                if not self._pipe.poll(LOOK_SECONDS):
                    continue
                kind, value = self._pipe.recv()
                if kind == "progress":
                    watch(value)
                elif kind == "raised":
                    raise value
                else:
                    return value
        except (EOFError, OSError) as exc:
            self.end()
            raise WorkerError(
                f"The process that learns ended by itself (exit code {self._process.exitcode}); it is started again "
                "with the next attempt. Where it was killed for memory, choose executor='thread'."
            ) from exc

    def _give(self, work: Any) -> None:
        try:
            self._pipe.send(work)
        except OSError:
            raise
        except Exception as exc:
            raise ConfigError(
                f"The work cannot be sent to another process ({exc}); functions passed as extract=, equal= and reward= "
                "must stand in a module, or choose executor='thread'."
            ) from exc

    def end(self) -> None:
        self._pipe.close()
        self._process.join(END_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


_CANCEL, _CLOSED = "cancel", "closed"
"""In place of work."""


def _threads() -> int:
    import torch

    return torch.get_num_threads()


def _serve(pipe: Connection, config: ModelConfig, run: Run, threads: int) -> None:
    """The other process: loads the model, then works until the pipe is closed."""
    import torch

    from latent_memory_plugin import engines

    torch.set_num_threads(threads)
    loaded: list[Any] = []
    while (work := _received(pipe)) is not _CLOSED:
        if work == _CANCEL:  # of work that was done meanwhile
            continue
        try:
            if not loaded:
                loaded.append(engines.load(config))
            result = _worked(pipe, run, loaded[0], work)
        except (Exception, Cancelled) as exc:  # noqa: BLE001  the parent raises it
            _send(pipe, "raised", exc)
        else:
            _send(pipe, "done", result)


def _worked(pipe: Connection, run: Run, model: Any, work: Any) -> Any:
    """What the work comes to, the pipe watched meanwhile for a wish to cancel."""
    cancellation, over = Cancellation(), threading.Event()

    def listen() -> None:
        while not over.is_set():
            if pipe.poll(LOOK_SECONDS):
                if _received(pipe) is _CLOSED:
                    over.set()
                cancellation.cancel()
                return

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    try:
        with cancellable(cancellation):
            return run(model, work, partial(_send, pipe, "progress"))
    finally:
        over.set()
        listener.join()


def _received(pipe: Connection) -> Any:
    try:
        return pipe.recv()
    except (EOFError, OSError):
        return _CLOSED


def _send(pipe: Connection, kind: str, value: Any) -> None:
    try:
        pipe.send((kind, value))
    except OSError:  # nobody is there any more
        return
    except Exception:  # noqa: BLE001  whatever pickling raises
        pipe.send(("raised", WorkerError(f"{type(value).__name__}: {value}")))
