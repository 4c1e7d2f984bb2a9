"""What is to be searched: the keys of a namespace's Latents or episodes; and the exact search, without an index.

Legend: D key size, N keys.
"""

import logging
import time
from collections.abc import Hashable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from latent_memory_plugin.errors import InputError
from latent_memory_plugin.store.files import LatentFiles, checked_key
from latent_memory_plugin.store.journal import Journal

_log = logging.getLogger(__name__)

SETTLED_NANOSECONDS = 2_000_000_000
"""A folder that was not changed for so long shows its next change by another time, however coarse these times are."""

Found = list[tuple[str, float]]
"""Ids with the cosine similarity, -1 to 1, of their keys to the key that was asked for, nearest first."""


class LatentKeys:
    """The keys of the Latents whose standing lets them be read."""

    kind = "latents"

    def __init__(self, files: LatentFiles, journal: Journal) -> None:
        self.journal = journal
        """Says what has changed; a connection of the searching threads alone."""
        self._files = files

    def ids(self, encoder: str) -> set[str]:
        """Ids of all that may have a key made by this encoder."""
        return self._files.ids(encoder) - self.journal.unusable()

    def keys(self, item_ids: Iterable[str], encoder: str) -> Iterator[tuple[str, np.ndarray]]:
        """Id and key (D,) float32 of those of the given Latents whose key was made by this encoder."""
        return self._files.keys(item_ids, encoder)

    def held(self, item_ids: Sequence[str]) -> set[str]:
        """Those of the given Latents that there are and that are usable."""
        return self._files.held(item_ids) - self.journal.unusable(item_ids)

    def version(self) -> Hashable:
        """Another value wherever a file or a standing may be another."""
        folder = _folder_version(self._files.folder)
        return None if folder is None else (folder, self.journal.changes(self.kind, 0)[0])


class EpisodeKeys:
    """The keys of the episodes."""

    kind = "episodes"

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        """As of Latents."""
        self.ids, self.keys, self.held = journal.ids, journal.keys, journal.held

    def version(self) -> Hashable:
        """Another value wherever an episode came or went."""
        return self.journal.changes(self.kind, 0)[0]


Truth = LatentKeys | EpisodeKeys
"""What an index is derived from."""


class Scan:
    """The keys that one encoder made, all in memory, compared one by one: exact, and nothing is written. They are read
    again where the version is another one."""

    def __init__(self, truth: Truth, encoder: str) -> None:
        self._truth = truth
        self._encoder = encoder
        self._read: Hashable = None
        self._seen: set[str] = set()
        self._ids: list[str] = []
        self._keys = np.zeros((0, 0), np.float32)  # (N, D), of unit length

    def nearest(self, key: np.ndarray, limit: int) -> Found:
        """Up to `limit` of the nearest to a key (D,). Raises InputError."""
        return list(islice(self._ranked(key), limit))

    def within(self, key: np.ndarray, least: float) -> Found:
        """All with at least this similarity to a key (D,). Raises InputError."""
        return [found for found in self._ranked(key) if found[1] >= least]

    def settle(self) -> None:
        """Nothing is left behind."""

    def _ranked(self, key: np.ndarray) -> Iterator[tuple[str, float]]:
        self._refresh()
        vector = checked_key(key, self._keys.shape[1] if self._ids else None)
        if not self._ids:
            return iter(())
        similarities = np.clip(self._keys @ _unit(vector[None])[0], -1.0, 1.0)  # (N,)
        order: list[int] = np.argsort(-similarities, kind="stable").tolist()
        return ((self._ids[row], float(similarities[row])) for row in order)

    def _refresh(self) -> None:
        version = self._truth.version()
        if version is not None and version == self._read:
            return
        there = self._truth.ids(self._encoder)
        if self._seen - there:
            rows = [row for row, item_id in enumerate(self._ids) if item_id in there]
            self._ids, self._keys = [self._ids[row] for row in rows], self._keys[rows]
        self._append(list(self._truth.keys(sorted(there - self._seen), self._encoder)))
        self._seen, self._read = there, version

    def _append(self, fresh: list[tuple[str, np.ndarray]]) -> None:
        if not fresh:
            return
        size = self._keys.shape[1] if self._ids else fresh[0][1].size
        fitting = [(item_id, key) for item_id, key in fresh if key.size == size]
        if len(fitting) < len(fresh):
            _log.warning("%d keys of another size are left out", len(fresh) - len(fitting))
        if fitting:
            rows = _unit(np.stack([key for _, key in fitting]))  # (N, D)
            self._keys = np.concatenate([self._keys, rows]) if self._ids else rows
            self._ids += [item_id for item_id, _ in fitting]


def checked_limit(limit: int) -> int:
    """How many to find. Raises InputError where that is none."""
    if limit < 1:
        raise InputError(f"limit={limit!r} asks for nothing; pass at least 1.")
    return limit


def _folder_version(folder: Path) -> Hashable:
    """Another value wherever the files of a folder may be others; None where that cannot be told yet."""
    try:
        changed = folder.stat().st_mtime_ns
    except OSError:
        return None
    return changed if 0 <= changed < time.time_ns() - SETTLED_NANOSECONDS else None


def _unit(keys: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(keys, axis=1, keepdims=True)  # (N, 1)
    return keys / np.where(lengths > 0, lengths, 1.0)  # (N, D)
