"""Latent files: one safetensors file per Latent, its tensors and, in the header, its whole record. They are the truth.

Legend: P latent tokens, H hidden size, D key size.
"""

import logging
import os
import re
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from heapq import nlargest
from pathlib import Path
from typing import TypeVar

import numpy as np

from latent_memory_plugin.errors import (
    InputError,
    LatentMemoryError,
    NotFoundError,
    StoreError,
    WrongModelError,
)
from latent_memory_plugin.records import Latent
from latent_memory_plugin.store.disk import TEMPORARY, delete_file, make_folder, reading, write_file, writing
from latent_memory_plugin.store.packing import corrupt, pack, read_content, read_header, unpack
from latent_memory_plugin.store.root import ModelId

Result = TypeVar("Result")

SUFFIX = ".safetensors"
_log = logging.getLogger(__name__)
_ID = re.compile(r"[0-9a-f]{32}")


class LatentFiles:
    """The Latent files of one namespace. Not safe in threads by itself: its store holds the root's guard."""

    def __init__(self, folder: Path, namespace: str, model: ModelId | None) -> None:
        self._prepare(folder, namespace, model)
        make_folder(folder)
        with writing(folder):
            for left_behind in folder.glob(f"*{TEMPORARY}"):
                left_behind.unlink(missing_ok=True)
                self.mended.append(f"{left_behind.name} was being written when its process ended; it was deleted.")
                _log.warning(self.mended[-1])

    def write(self, latent: Latent, tensor: np.ndarray, key: np.ndarray) -> None:
        """Writes a new Latent, tensor (P, H) and key (D,) float32, durable when it returns. Raises InputError where it
        belongs to another namespace or its id is taken, WrongModelError, StoreWriteError."""
        path = self._path(latent.id)
        if latent.namespace != self._namespace:
            raise InputError(
                f"The Latent {latent.id} belongs to the namespace {latent.namespace!r}, not to {self._namespace!r}; "
                "open a store for that one."
            )
        if self.holds(latent.id):
            raise InputError(
                f"The Latent {latent.id} is stored already and never changes; give the new one its own id."
            )
        self._check_model(latent, f"The Latent {latent.id}")
        write_file(path, pack(latent, tensor, key))

    def record(self, latent_id: str) -> Latent:
        """The record alone, from the header. Raises NotFoundError, CorruptError, WrongModelError."""
        path = self._path(latent_id)
        with _found(path):
            latent = read_header(path).latent
        return self._own(latent, path)

    def read(self, latent_id: str) -> tuple[Latent, np.ndarray, np.ndarray]:
        """Record, tensor (P, H) and key (D,) float32, checked against the header's hash. Raises as `record` does."""
        path = self._path(latent_id)
        with _found(path):
            content = read_content(path)
        latent, tensor, key = unpack(content, path)
        return self._own(latent, path), tensor, key

    def stream(self, newest: int | None = None) -> Iterator[Latent]:
        """All records, or those of so many files that were stored last, oldest first. A file that cannot be read is
        left out, warned of and kept in `problems`."""
        ids = self.ids()
        if newest is not None and newest < len(ids):
            ids = {latent_id for _, latent_id in nlargest(newest, ((stored, one) for one, _, stored in self.sizes()))}
        records = (self._try(self.record, latent_id) for latent_id in sorted(ids))
        for _, latent_id in sorted((latent.created, latent.id) for latent in records if latent):
            if latent := self._try(self.record, latent_id):
                yield latent

    def delete(self, latent_id: str) -> None:
        """Deletes a file, readable or not, durable when it returns. Raises NotFoundError, StoreWriteError."""
        path = self._path(latent_id)
        with reading(path):
            if not path.exists():
                raise _unknown(path)
        delete_file(path)
        self.problems.pop(path, None)

    def holds(self, item_id: str) -> bool:
        """Whether there is a file with this id."""
        path = self._path(item_id)
        with reading(path):
            return path.exists()

    def ids(self, encoder: str = "") -> set[str]:
        """Ids of all files, whichever encoder made their keys: that is in their headers."""
        with reading(self.folder):
            stems = {name.removesuffix(SUFFIX) for name in os.listdir(self.folder) if name.endswith(SUFFIX)}
        ids = {stem for stem in stems if _ID.fullmatch(stem)}
        for stem in sorted(stems - ids):
            path = self.folder / f"{stem}{SUFFIX}"
            self._report(path, corrupt(path, "its name is no id"))
        return ids

    def sizes(self) -> Iterator[tuple[str, int, float]]:
        """Id, bytes and, as a Unix time in seconds, when it was stored here, of every file."""
        with reading(self.folder), os.scandir(self.folder) as entries:
            for entry in entries:
                latent_id = entry.name.removesuffix(SUFFIX)
                if latent_id != entry.name and _ID.fullmatch(latent_id):
                    found = entry.stat()
                    yield latent_id, found.st_size, found.st_mtime

    def keys(self, item_ids: Iterable[str], encoder: str) -> Iterator[tuple[str, np.ndarray]]:
        """Id and key (D,) float32 of those of the given Latents whose key was made by this encoder."""
        for item_id in item_ids:
            found = self._try(self.read, item_id)
            if found and found[0].encoder == encoder:
                yield item_id, found[2]

    def _prepare(self, folder: Path, namespace: str, model: ModelId | None) -> None:
        self.folder = folder
        self.problems: dict[Path, LatentMemoryError] = {}
        self.mended: list[str] = []
        """What the opening put right, one sentence each."""
        self._namespace = namespace
        self._model = model

    def _try(self, read: Callable[[str], Result], latent_id: str) -> Result | None:
        try:
            return read(latent_id)
        except NotFoundError:
            return None
        except (StoreError, WrongModelError) as exc:
            self._report(self._path(latent_id), exc)
            return None

    def _report(self, path: Path, problem: LatentMemoryError) -> None:
        self.problems[path] = problem
        warnings.warn(str(problem), stacklevel=2)

    def _path(self, latent_id: str) -> Path:
        path = self.folder / f"{latent_id}{SUFFIX}"
        if not _ID.fullmatch(latent_id):
            raise NotFoundError(
                f"{latent_id!r:.80} is no id of a Latent; `latent-memory list` shows the ids there are."
            )
        return path

    def _own(self, latent: Latent, path: Path) -> Latent:
        """The record, where it belongs to this place, namespace and model."""
        if latent.id != path.stem or latent.namespace != self._namespace:
            raise corrupt(path, f"its record is that of {latent.id} in the namespace {latent.namespace!r:.200}")
        self._check_model(latent, f"The file {str(path)!r}")
        return latent

    def _check_model(self, latent: Latent, what: str) -> None:
        if self._model and latent.fingerprint != self._model.fingerprint:
            raise WrongModelError(
                f"{what} belongs to the model {latent.model!r:.200} (fingerprint {latent.fingerprint[:12]!r}), not to "
                f"{self._model.name!r} (fingerprint {self._model.fingerprint[:12]!r}); use it with that model."
            )
        if self._model and self._model.hidden_size not in (None, latent.shape[1]):
            raise WrongModelError(
                f"{what} holds vectors of {latent.shape[1]} numbers, the model {self._model.name!r} reads "
                f"{self._model.hidden_size}; restore it from a backup or delete it."
            )


def checked(tensor: np.ndarray, latent: Latent) -> np.ndarray:
    """The tensor (P, H) as float32. Raises InputError where it is not finite or of another shape than the record's."""
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(tensor, dtype=np.float32)  # (P, H)
    if values.shape != latent.shape:
        raise InputError(
            f"The tensor has shape {values.shape}, the Latent's record says {latent.shape}; pass a matching pair."
        )
    if not np.isfinite(values).all():
        raise InputError(f"The tensor of the Latent {latent.id} holds values that are not finite; it cannot be stored.")
    return values


@contextmanager
def _found(path: Path) -> Generator[None, None, None]:
    """Raises NotFoundError where there is no such file."""
    try:
        yield
    except StoreError as exc:
        if isinstance(exc.__cause__, FileNotFoundError):
            raise _unknown(path) from exc
        raise


def _unknown(path: Path) -> NotFoundError:
    return NotFoundError(
        f"There is no Latent {path.stem!r} in {str(path.parent)!r}; `latent-memory list` shows the ids."
    )
