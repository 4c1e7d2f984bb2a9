"""`LatentChatMessageHistory`: a conversation on disk, references included."""

import json
import sqlite3
from collections.abc import Generator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from langchain_core.chat_history import BaseChatMessageHistory
from langchain_core.messages import BaseMessage, message_to_dict, messages_from_dict

from latent_memory_plugin import InputError
from latent_memory_plugin import LatentMemory as Core

FILE = "langchain_history.sqlite"
SCHEMA = """
CREATE TABLE IF NOT EXISTS messages (
    number INTEGER PRIMARY KEY, namespace TEXT NOT NULL, session TEXT NOT NULL, message TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS by_session ON messages (namespace, session, number);
"""
PATIENCE_SECONDS = 60


class LatentChatMessageHistory(BaseChatMessageHistory):
    """The messages of one session in one namespace, kept in the root folder of a memory.

    A session of the same name in another namespace is another session. Usable from several threads and processes.
    """

    def __init__(self, session_id: str, namespace: str = "default", root: str | Path | None = None) -> None:
        """`root` is the folder of the store; by default `LATENT_MEMORY_ROOT`, else the user's data folder. Raises
        InputError."""
        for name, value in (("session_id", session_id), ("namespace", namespace)):
            text = str(value).encode(errors="ignore").decode()  # no file keeps half a character
            if not text or text != value:
                raise InputError(f"{name}={value!r:.80} names nothing; pass a text of whole characters, not empty.")
        self.session_id, self.namespace = session_id, namespace
        self.path = Core(root).root / FILE

    @property
    def messages(self) -> list[BaseMessage]:  # type: ignore[override]  # LangChain declares an attribute
        """All messages, the oldest first."""
        with self._database() as database:
            rows = database.execute(
                "SELECT message FROM messages WHERE namespace = ? AND session = ? ORDER BY number",
                (self.namespace, self.session_id),
            ).fetchall()
        return messages_from_dict([json.loads(row[0]) for row in rows])

    def add_messages(self, messages: Sequence[BaseMessage]) -> None:
        """Appends messages, all of them or none."""
        rows = [(self.namespace, self.session_id, json.dumps(message_to_dict(message))) for message in messages]
        with self._database() as database:
            database.executemany("INSERT INTO messages (namespace, session, message) VALUES (?, ?, ?)", rows)

    def clear(self) -> None:
        """Forgets the session."""
        with self._database() as database:
            database.execute(
                "DELETE FROM messages WHERE namespace = ? AND session = ?", (self.namespace, self.session_id)
            )

    @contextmanager
    def _database(self) -> Generator[sqlite3.Connection]:
        """One transaction."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(self.path, timeout=PATIENCE_SECONDS)) as database:
            database.executescript(SCHEMA)
            with database:
                yield database
