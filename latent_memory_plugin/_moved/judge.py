"""Moved to `latent_memory_plugin.answers.judge`."""

from latent_memory_plugin._moved import forward

__getattr__ = forward(__name__, "latent_memory_plugin.answers.judge")
