"""Latent files: one safetensors file per Latent, its tensors and, in the header, its whole record. They are the truth.

Legend: P latent tokens, H hidden size, D key size.
"""

import hashlib
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from latent_memory_plugin.errors import (
    CorruptError,
    InputError,
    LatentMemoryError,
    NotFoundError,
    StoreError,
    WrongModelError,
)
from latent_memory_plugin.records import Latent
from latent_memory_plugin.store.disk import TEMPORARY, delete_file, make_folder, reading, write_file, writing
from latent_memory_plugin.store.root import ModelId

Result = TypeVar("Result")

SCHEMA = 1
"""Version of the header."""

SUFFIX = ".safetensors"
_ID = re.compile(r"[0-9a-f]{32}")


class LatentFiles:
    """The Latent files of one namespace. Not safe in threads by itself: its store holds the root's guard."""

    def __init__(self, folder: Path, namespace: str, model: ModelId | None) -> None:
        self.folder = folder
        self.problems: dict[Path, LatentMemoryError] = {}
        self._namespace = namespace
        self._model = model
        make_folder(folder)
        with writing(folder):
            for left_behind in folder.glob(f"*{TEMPORARY}"):
                left_behind.unlink(missing_ok=True)

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
        record = latent.model_dump_json()
        header = {"schema": str(SCHEMA), "sha256": _digest(record, tensor, key), "record": record}
        write_file(path, save({"latent": tensor, "key": key}, metadata=header))

    def record(self, latent_id: str) -> Latent:
        """The record alone, from the header. Raises NotFoundError, CorruptError, WrongModelError."""
        path = self._path(latent_id)
        with _opened(path) as file:
            return self._record(file, path)

    def read(self, latent_id: str) -> tuple[Latent, np.ndarray, np.ndarray]:
        """Record, tensor (P, H) and key (D,) float32, checked against the header's hash. Raises as `record` does."""
        path = self._path(latent_id)
        with _opened(path) as file:
            latent = self._record(file, path)
            try:
                tensor, key = file.get_tensor("latent"), file.get_tensor("key")  # (P, H), (D,)
            except SafetensorError as exc:
                raise _corrupt(path, str(exc)) from exc
            header = file.metadata()
        if header.get("sha256") != _digest(header["record"], tensor, key):
            raise _corrupt(path, "its content does not match the SHA-256 in its header")
        if not (np.isfinite(tensor).all() and np.isfinite(key).all()):
            raise _corrupt(path, "it holds values that are not finite")
        return latent, tensor, key

    def stream(self) -> Iterator[Latent]:
        """All records, oldest first. A file that cannot be read is left out, warned of and kept in `problems`."""
        records = (self._try(self.record, latent_id) for latent_id in sorted(self.ids()))
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
            paths = [path for path in self.folder.iterdir() if path.suffix == SUFFIX]
        for path in paths:
            if not _ID.fullmatch(path.stem):
                self._report(path, _corrupt(path, "its name is no id"))
        return {path.stem for path in paths if _ID.fullmatch(path.stem)}

    def keys(self, item_ids: Iterable[str], encoder: str) -> Iterator[tuple[str, np.ndarray]]:
        """Id and key (D,) float32 of those of the given Latents whose key was made by this encoder."""
        for item_id in item_ids:
            found = self._try(self.read, item_id)
            if found and found[0].encoder == encoder:
                yield item_id, found[2]

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

    def _record(self, file: Any, path: Path) -> Latent:
        header: dict[str, str] = file.metadata() or {}
        schema = header.get("schema", "")
        if schema.isdecimal() and int(schema) > SCHEMA:
            raise StoreError(
                f"{str(path)!r} has schema {schema}, this version reads up to {SCHEMA}; update the library."
            )
        if schema != str(SCHEMA) or "record" not in header:
            raise _corrupt(path, "its header holds no record of this library")
        try:
            latent = Latent.from_json(header["record"])
        except InputError as exc:
            raise _corrupt(path, str(exc)) from exc
        self._check_place(latent, path)
        self._check_model(latent, f"The file {str(path)!r}")
        _check_tensors(file, latent, path)
        return latent

    def _check_place(self, latent: Latent, path: Path) -> None:
        if latent.id != path.stem or latent.namespace != self._namespace:
            raise _corrupt(path, f"its record is that of {latent.id} in the namespace {latent.namespace!r}")

    def _check_model(self, latent: Latent, what: str) -> None:
        if self._model and latent.fingerprint != self._model.fingerprint:
            raise WrongModelError(
                f"{what} belongs to the model {latent.model!r} (fingerprint {latent.fingerprint[:12]}), not to "
                f"{self._model.name!r} (fingerprint {self._model.fingerprint[:12]}); use it with {latent.model!r}."
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


def _opened(path: Path) -> Any:
    try:
        with reading(path):
            path.open("rb").close()  # safetensors calls a file that may not be read one that is not there
            return safe_open(path, framework="np")
    except SafetensorError as exc:
        raise _corrupt(path, str(exc)) from exc
    except StoreError as exc:
        if isinstance(exc.__cause__, FileNotFoundError):
            raise _unknown(path) from exc
        raise


def _check_tensors(file: Any, latent: Latent, path: Path) -> None:
    names: list[str] = file.keys()
    found = {name: (file.get_slice(name).get_dtype(), tuple(file.get_slice(name).get_shape())) for name in names}
    key_shape = found.get("key", ("", ()))[1]
    if found != {"latent": ("F32", latent.shape), "key": ("F32", key_shape)} or len(key_shape) != 1:
        raise _corrupt(path, f"it holds {found}, not a latent of shape {latent.shape} and a flat key, both F32")


def _digest(record: str, tensor: np.ndarray, key: np.ndarray) -> str:
    digest = hashlib.sha256(record.encode())
    for array in (tensor, key):
        digest.update(array.astype("<f4").tobytes())
    return digest.hexdigest()


def _corrupt(path: Path, reason: str) -> CorruptError:
    return CorruptError(f"{str(path)!r} is no whole Latent file: {reason}. Restore it from a backup or delete it.")


def _unknown(path: Path) -> NotFoundError:
    return NotFoundError(
        f"There is no Latent {path.stem!r} in {str(path.parent)!r}; `latent-memory list` shows the ids."
    )
