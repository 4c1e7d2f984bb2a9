"""Latent files: one safetensors file per Latent, its tensors and, in the header, its whole record. They are the truth.

Legend: D key size.
"""

import logging
import os
import re
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
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
from latent_memory_plugin.store.disk import TEMPORARY, delete_files, make_folder, reading, write_file, writing
from latent_memory_plugin.store.packing import Content, Tensors, corrupt, pack, read_content, read_header, unpack
from latent_memory_plugin.store.root import ModelId

Result = TypeVar("Result")

SUFFIX = ".safetensors"
_log = logging.getLogger(__name__)
_ID = re.compile(r"[0-9a-f]{32}")


class LatentFiles:
    """The Latent files of one namespace. Whoever changes them holds the root's guard; reading needs none."""

    def __init__(self, folder: Path, namespace: str, model: ModelId | None = None) -> None:
        self.folder = folder
        """Where they lie."""
        self.model = model
        """The model that they must belong to; None for any."""
        self.problems: dict[Path, LatentMemoryError] = {}
        """The files met so far that cannot be used, and why."""
        self.namespace = namespace
        """The one that they must belong to."""
        self.encoders: dict[str, str] = {}
        """Who made the keys of those that were met as another encoder's: a file never changes."""

    def prepare(self) -> list[str]:
        """Makes the folder and deletes what was being written when a process ended; one sentence for each."""
        make_folder(self.folder)
        with reading(self.folder):
            left = sorted(self.folder.glob(f"*{TEMPORARY}"))
        delete_files(left)
        said = [f"{path.name} was being written when its process ended; it was deleted." for path in left]
        for sentence in said:
            _log.warning(sentence)
        return said

    def write(
        self,
        latent: Latent,
        tensors: Tensors,
        key: np.ndarray,
        write: Callable[[Path, bytes], object] = write_file,
    ) -> None:
        """Writes a new Latent, tensors as its record says and key (D,) float32; by default durable when it returns.
        Raises InputError where it belongs to another namespace or its id is taken, WrongModelError, StoreWriteError."""
        path = self.path(latent.id)
        if latent.namespace != self.namespace:
            raise InputError(
                f"The Latent {latent.id} belongs to the namespace {latent.namespace!r}, not to {self.namespace!r}; "
                "open a store for that one."
            )
        if self.holds(latent.id):
            raise InputError(
                f"The Latent {latent.id} is stored already and never changes; give the new one its own id."
            )
        self._check_model(latent, f"The Latent {latent.id}")
        content = pack(latent, tensors, key)
        with writing(path):
            write(path, content)

    def path(self, latent_id: str) -> Path:
        """Where the file of an id lies, if there is one. Raises NotFoundError for what is no id."""
        path = self.folder / f"{latent_id}{SUFFIX}"
        if not _ID.fullmatch(latent_id):
            raise NotFoundError(
                f"{latent_id!r:.80} is no id of a Latent; `latent-memory list` shows the ids there are."
            )
        return path

    def record(self, latent_id: str) -> Latent:
        """The record alone, from the header. Raises NotFoundError, CorruptError, WrongModelError."""
        path = self.path(latent_id)
        with _found(path):
            latent = read_header(path).latent
        return self.own(latent, path)

    def read(self, latent_id: str) -> Content:
        """All of a Latent, checked against the header's hash. Raises as `record` does."""
        path = self.path(latent_id)
        with _found(path):
            content = read_content(path)
        whole = unpack(content, path)
        self.own(whole.latent, path)
        return whole

    def stream(self, newest: int | None = None) -> Iterator[Latent]:
        """All records, or those of so many files that were stored last, oldest first. A file that cannot be read is
        left out, warned of and kept in `problems`."""
        ids = self.ids()
        if newest is not None and newest < len(ids):
            ids = {latent_id for _, latent_id in nlargest(newest, ((stored, one) for one, _, stored in self.sizes()))}
        for _, latent_id in sorted((latent.created, latent.id) for latent in self.records(sorted(ids))):
            yield from self.records([latent_id])

    def records(self, latent_ids: Iterable[str]) -> Iterator[Latent]:
        """The records of these Latents; what cannot be read is treated as `stream` does, what is gone left out."""
        return (latent for latent_id in latent_ids if (latent := self._try(self.record, latent_id)))

    def delete(self, latent_ids: Iterable[str]) -> None:
        """Deletes files, readable or not, durable when it returns; one that is not there is fine. Raises
        StoreWriteError."""
        paths = [self.path(latent_id) for latent_id in latent_ids]
        delete_files(paths)
        for path in paths:
            self.problems.pop(path, None)
            self.encoders.pop(path.stem, None)

    def holds(self, latent_id: str) -> bool:
        """Whether there is a file with this id."""
        path = self.path(latent_id)
        with reading(path):
            return path.exists()

    def held(self, latent_ids: Iterable[str]) -> set[str]:
        """Those of the ids that there is a file of."""
        return {one for one in latent_ids if _ID.fullmatch(one) and self.holds(one)}

    def unknown(self, latent_id: str) -> NotFoundError:
        """The error for a Latent that is not there."""
        return _unknown(self.path(latent_id))

    def ids(self, encoder: str | None = None) -> set[str]:
        """Ids of all files, or of those that are not known to have another encoder's key: that is in their headers."""
        with reading(self.folder):
            names = os.listdir(self.folder) if self.folder.is_dir() else []
        stems = {name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX)}
        ids = {stem for stem in stems if _ID.fullmatch(stem)}
        for stem in stems - ids:
            path = self.folder / f"{stem}{SUFFIX}"
            self._report(path, corrupt(path, "its name is no id"))
        return ids if encoder is None else {one for one in ids if self.encoders.get(one, encoder) == encoder}

    def sizes(self) -> Iterator[tuple[str, int, float]]:
        """Id, bytes and, as a Unix time in seconds, when it was stored here, of every file."""
        if not self.folder.is_dir():
            return
        with reading(self.folder), os.scandir(self.folder) as entries:
            for entry in entries:
                latent_id = entry.name.removesuffix(SUFFIX)
                if latent_id != entry.name and _ID.fullmatch(latent_id):
                    with suppress(FileNotFoundError):  # deleted meanwhile
                        found = entry.stat()
                        yield latent_id, found.st_size, found.st_mtime

    def keys(self, latent_ids: Iterable[str], encoder: str) -> Iterator[tuple[str, np.ndarray]]:
        """Id and key (D,) float32 of those of the given Latents whose key was made by this encoder."""
        for latent_id in latent_ids:
            if self.encoders.get(latent_id, encoder) != encoder or not (found := self._try(self.read, latent_id)):
                continue
            if found.latent.encoder == encoder:
                yield latent_id, found.key
            else:
                self.encoders[latent_id] = found.latent.encoder

    def _try(self, read: Callable[[str], Result], latent_id: str) -> Result | None:
        try:
            return read(latent_id)
        except NotFoundError:
            return None
        except (StoreError, WrongModelError) as exc:
            self._report(self.path(latent_id), exc)
            return None

    def _report(self, path: Path, problem: LatentMemoryError) -> None:
        self.problems[path] = problem
        warnings.warn(str(problem), stacklevel=2)

    def own(self, latent: Latent, path: Path) -> Latent:
        """The record, where it belongs to this path, namespace and model. Raises CorruptError, WrongModelError."""
        if latent.id != path.stem or latent.namespace != self.namespace:
            raise corrupt(path, f"its record is that of {latent.id} in the namespace {latent.namespace!r:.200}")
        self._check_model(latent, f"The file {str(path)!r}")
        return latent

    def _check_model(self, latent: Latent, what: str) -> None:
        if self.model and not self.model.owns(latent.fingerprint):
            raise WrongModelError(
                f"{what} belongs to the model {latent.model!r:.200} (fingerprint {latent.fingerprint[:12]!r}), not to "
                f"{self.model.name!r} (fingerprint {self.model.fingerprint[:12]!r}); use it with that model."
            )


