"""The registry: a candidate and its trial → a stored Latent with a standing; what it replaces is kept."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from latent_memory_plugin import __version__
from latent_memory_plugin.engines.base import Model
from latent_memory_plugin.errors import InputError
from latent_memory_plugin.learning.neighbourhood import Neighbourhood
from latent_memory_plugin.records import Episode, Latent, LatentState, Standing, Trial, new_id
from latent_memory_plugin.store.base import AnyStore


@dataclass(frozen=True)
class Registry:
    """Writes the Latents of one namespace."""

    model: Model
    """The model they belong to."""
    store: AnyStore
    """The namespace's store."""
    encoder: str
    """Name of the method that makes the keys."""
    namespace: str
    """Its name."""
    objective: str
    """How they are trained."""

    def record(
        self, around: Neighbourhood, tensor: Tensor, verdict: Trial, seed: int, current: Latent | None = None
    ) -> Latent:
        """The record of a candidate (P, H) that may take the place of the current Latent; one without parents is the
        current Latent itself after its trial."""
        if not around.parents and current is not None:
            made = {"id": new_id(), "trial": verdict, "version": __version__, "created": time.time()}
            return current.model_copy(update=made | {"previous": current.id})
        first = around.parents[0]
        if first.vote is None:
            raise InputError(f"Episode {first.id!r} has no vote; only episodes with one can be learnt from.")
        return Latent(
            namespace=self.namespace,
            shape=(tensor.shape[0], tensor.shape[1]),
            model=self.model.name,
            fingerprint=self.model.fingerprint,
            encoder=self.encoder,
            problem_hash=first.problem.hash,
            vote=first.vote,
            trial=verdict,
            parents=tuple(parent.id for parent in around.parents),
            objective=self.objective,
            seed=seed,
            version=__version__,
            previous=None if current is None else current.id,
        )

    def admit(self, latent: Latent, tensor: Tensor, state: LatentState, around: Neighbourhood) -> None:
        """Stores a Latent (P, H) with its standing; its previous version is superseded and kept for rollback.

        The standing comes first and the predecessor goes last: a process killed in between leaves a Latent with the
        standing it was given, or both versions live, never none.
        """
        self.stand(latent.id, state, latent.trial.reason, around)
        self.store.put(latent, array(tensor), self.centre(around.parents, latent.previous))
        if latent.previous is not None:
            self.stand(latent.previous, "superseded", f"By {latent.id}.", around)

    def stand(self, latent_id: str, state: LatentState, reason: str, around: Neighbourhood) -> None:
        """Journals what a Latent may do now."""
        self.store.stand(Standing(latent_id=latent_id, state=state, reason=reason, known=len(around.known)))

    def centre(self, parents: Sequence[Episode], current: str | None = None) -> np.ndarray:
        """The key of a Latent, (D,): the mean direction of its parents' keys; without parents that of the current
        one."""
        if not parents and current is not None:
            return self.store.latent_key(current)
        mean = np.stack([self.store.episode_key(parent.id) for parent in parents]).mean(axis=0)  # (D,)
        return mean / np.linalg.norm(mean)


def array(tensor: Tensor) -> np.ndarray:
    """A Latent (P, H) as it is stored, float32 on the CPU."""
    return tensor.detach().to("cpu", torch.float32).numpy()  # (P, H)
