"""Fakes behind the two seams, for tests of this library, of the adapters and of users: no download, no disk.

    model = FakeModel({"sum: 1+1": ("2", "3")})     # answers "2" or "3", evenly

`FakeModel` stands for `engines.hf.LanguageModel`, `InMemoryStore` for `store.Store`.
"""

from latent_memory_plugin.testing.model import FIRST, SECOND, FakeModel
from latent_memory_plugin.testing.store import InMemoryStore

__all__ = ["FIRST", "SECOND", "FakeModel", "InMemoryStore"]
