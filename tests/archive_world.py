"""What the tests of archives share: a filled namespace, and all that it holds as one value."""

from typing import Any

from store_builders import VOTE, episode, key, latent, near, tensor, use

from latent_memory_plugin.records import Rollout, Standing
from latent_memory_plugin.store import Store


def fill(store: Store) -> list[str]:
    """Three Latents of each standing, two episodes, three uses."""
    rollouts = (Rollout(text="ten metres: #### 12", answer="12", token_ids=(4, 5)),)
    store.commit(episode("asked", vote=VOTE, rollouts=rollouts), key())
    store.commit(episode("pending"), key(1.0))
    ids: list[str] = []
    for number, state in enumerate(("live", "probation", "suspended")):
        store.put(one := latent(namespace=store.namespace, created=float(number)), tensor(number), key(0.3 * number))
        if state != "live":
            store.stand(Standing.model_validate({"latent_id": one.id, "state": state, "reason": "why"}))
        store.record_uses([use(f"answer {number}", one.id, correct=bool(number))])
        ids.append(one.id)
    return ids


def content(store: Store) -> dict[str, Any]:
    """All that a namespace holds, but for its name."""
    latents = list(store.latents())
    assert {one.namespace for one in latents} <= {store.namespace}
    return {
        "latents": [one.model_copy(update={"namespace": ""}) for one in latents],
        "tensors": [store.tensors(one.id)["latent"].tolist() for one in latents],
        "standings": [store.standing(one.id) for one in latents],
        "uses": store.uses(),
        "episodes": [(one, store.episode_key(one.id).tolist()) for one in store.episodes()],
        "found": [one for one, _ in store.nearest(key(), 9)] if store.encoder else None,
        "near": [one.id for one, _ in near(store, key(), 9)] if store.encoder else None,
    }
