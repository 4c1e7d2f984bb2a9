"""The only door to the disk: Latent files, the journal of episodes and standings, the index over their keys, the lock.

The files and the journal are the truth. The Chroma index is derived from them and is rebuilt whenever it is missing,
stale or broken. Chroma is imported with the first search, not before. `docs/file-format.md` has the layout.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latent_memory_plugin.store.store import ModelId, Store, namespaces

__all__ = ["ModelId", "Store", "namespaces"]


def __getattr__(name: str) -> Any:
    """A name on first use: whoever needs the protocol or the access alone loads neither numpy nor a database."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from latent_memory_plugin.store import store

    return getattr(store, name)
