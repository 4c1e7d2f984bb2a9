"""The journal of a namespace: episodes, the worker's queue, claims, standings, uses, evictions, and what has changed
since an index was last brought up to date. All of the store's SQL stands here.

Of a Latent of which nothing is journaled it is assumed that it is live. Legend: D key size.
"""

import logging
import re
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
from pydantic import TypeAdapter, ValidationError

from latent_memory_plugin.errors import CorruptError, InputError, LatentMemoryError, NotFoundError
from latent_memory_plugin.frozen import Frozen
from latent_memory_plugin.records import (
    USABLE,
    Episode,
    EpisodeState,
    Evicted,
    LatentState,
    Neighbour,
    Problem,
    Rollout,
    Standing,
    Use,
    Vote,
)
from latent_memory_plugin.store.database import Database
from latent_memory_plugin.store.redaction import hash_alone

Record = TypeVar("Record", bound=Frozen)
_Part = TypeVar("_Part")
Row = tuple[Any, ...]

COLUMNS = "id, created, state, attempt, reason, problem_hash, vote, question, rollouts"
"""Of `episodes`, without encoder and key."""
ROWS = 20
"""Of episodes in memory at a time: one may have a megabyte of rollouts."""
USE_ROWS = 100

_log = logging.getLogger(__name__)
_LIGHT = "id, problem_hash, question <> '', state, attempt, vote"
_IDS = 500
"""In one query: SQLite takes 32,766 and older ones 999."""
_FLOAT32 = np.dtype("<f4")
_ROLLOUTS = TypeAdapter(tuple[Rollout, ...])
_UNUSABLE = f"state NOT IN ({', '.join(repr(state) for state in USABLE)})"
_MINE = "FROM queue JOIN episodes ON episodes.id = queue.episode_id WHERE encoder = coalesce(?, encoder)"
_USE = "INSERT INTO uses (answer_id, latent_id, problem_hash, record) VALUES (?, ?, ?, ?)"
_PLAIN_ID = re.compile(r"[0-9a-f]{32}")
_QUOTING = "The reward %"
"""Begins what may quote a completion of another episode's question."""
_NO_REASON = "The reward failed; why was forgotten, because it may quote a text."


