"""Retrieval: a key → the Latent to use, or why there is none."""

from typing import TYPE_CHECKING, Literal

from latent_memory_plugin.config import RetrieveConfig
from latent_memory_plugin.records import Hit
from latent_memory_plugin.store.base import AnyStore

if TYPE_CHECKING:
    import numpy as np


def retrieve(
    store: AnyStore,
    key: "np.ndarray",
    config: RetrieveConfig,
    mode: Literal["always", "threshold", "agree"] = "threshold",
) -> Hit:
    """The usable Latent whose key is nearest to `key` (D,), where it is near enough; with `always`, however far it is.

    The store is one model's namespace, and finds live Latents and those on probation.
    """
    nearest = store.nearest(key, limit=1)
    if not nearest:
        return Hit(latent_id=None, similarity=None, reason="No Latent is stored yet.")
    latent_id, similarity = nearest[0]
    if mode != "always" and similarity < config.threshold:
        reason = f"The nearest Latent's similarity is {similarity:.2f}, below the threshold of {config.threshold:.2f}."
        return Hit(latent_id=None, similarity=similarity, reason=reason)
    reason = f"Latent {latent_id} with a similarity of {similarity:.2f}."
    return Hit(latent_id=latent_id, similarity=similarity, reason=reason)


def covering(store: AnyStore, key: "np.ndarray", config: RetrieveConfig) -> Hit:
    """The live Latent that is read for this key (D,), so that nothing is left to learn there; one on probation still
    waits for witnesses."""
    hit = retrieve(store, key, config)
    if hit.latent_id is None or store.standing(hit.latent_id).state == "live":
        return hit
    return Hit(latent_id=None, similarity=hit.similarity, reason=f"{hit.reason} It is on probation.")
