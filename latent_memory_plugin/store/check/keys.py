"""The index, compared with the Latent files and the journals: ids, vectors, and whether queries find them.

An index follows the truth with each search. What has changed since the last one is not expected of it.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from latent_memory_plugin.store.check.findings import Findings
from latent_memory_plugin.store.chroma import Chroma, is_of_chroma
from latent_memory_plugin.store.index import Index, behind, collection_name, indexed
from latent_memory_plugin.store.keys import Truth

if TYPE_CHECKING:
    from chromadb.api.models.Collection import Collection as Stored

_PAGE = 500
_TOLERANCE = 1e-4
"""By how much the cosine of an indexed and a stored key may miss 1."""
_QUERIES = 20
"""Keys of a collection that are looked for; the search is approximate, so one in ten may be missed."""


def collections(chroma: Chroma, findings: Findings) -> set[str] | None:
    """The names of all collections of the root; None where Chroma cannot be opened, which is added to the findings.
    A repair deletes all of it, so that there are none."""
    try:
        return chroma.names()
    except BaseException as exc:
        if not is_of_chroma(exc):
            raise
        problem = f"It cannot be opened: {exc!s:.300}."
        remedy = "The next search builds it anew, or --repair does."
        findings.add(("index", Path(chroma.place)), "leftover", problem, remedy, chroma.wipe)
        return set() if findings.repair else None


class KeyCheck:
    """Compares collections with what they are derived from; keeps the ids of one of them at a time."""

    def __init__(self, chroma: Chroma, findings: Findings) -> None:
        self.keys = 0
        """Indexed keys that were compared."""
        self._chroma = chroma
        self._findings = findings

    def run(self, folder: str, derived: Mapping[tuple[str, str], Truth] | None, there: Collection[str]) -> None:
        """Adds what is wrong with a namespace's collections, by its folder, to the findings; `there` are the names of
        all collections of the root. Where it is not known what there must be, nothing can be said."""
        if derived is None:
            return
        known = {collection_name(folder, kind, encoder): (encoder, truth) for (kind, encoder), truth in derived.items()}
        for name in sorted(name for name in there if name.startswith(f"{folder}.") and name not in known):
            self._stranger(name, "It holds keys of an encoder that no stored key is of.")
        for name, (encoder, truth) in known.items():
            self._one(name, encoder, truth, name in there)

    def of_nobody(self, namespace_folders: Collection[str], there: Collection[str]) -> None:
        """Adds the collections of namespaces that are not there any more."""
        for name in sorted(name for name in there if name.partition(".")[0] not in namespace_folders):
            self._stranger(name, "It holds keys of a namespace that is not there.")

    def _stranger(self, name: str, problem: str) -> None:
        for flaw in self._reading(lambda: [problem] if self._chroma.collection(name).count() else []):
            self._add(name, flaw, "deletes it", lambda: self._chroma.drop(name))

    def _one(self, name: str, encoder: str, truth: Truth, is_there: bool) -> None:
        if is_there:
            flaws = self._flaws(name, encoder, truth)
        else:
            flaws = ["There is none."] * (truth.journal.marked(indexed(name)) is not None and bool(truth.ids(encoder)))
        if flaws:
            self._add(name, " ".join(flaws), "builds it anew", lambda: self._rebuild(name, encoder, truth))

    def _rebuild(self, name: str, encoder: str, truth: Truth) -> bool:
        Index(self._chroma, name, truth, encoder).renew()
        return not self._flaws(name, encoder, truth)

    def _flaws(self, name: str, encoder: str, truth: Truth) -> list[str]:
        return self._reading(lambda: list(self._differences(name, encoder, truth)))

    def _reading(self, look: Callable[[], list[str]]) -> list[str]:
        try:
            return look()
        except BaseException as exc:
            if not is_of_chroma(exc):
                raise
            return [f"It cannot be read: {exc!s:.300}."]

    def _differences(self, name: str, encoder: str, truth: Truth) -> Iterator[str]:
        stored, late = self._chroma.collection(name), behind(name, truth)
        true, seen, wrong = truth.ids(encoder), set[str](), 0
        for ids, vectors in _pages(stored):
            seen.update(ids)
            keys = dict(truth.keys([item_id for item_id in ids if item_id in true], encoder))
            pairs = ((vector, keys.get(item_id)) for item_id, vector in zip(ids, vectors, strict=True))
            wrong += sum(key is not None and _cosine(vector, key) < 1 - _TOLERANCE for vector, key in pairs)
            self.keys += len(ids)
        if late is not None and (missing := len(true - seen - late)):
            yield f"{missing} stored keys are missing."
        if late is not None and (extra := len(seen - true - late)):
            yield f"{extra} keys belong to nothing that is stored or usable."
        if wrong:
            yield f"{wrong} keys are not those that are stored."
        sample = sorted(true & seen)[:: max(1, len(true & seen) // _QUERIES)]
        if missed := _missed(stored, dict(truth.keys(sample, encoder))):
            yield f"Queries do not find {missed} of {len(sample)} keys that are there."

    def _add(self, name: str, problem: str, repair: str, mend: Callable[[], object]) -> None:
        # The next opening shall not take it for what it was when it was closed.
        self._chroma.digests.pop(name, None)
        remedy = f"The next search puts its ids right; --repair {repair}."
        self._findings.add(("index", Path(self._chroma.place) / name), "leftover", problem, remedy, mend)


def _pages(stored: "Stored") -> Iterator[tuple[list[str], np.ndarray]]:
    """Ids with their vectors (B, D)."""
    offset = 0
    while (page := stored.get(limit=_PAGE, offset=offset, include=["embeddings"]))["ids"]:
        yield page["ids"], np.asarray(page["embeddings"])  # (B, D)
        offset += len(page["ids"])


def _missed(stored: "Stored", keys: dict[str, np.ndarray]) -> int:
    """How many of these keys a query does not find, nor another key as near; 0 where the search may miss so many. A key
    of zeros is near to nothing."""
    missed = 0
    for key in islice((key for key in keys.values() if key.any()), _QUERIES):
        found = stored.query(query_embeddings=key[None], n_results=1, include=["distances"])  # (1, D)
        distances = (found["distances"] or [[]])[0]
        missed += not len(distances) or distances[0] > 10 * _TOLERANCE
    return missed if missed > len(keys) // 10 else 0


def _cosine(one: np.ndarray, other: np.ndarray) -> float:
    """Cosine of two vectors (D,); 1 where both are zero, 0 where they differ in size."""
    if one.shape != other.shape:
        return 0.0
    lengths = float(np.linalg.norm(one)) * float(np.linalg.norm(other))
    if not lengths:
        return 1.0 if np.array_equal(one, other) else 0.0
    return float((one * other).sum()) / lengths
