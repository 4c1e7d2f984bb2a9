"""What comes back: `Hit`, `Usage`, `Answer`, `Outcome`."""

from typing import Annotated, Literal

from pydantic import Field

from latent_memory_plugin.frozen import Frozen
from latent_memory_plugin.records.base import Count, new_id
from latent_memory_plugin.records.episode import Rollout, Vote
from latent_memory_plugin.records.latent import Trial

OutcomeStatus = Literal["live", "probation", "waiting", "refused", "skipped", "failed"]


class Hit(Frozen):
    """The answer of retrieval: a Latent for a key, or why there is none."""

    latent_id: str | None
    """Id of the Latent to use; None where none applies."""
    similarity: float | None
    """Cosine similarity of the nearest key, -1 to 1; None where nothing is stored."""
    reason: str
    """Why this Latent, or why none, in words."""


class Usage(Frozen):
    """Tokens one answer took, summed over its rollouts."""

    prompt_tokens: Count
    """Tokens of the templated prompt, counted once: all rollouts share one prefill."""
    latent_tokens: Count
    """Latent vectors read before the prompt."""
    completion_tokens: Count
    """Tokens sampled."""


class Answer(Frozen):
    """What `LatentMemory.ask` returns."""

    id: str = Field(default_factory=new_id)
    """32 hexadecimal digits; `feedback` knows the answer by it."""
    question: str
    """The question asked."""
    text: str
    """The completion; with several rollouts, the first that gave the vote's answer."""
    answer: str | None
    """The answer extracted from it; None where the text holds none."""
    latent_ids: tuple[str, ...]
    """The Latents the model read; empty where none applied or memory is off."""
    similarity: float | None
    """Cosine similarity of the question to the nearest Latent's key, -1 to 1; None where none was looked up."""
    reason: str
    """Which Latent was read, or why none, in words."""
    usage: Usage
    """Tokens it took."""
    rollouts: tuple[Rollout, ...]
    """Every completion sampled, `n` of them."""
    seed: int
    """Seed the sampling used: the same seed gives the same answer."""


class Outcome(Frozen):
    """What `LatentMemory.learn` made of one question."""

    question: str
    """The question learnt from."""
    status: OutcomeStatus
    """`live`: a Latent passed its trial; `probation`: one is read with care until its trial is possible; `waiting`: too
    few near episodes yet; `refused`: the vote or the candidate was not good enough; `skipped`: nothing to learn, or a
    live Latent covers the question already; `failed`: the attempt broke off."""
    reason: str
    """Why, in words."""
    episode_id: str | None = None
    """The journal's id of the episode; None where none was recorded because a live Latent covers the question."""
    vote: Vote | None = None
    """What the rollouts agreed on."""
    latent_id: str | None = None
    """The Latent that went live or covers the question."""
    trial: Trial | None = None
    """The examination of the candidate, where there was one."""
    seconds: Annotated[float, Field(ge=0.0)] = 0.0
    """Wall time of the attempt, sampling left out."""
