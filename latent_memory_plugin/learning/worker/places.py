"""One worker per namespace in a process, and what becomes of it when the process ends."""

import atexit
import os
import threading
import weakref
from collections.abc import Hashable
from pathlib import Path
from typing import Protocol

from latent_memory_plugin.learning.worker.worker import Worker

SECONDS_AT_EXIT = 30.0
"""How long the end of the process waits for a step of the model."""

_placed: "weakref.WeakValueDictionary[Hashable, Worker]" = weakref.WeakValueDictionary()
_door = threading.Lock()


class Placed(Protocol):
    """A store that lies somewhere."""

    root: Path
    namespace: str
    encoder: str | None


def worker_of(store: Placed) -> Worker:
    """The worker of the namespace that a store opens, made where there is none; it lasts as long as somebody holds
    it."""
    place = (store.root, store.namespace, store.encoder)
    with _door:
        worker = _placed.get(place)
        if worker is None:
            worker = _placed[place] = Worker()
        return worker


def _forget_after_fork() -> None:
    """A forked process has none of its parent's threads."""
    global _placed, _door
    none: weakref.WeakValueDictionary[Hashable, Worker] = weakref.WeakValueDictionary()
    _placed, _door = none, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)


@atexit.register
def _halt_all() -> None:
    """A thread inside the model when the interpreter goes would abort the process."""
    workers = list(_placed.values())
    for worker in workers:
        worker.halt()
    for worker in workers:
        worker.join(SECONDS_AT_EXIT)
