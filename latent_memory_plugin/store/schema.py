"""The versions of the journal: what takes its tables from each version to the next, and the copy kept before that."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from latent_memory_plugin import __version__
from latent_memory_plugin.errors import CorruptError, StoreError

if TYPE_CHECKING:
    from latent_memory_plugin.store.database import Database

KEPT_CHANGES = 1_000
"""So many of the newest rows of `changes` are kept; whoever has seen none of them compares everything."""

_LEAVES_THE_QUEUE = (
    "CREATE TRIGGER {0}_episodes_leave_the_queue AFTER {1} ON episodes {3} "
    "BEGIN DELETE FROM queue WHERE episode_id = {2}.id; END"
)
_NOTES_A_CHANGE = "CREATE TRIGGER {}_is_noted AFTER {} BEGIN INSERT INTO changes (kind, item_id) VALUES ('{}', {}); END"

STEPS = (
    (
        "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
        """CREATE TABLE episodes (
            number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, created REAL NOT NULL,
            state TEXT NOT NULL, encoder TEXT NOT NULL, key BLOB NOT NULL, reason TEXT NOT NULL,
            question TEXT NOT NULL, vote TEXT, rollouts TEXT NOT NULL)""",
        "CREATE INDEX episodes_by_state ON episodes (state, number)",
        "CREATE INDEX episodes_by_encoder ON episodes (encoder, id)",
    ),
    (
        "CREATE TABLE standings (latent_id TEXT PRIMARY KEY, state TEXT NOT NULL, record TEXT NOT NULL)",
        """CREATE TABLE uses (
            number INTEGER PRIMARY KEY AUTOINCREMENT, answer_id TEXT NOT NULL, latent_id TEXT NOT NULL,
            problem_hash TEXT NOT NULL, record TEXT NOT NULL, UNIQUE (answer_id, latent_id))""",
        "CREATE INDEX uses_by_latent ON uses (latent_id, number)",
        "CREATE INDEX uses_by_problem ON uses (problem_hash, number)",
    ),
    (
        "ALTER TABLE episodes ADD COLUMN problem_hash TEXT NOT NULL DEFAULT ''",
        "UPDATE episodes SET problem_hash = question_hash(question)",
        "CREATE INDEX episodes_by_problem ON episodes (problem_hash)",
        """CREATE TABLE queue (
            number INTEGER PRIMARY KEY AUTOINCREMENT, episode_id TEXT NOT NULL UNIQUE,
            attempts INTEGER NOT NULL DEFAULT 0)""",
        # What is settled or deleted, by whatever path, does not wait any more.
        """CREATE TRIGGER settled_episodes_leave_the_queue AFTER UPDATE OF state ON episodes
            WHEN new.state <> 'pending' BEGIN DELETE FROM queue WHERE episode_id = new.id; END""",
        """CREATE TRIGGER deleted_episodes_leave_the_queue AFTER DELETE ON episodes
            BEGIN DELETE FROM queue WHERE episode_id = old.id; END""",
        "CREATE TABLE claims (episode_id TEXT PRIMARY KEY, owner TEXT NOT NULL)",
        """CREATE TABLE evictions (
            number INTEGER PRIMARY KEY AUTOINCREMENT, latent_id TEXT NOT NULL, reason TEXT NOT NULL,
            created REAL NOT NULL)""",
        "CREATE INDEX standings_by_state ON standings (state, latent_id)",
    ),
    (
        # What is large comes last: SQLite reads through all that stands before a column in its row.
        """CREATE TABLE ordered_episodes (
            number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, created REAL NOT NULL,
            state TEXT NOT NULL, attempt TEXT, problem_hash TEXT NOT NULL, encoder TEXT NOT NULL, reason TEXT NOT NULL,
            key BLOB NOT NULL, vote TEXT, question TEXT NOT NULL, rollouts TEXT NOT NULL)""",
        # Attempts were told apart by their reasons.
        """INSERT INTO ordered_episodes
            SELECT number, id, created, state, CASE state WHEN 'refused' THEN substr(question_hash(reason), 1, 32) END,
                problem_hash, encoder, reason, key, vote, question, rollouts
            FROM episodes""",
        "DROP TABLE episodes",
        "ALTER TABLE ordered_episodes RENAME TO episodes",
        "CREATE INDEX episodes_by_state ON episodes (state, number)",
        "CREATE INDEX episodes_by_encoder ON episodes (encoder, id)",
        "CREATE INDEX episodes_by_problem ON episodes (problem_hash)",
        _LEAVES_THE_QUEUE.format("settled", "UPDATE OF state", "new", "WHEN new.state <> 'pending'"),
        _LEAVES_THE_QUEUE.format("deleted", "DELETE", "old", ""),
        """CREATE TABLE changes (
            number INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, item_id TEXT NOT NULL)""",
        _NOTES_A_CHANGE.format("added_episode", "INSERT ON episodes", "episodes", "new.id"),
        _NOTES_A_CHANGE.format("deleted_episode", "DELETE ON episodes", "episodes", "old.id"),
        _NOTES_A_CHANGE.format("added_standing", "INSERT ON standings", "latents", "new.latent_id"),
        _NOTES_A_CHANGE.format(
            *("changed_standing", "UPDATE OF state ON standings WHEN new.state <> old.state"),
            *("latents", "new.latent_id"),
        ),
        _NOTES_A_CHANGE.format("deleted_standing", "DELETE ON standings", "latents", "old.latent_id"),
        f"""CREATE TRIGGER old_changes_go AFTER INSERT ON changes
            BEGIN DELETE FROM changes WHERE number <= new.number - {KEPT_CHANGES}; END""",
    ),
)
"""What takes the tables from each version to the next, from an empty file on. `question_hash` is the function of the
records, see `Database`."""

SCHEMA = len(STEPS)
"""Version of the tables, kept in `PRAGMA user_version`."""

BACKUP = "journal.sqlite.schema-{}.backup"
"""Name of the copy of a journal as it was before it was taken to a newer version."""

_VERSION = re.compile(r"[0-9A-Za-z.+-]{1,40}")


def check(database: "Database", namespace: str | None) -> int:
    """The version of the tables, 0 where there are none yet; writes nothing. Raises StoreError where the journal is
    newer than this library, CorruptError where it is none, or that of another namespace than this one."""
    schema = database.rows("PRAGMA user_version")[0][0]
    if schema == 0 and database.rows("SELECT 1 FROM sqlite_master"):
        raise CorruptError(f"{str(database.path)!r} is some other SQLite database, not a journal; move it away.")
    if not 0 <= schema <= SCHEMA:
        raise StoreError(newer(database.path, schema, SCHEMA, _writer(database)))
    found = database.rows("SELECT value FROM meta WHERE name = 'namespace'") if schema else [(namespace,)]
    if namespace is not None and found != [(namespace,)]:
        raise CorruptError(
            f"{str(database.path)!r} is the journal of another namespace than {namespace!r}; move it back where it was."
        )
    return schema


def migrate(database: "Database", schema: int, namespace: str) -> None:
    """Makes the tables of a new journal and takes those of an older one to this version, all or nothing, after a copy
    of the file. Raises StoreWriteError, CorruptError."""
    if schema == SCHEMA:
        return
    if schema:
        database.copy_to(database.path.with_name(BACKUP.format(schema)))
    with database.transaction():
        for statement in (statement for step in STEPS[schema:] for statement in step):
            database.run(statement)
        for name, value in (("namespace", namespace), ("version", __version__)):
            database.run("INSERT OR REPLACE INTO meta (name, value) VALUES (?, ?)", name, value)
        database.run(f"PRAGMA user_version = {SCHEMA}")
    database.sync_name()


def newer(path: Path, schema: object, known: int, writer: object) -> str:
    """The sentence that refuses a file of a newer schema and says which version of the library it needs."""
    named = isinstance(writer, str) and _VERSION.fullmatch(writer)
    needed = f"version {writer} of latent-memory-plugin or newer" if named else "a newer latent-memory-plugin"
    return (
        f"{str(path)!r} has schema {schema!s:.40}, this version ({__version__}) reads up to {known}; install {needed}."
    )


def _writer(database: "Database") -> object:
    """The version of the library that made the tables; None where the journal does not say."""
    if not database.rows("SELECT 1 FROM sqlite_master WHERE name = 'meta'"):
        return None
    return next((row[0] for row in database.rows("SELECT value FROM meta WHERE name = 'version'")), None)
