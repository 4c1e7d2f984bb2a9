"""The journal of a namespace: the file itself, every row, and rows that belong to nothing."""

import json
from collections import Counter
from collections.abc import Callable, Container, Iterator

import numpy as np

from latent_memory_plugin.errors import LatentMemoryError
from latent_memory_plugin.records import Standing, Use, question_hash
from latent_memory_plugin.store.check.findings import QUARANTINE, Findings, Place, free_name
from latent_memory_plugin.store.database import Database
from latent_memory_plugin.store.disk import write_file
from latent_memory_plugin.store.journal import Journal
from latent_memory_plugin.store.schema import SCHEMA

_PAGE = 200


class JournalCheck:
    """Reads every row once, a page at a time; keeps counts alone."""

    def __init__(self, database: Database, stored: Container[str], findings: Findings) -> None:
        """`stored`: ids of the Latents whose file is there or in quarantine, so that their rows are kept."""
        self.counts: Counter[str] = Counter()
        """Rows read, by table."""
        self._database = database
        self._journal = Journal(database)
        self._stored = stored
        self._findings = findings
        self._place: Place = ("journal", database.path)
        self._version: int = database.rows("PRAGMA user_version")[0][0]

    def run(self) -> None:
        """Adds what is wrong to the findings. Raises CorruptError where SQLite cannot go on reading."""
        self._integrity()
        if self.is_older:
            problem = f"It has the schema {self._version}, older than {SCHEMA}; its rows were not looked at."
            remedy = "The next opening or --repair takes it to the present one, after a copy."
            self._findings.add(self._place, "leftover", problem, remedy)
            return
        self._each("episodes", "id", self._episode)
        self._each("standings", "latent_id", self._standing)
        self._each("uses", "latent_id", self._use)
        for table in ("standings", "uses"):
            self._ownerless(table, "latent_id", "no stored Latent", self._is_stored)
        for table in ("queue", "claims"):
            self._ownerless(table, "episode_id", "no episode", self._journal.holds)

    @property
    def is_older(self) -> bool:
        """True for a journal whose rows only an opening can read."""
        return self._version < SCHEMA

    def _integrity(self) -> None:
        said = self._said()
        if said:
            self._findings.add(
                self._place,
                "fault",
                f"SQLite finds it damaged: {'; '.join(said)[:500]}.",
                "--repair builds SQLite's own indexes anew; where that is not enough, restore it from a backup.",
                self._reindex,
            )

    def _said(self) -> list[str]:
        rows = self._database.rows("PRAGMA integrity_check(10)")
        return [row[0] for row in rows if row[0] != "ok"]

    def _reindex(self) -> bool:
        self._database.run("REINDEX")
        return not self._said()

    def _each(self, table: str, name: str, look: Callable[[int, str], str]) -> None:
        """Every row of a table whose record cannot be read, with what is wrong with it."""
        for number, item_id in self._numbers(table, name):
            self.counts[table] += 1
            try:
                flaw = look(number, item_id)
            except LatentMemoryError as exc:
                flaw = str(exc)
            except (TypeError, ValueError) as exc:  # a damaged row may hold any type
                flaw = repr(exc)
            if flaw:
                self._unreadable(table, number, f"The row of {item_id!r:.80} in {table} cannot be used: {flaw:.500}")

    def _numbers(self, table: str, name: str) -> Iterator[tuple[int, str]]:
        last = -1
        while rows := self._database.rows(
            f"SELECT rowid, {name} FROM {table} WHERE rowid > ? ORDER BY rowid LIMIT {_PAGE}", last
        ):
            yield from rows
            last = rows[-1][0]

    def _episode(self, number: int, item_id: str) -> str:
        columns = "question, problem_hash, key"
        [(question, known, blob)] = self._database.rows(f"SELECT {columns} FROM episodes WHERE rowid = ?", number)
        self._journal.episode(item_id)
        key = np.frombuffer(blob, "<f4")  # (D,)
        if not key.size or not np.isfinite(key).all():
            return "its key is empty or not finite."
        if question and known != question_hash(question):
            self._wrong_hash(number, item_id)
        return ""

    def _wrong_hash(self, number: int, item_id: str) -> None:
        change = "UPDATE episodes SET problem_hash = question_hash(question) WHERE rowid = ?"
        self._findings.add(
            self._place,
            "fault",
            f"The problem hash of the episode {item_id!r:.80} is not that of its question.",
            "--repair writes the right one.",
            lambda: self._database.run(change, number),
        )

    def _standing(self, number: int, item_id: str) -> str:
        [(state, record)] = self._database.rows("SELECT state, record FROM standings WHERE rowid = ?", number)
        standing = Standing.from_json(record)
        same = (standing.latent_id, standing.state) == (item_id, state)
        return (
            "" if same else f"its columns say {state!r:.80}, its record {standing.state!r} of {standing.latent_id!r}."
        )

    def _use(self, number: int, item_id: str) -> str:
        [row] = self._database.rows("SELECT answer_id, problem_hash, record FROM uses WHERE rowid = ?", number)
        use = Use.from_json(row[2])
        same = (use.answer_id, use.latent_id, use.problem_hash) == (row[0], item_id, row[1])
        return "" if same else "its columns and its record differ."

    def _unreadable(self, table: str, number: int, problem: str) -> None:
        remedy = f"--repair writes it to {self._database.path.parent.name}/{QUARANTINE} and deletes it here."
        if table == "standings":
            remedy = f"{remedy[:-1]}; the Latent is suspended."
        self._findings.add(self._place, "fault", problem, remedy, lambda: self._take_out(table, number))

    def _take_out(self, table: str, number: int) -> None:
        names = [row[1] for row in self._database.rows(f"PRAGMA table_info({table})")]
        [row] = self._database.rows(f"SELECT {', '.join(names)} FROM {table} WHERE rowid = ?", number)
        fields = dict(zip(names, row, strict=True))
        target = free_name(self._database.path.parent / QUARANTINE, f"{table}-{number}.json")
        write_file(target, json.dumps(fields, default=_hexadecimal, indent=2).encode())
        with self._database.transaction():
            self._database.run(f"DELETE FROM {table} WHERE rowid = ?", number)
            if table == "standings" and isinstance(fields["latent_id"], str):
                # Without a standing it would be live, and perhaps it was taken back.
                reason = f"What it may do could not be read; {target.name} in {QUARANTINE} has it."
                standing = Standing(latent_id=fields["latent_id"], state="suspended", reason=reason)
                self._database.run(
                    "INSERT INTO standings (latent_id, state, record) VALUES (?, ?, ?)",
                    *(standing.latent_id, standing.state, standing.model_dump_json()),
                )

    def _ownerless(self, table: str, name: str, what: str, has_owner: Callable[[str], bool]) -> None:
        lost = [row[0] for row in self._database.rows(f"SELECT DISTINCT {name} FROM {table}") if not has_owner(row[0])]
        if lost:
            self._findings.add(
                self._place,
                "leftover",
                f"Rows of {table} belong to {what}: {len(lost)}, such as {lost[0]!r:.80}.",
                "They are never used. --repair deletes them.",
                lambda: self._delete(table, name, lost),
            )

    def _is_stored(self, latent_id: str) -> bool:
        return latent_id in self._stored

    def _delete(self, table: str, name: str, values: list[str]) -> None:
        with self._database.transaction():
            for value in values:
                self._database.run(f"DELETE FROM {table} WHERE {name} IS ?", value)


def _hexadecimal(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else repr(value)
