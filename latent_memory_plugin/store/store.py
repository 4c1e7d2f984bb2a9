"""`Store`: one namespace of a root. The truth is written first, the index after it; opening mends what lies between.

A Latent is in the index where its file is there and its standing lets it be read.

"""

import hashlib
from contextlib import ExitStack
from pathlib import Path

from typing_extensions import Self

from latent_memory_plugin.errors import InputError
from latent_memory_plugin.store.database import Database
from latent_memory_plugin.store.episodes import Episodes
from latent_memory_plugin.store.files import LatentFiles
from latent_memory_plugin.store.index import Index, Truth
from latent_memory_plugin.store.journal import Journal
from latent_memory_plugin.store.latents import Latents
from latent_memory_plugin.store.root import ModelId, Root, folder_name
from latent_memory_plugin.store.standings import Standings, UsableLatents


class Store(Episodes, Latents):
    """Episodes and Latents of one namespace. Safe in threads; several stores of one root in one process share its lock.

    Made by `open`. What a call has written when it returns survives a kill and a power cut. Every use after `close`
    raises StoreError.
    """

    def __init__(self, root: Root, namespace: str, model: ModelId | None, encoder: str | None) -> None:
        super().__init__(root, namespace)
        self.encoder = encoder
        folder = root.path / folder_name(namespace)
        self._files = LatentFiles(folder / "latents", namespace, model)
        self._database = Database(folder / "journal.sqlite", namespace)
        self._journal, self._standings = Journal(self._database), Standings(self._database)
        with ExitStack() as undo:
            undo.callback(self._database.close)
            self._indexes = (
                None if encoder is None else (self._index("latents", encoder), self._index("episodes", encoder))
            )
            undo.pop_all()

    @classmethod
    def open(cls, root: Path, namespace: str, model: tuple[str, str] | None = None, encoder: str | None = None) -> Self:
        """Opens a namespace of a root, made where there is none, and mends its index.

        `model` is the name and the fingerprint of the model in use, `encoder` the name of its key method: a root
        belongs to one model, and keys of different encoders are never compared. With neither, the store is open for
        listing: whatever takes a key is refused, Latents of any model are shown, and Chroma is not started.

        Raises StoreLockedError, StoreWriteError, WrongModelError, CorruptError, InputError.
        """
        folder_name(namespace)
        if (model is None) != (encoder is None):
            raise InputError(f"model={model!r} and encoder={encoder!r} belong together; pass both, or neither to list.")
        shared = Root.open(Path(root))
        with ExitStack() as undo:
            undo.callback(shared.release)
            with shared.guard:
                owner = None if model is None else ModelId(*model)
                if owner:
                    shared.claim(owner)
                store = cls(shared, namespace, owner, encoder)
            undo.pop_all()
        return store

    def _release(self) -> None:
        self._database.close()

    def _index(self, kind: str, encoder: str) -> Index:
        truth: Truth = UsableLatents(self._files, self._standings) if kind == "latents" else self._journal
        digest = hashlib.sha256(encoder.encode()).hexdigest()[:8]
        return Index(self._root.chroma, f"{folder_name(self.namespace)}.{kind}.{digest}", truth, encoder)
