"""The index of a namespace, compared with the Latent files and the journal: ids, vectors, and whether queries find
them."""

from collections.abc import Callable, Collection, Iterator
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from latent_memory_plugin.errors import LatentMemoryError
from latent_memory_plugin.store.check.findings import Findings
from latent_memory_plugin.store.chroma import Chroma, is_of_chroma
from latent_memory_plugin.store.index import Index, Truth, collection_name

if TYPE_CHECKING:
    from chromadb.api.models.Collection import Collection as Stored

_PAGE = 500
_TOLERANCE = 1e-4
"""By how much the cosine of an indexed and a stored key may miss 1."""
_QUERIES = 20
"""Keys of a collection that are looked for; the search is approximate, so one in ten may be missed."""


class Derived(NamedTuple):
    """One collection that there must be, and where it is derived from."""

    kind: str
    """`latents` or `episodes`."""
    encoder: str
    """Name of the encoder that made its keys."""
    truth: Truth
    """The keys it must hold."""


def collections(chroma: Chroma, findings: Findings) -> set[str] | None:
    """The names of all collections of the root; None where Chroma cannot be opened, which is added to the findings.
    A repair deletes all of it, so that there are none."""
    try:
        return chroma.names()
    except LatentMemoryError:
        raise
    except BaseException as exc:
        if not is_of_chroma(exc):
            raise
        problem = f"It cannot be opened: {exc!s:.300}."
        remedy = "The next opening with a model builds it anew, or --repair does."
        findings.add(("index", Path(chroma.place)), "leftover", problem, remedy, chroma.wipe)
        return set() if findings.repair else None


class KeyCheck:
    """Compares collections with what they are derived from; keeps the ids of one of them at a time."""

    def __init__(self, chroma: Chroma, findings: Findings) -> None:
        self.keys = 0
        """Indexed keys that were compared."""
        self._chroma = chroma
        self._findings = findings

    def run(self, namespace_folder: str, expected: Collection[Derived] | None, there: Collection[str]) -> None:
        """Adds what is wrong with one namespace to the findings; `there` are the names of all collections of the root.
        Where it is not known what there must be, nothing can be said."""
        if expected is None:
            return
        known = {collection_name(namespace_folder, one.kind, one.encoder): one for one in expected}
        for name in sorted(name for name in there if name.startswith(f"{namespace_folder}.") and name not in known):
            self._stranger(name, "It holds keys of an encoder that no stored key is of.")
        for name, one in known.items():
            self._one(name, one, name in there)

    def of_nobody(self, namespace_folders: Collection[str], there: Collection[str]) -> None:
        """Adds the collections of namespaces that are not there any more."""
        for name in sorted(name for name in there if name.partition(".")[0] not in namespace_folders):
            self._stranger(name, "It holds keys of a namespace that is not there.")

    def _stranger(self, name: str, problem: str) -> None:
        flaws = self._reading(lambda: [problem] if self._chroma.collection(name).count() else [])
        if flaws:
            self._add(name, flaws[0], "deletes it", lambda: self._chroma.drop(name))

    def _one(self, name: str, one: Derived, is_there: bool) -> None:
        flaws = self._flaws(name, one) if is_there else ["There is none."] * bool(one.truth.ids(one.encoder))
        if flaws:
            self._add(name, " ".join(flaws), "builds it anew", lambda: self._rebuild(name, one))

    def _rebuild(self, name: str, one: Derived) -> bool:
        Index(self._chroma, name, one.truth, one.encoder, nullcontext).renew()
        return not self._flaws(name, one)

    def _flaws(self, name: str, one: Derived) -> list[str]:
        return self._reading(lambda: list(self._differences(self._chroma.collection(name), one)))

    def _reading(self, look: Callable[[], list[str]]) -> list[str]:
        try:
            return look()
        except LatentMemoryError:
            raise
        except BaseException as exc:
            if not is_of_chroma(exc):
                raise
            return [f"It cannot be read: {exc!s:.300}."]

    def _differences(self, stored: "Stored", one: Derived) -> Iterator[str]:
        true, seen, wrong = one.truth.ids(one.encoder), set[str](), 0
        for ids, vectors in _pages(stored):
            seen.update(ids)
            keys = dict(one.truth.keys([item_id for item_id in ids if item_id in true], one.encoder))
            cosines = [
                _cosine(vector, keys[item_id]) for item_id, vector in zip(ids, vectors, strict=True) if item_id in keys
            ]
            wrong += sum(cosine < 1 - _TOLERANCE for cosine in cosines)
            self.keys += len(ids)
        if missing := len(true - seen):
            yield f"{missing} stored keys are missing."
        if extra := len(seen - true):
            yield f"{extra} keys belong to nothing that is stored or usable."
        if wrong:
            yield f"{wrong} keys are not those that are stored."
        sample = sorted(true & seen)[:: max(1, len(true & seen) // _QUERIES)]
        if missed := _missed(stored, dict(one.truth.keys(sample, one.encoder))):
            yield f"Queries do not find {missed} of {len(sample)} keys that are there."

    def _add(self, name: str, problem: str, repair: str, mend: Callable[[], object]) -> None:
        # The next opening shall not take it for what it was when it was closed.
        self._chroma.clean.forget(name)
        remedy = f"The next opening with a model puts its ids right; --repair {repair}."
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
