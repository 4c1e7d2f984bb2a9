"""The steps of a model: where what a thread does can be cancelled, where it lets answers go first, and how far it is.

A thread that learns enters `cancellable`; every forward pass of a model calls `check`, and what takes many of them
calls `report`. Nothing else knows of either.
"""

import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar

LONGEST_YIELD_SECONDS = 1.0
"""How long one step of learning waits for answers under way at most, so that it goes on however many are asked for."""
REPORT_SECONDS = 0.2
"""Shortest time between two reports."""


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
_reported: ContextVar[Callable[[int, int], None] | None] = ContextVar("latent_memory_report", default=None)
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


@contextmanager
def reported(tell: Callable[[int, int], None]) -> Generator[None, None, None]:
    """What runs inside, in this thread, tells how many of its steps are done, and of how many at most."""
    last = [0.0]

    def sometimes(done: int, total: int) -> None:
        if (now := time.monotonic()) - last[0] >= REPORT_SECONDS or done >= total:
            last[0] = now
            tell(done, total)

    token = _reported.set(sometimes)
    try:
        yield
    finally:
        _reported.reset(token)


def check() -> None:
    """Called before every step of a model. Raises `Cancelled`; in a thread that learns, lets answers go first."""
    cancellation = _under_way.get()
    if cancellation is None:
        return
    _foreground.let_pass()
    if cancellation.is_wished:
        raise Cancelled


def report(done: int, total: int) -> None:
    """Called by what takes many steps."""
    tell = _reported.get()
    if tell is not None:
        tell(done, total)
