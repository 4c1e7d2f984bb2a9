"""What the killed processes write. Everything follows from a number or an id, so a reader knows how it must look."""

import numpy as np

from latent_memory_plugin.config import (
    Config,
    DistilConfig,
    LifeConfig,
    NeighbourConfig,
    TrialConfig,
    VoteConfig,
)
from latent_memory_plugin.records import Episode, Latent, Problem, Rollout, Standing, Trial, Use, Vote
from latent_memory_plugin.testing import FIRST, SECOND, FakeModel

MODEL = ("fake", "f" * 64)
"""Name and fingerprint of the model the roots belong to."""
ENCODER = "direction of a number"
"""Name of the method that makes the keys of the plain rounds."""
KEY_SIZE = 64
SHAPE = (4, 32)
"""P and H of the Latents of the plain rounds."""
PLAIN, LEARNT = "plain", "learnt"
"""The namespaces: written through the store, and through the whole of learning."""
LEARNT_STATE = "learnt"
SUSPENDED_EVERY, REMOVED_EVERY = 3, 4
"""Every so many Latents are suspended, or removed, after they are put."""

TOPICS = 8
_VOTE = Vote(answer="12", share=0.75, entropy=0.56, counts=(("12", 3), (None, 1)))
_TRIAL = Trial(
    episode_ids=("a", "b", "c"), agreement_before=0.4, agreement_after=0.8, answers=24, passed=True, reason="0.4 → 0.8"
)
_QUESTIONS = [f"topic {topic}: {number}" for topic in range(TOPICS) for number in range(40)]

CONFIG = Config(
    vote=VoteConfig(rollouts=8, max_rollouts=16, confidence=0.9, max_share=0.95),
    distil=DistilConfig(steps=5, learning_rate=0.2, patience=5),
    trial=TrialConfig(min_episodes=2, max_episodes=4, answers=8, confidence=0.6, min_gain=0.0),
    life=LifeConfig(min_uses=2, confidence=0.9),
    neighbours=NeighbourConfig(min_parents=2, max_parents=3, growth=1.5),
)
"""Learning that is real and takes hundredths of a second."""


def model() -> FakeModel:
    """The model of the learning rounds."""
    return FakeModel(dict.fromkeys(_QUESTIONS, ("12", "7")), bias=0.3)


def question(number: int) -> str:
    """A question of the learning rounds; topics alternate."""
    return _QUESTIONS[number * 41 % len(_QUESTIONS)]


def rollouts() -> list[Rollout]:
    """What the agent of the learning rounds has seen of a question: mostly the first answer."""
    drawn = [("12", FIRST)] * 6 + [("7", SECOND)] * 2
    return [Rollout(text=f"#### {answer}", answer=answer, token_ids=(token,)) for answer, token in drawn]


def episode(number: int) -> Episode:
    """A pending episode of the plain rounds."""
    return Episode(problem=Problem(question=f"question {number}"))


def settled(one: Episode) -> Episode:
    """The same after its update; the reason is the question, so that half an update shows."""
    return one.model_copy(update={"state": LEARNT_STATE, "reason": one.question, "vote": _VOTE})


def latent(number: int) -> Latent:
    """A Latent of the plain rounds; its seed says which tensor it must hold."""
    return Latent(
        namespace=PLAIN,
        shapes={"latent": SHAPE},
        model=MODEL[0],
        fingerprint=MODEL[1],
        encoder=ENCODER,
        problem_hash=Problem(question=f"question {number}").hash,
        vote=_VOTE,
        trial=_TRIAL,
        parents=("a",),
        objective="imitate",
        seed=number,
        version="0",
    )


def tensor(number: int) -> np.ndarray:
    """(P, H) float32."""
    return np.random.default_rng(number).normal(size=SHAPE).astype(np.float32)


def key(number: int) -> np.ndarray:
    """A direction (D,) float32."""
    drawn = np.random.default_rng([1, number]).normal(size=KEY_SIZE)  # (D,)
    return (drawn / np.linalg.norm(drawn)).astype(np.float32)


def uses(latent_id: str) -> list[Use]:
    """Two uses that are recorded by one call."""
    return [
        Use(answer_id=f"{turn} {latent_id}", latent_id=latent_id, problem_hash="0" * 64, answer="12")
        for turn in ("first", "second")
    ]


def standing(latent_id: str, state: str) -> Standing:
    """A standing in this state."""
    return Standing.model_validate({"latent_id": latent_id, "state": state})
