"""The Latent files of a namespace, each read in full: hash, header, values, key, place, model."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Set
from pathlib import Path

import numpy as np

from latent_memory_plugin.errors import CorruptError, LatentMemoryError, StoreError
from latent_memory_plugin.records import Latent
from latent_memory_plugin.store.check.findings import QUARANTINE, Findings, Place, quarantine
from latent_memory_plugin.store.disk import TEMPORARY, delete_file, move_file, reading
from latent_memory_plugin.store.files import SUFFIX
from latent_memory_plugin.store.packing import read_content, unpack
from latent_memory_plugin.store.root import ModelId


class LatentCheck:
    """Reads every file once. What it keeps is ids."""

    def __init__(self, namespace: str, folder: Path, model: ModelId | None, findings: Findings) -> None:
        self.encoders: dict[str, str] = {}
        """The whole Latents: id → name of the encoder that made the key."""
        self.models: Counter[ModelId] = Counter()
        """How many of them belong to which model."""
        self.misplaced: set[str] = set()
        """Ids of Latents that lay under another name."""
        self._namespace = namespace
        self._folder = folder
        self._model = model
        self._findings = findings

    def run(self) -> None:
        """Adds what is wrong to the findings."""
        folder = self._folder / "latents"
        if not folder.is_dir():
            return
        with reading(folder):
            names = sorted(os.listdir(folder))
        for name in names:
            self._file(folder / name)

    def _file(self, path: Path) -> None:
        place = ("latents", path)
        if path.name.endswith(TEMPORARY):
            self._findings.add(
                place,
                "leftover",
                "It was being written when its process ended.",
                "The next opening or --repair deletes it.",
                lambda: delete_file(path),
            )
        elif path.suffix != SUFFIX:
            self._findings.add(place, "note", "It is no Latent file.", "It is left alone; move it away if it is yours.")
        else:
            self._latent(path)

    def _latent(self, path: Path) -> None:
        place = ("latents", path)
        try:
            latent = self._read(path)
        except CorruptError as exc:
            moves = f"--repair moves it to {self._folder.name}/{QUARANTINE}; restore it from a backup."
            self._findings.add(place, "fault", str(exc), moves, lambda: quarantine(path, self._folder))
            return
        except LatentMemoryError as exc:
            self._findings.add(place, "fault", str(exc), "Do what it says; --repair leaves it alone.")
            return
        model = ModelId(latent.model, latent.fingerprint)
        if self._model and self._model.fingerprint != model.fingerprint:
            self._findings.add(
                place,
                "fault",
                f"It belongs to the model {model.name!r:.200} (fingerprint {model.fingerprint[:12]!r}), the root to "
                f"{self._model.name!r} (fingerprint {self._model.fingerprint[:12]!r}).",
                "It is never read here. Move it to a root of its model; --repair leaves it alone.",
            )
            return
        if latent.id == path.stem or self._renamed(path, latent.id):
            self.models[model] += 1
            self.encoders[latent.id] = latent.encoder

    def _renamed(self, path: Path, latent_id: str) -> bool:
        """Whether a Latent under another name than its own has its own now."""
        self.misplaced.add(latent_id)
        right = path.with_name(f"{latent_id}{SUFFIX}")
        place: Place = ("latents", path)
        problem = f"Its record is that of the Latent {latent_id}."
        if right.exists():
            remedy = f"There is one already; --repair moves it to {self._folder.name}/{QUARANTINE}."
            self._findings.add(place, "fault", problem, remedy, lambda: quarantine(path, self._folder))
            return False
        return self._findings.add(place, "fault", problem, "--repair renames it.", lambda: move_file(path, right))

    def _read(self, path: Path) -> Latent:
        latent, _, _ = unpack(read_content(path), path)
        if latent.namespace != self._namespace:
            raise CorruptError(f"It belongs to the namespace {latent.namespace!r:.200}.")
        return latent


class WholeLatents:
    """What the index of Latents must equal: the files found whole whose standing lets them be read."""

    def __init__(self, folder: Path, encoders: Mapping[str, str], unusable: Set[str]) -> None:
        self._folder = folder / "latents"
        self._encoders = encoders
        self._unusable = unusable

    def ids(self, encoder: str) -> set[str]:
        """Ids of the usable ones whose key was made by this encoder."""
        return {one for one, made_by in self._encoders.items() if made_by == encoder} - self._unusable

    def keys(self, item_ids: Iterable[str], encoder: str) -> Iterator[tuple[str, np.ndarray]]:
        """Id and key (D,) float32 of those of the given Latents."""
        for item_id in item_ids:
            path = self._folder / f"{item_id}{SUFFIX}"
            try:
                yield item_id, unpack(read_content(path), path)[2]
            except StoreError:  # it was whole a moment ago; the next check says what has become of it
                continue

    def holds(self, item_id: str) -> bool:
        """Whether it is one of them."""
        return item_id in self._encoders and item_id not in self._unusable
