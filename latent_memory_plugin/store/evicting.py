"""What a namespace holds, for whoever must choose what goes, and what has gone."""

from collections import Counter
from collections.abc import Iterator

from latent_memory_plugin.records import Evicted, Holding, LatentState
from latent_memory_plugin.store.latents import Latents

_PAGE = 100


class Evicting(Latents):
    """The part of a store that counts and evicts. No header is read."""

    def latent_ids(self) -> list[str]:
        """Ids of all Latents, readable or not, in order."""
        with self._entered():
            return sorted(self._files.ids())

    def states(self) -> Counter[LatentState]:
        """How many Latents are in each state, those left out that `problems` names."""
        with self._entered():
            known, broken = self._standings.states(), {path.stem for path in self._files.problems}
            return Counter(known.get(latent_id, "live") for latent_id in self._files.ids() - broken)

    def holdings(self) -> list[Holding]:
        """Every Latent, readable or not, with its size and what its answers came to."""
        with self._entered():
            states, tallies = self._standings.states(), self._standings.tallies()
            return [
                Holding(
                    latent_id=latent_id,
                    bytes=size,
                    stored=stored,
                    state=states.get(latent_id, "live"),
                    **tallies.get(latent_id, {}),
                )
                for latent_id, size, stored in self._files.sizes()
            ]

    def evict(self, evicted: Evicted) -> None:
        """Journals why a Latent goes, and removes it. Raises NotFoundError."""
        with self.exclusive():
            if not self._files.holds(evicted.latent_id):
                self._files.delete(evicted.latent_id)  # says that it is not there
            self._database.run(
                "INSERT INTO evictions (latent_id, reason, created) VALUES (?, ?, ?)",
                *(evicted.latent_id, evicted.reason, evicted.created),
            )
            self.remove(evicted.latent_id)

    def evictions(self) -> Iterator[Evicted]:
        """What has been evicted, oldest first, a hundred in memory at a time."""
        last = 0
        while True:
            with self._entered():
                rows = self._database.rows(
                    "SELECT number, latent_id, reason, created FROM evictions WHERE number > ? "
                    f"ORDER BY number LIMIT {_PAGE}",
                    last,
                )
            if not rows:
                return
            yield from (Evicted(latent_id=row[1], reason=row[2], created=row[3]) for row in rows)
            last = rows[-1][0]
