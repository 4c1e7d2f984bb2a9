"""What a memory keeps, and what its owner may do with it: the half of `LatentMemory` that needs no model to be run."""

from abc import ABC, abstractmethod
from collections.abc import Iterator

from latent_memory_plugin.config import Config
from latent_memory_plugin.life import Life
from latent_memory_plugin.records import USABLE, Latent, Standing
from latent_memory_plugin.shared import Opened


class Keeping(ABC):
    """The stored Latents of one namespace."""

    config: Config
    """All settings."""

    @property
    @abstractmethod
    def opened(self) -> Opened:
        """The loaded model and the open store, for extensions of this library."""

    def latents(self) -> Iterator[Latent]:
        """The Latents that are read, live or on probation, oldest first; `standing` tells which."""
        store = self.opened.store
        return (latent for latent in store.latents() if store.standing(latent.id).state in USABLE)

    def standing(self, latent_id: str) -> Standing:
        """What a Latent may do now, and why. Raises `NotFoundError`."""
        return self.opened.store.standing(latent_id)

    def roll_back(self, latent_id: str) -> Standing:
        """Takes a Latent back in favour of its last version that passed a trial. Raises `NotFoundError`."""
        opened = self.opened
        with opened.learning:
            return Life(opened.store, self.config.life).roll_back(latent_id, "Taken back by hand.")

    def latent(self, latent_id: str) -> Latent:
        """One Latent's record. Raises `NotFoundError`."""
        return self.opened.store.latent(latent_id)

    def forget(self, latent_id: str) -> None:
        """Deletes a Latent. Raises `NotFoundError`."""
        self.opened.store.remove(latent_id)