def checked(tensors: Mapping[str, np.ndarray], latent: Latent) -> dict[str, np.ndarray]:
    """The tensors as float32. Raises InputError where one is not finite, or names or shapes are not the record's."""
    with np.errstate(over="ignore"):
        values = {name: np.asarray(array, np.float32, order="C") for name, array in tensors.items()}
    shapes = {name: array.shape for name, array in values.items()}
    if shapes != latent.shapes:
        raise InputError(
            f"The tensors have the shapes {shapes}, the Latent's record says {latent.shapes}; pass a matching pair."
        )
    if wrong := [name for name, array in values.items() if not np.isfinite(array).all()]:
        raise InputError(f"The tensor {wrong[0]!r} of the Latent {latent.id} holds values that are not finite.")
    return {name: values[name] for name in latent.shapes}


def checked_key(key: np.ndarray, size: int | None) -> np.ndarray:
    """The key (D,) as float32. Raises InputError where it is not flat, not finite or of another known size."""
    with np.errstate(over="ignore"):
        vector = np.ascontiguousarray(key, dtype=np.float32)  # (D,)
    if vector.ndim != 1 or not vector.size or not np.isfinite(vector).all():
        raise InputError(
            f"A key of shape {vector.shape} is not a flat array of finite numbers; pass one of shape (D,)."
        )
    if size not in (None, vector.size):
        raise InputError(f"A key has {vector.size} values, the stored ones have {size}; use the same encoder.")
    return vector


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
