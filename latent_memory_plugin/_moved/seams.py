"""Moved to `latent_memory_plugin.engines.base`."""

from latent_memory_plugin._moved import forward

__getattr__ = forward(__name__, "latent_memory_plugin.engines.base")
