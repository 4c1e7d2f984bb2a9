"""Records, keys, tensors and an old journal for the tests of the store."""

import sqlite3
from pathlib import Path
from typing import Any

import numpy as np

from latent_memory_plugin.records import Episode, Latent, Problem, Trial, Use, Vote
from latent_memory_plugin.store import Store
from latent_memory_plugin.store.base import AnyStore

MODEL = ("tiny", "f" * 64)
ENCODER = "mean of last layer"
VOTE = Vote(answer="12", share=0.75, entropy=0.56, counts=(("12", 3), (None, 1)))
TRIAL = Trial(
    episode_ids=("a", "b", "c"), agreement_before=0.4, agreement_after=0.8, answers=24, passed=True, reason="0.4 → 0.8"
)

SCHEMA_1 = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE episodes (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    created REAL NOT NULL,
    state TEXT NOT NULL,
    encoder TEXT NOT NULL,
    key BLOB NOT NULL,
    reason TEXT NOT NULL,
    question TEXT NOT NULL,
    vote TEXT,
    rollouts TEXT NOT NULL);
CREATE INDEX episodes_by_state ON episodes (state, number);
CREATE INDEX episodes_by_encoder ON episodes (encoder, id);
INSERT INTO meta (name, value) VALUES ('namespace', 'default');
PRAGMA user_version = 1;
"""
"""A journal of version 0.1.0."""


def latent(**changes: Any) -> Latent:
    fields: dict[str, Any] = {
        "namespace": "default",
        "shape": (3, 4),
        "model": MODEL[0],
        "fingerprint": MODEL[1],
        "encoder": ENCODER,
        "problem_hash": "0" * 64,
        "vote": VOTE,
        "trial": TRIAL,
        "parents": ("a",),
        "objective": "imitate",
        "seed": 7,
        "version": "0.1.0",
    }
    if "shapes" in changes:
        del fields["shape"]
    return Latent(**(fields | changes))


def episode(question: str = "How many posts does a fence of 10 m need?", **changes: Any) -> Episode:
    return Episode(problem=Problem(question=question), **changes)


def key(angle: float = 0.0, size: int = 8) -> np.ndarray:
    """A unit vector (D,) at this angle, in radians, from the first axis."""
    vector = np.zeros(size, np.float32)
    vector[0], vector[1] = np.cos(angle), np.sin(angle)
    return vector


def tensor(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(3, 4)).astype(np.float32)


def tensors(seed: int = 0) -> dict[str, np.ndarray]:
    return {"latent": tensor(seed)}


def use(answer_id: str, latent_id: str, **changes: Any) -> Use:
    fields: dict[str, Any] = {"problem_hash": "0" * 64, "answer": "12", "created": 5.0}
    return Use(answer_id=answer_id, latent_id=latent_id, **(fields | changes))


def old_journal(folder: Path, *questions: str) -> None:
    """A journal of version 0.1.0 in the namespace `default` with these episodes, their ids the questions."""
    folder.mkdir(parents=True)
    connection = sqlite3.connect(folder / "journal.sqlite")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(SCHEMA_1)
    for question in questions:
        row = (question, 1.0, "pending", ENCODER, key().tobytes(), "", question, "[]")
        connection.execute(
            "INSERT INTO episodes (id, created, state, encoder, key, reason, question, rollouts) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            row,
        )
    connection.commit()
    connection.close()


def near(store: AnyStore, vector: np.ndarray, limit: int = 99) -> list[tuple[Episode, float]]:
    """So many of the nearest episodes, however far they are, with their similarity."""
    return [(store.episode(one.id), one.similarity) for one in store.neighbours(vector, -1.0)[:limit]]


def index(store: Store, kind: str = "latents") -> Any:
    """The open index of a store's Latents or `episodes`, up to date; None where there was nothing to open it for."""
    store.nearest(key()) if kind == "latents" else store.neighbours(key(), 1.0)
    return store._searches.get(kind)


def indexed(store: Store, kind: str = "latents") -> set[str]:
    """Ids in that index."""
    opened = index(store, kind)
    return opened._ids() if opened else set()
