"""The life of a store: entered by one thread at a time, closed once."""

from collections.abc import Generator
from contextlib import contextmanager
from types import TracebackType

from typing_extensions import Self

from latent_memory_plugin.errors import InputError, StoreError
from latent_memory_plugin.store.database import Database
from latent_memory_plugin.store.files import LatentFiles
from latent_memory_plugin.store.index import Index
from latent_memory_plugin.store.journal import Journal
from latent_memory_plugin.store.root import Root
from latent_memory_plugin.store.standings import Standings


class Session:
    """One namespace of an opened root until it is closed; every use after that raises StoreError."""

    encoder: str | None
    """Name of the method that makes the keys; None where the store was opened for listing."""
    _files: LatentFiles
    _database: Database
    _journal: Journal
    _standings: Standings
    # Of the Latents and of the episodes; None where the store was opened for listing.
    _indexes: tuple[Index, Index] | None

    def __init__(self, root: Root, namespace: str) -> None:
        self.root = root.path
        """Folder of the root."""
        self.namespace = namespace
        """The namespace as the caller wrote it."""
        self._root = root
        self._closed = False

    def close(self) -> None:
        """Gives the namespace back, and the root where this was its last store. A second call does nothing."""
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
    def _entered(self) -> Generator[None, None, None]:
        with self._root.guard:
            if self._closed:
                raise StoreError(f"The store of {self.namespace!r} in {str(self.root)!r} is closed; open it again.")
            yield

    def _searchable(self) -> tuple[str, tuple[Index, Index]]:
        if self.encoder is None or self._indexes is None:
            raise InputError(
                "The store was opened for listing, without a model; pass model= and encoder= to `Store.open`."
            )
        return self.encoder, self._indexes

    def _release(self) -> None:
        raise NotImplementedError
