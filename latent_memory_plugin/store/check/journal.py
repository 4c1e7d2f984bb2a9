"""The journal of a namespace: the file itself, every row, and rows that belong to nothing."""

import json
from collections import Counter
from collections.abc import Container, Iterator

import numpy as np

from latent_memory_plugin.errors import LatentMemoryError
from latent_memory_plugin.records import Standing, Use, question_hash
from latent_memory_plugin.store.check.findings import QUARANTINE, Findings, Place, free_name
from latent_memory_plugin.store.disk import write_file
from latent_memory_plugin.store.journal import COLUMNS, Journal, Row
from latent_memory_plugin.store.schema import SCHEMA

_PAGE = 200
_TABLES = {
    "episodes": ("id", f"key, {COLUMNS}"),
    "standings": ("latent_id", "latent_id, state, record"),
    "uses": ("latent_id", "answer_id, latent_id, problem_hash, record"),
}
"""Tables whose rows are read: the column that names them, and those that are looked at."""


class JournalCheck:
    """Reads every row once; keeps counts alone."""

    def __init__(self, journal: Journal, stored: Container[str], findings: Findings) -> None:
        """`stored`: ids of the Latents whose file is there or in quarantine, so that their rows are kept."""
        self.counts: Counter[str] = Counter()
        """Rows read, by table."""
        self._journal = journal
        self._stored = stored
        self._findings = findings
        self._place: Place = ("journal", self._journal.path)

    def run(self) -> bool:
        """Adds what is wrong to the findings; False for a journal whose rows only an opening can read. Raises
        CorruptError where SQLite cannot go on reading."""
        if said := self._integrity():
            remedy = "--repair builds SQLite's own indexes anew; where that is not enough, restore it from a backup."
            problem = f"SQLite finds it damaged: {'; '.join(said)[:500]}."
            self._findings.add(self._place, "fault", problem, remedy, self._reindex)
        [(version,)] = self._journal.rows("PRAGMA user_version")
        if version < SCHEMA:
            problem = f"It has the schema {version}, older than {SCHEMA}; its rows were not looked at."
            remedy = "The next opening or --repair takes it to the present one, after a copy."
            self._findings.add(self._place, "leftover", problem, remedy)
            return False
        for table in _TABLES:
            self._rows(table)
        for table in ("standings", "uses"):
            lost = [one for one in self._owners(table, "latent_id") if one not in self._stored]
            self._ownerless(table, "latent_id", "no stored Latent", lost)
        for table in ("queue", "claims"):
            owners = self._owners(table, "episode_id")
            lost = sorted(set(owners) - self._journal.held(owners))
            self._ownerless(table, "episode_id", "no episode", lost)
        return True

    def _integrity(self) -> list[str]:
        rows = self._journal.rows("PRAGMA integrity_check(10)")
        return [row[0] for row in rows if row[0] != "ok"]

    def _reindex(self) -> bool:
        self._journal.run("REINDEX")
        return not self._integrity()

    def _rows(self, table: str) -> None:
        name, columns = _TABLES[table]
        for number, item_id in self._numbers(table, name):
            self.counts[table] += 1
            [row] = self._journal.rows(f"SELECT {columns} FROM {table} WHERE rowid = ?", number)
            try:
                flaw = self._flaw(table, row)
            except LatentMemoryError as exc:
                flaw = str(exc)
            except (TypeError, ValueError) as exc:  # a damaged row may hold any type
                flaw = repr(exc)
            if flaw:
                self._unreadable(table, number, f"The row of {item_id!r:.80} in {table} cannot be used: {flaw:.500}")

    def _numbers(self, table: str, name: str) -> Iterator[tuple[int, str]]:
        last, query = -1, f"SELECT rowid, {name} FROM {table} WHERE rowid > ? ORDER BY rowid LIMIT {_PAGE}"
        while rows := self._journal.rows(query, last):
            yield from rows
            last = rows[-1][0]

    def _flaw(self, table: str, row: Row) -> str:
        """What is wrong with a row, in words; nothing where it can be used."""
        if table == "episodes":
            return self._episode(*row)
        if table == "standings":
            one = Standing.from_json(row[-1])
            same = (one.latent_id, one.state) == row[:-1]
        else:
            use = Use.from_json(row[-1])
            same = (use.answer_id, use.latent_id, use.problem_hash) == row[:-1]
        return "" if same else "its columns and its record differ."

    def _episode(self, blob: bytes, *row: object) -> str:
        episode, key = self._journal.read(row), np.frombuffer(blob, "<f4")  # (D,)
        if not key.size or not np.isfinite(key).all():
            return "its key is empty or not finite."
        known = row[COLUMNS.split(", ").index("problem_hash")]
        if episode.problem.has_text and known != question_hash(episode.question):
            change = "UPDATE episodes SET problem_hash = question_hash(question) WHERE id = ?"
            self._findings.add(
                self._place,
                "fault",
                f"The problem hash of the episode {episode.id!r:.80} is not that of its question.",
                "--repair writes the right one.",
                lambda: self._journal.run(change, episode.id),
            )
        return ""

    def _unreadable(self, table: str, number: int, problem: str) -> None:
        remedy = f"--repair writes it to {self._journal.path.parent.name}/{QUARANTINE} and deletes it here."
        if table == "standings":
            remedy = f"{remedy[:-1]}; the Latent is suspended."
        self._findings.add(self._place, "fault", problem, remedy, lambda: self._take_out(table, number))

    def _take_out(self, table: str, number: int) -> None:
        names = [row[1] for row in self._journal.rows(f"PRAGMA table_info({table})")]
        [row] = self._journal.rows(f"SELECT {', '.join(names)} FROM {table} WHERE rowid = ?", number)
        fields = dict(zip(names, row, strict=True))
        target = free_name(self._journal.path.parent / QUARANTINE, f"{table}-{number}.json")
        write_file(target, json.dumps(fields, default=_hexadecimal, indent=2).encode())
        with self._journal.transaction():
            self._journal.run(f"DELETE FROM {table} WHERE rowid = ?", number)
            if table == "standings" and isinstance(fields["latent_id"], str):
                # Without a standing it would be live, and perhaps it was taken back.
                reason = f"What it may do could not be read; {target.name} in {QUARANTINE} has it."
                self._journal.stand(Standing(latent_id=fields["latent_id"], state="suspended", reason=reason))

    def _owners(self, table: str, name: str) -> list[str]:
        return [row[0] for row in self._journal.rows(f"SELECT DISTINCT {name} FROM {table}")]

    def _ownerless(self, table: str, name: str, what: str, lost: list[str]) -> None:
        if lost:
            problem = f"Rows of {table} belong to {what}: {len(lost)}, such as {lost[0]!r:.80}."
            remedy = "They are never used. --repair deletes them."
            self._findings.add(self._place, "leftover", problem, remedy, lambda: self._delete(table, name, lost))

    def _delete(self, table: str, name: str, values: list[str]) -> None:
        with self._journal.transaction():
            for value in values:
                self._journal.run(f"DELETE FROM {table} WHERE {name} IS ?", value)


def _hexadecimal(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else repr(value)
