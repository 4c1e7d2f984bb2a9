"""The queue of the background worker, as a store offers it: in the journal, so that a kill leaves it as it was."""

from collections.abc import Collection

from latent_memory_plugin.records import Queued
from latent_memory_plugin.store.claims import Claims
from latent_memory_plugin.store.redaction import NO_REASON

_MINE = "FROM queue JOIN episodes ON episodes.id = queue.episode_id WHERE encoder = ?"


class Queue(Claims):
    """The part of a store that keeps which pending episodes wait for the worker, in their order.

    An episode that is settled or deleted leaves the queue with the same write. Only episodes whose key was made by the
    store's encoder are seen: no other can be learnt from.
    """

    def enqueue(self, episode_id: str, limit: int) -> bool:
        """Appends a pending episode, once; False where `limit` episodes wait already. Durable when it returns."""
        with self._entered(), self._database.transaction():
            if self.queued() >= limit:
                return False
            self._database.run("INSERT OR IGNORE INTO queue (episode_id) VALUES (?)", episode_id)
            return True

    def queued(self) -> int:
        """How many episodes wait, the one under way among them."""
        with self._entered():
            return sum(row[0] for row in self._database.rows(f"SELECT count(*) {_MINE}", self._searchable()[0]))

    def next_queued(self, later: Collection[str] = ()) -> Queued | None:
        """The episode that has waited longest, those named and those that another process learns from left out; None
        where there is none. It stays queued."""
        with self._entered():
            later = {*later, *self._claimed_by_others()}
            rows = self._database.rows(
                f"SELECT episode_id, attempts {_MINE} ORDER BY queue.number LIMIT ?",
                *(self._searchable()[0], len(later) + 1),
            )
        return next((Queued(episode_id=row[0], attempts=row[1]) for row in rows if row[0] not in later), None)

    def dequeue(self, episode_id: str) -> None:
        """Takes an episode out, which may stay pending; one that is not queued is fine."""
        with self._entered():
            self._database.run("DELETE FROM queue WHERE episode_id = ?", episode_id)

    def broke_off(self, episode_id: str, reason: str) -> None:
        """Counts an attempt at a queued episode that broke off, and journals why; one that is gone is fine."""
        with self._entered(), self._database.transaction():
            self._database.run("UPDATE queue SET attempts = attempts + 1 WHERE episode_id = ?", episode_id)
            self._database.run(
                "UPDATE episodes SET reason = ? WHERE id = (SELECT episode_id FROM queue WHERE episode_id = ?)",
                *(self._kept(reason), episode_id),
            )

    def give_up(self, episode_id: str, reason: str) -> bool:
        """Journals a pending episode as failed, readable or not, and takes it out of the queue. False where it was
        settled or deleted meanwhile."""
        with self._entered(), self._database.transaction():
            self.dequeue(episode_id)
            changed = self._database.run(
                "UPDATE episodes SET state = 'failed', reason = ? WHERE id = ? AND state = 'pending'",
                *(self._kept(reason), episode_id),
            )
        return bool(changed)

    def _kept(self, reason: str) -> str:
        return reason if self.keep_text else NO_REASON
