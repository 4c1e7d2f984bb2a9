"""What a memory brings to its worker, and what an error in it means for the episode."""

from typing import Protocol

from latent_memory_plugin.config import WorkerConfig
from latent_memory_plugin.errors import CorruptError, LatentMemoryError, NotFoundError, StoreError
from latent_memory_plugin.records import Outcome
from latent_memory_plugin.store.base import AnyStore

REASON_CHARACTERS = 2000
"""Characters of an error that the journal keeps."""


class Work(Protocol):
    """What a memory brings to its worker."""

    @property
    def store(self) -> AnyStore:
        """Holds the queue."""
        ...

    @property
    def settings(self) -> WorkerConfig:
        """How long the queue is, and how often an episode is tried."""
        ...

    def consolidate_one(self, episode_id: str) -> Outcome:
        """Learns from a queued episode, which leaves the queue."""
        ...


def is_of_the_store(error: Exception) -> bool:
    """Whether no episode can be learnt from for now, whichever it is."""
    return isinstance(error, StoreError) and not isinstance(error, CorruptError | NotFoundError)


def is_hopeless(error: Exception) -> bool:
    """Whether the same would break off again: what this library says of an episode it says every time."""
    return isinstance(error, LatentMemoryError) and not isinstance(error, StoreError)


def said(error: Exception) -> str:
    """The error as the journal keeps it."""
    return f"{type(error).__name__}: {error}"[:REASON_CHARACTERS].encode(errors="replace").decode()
