"""What the background worker says of itself: `WorkerState`; and what it takes from its queue: `Queued`."""

from typing import Literal

from latent_memory_plugin.frozen import Frozen
from latent_memory_plugin.records.base import Count

WorkerStatus = Literal["running", "idle", "paused", "stopped"]


class Queued(Frozen):
    """One episode in the queue of the background worker."""

    episode_id: str
    """Id of the episode."""
    attempts: Count = 0
    """How often learning from it has broken off."""


class WorkerState(Frozen):
    """What the background worker of a namespace is doing."""

    status: WorkerStatus
    """`running`: it learns, or waits to try again what broke off; `idle`: nothing is queued; `paused`: it has ended its
    last episode and takes no further; `stopped`: no memory of this process has learnt in the namespace yet, or all of
    them are closed."""
    waiting: Count
    """Episodes in the queue, the one under way among them."""
    done: Count
    """Episodes it has learnt from in this process, whatever came of them; those that failed left out."""
    failed: Count
    """Episodes that failed in its hands in this process."""
    episode_id: str | None = None
    """The episode under way; None where there is none."""
    error: str = ""
    """What broke off last, in words; empty where nothing has."""
