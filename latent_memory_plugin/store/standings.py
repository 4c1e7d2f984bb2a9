"""What became of Latents after they were stored: their standings and the answers that read them, beside the journal.

A Latent of which nothing is journaled is live.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from latent_memory_plugin.errors import CorruptError, InputError
from latent_memory_plugin.records import USABLE, LatentState, Standing, Use
from latent_memory_plugin.store.database import Database
from latent_memory_plugin.store.files import LatentFiles

Record = TypeVar("Record", Standing, Use)

_USABLE = ", ".join(f"'{state}'" for state in USABLE)


class Standings:
    """Standings and uses of one namespace. Not safe in threads by itself: its store holds the root's guard."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def write(self, standing: Standing) -> None:
        """Replaces what was journaled of the Latent. Raises InputError where a text cannot be stored."""
        self._database.run(
            "INSERT OR REPLACE INTO standings (latent_id, state, record) VALUES (?, ?, ?)",
            *(standing.latent_id, standing.state, _json(standing)),
        )

    def read(self, latent_id: str) -> Standing | None:
        """What is journaled of the Latent; None where nothing is. Raises CorruptError."""
        rows = self._database.rows("SELECT record FROM standings WHERE latent_id = ?", latent_id)
        return self._record(Standing, rows[0][0]) if rows else None

    def usable(self, latent_id: str) -> bool:
        """Whether the Latent may be read."""
        return not self._database.rows(
            f"SELECT 1 FROM standings WHERE latent_id = ? AND state NOT IN ({_USABLE})", latent_id
        )

    def unusable(self) -> set[str]:
        """Ids of all Latents that may not be read, stored or not."""
        return {
            row[0] for row in self._database.rows(f"SELECT latent_id FROM standings WHERE state NOT IN ({_USABLE})")
        }

    def states(self) -> dict[str, LatentState]:
        """The states of all Latents of which one is journaled, stored or not."""
        return dict(self._database.rows("SELECT latent_id, state FROM standings"))

    def tallies(self) -> dict[str, dict[str, Any]]:
        """What the answers that read each Latent came to: `wins`, `losses`, and `last_use` as a Unix time in
        seconds."""
        rows = self._database.rows(
            "SELECT latent_id, TOTAL(json_extract(record, '$.correct') = 1), "
            "TOTAL(json_extract(record, '$.correct') = 0), MAX(json_extract(record, '$.created')) "
            "FROM uses GROUP BY latent_id"
        )
        return {row[0]: {"wins": int(row[1]), "losses": int(row[2]), "last_use": row[3]} for row in rows}

    def record_uses(self, uses: Sequence[Use]) -> None:
        """Adds or replaces uses, all or none. Raises InputError where a text cannot be stored."""
        rows = [(use.answer_id, use.latent_id, use.problem_hash, _json(use)) for use in uses]
        with self._database.transaction():
            for row in rows:
                self._database.run(
                    "INSERT INTO uses (answer_id, latent_id, problem_hash, record) VALUES (?, ?, ?, ?) "
                    "ON CONFLICT (answer_id, latent_id) "
                    "DO UPDATE SET problem_hash = excluded.problem_hash, record = excluded.record",
                    *row,
                )

    def uses(self, latent_id: str | None, answer_id: str | None, problem_hash: str | None) -> list[Use]:
        """The uses with these values, None stands for any, in the order in which they were first recorded.
        Raises CorruptError."""
        wanted = {"latent_id": latent_id, "answer_id": answer_id, "problem_hash": problem_hash}
        given = {column: value for column, value in wanted.items() if value is not None}
        where = " AND ".join(("1", *(f"{column} = ?" for column in given)))
        rows = self._database.rows(f"SELECT record FROM uses WHERE {where} ORDER BY number", *given.values())
        return [self._record(Use, row[0]) for row in rows]

    def restore(self, use: Use) -> None:
        """Adds a use from elsewhere; one that is here already stays as it is."""
        self._database.run(
            "INSERT OR IGNORE INTO uses (answer_id, latent_id, problem_hash, record) VALUES (?, ?, ?, ?)",
            *(use.answer_id, use.latent_id, use.problem_hash, _json(use)),
        )

    def stream_uses(self) -> Iterator[Use]:
        """All uses in the order in which they were first recorded, a hundred in memory at a time. Raises
        CorruptError."""
        last = 0
        while rows := self._database.rows(
            "SELECT number, record FROM uses WHERE number > ? ORDER BY number LIMIT 100", last
        ):
            yield from (self._record(Use, row[1]) for row in rows)
            last = rows[-1][0]

    def knows(self, latent_id: str) -> bool:
        """Whether a standing or a use of the Latent is journaled."""
        return bool(
            self._database.rows(
                "SELECT 1 FROM standings WHERE latent_id = ? UNION ALL SELECT 1 FROM uses WHERE latent_id = ? LIMIT 1",
                *(latent_id, latent_id),
            )
        )

    def forget(self, latent_id: str) -> None:
        """Deletes the standing and the uses of a Latent; none is fine."""
        with self._database.transaction():
            for table in ("standings", "uses"):
                self._database.run(f"DELETE FROM {table} WHERE latent_id = ?", latent_id)

    def _record(self, kind: type[Record], text: str) -> Record:
        try:
            return kind.from_json(text)
        except InputError as exc:
            raise CorruptError(
                f"A row of {str(self._database.path)!r} cannot be read ({exc}); restore the journal from a backup."
            ) from exc


class UsableLatents:
    """What the index of Latents is derived from: the files whose standing lets them be read."""

    def __init__(self, files: LatentFiles, standings: Standings) -> None:
        self._files = files
        self._standings = standings

    def ids(self, encoder: str) -> set[str]:
        """Ids of all usable files, whichever encoder made their keys."""
        return self._files.ids(encoder) - self._standings.unusable()

    def keys(self, item_ids: Iterable[str], encoder: str) -> Iterator[tuple[str, np.ndarray]]:
        """Id and key (D,) float32 of those of the given Latents whose key was made by this encoder."""
        return self._files.keys(item_ids, encoder)

    def holds(self, item_id: str) -> bool:
        """Whether there is a file with this id and it is usable."""
        return self._files.holds(item_id) and self._standings.usable(item_id)


def _json(record: Standing | Use) -> str:
    try:
        return record.model_dump_json()
    except ValueError as exc:
        raise InputError(f"{record!r:.300} holds half a surrogate pair and cannot be stored; repair the text.") from exc
