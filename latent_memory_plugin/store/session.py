"""The life of a store: entered by one thread at a time, closed once."""

from collections.abc import Generator
from contextlib import contextmanager
from types import TracebackType

from typing_extensions import Self

from latent_memory_plugin.errors import InputError, StoreError
from latent_memory_plugin.store.database import Database
from latent_memory_plugin.store.files import LatentFiles
from latent_memory_plugin.store.journal import Journal
from latent_memory_plugin.store.keys import Keys
from latent_memory_plugin.store.root import Root, folder_name
from latent_memory_plugin.store.standings import Standings


class Session:
    """One namespace of an opened root until it is closed; every use after that raises StoreError."""

    encoder: str | None
    """Name of the method that makes the keys; None where the store was opened for listing."""
    keep_text: bool = True
    """False where neither questions nor completions are written."""
    _files: LatentFiles
    _database: Database
    _journal: Journal
    _standings: Standings
    # Of the Latents and of the episodes; None where the store was opened for listing.
    _indexes: tuple[Keys, Keys] | None

    def __init__(self, root: Root, namespace: str) -> None:
        self.root = root.path
        """Folder of the root."""
        self.namespace = namespace
        """The namespace as the caller wrote it."""
        self._root = root
        self._folder = root.path / folder_name(namespace)
        self._closed = False

    def close(self) -> None:
        """Gives the namespace back, and the root where this was its last store. A second call does nothing, nor does
        one in a forked process, to which neither belongs."""
        if self._root.inherited:
            return
        with self._root.guard:
            if self._closed:
                return
            self._closed = True
            self._release()
        self._root.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def exclusive(self) -> Generator[None, None, None]:
        """Held, for moments, by a change that depends on what was read before: no other thread of this process uses the
        root, and no process that shares its server changes the namespace. Raises StoreLockedError where one hangs."""
        with self._entered(), self._root.exclusive(self._folder):
            yield

    @contextmanager
    def _entered(self) -> Generator[None, None, None]:
        if self._root.inherited:
            raise StoreError(
                f"The store of {self.namespace!r} in {str(self.root)!r} was opened before this process was forked; use "
                "it in the process that opened it, and start others with the method 'spawn'."
            )
        with self._root.guard:
            if self._closed:
                raise StoreError(f"The store of {self.namespace!r} in {str(self.root)!r} is closed; open it again.")
            yield

    def _searchable(self) -> tuple[str, tuple[Keys, Keys]]:
        if self.encoder is None or self._indexes is None:
            raise InputError(
                "The store was opened for listing, without a model; pass model= and encoder= to `Store.open`."
            )
        return self.encoder, self._indexes

    def _release(self) -> None:
        raise NotImplementedError
