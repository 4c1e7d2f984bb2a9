"""The Latents of a namespace with their standings and uses, as a store offers them.

Legend: P latent tokens, H hidden size, D key size.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from latent_memory_plugin.errors import InputError, LatentMemoryError, NotFoundError
from latent_memory_plugin.records import USABLE, Latent, Standing, Use
from latent_memory_plugin.store.files import checked
from latent_memory_plugin.store.redaction import short_latent, short_use
from latent_memory_plugin.store.session import Session


class Latents(Session):
    """The half of a store that keeps what was learnt."""

    def put(self, latent: Latent, tensor: np.ndarray, key: np.ndarray) -> None:
        """Writes a new Latent: tensor (P, H) float32 and key (D,). Raises InputError where its namespace, encoder, id,
        shape or values do not fit, WrongModelError."""
        with self.exclusive():
            encoder, (index, _) = self._searchable()
            if latent.encoder != encoder:
                raise InputError(
                    f"The Latent's encoder is {latent.encoder!r}, the store's {encoder!r}; open one for that."
                )
            values, vector = checked(tensor, latent), index.checked(key)
            self._files.write(latent if self.keep_text else short_latent(latent), values, vector)
            if self._standings.usable(latent.id):
                index.add(latent.id, vector)

    def tensor(self, latent_id: str) -> np.ndarray:
        """The tensor (P, H) float32 of a Latent. Raises NotFoundError, CorruptError, WrongModelError."""
        with self._entered():
            return self._files.read(latent_id)[1]

    def latent(self, latent_id: str) -> Latent:
        """The record of a Latent. Raises NotFoundError, CorruptError, WrongModelError."""
        with self._entered():
            return self._files.record(latent_id)

    def latent_key(self, latent_id: str) -> np.ndarray:
        """The key (D,) float32 of a Latent. Raises NotFoundError, also where another encoder made it, CorruptError,
        WrongModelError."""
        with self._entered():
            latent, _, key = self._files.read(latent_id)
        if self.encoder not in (None, latent.encoder):
            raise NotFoundError(
                f"The key of the Latent {latent_id!r} was made by {latent.encoder!r}, not by {self.encoder!r}."
            )
        return key

    def latents(self, newest: int | None = None) -> Iterator[Latent]:
        """All Latents whatever their standing, or so many that were stored last, oldest first, read from the headers
        one by one. A file that cannot be read is left out, warned of and kept in `problems`."""
        with self._entered():
            latents = self._files.stream(newest)
        yield from latents

    @property
    def problems(self) -> dict[Path, LatentMemoryError]:
        """The Latent files met so far that cannot be used, and why."""
        return dict(self._files.problems)

    def nearest(self, key: np.ndarray, limit: int = 1) -> list[tuple[str, float]]:
        """Up to `limit` ids of usable Latents with the cosine similarity, -1 to 1, of their keys to this one (D,), best
        first."""
        with self._entered():
            _, (index, _) = self._searchable()
            return index.nearest(key, limit)

    def stand(self, standing: Standing) -> None:
        """Journals what a Latent may do now, which may be before it is put. Raises NotFoundError where the id is none
        of a Latent, InputError where the reason cannot be stored. A store open for listing leaves the index to the next
        opening with a model; until then a Latent that is usable again is not found, and one that is not any more is
        never returned."""
        with self.exclusive():
            stored, before = self._files.holds(standing.latent_id), self._standings.usable(standing.latent_id)
            self._standings.write(standing)
            if self._indexes and stored and before != (standing.state in USABLE):
                self._indexes[0].follow(standing.latent_id)

    def standing(self, latent_id: str) -> Standing:
        """What a Latent may do now: `live` since it was made where nothing was journaled of it. Raises NotFoundError
        where it is neither journaled nor stored, CorruptError, WrongModelError."""
        with self._entered():
            journaled = self._standings.read(latent_id)
            return journaled or Standing(latent_id=latent_id, since=self._files.record(latent_id).created)

    def record_uses(self, uses: Sequence[Use]) -> None:
        """Journals answers that read a Latent, all or none; a use of the same answer and Latent is replaced and keeps
        its place in the order. Raises InputError where a text cannot be stored."""
        with self._entered():
            self._standings.record_uses(uses if self.keep_text else [short_use(use) for use in uses])

    def uses(
        self, *, latent_id: str | None = None, answer_id: str | None = None, problem_hash: str | None = None
    ) -> list[Use]:
        """The uses that match every argument given, oldest first. Raises CorruptError."""
        with self._entered():
            return self._standings.uses(latent_id, answer_id, problem_hash)

    def remove(self, latent_id: str) -> None:
        """Deletes a Latent, readable or not, its standing and its uses; also what a removal that was cut short has left
        of them. Raises NotFoundError. A store open for listing leaves the index entry to the next opening with a model;
        until then it is never returned."""
        with self.exclusive():
            if self._files.holds(latent_id) or not self._standings.knows(latent_id):
                self._files.delete(latent_id)
            # After the file: one without a standing would be live.
            self._standings.forget(latent_id)
            if self._indexes:
                self._indexes[0].discard([latent_id])