class Journal(Database):
    """The tables of one namespace."""

    # -- episodes

    def add(self, row: Row, encoder: str, key: np.ndarray) -> None:
        """Adds a new episode, a row of `episode_row`, with its key (D,). Raises InputError where its id is taken."""
        marks = ", ".join("?" * (len(row) + 2))
        try:
            self.run(
                f"INSERT INTO episodes ({COLUMNS}, encoder, key) VALUES ({marks})",
                *(*row, encoder, key.astype(_FLOAT32).tobytes()),
            )
        except sqlite3.IntegrityError as exc:
            raise InputError(f"The episode {row[0]!r} is in the journal already; call update instead.") from exc

    def update(self, row: Row) -> None:
        """Replaces all of an episode but when it was created, encoder and key. Raises NotFoundError."""
        episode_id, _, *changes = row
        columns = ", ".join(f"{name} = ?" for name in COLUMNS.split(", ")[2:])
        if not self.run(f"UPDATE episodes SET {columns} WHERE id = ?", *changes, episode_id):
            raise self._unknown(episode_id)

    def settle(self, episode_id: str, state: EpisodeState, reason: str, attempt: str | None) -> bool:
        """Changes the state of a pending episode, readable or not; False where there is none."""
        return bool(
            self.run(
                "UPDATE episodes SET state = ?, reason = ?, attempt = ? WHERE id = ? AND state = 'pending'",
                *(state, reason, attempt, episode_id),
            )
        )

    def row(self, episode_id: str) -> Row:
        """An episode for `read`. Raises NotFoundError."""
        rows = self.rows(f"SELECT {COLUMNS} FROM episodes WHERE id = ?", episode_id)
        if not rows:
            raise self._unknown(episode_id)
        return rows[0]

    def page(self, state: EpisodeState | None, after: int) -> list[tuple[int, Row]]:
        """Some episodes for `read`, oldest first, each with its number; `after` is the last number seen, 0 at first."""
        where, values = ("number > ?", (after,)) if state is None else ("state = ? AND number > ?", (state, after))
        rows = self.rows(f"SELECT number, {COLUMNS} FROM episodes WHERE {where} ORDER BY number LIMIT {ROWS}", *values)
        return [(row[0], row[1:]) for row in rows]

    def read(self, row: Row) -> Episode:
        """The episode of a row. Raises CorruptError."""
        *plain, problem_hash, vote, question, rollouts = row
        try:
            return Episode(
                **dict(zip(("id", "created", "state", "attempt", "reason"), plain, strict=True)),
                problem=Problem(question=question) if question else hash_alone(problem_hash),
                vote=None if vote is None else Vote.from_json(vote),
                rollouts=_ROLLOUTS.validate_json(rollouts),
            )
        except (LatentMemoryError, ValidationError, TypeError) as exc:
            raise self._corrupt(row[0], exc) from exc

    def light(self, episode_ids: Sequence[str]) -> dict[str, Row]:
        """Those of the episodes that are there, for `neighbour`, by their ids; no rollouts are read."""
        rows = (self._in(f"SELECT {_LIGHT} FROM episodes WHERE id", part) for part in parts(episode_ids))
        return {row[0]: row for found in rows for row in found}

    def neighbour(self, row: Row, similarity: float) -> Neighbour:
        """The neighbour of a light row. Raises CorruptError."""
        *plain, vote = row
        try:
            fields = dict(zip(("id", "problem_hash", "has_text", "state", "attempt"), plain, strict=True))
            return Neighbour(**fields, vote=None if vote is None else Vote.from_json(vote), similarity=similarity)
        except (LatentMemoryError, TypeError) as exc:
            raise self._corrupt(row[0], exc) from exc

    def counts(self) -> dict[str, int]:
        """How many episodes are in each state."""
        return dict(self.rows("SELECT state, count(*) FROM episodes GROUP BY state"))

    def key(self, episode_id: str) -> tuple[str, np.ndarray]:
        """Encoder and key (D,) float32 of an episode. Raises NotFoundError."""
        rows = self.rows("SELECT encoder, key FROM episodes WHERE id = ?", episode_id)
        if not rows:
            raise self._unknown(episode_id)
        try:
            return rows[0][0], _key(rows[0][1])
        except (TypeError, ValueError) as exc:
            raise self._corrupt(episode_id, exc) from exc

    def ids(self, encoder: str) -> set[str]:
        """Ids of all episodes whose key was made by this encoder."""
        return {row[0] for row in self.rows("SELECT id FROM episodes WHERE encoder = ?", encoder)}

    def keys(self, episode_ids: Iterable[str], encoder: str) -> Iterator[tuple[str, np.ndarray]]:
        """Id and key (D,) float32 of those of the given episodes whose key was made by this encoder."""
        for part in parts(list(episode_ids)):
            for item_id, blob in self._in("SELECT id, key FROM episodes WHERE encoder = ? AND id", part, encoder):
                try:
                    yield item_id, _key(blob)
                except (TypeError, ValueError) as exc:  # of a damaged row
                    _log.warning("the key of the episode %r cannot be read: %s", item_id, exc)

    def held(self, episode_ids: Sequence[str]) -> set[str]:
        """Which of these episodes there are."""
        found = (self._in("SELECT id FROM episodes WHERE id", part) for part in parts(episode_ids))
        return {row[0] for rows in found for row in rows}

    def key_size(self, encoder: str) -> int | None:
        """D of the keys of an encoder; None where there is none."""
        rows = self.rows("SELECT length(key) FROM episodes WHERE encoder = ? LIMIT 1", encoder)
        return rows[0][0] // _FLOAT32.itemsize if rows else None

    def encoders(self) -> set[str]:
        """Names of the methods that made the keys."""
        return {row[0] for row in self.rows("SELECT DISTINCT encoder FROM episodes")}

    # -- the queue: an episode leaves it with the write that settles or deletes it

    def enqueue(self, episode_id: str, limit: int, encoder: str | None) -> bool:
        """Appends a pending episode, once; False where `limit` episodes with keys of this encoder wait already."""
        with self.transaction():
            if self.queued(encoder) >= limit:
                return False
            self.run("INSERT OR IGNORE INTO queue (episode_id) VALUES (?)", episode_id)
            return True

    def queued(self, encoder: str | None) -> int:
        """How many episodes with keys of this encoder, or of any, wait."""
        return sum(row[0] for row in self.rows(f"SELECT count(*) {_MINE}", encoder))

    def next_queued(self, encoder: str | None, count: int) -> list[tuple[str, int]]:
        """Ids of so many that have waited longest, with how often learning from them has broken off."""
        return self.rows(f"SELECT episode_id, attempts {_MINE} ORDER BY queue.number LIMIT ?", encoder, count)

    def dequeue(self, episode_id: str) -> None:
        """Takes an episode out; one that is not queued is fine."""
        self.run("DELETE FROM queue WHERE episode_id = ?", episode_id)

    def broke_off(self, episode_id: str, reason: str) -> None:
        """Counts an attempt at a queued episode, with why it broke off."""
        with self.transaction():
            self.run("UPDATE queue SET attempts = attempts + 1 WHERE episode_id = ?", episode_id)
            self.run(
                "UPDATE episodes SET reason = ? WHERE id = (SELECT episode_id FROM queue WHERE episode_id = ?)",
                *(reason, episode_id),
            )

    # -- claims: which process learns from which episodes

    def claims(self, but: str) -> list[tuple[str, str]]:
        """Episodes and the owners that have claimed them, one owner left out."""
        return self.rows("SELECT episode_id, owner FROM claims WHERE owner != ?", but)

    def claim(self, episode_ids: Iterable[str], owner: str) -> None:
        """Claims episodes, whoever had them."""
        with self.transaction():
            for episode_id in episode_ids:
                self.run("INSERT OR REPLACE INTO claims VALUES (?, ?)", episode_id, owner)

    def unclaim(self, owner: str, episode_ids: Iterable[str] | None = None) -> None:
        """Gives up an owner's claims on these episodes, or all of them."""
        with self.transaction():
            if episode_ids is None:
                self.run("DELETE FROM claims WHERE owner = ?", owner)
            for episode_id in episode_ids or ():
                self.run("DELETE FROM claims WHERE episode_id = ? AND owner = ?", episode_id, owner)

    # -- standings, uses and evictions of Latents

    def stand(self, standing: Standing) -> None:
        """Replaces what was journaled of a Latent. Raises InputError where a text cannot be stored."""
        self.run(
            "INSERT INTO standings (latent_id, state, record) VALUES (?, ?, ?) ON CONFLICT (latent_id) "
            "DO UPDATE SET state = excluded.state, record = excluded.record",
            *(standing.latent_id, standing.state, _json(standing)),
        )

    def standing(self, latent_id: str) -> Standing | None:
        """What is journaled of a Latent; None where nothing is. Raises CorruptError."""
        rows = self.rows("SELECT record FROM standings WHERE latent_id = ?", latent_id)
        return self._record(Standing, rows[0][0]) if rows else None

    def unusable(self, latent_ids: Sequence[str] | None = None) -> set[str]:
        """Ids of all Latents that may not be read, or of those among the given ones, stored or not."""
        if latent_ids is None:
            return {row[0] for row in self.rows(f"SELECT latent_id FROM standings WHERE {_UNUSABLE}")}
        query = f"SELECT latent_id FROM standings WHERE {_UNUSABLE} AND latent_id"
        return {row[0] for part in parts(latent_ids) for row in self._in(query, part)}

    def states(self) -> dict[str, LatentState]:
        """The states of all Latents of which one is journaled, stored or not."""
        return dict(self.rows("SELECT latent_id, state FROM standings"))

    def tallies(self) -> dict[str, dict[str, Any]]:
        """What the answers that read each Latent came to: `wins`, `losses`, and `last_use` as a Unix time in
        seconds."""
        rows = self.rows(
            "SELECT latent_id, TOTAL(json_extract(record, '$.correct') = 1), "
            "TOTAL(json_extract(record, '$.correct') = 0), MAX(json_extract(record, '$.created')) "
            "FROM uses GROUP BY latent_id"
        )
        return {row[0]: {"wins": int(row[1]), "losses": int(row[2]), "last_use": row[3]} for row in rows}

    def record_uses(self, uses: Sequence[Use]) -> None:
        """Adds or replaces uses, all or none. Raises InputError where a text cannot be stored."""
        rows = [_use_row(use) for use in uses]
        with self.transaction():
            for row in rows:
                self.run(
                    f"{_USE} ON CONFLICT (answer_id, latent_id) "
                    "DO UPDATE SET problem_hash = excluded.problem_hash, record = excluded.record",
                    *row,
                )

    def restore_use(self, use: Use) -> None:
        """Adds a use from elsewhere; one that is here already stays as it is."""
        self.run(f"{_USE} ON CONFLICT DO NOTHING", *_use_row(use))

    def uses(self, **wanted: str | None) -> list[Use]:
        """The uses with these values by column, None stands for any, in the order in which they were first recorded.
        Raises CorruptError."""
        given = {column: value for column, value in wanted.items() if value is not None}
        where = " AND ".join(("1", *(f"{column} = ?" for column in given)))
        rows = self.rows(f"SELECT record FROM uses WHERE {where} ORDER BY number", *given.values())
        return [self._record(Use, row[0]) for row in rows]

    def stream_uses(self) -> Iterator[Use]:
        """All uses in the order in which they were first recorded. Raises CorruptError."""
        last, query = 0, f"SELECT number, record FROM uses WHERE number > ? ORDER BY number LIMIT {USE_ROWS}"
        while rows := self.rows(query, last):
            yield from (self._record(Use, row[1]) for row in rows)
            last = rows[-1][0]

    def knows(self, latent_id: str) -> bool:
        """Whether a standing or a use of a Latent is journaled."""
        tables = (f"SELECT 1 FROM {table} WHERE latent_id = ?1" for table in ("standings", "uses"))
        return bool(self.rows(f"{' UNION ALL '.join(tables)} LIMIT 1", latent_id))

    def evict(self, evicted: Evicted) -> None:
        """Adds why a Latent goes."""
        self.run(
            "INSERT INTO evictions (latent_id, reason, created) VALUES (?, ?, ?)",
            *(evicted.latent_id, evicted.reason, evicted.created),
        )

    def evictions(self, after: int) -> list[tuple[int, Evicted]]:
        """Some evictions, oldest first, each with its number; `after` is the last number seen, 0 at first."""
        rows = self.rows(
            "SELECT number, latent_id, reason, created FROM evictions WHERE number > ? "
            f"ORDER BY number LIMIT {USE_ROWS}",
            after,
        )
        return [(row[0], Evicted(latent_id=row[1], reason=row[2], created=row[3])) for row in rows]

    # -- forgetting

    def forget(self, latent_ids: Collection[str], episode_ids: Collection[str], uses: str, value: str | float) -> int:
        """Deletes standings and uses of Latents, episodes, and the uses that fulfil a condition; how many uses."""
        gone = self.run(f"DELETE FROM uses WHERE {uses}", value)
        for latent_id in latent_ids:
            self.run("DELETE FROM standings WHERE latent_id = ?", latent_id)
            self.changed("latents", latent_id)
            gone += self.run("DELETE FROM uses WHERE latent_id = ?", latent_id)
        for episode_id in episode_ids:
            self.run("DELETE FROM episodes WHERE id = ?", episode_id)
            self.run("DELETE FROM claims WHERE episode_id = ?", episode_id)
            if not _PLAIN_ID.fullmatch(episode_id):  # it may say something
                self.run("DELETE FROM changes WHERE item_id = ?", episode_id)
                self.changed("episodes", "")
        if episode_ids:
            self.run("UPDATE episodes SET reason = ? WHERE state = 'failed' AND reason LIKE ?", _NO_REASON, _QUOTING)
        return gone

    def forget_rest(self) -> None:
        """Deletes what belongs to no Latent or episode: standings of Latents that were never stored, and evictions."""
        self.run("DELETE FROM standings")
        self.run("DELETE FROM evictions")

    # -- what an index has yet to follow

    def changed(self, kind: str, item_id: str) -> None:
        """Notes that an item was added, changed or deleted, where no trigger does; without an id, any may have been."""
        self.run("INSERT INTO changes (kind, item_id) VALUES (?, ?)", kind, item_id)

    def changes(self, kind: str, after: int) -> tuple[int, frozenset[str] | None]:
        """The number of the last change, and the items of a kind, `latents` or `episodes`, that were added, changed or
        deleted after another number; None where that is not known any more."""
        rows = self.rows("SELECT number, kind, item_id FROM changes WHERE number > ?", after)
        [(oldest,)] = self.rows("SELECT min(number) FROM changes") or [(None,)]  # read last: rows may go
        ids = frozenset(str(row[2]) for row in rows if row[1] == kind)
        newest = max((row[0] for row in rows), default=after)
        return newest, (None if "" in ids or (oldest or 0) > after + 1 else ids)

    # -- marks, of what is under way or done

    def marked(self, name: str) -> str | None:
        """The value of a mark; None where there is none."""
        return next((row[0] for row in self.rows("SELECT value FROM meta WHERE name = ?", name)), None)

    def mark(self, name: str, value: str = "") -> None:
        """Leaves a mark."""
        if self.marked(name) != value:
            self.run("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", name, value)

    def unmark(self, name: str) -> None:
        """Takes a mark away; none is fine."""
        self.run("DELETE FROM meta WHERE name = ?", name)

    def _in(self, query: str, values: Sequence[str], *before: Any) -> list[Row]:
        return self.rows(f"{query} IN ({', '.join('?' * len(values))})", *before, *values)

    def _record(self, kind: type[Record], text: str) -> Record:
        try:
            return kind.from_json(text)
        except InputError as exc:
            raise CorruptError(
                f"A row of {str(self.path)!r} cannot be read ({exc}); restore the journal from a backup."
            ) from exc

    def _corrupt(self, episode_id: object, why: Exception) -> CorruptError:
        return CorruptError(
            f"The episode {episode_id!r} in {str(self.path)!r} cannot be read ({why}); restore the journal "
            "from a backup."
        )

    def _unknown(self, episode_id: str) -> NotFoundError:
        return NotFoundError(f"There is no episode {episode_id!r} in {str(self.path)!r}; `episodes()` lists them.")


def episode_row(episode: Episode) -> Row:
    """The columns `COLUMNS` of an episode."""
    problem = episode.problem
    return (
        *(episode.id, episode.created, episode.state, episode.attempt, episode.reason, problem.hash),
        None if episode.vote is None else episode.vote.model_dump_json(),
        problem.question if problem.has_text else "",
        _ROLLOUTS.dump_json(episode.rollouts).decode(),
    )


def parts(ids: Sequence[_Part]) -> Iterator[Sequence[_Part]]:
    """What is asked for, in portions that one query takes."""
    return (ids[start : start + _IDS] for start in range(0, len(ids), _IDS))


def _key(blob: bytes) -> np.ndarray:
    return np.frombuffer(blob, _FLOAT32).astype(np.float32)  # (D,)


def _use_row(use: Use) -> Row:
    return use.answer_id, use.latent_id, use.problem_hash, _json(use)


def _json(record: Standing | Use) -> str:
    try:
        return record.model_dump_json()
    except ValueError as exc:
        raise InputError(f"{record!r:.300} holds half a surrogate pair and cannot be stored; repair the text.") from exc
