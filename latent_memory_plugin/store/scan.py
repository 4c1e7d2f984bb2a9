"""The index of a process that may not touch the real one: all keys in memory, compared one by one. It is exact.

Legend: D key size, N keys.
"""

import logging
import time
from collections.abc import Callable, Hashable, Iterable
from itertools import islice
from pathlib import Path

import numpy as np

from latent_memory_plugin.errors import ReadOnlyError
from latent_memory_plugin.store.index import Truth
from latent_memory_plugin.store.keys import checked_key, checked_limit

_log = logging.getLogger(__name__)

SETTLED_NANOSECONDS = 2_000_000_000
"""A folder that was not changed for so long shows its next change by another time, however coarse these times are."""


class Scan:
    """The keys that one encoder made of the items there are. They are read again where the version is another one."""

    def __init__(
        self, items: Truth, holds: Callable[[str], bool], encoder: str, version: Callable[[], Hashable]
    ) -> None:
        self.mended: list[str] = []
        """Nothing: who only looks mends nothing."""
        self._items = items
        self._holds = holds
        self._encoder = encoder
        self._version = version
        self._read: Hashable = None
        self._seen: set[str] = set()
        self._ids: list[str] = []
        self._keys = np.zeros((0, 0), np.float32)  # (N, D), of unit length

    def checked(self, key: np.ndarray) -> np.ndarray:
        """The key (D,) as float32. Raises InputError where it is not flat, not finite or of another size."""
        return checked_key(key, self._keys.shape[1] if self._ids else None)

    def nearest(self, key: np.ndarray, limit: int) -> list[tuple[str, float]]:
        """Up to `limit` ids with their keys' cosine similarity to this one (D,), best first. Raises InputError."""
        self._refresh()
        vector, wanted = self.checked(key), checked_limit(limit)
        if not self._ids:
            return []
        similarities = np.clip(self._keys @ _unit(vector[None])[0], -1.0, 1.0)  # (N,)
        order: list[int] = np.argsort(-similarities, kind="stable").tolist()
        found = (row for row in order if self._holds(self._ids[row]))
        return [(self._ids[row], float(similarities[row])) for row in islice(found, wanted)]

    def add(self, item_id: str, key: np.ndarray) -> None:
        """Raises ReadOnlyError."""
        raise refusal(f"The key of {item_id} cannot be added")

    def discard(self, item_ids: Iterable[str]) -> None:
        """Raises ReadOnlyError."""
        raise refusal(f"The keys of {', '.join(item_ids)} cannot be deleted")

    def follow(self, item_id: str) -> None:
        """Raises ReadOnlyError."""
        raise refusal(f"The key of {item_id} cannot be changed")

    def follow_all(self, item_ids: Iterable[str]) -> None:
        """Raises ReadOnlyError."""
        raise refusal("Keys cannot be added")

    def renew(self) -> None:
        """Raises ReadOnlyError."""
        raise refusal("The index cannot be built anew")

    def _refresh(self) -> None:
        version = self._version()
        if version is not None and version == self._read:
            return
        there = self._items.ids(self._encoder)
        if self._seen - there:
            rows = [row for row, item_id in enumerate(self._ids) if item_id in there]
            self._ids, self._keys = [self._ids[row] for row in rows], self._keys[rows]
        self._append(list(self._items.keys(sorted(there - self._seen), self._encoder)))
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


def folder_version(folder: Path) -> Hashable:
    """Another value wherever the files of a folder may be others; None where that cannot be told yet."""
    try:
        changed = folder.stat().st_mtime_ns
    except OSError:
        return None
    return changed if 0 <= changed < time.time_ns() - SETTLED_NANOSECONDS else None


def refusal(what: str) -> ReadOnlyError:
    """The error of whatever writes."""
    return ReadOnlyError(
        f"{what}: the store was opened with read_only=True; open it without that where nobody else has it."
    )


def _unit(keys: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(keys, axis=1, keepdims=True)  # (N, 1)
    return keys / np.where(lengths > 0, lengths, 1.0)  # (N, D)
