"""Writing so that a file is there whole or not at all, and what the system refuses said in words."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from latent_memory_plugin.errors import StoreError, StoreWriteError

TEMPORARY = ".tmp"
"""Suffix of a file that is being written; one that is left behind by a crash is worthless."""


@contextmanager
def writing(path: Path) -> Generator[None, None, None]:
    """Raises StoreWriteError with the path where the system refuses to write."""
    try:
        yield
    except OSError as exc:
        raise StoreWriteError(
            f"{str(path)!r} cannot be written ({exc.strerror or exc}); free some space, allow this user to write "
            "there, or pass another root."
        ) from exc


@contextmanager
def reading(path: Path) -> Generator[None, None, None]:
    """Raises StoreError with the path where the system refuses to read."""
    try:
        yield
    except OSError as exc:
        raise StoreError(
            f"{str(path)!r} cannot be read ({exc.strerror or exc}); allow this user to read it, or move it away."
        ) from exc


def make_folder(path: Path) -> None:
    """Creates a folder and its parents, durable when it returns. Raises StoreWriteError."""
    with writing(path):
        if path.is_dir():
            return
        if path.exists():
            raise StoreWriteError(f"{str(path)!r} is a file, not a folder; move it away or pass another root.")
    make_folder(path.parent)
    with writing(path):
        path.mkdir(exist_ok=True)
        sync_folder(path.parent)


def write_file(path: Path, data: bytes) -> None:
    """Writes a file whole or not at all, durable when it returns. Raises StoreWriteError."""
    temporary = path.with_name(path.name + TEMPORARY)
    with writing(path):
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def move_file(temporary: Path, path: Path) -> None:
    """Gives a file that has been written its name, durable when it returns. Raises StoreWriteError."""
    with writing(path):
        descriptor = os.open(temporary, os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
        sync_folder(path.parent)


def delete_file(path: Path) -> None:
    """Deletes a file, durable when it returns; none is fine. Raises StoreWriteError."""
    with writing(path):
        path.unlink(missing_ok=True)
        sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Makes created, renamed and deleted names in a folder durable; Windows has no such call and needs none."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
