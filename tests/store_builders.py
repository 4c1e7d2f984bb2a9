"""Records, keys and tensors for the tests of the store."""

from typing import Any

import numpy as np

from latent_memory_plugin.records import Episode, Latent, Problem, Trial, Vote

MODEL = ("tiny", "f" * 64)
ENCODER = "mean of last layer"
VOTE = Vote(answer="12", share=0.75, entropy=0.56, counts=(("12", 3), (None, 1)))
TRIAL = Trial(
    episode_ids=("a", "b", "c"), agreement_before=0.4, agreement_after=0.8, answers=24, passed=True, reason="0.4 → 0.8"
)


def latent(**changes: Any) -> Latent:
    fields: dict[str, Any] = {
        "namespace": "default",
        "shape": (3, 4),
        "model": MODEL[0],
        "fingerprint": MODEL[1],
        "encoder": ENCODER,
        "problem_hash": "0" * 64,
        "vote": VOTE,
        "trial": TRIAL,
        "parents": ("a",),
        "objective": "imitate",
        "seed": 7,
        "version": "0.1.0",
    }
    return Latent(**(fields | changes))


def episode(question: str = "How many posts does a fence of 10 m need?", **changes: Any) -> Episode:
    return Episode(problem=Problem(question=question), **changes)


def key(angle: float = 0.0, size: int = 8) -> np.ndarray:
    """A unit vector (D,) at this angle, in radians, from the first axis."""
    vector = np.zeros(size, np.float32)
    vector[0], vector[1] = np.cos(angle), np.sin(angle)
    return vector


def tensor(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(3, 4)).astype(np.float32)
