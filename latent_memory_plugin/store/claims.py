"""Which process learns from which episodes, where several share a root."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager

from latent_memory_plugin.store.session import Session


class Claims(Session):
    """The part of a store by which no two processes learn from one episode at a time.

    A claim stands in the journal and lives as long as its process has the root open. A sole owner needs none.
    """

    @contextmanager
    def claimed(self, episode_ids: Sequence[str]) -> Generator[list[str], None, None]:
        """Those of the episodes that are this process's own for as long as this is held; the others are another's."""
        mine = self._claim(episode_ids)
        try:
            yield mine
        finally:
            self._release_claims(mine)

    def _claim(self, episode_ids: Sequence[str]) -> list[str]:
        if self._root.access.chroma is None:
            return list(episode_ids)
        owner = self._root.ownership.token
        with self.exclusive():
            taken = self._claimed_by_others()
            mine = [episode_id for episode_id in episode_ids if episode_id not in taken]
            with self._database.transaction():
                for episode_id in mine:
                    self._database.run("INSERT OR REPLACE INTO claims VALUES (?, ?)", episode_id, owner)
        return mine

    def _release_claims(self, episode_ids: Sequence[str]) -> None:
        if self._root.access.chroma is None:
            return
        owner = self._root.ownership.token
        with self._entered(), self._database.transaction():
            for episode_id in episode_ids:
                self._database.run("DELETE FROM claims WHERE episode_id = ? AND owner = ?", episode_id, owner)

    def _claimed_by_others(self) -> set[str]:
        """What live processes have claimed; the claims of the dead are deleted."""
        if self._root.access.chroma is None:
            return set()
        ownership = self._root.ownership
        rows = self._database.rows("SELECT episode_id, owner FROM claims WHERE owner != ?", ownership.token)
        dead = {owner for owner in {row[1] for row in rows} if not ownership.alive(owner)}
        for owner in dead:
            self._database.run("DELETE FROM claims WHERE owner = ?", owner)
        return {episode_id for episode_id, owner in rows if owner not in dead}
