"""What a check finds: one record per flaw, with what `--repair` does about it or has done."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from latent_memory_plugin.errors import LatentMemoryError
from latent_memory_plugin.frozen import Frozen
from latent_memory_plugin.store.disk import delete_files, make_folder, sync_folder, writing

Part = Literal["root", "latents", "journal", "index"]
Kind = Literal["fault", "leftover", "note"]

Place = tuple[Part, Path]
"""What a finding concerns, and the file or folder."""

QUARANTINE = "quarantine"
"""Folder of a namespace that takes what cannot be read; nothing in it is looked at again."""


class Finding(Frozen):
    """One thing that is not as it was written."""

    part: Part
    """What it concerns."""
    kind: Kind
    """`fault`: something that was stored cannot be used. `leftover`: a killed process leaves it, nothing is lost by it,
    and the next opening or a repair clears it. `note`: not ours; it is left alone and does not count."""
    path: str
    """The file or folder."""
    problem: str
    """What is wrong with it, one sentence."""
    remedy: str
    """What a repair does, or what a person has to do where it can do nothing."""
    repaired: bool = False
    """True where it has been done."""


class Report(Frozen):
    """What was looked at, and what was found."""

    root: str
    """The folder."""
    namespaces: tuple[str, ...]
    """The namespaces that were checked."""
    latents: int
    """Latent files read in full."""
    episodes: int
    """Episodes read."""
    standings: int
    """Standings read."""
    uses: int
    """Uses read."""
    keys: int
    """Keys of the index compared with the stored ones."""
    findings: tuple[Finding, ...]
    """All flaws, in the order in which they were found."""
    seconds: float
    """How long it took."""

    @property
    def left(self) -> tuple[Finding, ...]:
        """What is still wrong: everything but notes and what was repaired."""
        return tuple(one for one in self.findings if one.kind != "note" and not one.repaired)


class Findings:
    """Collects what is found, and repairs at once where that was asked for and is possible."""

    def __init__(self, repair: bool) -> None:
        self.repair = repair
        self.all: list[Finding] = []

    def add(
        self, place: Place, kind: Kind, problem: str, remedy: str, mend: Callable[[], object] | None = None
    ) -> bool:
        """Adds a finding; whether it was repaired. `mend` does what `remedy` says and returns False where it could
        not; without it, a person has to."""
        repaired = False
        if self.repair and mend is not None:
            try:
                repaired = mend() is not False
            except LatentMemoryError as exc:
                remedy = f"{remedy} That failed: {exc}"
        part, path = place
        one = Finding(part=part, kind=kind, path=str(path), problem=problem, remedy=remedy, repaired=repaired)
        self.all.append(one)
        return repaired

    def left_behind(self, place: Place, what: str = "--repair deletes it.", is_file: bool = True) -> None:
        """Adds a file that was being written when its process ended."""
        mend = (lambda: delete_files([place[1]])) if is_file else None
        self.add(place, "leftover", "It was being written when its process ended.", what, mend)

    def foreign(self, place: Place, problem: str = "It is no part of a store.") -> None:
        """Adds a file that is not ours."""
        self.add(place, "note", problem, "It is left alone; move it away if it is yours.")


def quarantine(path: Path, namespace_folder: Path) -> None:
    """Moves a file out of the way, durable when it returns; nothing there is overwritten. Raises StoreWriteError."""
    target = free_name(namespace_folder / QUARANTINE, path.name)
    with writing(path):
        os.replace(path, target)
        sync_folder(target.parent)
        sync_folder(path.parent)


def free_name(folder: Path, name: str) -> Path:
    """A path of this name, or of one with a number, where nothing is yet; the folder is made. Raises
    StoreWriteError."""
    make_folder(folder)
    target, number = folder / name, 1
    while target.exists():
        target, number = folder / f"{name}.{number}", number + 1
    return target
