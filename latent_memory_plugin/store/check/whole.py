"""The check of a whole root: `store.json`, each namespace, the index, and files that belong to nobody."""

import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from latent_memory_plugin.errors import CorruptError, NotFoundError, StoreError
from latent_memory_plugin.store.access import Access
from latent_memory_plugin.store.check.findings import QUARANTINE, Findings, Place, Report
from latent_memory_plugin.store.check.keys import KeyCheck, collections
from latent_memory_plugin.store.check.space import SpaceCheck
from latent_memory_plugin.store.disk import TEMPORARY, delete_files, folder_path, reading
from latent_memory_plugin.store.root import JOURNAL, LATENTS, MODELS, STORE, WRITE_LOCK, ModelId, Root, folder_name

OWN_NAMES = {STORE, WRITE_LOCK, MODELS, "lock", "owner.json", "lock.d", "chroma"}
ROUNDS = 3
"""How often a repair of the index is looked at again: repairing one collection may cost another."""


def check(root: Path, namespace: str | None = None, repair: bool = False, access: Access | None = None) -> Report:
    """Reads everything under a root, or of one namespace, and says what is not as it was written.

    Without `repair` nothing is changed, but for what SQLite and Chroma do to their files when they open them. With it,
    what was under way is finished or undone, rows that belong to nothing are deleted, what cannot be read is moved to
    the namespace's `quarantine`, `store.json` is written anew from the Latents, and the index is built anew. In memory
    are one Latent, a page of rows or of keys, and the ids of all Latents.

    Raises NotFoundError where there is no such root or namespace, StoreLockedError where another process has it open,
    StoreWriteError, IndexUnavailableError.
    """
    path = folder_path(root)
    if not path.is_dir():
        raise NotFoundError(f"There is no root {str(path)!r}; pass the folder of a store.")
    began, findings = time.monotonic(), Findings(repair)
    opened = Root.open(path, access or Access())
    try:
        with opened.guard, opened.searching:
            whole = _Whole(opened, findings)
            whole.run(namespace)
    finally:
        opened.release()
    counts = {name: whole.counts[name] for name in ("latents", "episodes", "standings", "uses", "keys")}
    seconds = round(time.monotonic() - began, 3)
    return Report(
        root=str(path), namespaces=tuple(whole.namespaces), findings=tuple(findings.all), seconds=seconds, **counts
    )


class _Whole:
    """One check of an opened root."""

    def __init__(self, root: Root, findings: Findings) -> None:
        self.counts: Counter[str] = Counter()
        self.namespaces: list[str] = []
        self._root = root
        self._findings = findings

    def run(self, namespace: str | None) -> None:
        """Files and rows first, because the index is compared with what of them is whole."""
        wanted = None if namespace is None else folder_name(namespace)
        if wanted and not (self._root.path / wanted).is_dir():
            raise NotFoundError(f"Nothing is stored in the namespace {namespace!r} of {str(self._root.path)!r}.")
        model, broken = self._model()
        folders = [folder for folder in sorted(self._folders()) if wanted in (None, folder.name)]
        spaces = [SpaceCheck(self._root, folder, model, self._findings) for folder in folders]
        models: Counter[ModelId] = Counter()
        for space in spaces:
            space.run()
            models.update(space.models)
            self.counts.update(space.counts)
        self.namespaces = [space.namespace for space in spaces if space.namespace is not None]
        if model is None and wanted is None:
            self._name_model(models, broken)
        self._index(spaces, is_whole=wanted is None)

    def _index(self, spaces: list[SpaceCheck], is_whole: bool) -> None:
        for _ in range(ROUNDS if self._findings.repair else 1):
            before, keys = len(self._findings.all), KeyCheck(self._root.chroma, self._findings)
            there = collections(self._root.chroma, self._findings)
            if there is None:
                return
            for space in spaces:
                with space.derived() as expected:
                    keys.run(space.folder.name, expected, there)
            if is_whole:
                keys.of_nobody({space.folder.name for space in spaces}, there)
            self.counts["keys"] = keys.keys
            if len(self._findings.all) == before:
                return

    def _model(self) -> tuple[ModelId | None, str]:
        """The model of the root, and what is wrong with `store.json` where it names none."""
        try:
            return self._root.owner, ""
        except CorruptError as exc:
            return None, str(exc)
        except StoreError as exc:
            place: Place = ("root", self._root.path / STORE)
            self._findings.add(place, "fault", str(exc), "Do what it says; --repair leaves it alone.")
            return None, ""

    def _name_model(self, models: Counter[ModelId], broken: str) -> None:
        path = self._root.path / STORE
        if not broken and (path.exists() or not models):
            return
        place: Place = ("root", path)
        problem = broken or "It is missing, though there are Latents."
        if len(models) > 1:
            names = ", ".join(sorted({repr(model.name) for model in models}))
            remedy = f"Restore it from a backup: the Latents belong to several models ({names:.300})."
            self._findings.add(place, "fault", problem, remedy)
        elif models:
            [model] = models
            remedy = "--repair writes it anew from the Latents."
            self._findings.add(place, "fault", problem, remedy, lambda: self._root.name(model))
        else:
            remedy = "--repair deletes it; there is no Latent, and the next opening with a model writes it."
            self._findings.add(place, "fault", problem, remedy, lambda: delete_files([path]))

    def _folders(self) -> Iterator[Path]:
        """The folders of namespaces; other names are reported."""
        with reading(self._root.path):
            paths = [self._root.path / name for name in sorted(os.listdir(self._root.path))]
        for path in paths:
            if path.name.endswith(TEMPORARY) and path.is_file():
                self._findings.left_behind(("root", path))
            elif (path / JOURNAL).is_file() or (path / LATENTS).is_dir() or (path / QUARANTINE).is_dir():
                yield path
            elif path.name not in OWN_NAMES:
                self._findings.foreign(("root", path))
