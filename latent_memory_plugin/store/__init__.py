"""The only door to the disk: Latent files, the journal of episodes and standings, the index over their keys, the lock.

The files and the journal are the truth. The Chroma index is derived from them and is rebuilt whenever it is missing,
stale or broken. Chroma is imported when the first index is opened, not before. `docs/file-format.md` has the layout.
"""

from latent_memory_plugin.store.store import Store

__all__ = ["Store"]
