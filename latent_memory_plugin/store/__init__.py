"""The only door to the disk: Latent files, the journal of episodes and standings, the index over their keys, the lock.

The files and the journal are the truth. The Chroma index is derived from them and is rebuilt whenever it is missing,
stale or broken. Chroma is imported when the first index is opened, not before. `docs/file-format.md` has the layout.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latent_memory_plugin.store.store import Store

__all__ = ["Store"]


def __getattr__(name: str) -> Any:
    """The store, on first use: whoever needs its protocol or its access alone loads neither numpy nor a database."""
    if name != "Store":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from latent_memory_plugin.store.store import Store

    return Store
