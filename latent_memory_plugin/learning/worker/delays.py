"""When what broke off is tried again, by the monotonic clock: a wall clock that is set back changes nothing."""

import time

from latent_memory_plugin.records import Queued

LOOK_SECONDS = 0.5
"""How often whoever waits for the queue looks at it: another thread or process may have emptied it."""
LONGEST_SECONDS = 60.0
"""Longest wait between two attempts to reach a store that fails."""


class Delays:
    """What waits for its time: single episodes, or everything while the store fails."""

    def __init__(self) -> None:
        self.store_failures = 0
        """How often in a row the store has failed."""
        self._held_until = 0.0
        self._due: dict[str, float] = {}

    def put_off(self, queued: Queued, first_seconds: float) -> None:
        """Tries an episode again later, twice as late as the last time; others go on meanwhile."""
        self._due[queued.episode_id] = time.monotonic() + first_seconds * 2.0**queued.attempts

    def hold(self, first_seconds: float) -> None:
        """Tries nothing for a while, twice as long as the last time: the store fails whatever the episode."""
        seconds = min(first_seconds * 2.0 ** min(self.store_failures, 30), LONGEST_SECONDS)
        self.store_failures += 1
        self._held_until = time.monotonic() + seconds

    def store_works(self) -> None:
        """Forgets that the store has failed."""
        self.store_failures, self._held_until = 0, 0.0

    def held_seconds(self) -> float:
        """How long nothing is tried; 0 where nothing stands in the way."""
        return max(0.0, self._held_until - time.monotonic())

    def later(self) -> frozenset[str]:
        """The episodes whose time has not come."""
        now = time.monotonic()
        self._due = {episode_id: due for episode_id, due in self._due.items() if due > now}
        return frozenset(self._due)

    def next_seconds(self) -> float:
        """How long until the next of them is due; `LOOK_SECONDS` where there is none."""
        return max(0.0, min(self._due.values()) - time.monotonic()) if self._due else LOOK_SECONDS
