"""Writing so that a file is there whole or not at all, and what the system refuses said in words."""

import errno
import os
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from pathlib import Path

from latent_memory_plugin.errors import InputError, StoreError, StoreWriteError

TEMPORARY = ".tmp"
"""Suffix of a file that is being written; one that is left behind by a crash is worthless."""

_SPACE, _RIGHT = "free some space", "allow this user to {} there"
_ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)), _SPACE),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _RIGHT),
    errno.ENAMETOOLONG: "it is too long, pass a shorter one",
    errno.ELOOP: "a link in it leads back to itself, pass another one",
}


def folder_path(path: str | os.PathLike[str]) -> Path:
    """The absolute path of a folder as a caller names it; `~` is the home folder. Raises InputError where it can be
    none, StoreError where it is relative to a folder that is gone."""
    text = os.fspath(path)
    if "\0" in text:
        raise InputError(f"The path {text!r:.200} holds a NUL; pass one that a folder can have.")
    try:
        os.fsencode(text)
        whole = Path(text).expanduser()
    except UnicodeEncodeError as exc:
        raise InputError(f"The path {text!r:.200} holds half a surrogate pair; pass whole characters.") from exc
    except RuntimeError as exc:
        raise InputError(
            f"The path {text!r:.200} needs a home folder, and none is known; pass an absolute one."
        ) from exc
    with reading(whole):
        return whole.absolute()


@contextmanager
def writing(path: Path) -> Generator[None, None, None]:
    """Raises StoreWriteError with the path where the system refuses to write."""
    try:
        yield
    except OSError as exc:
        raise StoreWriteError(_refusal(path, "write", "written", exc)) from exc


@contextmanager
def reading(path: Path) -> Generator[None, None, None]:
    """Raises StoreError with the path where the system refuses to read."""
    try:
        yield
    except OSError as exc:
        raise StoreError(_refusal(path, "read", "read", exc)) from exc


def _refusal(path: Path, verb: str, done: str, error: OSError) -> str:
    other = f"{_SPACE}, {_RIGHT}, or pass another root" if verb == "write" else f"{_RIGHT}, or move it away"
    advice = _ADVICE.get(error.errno or 0, other).format(verb)
    return f"{str(path)!r} cannot be {done} ({error.strerror or error}); {advice}."


def make_folder(path: Path) -> None:
    """Creates a folder and its parents, durable when it returns. Raises StoreWriteError."""
    with writing(path):
        if path.is_dir():
            return
        if path.is_symlink():
            raise StoreWriteError(
                f"{str(path)!r} is a link to {os.readlink(path)!r}, where no folder is; make it or pass another root."
            )
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
            temporary.write_bytes(data)
            move_file(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def move_file(temporary: Path, path: Path) -> None:
    """Gives a file that has been written its name, durable when it returns. Raises StoreWriteError."""
    with writing(path):
        sync_file(temporary)
        temporary.replace(path)
        sync_folder(path.parent)


def delete_files(paths: Iterable[Path]) -> None:
    """Deletes files, durable when it returns; one that is not there is fine. Raises StoreWriteError."""
    folders: set[Path] = set()
    for path in paths:
        with writing(path):
            path.unlink(missing_ok=True)
        folders.add(path.parent)
    for folder in folders:
        with writing(folder):
            sync_folder(folder)


def file_identity(path: Path) -> tuple[int, int] | None:
    """Which file lies there: another number than that of any other as long as it is open. None where none does."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def sync_file(path: Path) -> None:
    """Makes the content of a file durable."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Makes created, renamed and deleted names in a folder durable; Windows has no such call and needs none."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
