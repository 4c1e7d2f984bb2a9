"""Question → key."""

from latent_memory_plugin.keys.encoder import Embedding, Encoder, make_encoder

__all__ = ["Embedding", "Encoder", "make_encoder"]
