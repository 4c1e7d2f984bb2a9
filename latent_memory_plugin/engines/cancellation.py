"""Cancelling what a thread is doing, at the model's next step, and letting those who wait for an answer go first.

A thread that learns enters `cancellable`; every step of a model calls `check`. Nothing else knows of either.
"""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

LONGEST_YIELD_SECONDS = 1.0
"""How long one step of learning waits for answers under way at most, so that it goes on however many are asked for."""


class Cancelled(BaseException):
    """Ends the work of a thread that was cancelled. No `except Exception` may take it for a failure."""


class Cancellation:
    """A wish that what is under way shall end. Usable from any thread, and once only."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def cancel(self) -> None:
        """The next step of the model raises `Cancelled`."""
        self._event.set()

    @property
    def is_wished(self) -> bool:
        """True after `cancel`."""
        return self._event.is_set()


class _Foreground:
    """Answers under way, for which a step of learning waits."""

    def __init__(self) -> None:
        self._quiet = threading.Condition()
        self._answers = 0

    @contextmanager
    def answering(self) -> Generator[None, None, None]:
        """Entered while somebody waits for an answer."""
        with self._quiet:
            self._answers += 1
        try:
            yield
        finally:
            with self._quiet:
                self._answers -= 1
                self._quiet.notify_all()

    def let_pass(self) -> None:
        """Waits for the answers under way, `LONGEST_YIELD_SECONDS` at most."""
        if self._answers:
            with self._quiet:
                self._quiet.wait_for(lambda: not self._answers, LONGEST_YIELD_SECONDS)


_under_way: ContextVar[Cancellation | None] = ContextVar("latent_memory_cancellation", default=None)
_foreground = _Foreground()
answering = _foreground.answering
"""Entered while somebody waits for an answer: learning in other threads pauses at its next step."""


@contextmanager
def cancellable(cancellation: Cancellation) -> Generator[None, None, None]:
    """What runs inside, in this thread, ends with `Cancelled` at the model's next step once that is wished."""
    token = _under_way.set(cancellation)
    try:
        yield
    finally:
        _under_way.reset(token)


def check() -> None:
    """Called before every step of a model. Raises `Cancelled`; in a thread that learns, lets answers go first."""
    cancellation = _under_way.get()
    if cancellation is None:
        return
    _foreground.let_pass()
    if cancellation.is_wished:
        raise Cancelled
