"""Stopping a thread that learns, at the model's next step: the journal keeps what it was doing as pending."""

import threading

_halted: set[int] = set()


class Halted(BaseException):
    """Ends the work of a thread that was halted. No `except Exception` may take it for a failure."""


def halt(thread: threading.Thread) -> None:
    """Makes the thread's next step of the model raise `Halted`."""
    if thread.is_alive() and thread.ident is not None:  # the number of one that has ended may be another's by now
        _halted.add(thread.ident)


def check() -> None:
    """Raises `Halted` in a thread that was halted."""
    if _halted and threading.get_ident() in _halted:
        _halted.discard(threading.get_ident())
        raise Halted
