"""Forgetting: what a question, an age or the whole namespace has left, and no byte of its texts stays in the journal.

The files go first and the rows after them, so that a call that was cut short is finished by calling again; what it has
deleted of the journal already is overwritten by the next opening.
"""

from collections.abc import Collection
from typing import NamedTuple

from latent_memory_plugin.store.disk import delete_file
from latent_memory_plugin.store.latents import Latents
from latent_memory_plugin.store.schema import BACKUP

SCRUB = "scrub"
"""Name of the row of `meta` that is there while deleted rows wait to be overwritten."""

QUARANTINED_ROWS = "quarantine/*.json*"
"""Rows that a repair could not read: nobody can tell whose texts are in them, so every call deletes them."""

_QUOTING = "The reward %"
"""Begins what may quote a completion of another episode's question."""
_NO_REASON = "The reward failed; why was forgotten, because it may quote a text."


class Forgotten(NamedTuple):
    """How much is gone."""

    latents: int
    """Latents with their standings."""
    episodes: int
    """Episodes with their texts."""
    uses: int
    """Answers that read a Latent."""


class Forgetting(Latents):
    """The part of a store that deletes so that nothing can be read again."""

    def forget_latents(self, latent_ids: Collection[str]) -> Forgotten:
        """Deletes Latents with their standings and uses. Raises NotFoundError where one is not there."""
        with self.exclusive():
            for latent_id in latent_ids:
                if not self._standings.knows(latent_id) and not self._files.holds(latent_id):
                    self._files.delete(latent_id)  # says that it is not there
            return self._forget(latent_ids, (), "0 = ?", 1)

    def forget_problem(self, problem_hash: str) -> Forgotten:
        """Deletes every episode of a question, given by its hash, the Latents learnt from one of them, and the answers
        given to it."""
        with self.exclusive():
            rows = self._database.rows("SELECT id FROM episodes WHERE problem_hash = ?", problem_hash)
            episodes = {row[0] for row in rows}
            latents = [
                one.id
                for one in self._files.stream()
                if one.problem_hash == problem_hash or episodes.intersection(one.parents)
            ]
            return self._forget(latents, episodes, "problem_hash = ?", problem_hash)

    def forget_older(self, time: float) -> Forgotten:
        """Deletes what was made before a Unix time in seconds: Latents with their standings and uses, episodes, and
        answers that read a Latent which stays."""
        with self.exclusive():
            episodes = {row[0] for row in self._database.rows("SELECT id FROM episodes WHERE created < ?", time)}
            latents = [one.id for one in self._files.stream() if one.created < time]
            return self._forget(latents, episodes, "json_extract(record, '$.created') < ?", time)

    def forget_everything(self) -> Forgotten:
        """Deletes all of the namespace, readable or not; it can be used again at once."""
        with self.exclusive():
            episodes = {row[0] for row in self._database.rows("SELECT id FROM episodes")}
            gone = self._forget(sorted(self._files.ids()), episodes, "1 = ?", 1)
            with self._database.transaction():
                self._database.run("DELETE FROM standings")  # of Latents that were never stored
                self._database.run("DELETE FROM evictions")
            for left in self._folder.glob("quarantine/*"):
                delete_file(left)
            for index in self._indexes or ():
                index.renew()
        return gone

    def mend_forgetting(self) -> None:
        """Overwrites what a call that was cut short has left deleted. Raises StoreWriteError."""
        if self._database.rows("SELECT 1 FROM meta WHERE name = ?", SCRUB):
            self._scrub()

    def _forget(self, latents: Collection[str], episodes: Collection[str], uses: str, value: str | float) -> Forgotten:
        """Deletes Latents, episodes, and the uses that fulfil a condition."""
        for latent_id in latents:
            if self._files.holds(latent_id):
                self._files.delete(latent_id)
        with self._database.transaction():
            self._database.run("INSERT OR REPLACE INTO meta (name, value) VALUES (?, '')", SCRUB)
            gone = self._database.run(f"DELETE FROM uses WHERE {uses}", value)
            for latent_id in latents:
                self._database.run("DELETE FROM standings WHERE latent_id = ?", latent_id)
                gone += self._database.run("DELETE FROM uses WHERE latent_id = ?", latent_id)
            self._journal.forget(episodes)
            if episodes:
                self._database.run(
                    "UPDATE episodes SET reason = ? WHERE state = 'failed' AND reason LIKE ?", _NO_REASON, _QUOTING
                )
        for index, ids in zip(self._indexes or (), (latents, episodes), strict=False):
            if ids:
                index.discard(ids)
        self._scrub()
        return Forgotten(len(latents), len(episodes), gone)

    def _scrub(self) -> None:
        for left in (*self._folder.glob(BACKUP.format("*")), *self._folder.glob(QUARANTINED_ROWS)):
            delete_file(left)
        self._database.scrub()
        self._database.run("DELETE FROM meta WHERE name = ?", SCRUB)
