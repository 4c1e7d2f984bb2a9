"""`Store`: one namespace of a root. The truth is written first, the index after it; opening mends what lies between.

A Latent is in the index where its file is there and its standing lets it be read.

"""

from contextlib import ExitStack
from pathlib import Path

from latent_memory_plugin.errors import InputError
from latent_memory_plugin.store.access import ALONE, Access
from latent_memory_plugin.store.database import Database
from latent_memory_plugin.store.disk import make_folder
from latent_memory_plugin.store.episodes import Episodes
from latent_memory_plugin.store.evicting import Evicting
from latent_memory_plugin.store.exporting import Exports
from latent_memory_plugin.store.files import LatentFiles
from latent_memory_plugin.store.forgetting import Forgetting
from latent_memory_plugin.store.importing import Imports
from latent_memory_plugin.store.index import Index, Truth, collection_name
from latent_memory_plugin.store.journal import Journal
from latent_memory_plugin.store.queue import Queue
from latent_memory_plugin.store.root import ModelId, Root, folder_name
from latent_memory_plugin.store.staging import resume
from latent_memory_plugin.store.standings import Standings, UsableLatents


class Store(Episodes, Queue, Evicting, Forgetting, Exports, Imports):
    """Episodes and Latents of one namespace. Safe in threads; several stores of one root in one process share its lock.

    Made by `open`. What a call has written when it returns survives a kill and a power cut. Every use after `close`
    raises StoreError.
    """

    def __init__(
        self, root: Root, namespace: str, model: ModelId | None, encoder: str | None, keep_text: bool = True
    ) -> None:
        super().__init__(root, namespace)
        self.encoder, self.keep_text = encoder, keep_text
        self._files = LatentFiles(self._folder / "latents", namespace, model)
        self._database = Database(self._folder / "journal.sqlite", namespace)
        self._journal, self._standings = Journal(self._database, keep_text), Standings(self._database)
        with ExitStack() as undo:
            undo.callback(self._database.close)
            self._files.mended += resume(self._folder, self._database)
            self.mend_forgetting()
            self._indexes = None if encoder is None else self._opened_indexes(encoder)
            undo.pop_all()

    @classmethod
    def open(
        cls,
        root: Path,
        namespace: str,
        model: tuple[str, str] | ModelId | None = None,
        encoder: str | None = None,
        access: Access = ALONE,
    ) -> "Store":
        """Opens a namespace of a root, made where there is none, and mends its index.

        `model` is the name and the fingerprint of the model in use, or a `ModelId`, where Latents shall have its hidden
        size; `encoder` is the name of its key method: a root belongs to one model, and keys of different encoders are
        never compared. With neither, the store is open for listing: whatever takes a key is refused, Latents of any
        model are shown, and Chroma is not started.

        Raises StoreLockedError, StoreWriteError, WrongModelError, CorruptError, InputError, ConfigError where this
        process has the root open in another way, IndexUnavailableError.
        """
        folder_name(namespace)
        if (model is None) != (encoder is None):
            raise InputError(f"model={model!r} and encoder={encoder!r} belong together; pass both, or neither to list.")
        owner = model if model is None or isinstance(model, ModelId) else ModelId(*model)
        if access.read_only:
            return cls._to_read(Path(root), namespace, owner, encoder)
        shared = Root.open(Path(root), access)
        with ExitStack() as undo:
            undo.callback(shared.release)
            folder = shared.path / folder_name(namespace)
            make_folder(folder)
            with shared.exclusive(folder):
                if owner:
                    shared.claim(owner)
                store = cls(shared, namespace, owner, encoder, access.keep_text)
            undo.pop_all()
        return store

    @staticmethod
    def _to_read(path: Path, namespace: str, owner: ModelId | None, encoder: str | None) -> "Store":
        from latent_memory_plugin.store.reader import ReadOnlyStore

        root = Root.to_read(path)
        if owner:
            root.check(owner)
        return ReadOnlyStore(root, namespace, owner, encoder)

    @property
    def mended(self) -> tuple[str, ...]:
        """What the opening, and later failures of the index, found unfinished or broken and put right, one sentence
        each; all of it was logged as well."""
        indexes = self._indexes or ()
        return (*self._files.mended, *(sentence for index in indexes for sentence in index.mended))

    def _release(self) -> None:
        self._database.close()

    def _opened_indexes(self, encoder: str) -> tuple[Index, Index]:
        latents, episodes = self._index("latents", encoder), self._index("episodes", encoder)
        latents.refresh()  # where Chroma had to be emptied for the other one
        return latents, episodes

    def _index(self, kind: str, encoder: str) -> Index:
        truth: Truth = UsableLatents(self._files, self._standings) if kind == "latents" else self._journal
        name = collection_name(self._folder.name, kind, encoder)
        return Index(self._root.chroma, name, truth, encoder, lambda: self._root.exclusive(self._folder))
