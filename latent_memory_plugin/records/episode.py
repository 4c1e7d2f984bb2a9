"""Before anything is learnt: `Problem`, `Rollout`, `Vote`, `Episode`."""

import math
import time
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import Field, field_validator

from latent_memory_plugin.errors import InputError
from latent_memory_plugin.frozen import Frozen, encodable
from latent_memory_plugin.records.base import Share, new_id, question_hash

MAX_QUESTION_CHARACTERS = 65_536
NOT_KEPT = "(text not kept)"
"""Stands for a question whose text was not kept."""

EXACT_THROWS = 1000
"""Up to so many rollouts a probability is a sum of whole numbers; above, of floats."""
LN_2 = math.log(2)

EpisodeState = Literal["pending", "learnt", "refused", "failed"]


@lru_cache(maxsize=4096)
def lead_probability(ahead: int, behind: int) -> float:
    """P(p > 1/2) for p ~ Beta(ahead + 1, behind + 1): the chance that the leader of a count of two really leads."""
    throws = ahead + behind + 1
    if throws <= EXACT_THROWS:
        return sum(math.comb(throws, heads) for heads in range(ahead + 1)) / 2**throws
    # The same sum from its largest term downwards, of the shorter tail; a term is the one before times a ratio below 1.
    heads = min(ahead, behind)
    term = math.exp(math.lgamma(throws + 1) - math.lgamma(heads + 1) - math.lgamma(throws - heads + 1) - throws * LN_2)
    tail = 0.0
    while heads >= 0 and term > tail * 1e-18:
        tail += term
        term *= heads / (throws - heads + 1)
        heads -= 1
    return tail if ahead < behind else 1 - tail


class Problem(Frozen):
    """One question to the model."""

    question: str
    """The text as the user wrote it, without surrounding white space; 1 to 65,536 characters. `NOT_KEPT` where only
    its hash was kept."""
    kept_hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """SHA-256 of a question whose text was not kept; None where `question` is the text."""

    @field_validator("question")
    @classmethod
    def _usable(cls, question: str) -> str:
        stripped = question.strip()
        if not stripped:
            raise InputError(f"The question {question!r} is empty; pass the text of the problem.")
        if len(stripped) > MAX_QUESTION_CHARACTERS:
            raise InputError(
                f"The question starting {stripped[:40]!r} has {len(stripped):,} characters, more than "
                f"{MAX_QUESTION_CHARACTERS:,}; shorten it or split it into several questions."
            )
        return encodable(stripped)

    @property
    def hash(self) -> str:
        """SHA-256 of the question, 64 hexadecimal digits."""
        return self.kept_hash or question_hash(self.question)

    @property
    def has_text(self) -> bool:
        """False where only the hash of the question was kept: such a problem can be recognised, not learnt from."""
        return self.kept_hash is None


class Rollout(Frozen):
    """One sampled completion of a problem."""

    text: str
    """The completion as text, special tokens and any stop string left out."""
    answer: str | None = None
    """The extracted answer; None where the text holds none."""
    token_ids: tuple[int, ...] = ()
    """The sampled token ids with the end token where one was sampled; empty where the text came from elsewhere."""
    finished: bool = True
    """True where the model ended by itself or met a stop string; False where it ran out of tokens, or where only an
    answer is known and not how it was reached. Unfinished rollouts vote but are never imitated."""
    reward: Share | None = None
    """What an external reward gave it, 0 to 1; None where there is none."""

    @field_validator("text")
    @classmethod
    def _storable(cls, text: str) -> str:
        return encodable(text)


class Vote(Frozen):
    """What the rollouts of one problem agree on. Equal answers are merged before counting."""

    answer: str | None
    """The winning answer, in the spelling that occurs most; None where no rollout had an answer."""
    share: Share
    """Rollouts with the winning answer divided by all rollouts, those without an answer included."""
    entropy: Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
    """Shannon entropy of the answer counts in nats; rollouts without an answer count as one more answer."""
    counts: tuple[tuple[str | None, int], ...]
    """Each distinct answer and its number of rollouts, most first; None stands for no answer."""
    tied: bool = False
    """True where another answer has as many rollouts as the winner."""
    confirmed: bool = False
    """True where an external reward vouches for the winner."""

    @property
    def total(self) -> int:
        """Number of rollouts."""
        return sum(count for _, count in self.counts)

    @property
    def confidence(self) -> float:
        """Probability, 0 to 1, that the winner is the model's likeliest answer and not the runner-up.

        The posterior of a fair start (Beta(1, 1) over the share of the two) after their counts; 1 where the vote is
        confirmed, 0 where no rollout has an answer.
        """
        named = [count for answer, count in self.counts if answer is not None]
        if not named:
            return 0.0
        return 1.0 if self.confirmed else lead_probability(named[0], named[1] if len(named) > 1 else 0)

    @property
    def trust(self) -> float:
        """Weight of this vote as evidence, 0 to 1: the odds it wins over a coin, 2 · confidence - 1."""
        return max(0.0, 2 * self.confidence - 1)


class Episode(Frozen):
    """One problem the model has spent compute on, as the journal keeps it."""

    id: str = Field(default_factory=new_id)
    """32 hexadecimal digits."""
    problem: Problem
    """What was asked."""
    rollouts: tuple[Rollout, ...] = ()
    """The completions seen, in the order they were sampled; empty where none were kept yet."""
    vote: Vote | None = None
    """What the rollouts agree on; None until a vote was taken."""
    state: EpisodeState = "pending"
    """`pending` until something is known, then `learnt`, `refused` or `failed`."""
    reason: str = ""
    """Why it is in this state, in words."""
    attempt: str | None = None
    """Id of the attempt at a Latent that settled it; None where none did."""
    created: float = Field(default_factory=time.time)
    """Unix time in seconds."""

    @property
    def question(self) -> str:
        """The text of the problem."""
        return self.problem.question


class Neighbour(Frozen):
    """An episode as one of many around a key: what ranks it, without its texts and rollouts."""

    id: str
    """Of the episode."""
    problem_hash: str
    """SHA-256 of its question."""
    has_text: bool
    """False where only the hash of the question was kept."""
    vote: Vote | None
    """What its rollouts agree on."""
    state: EpisodeState
    """As the journal has it."""
    attempt: str | None
    """Id of the attempt that settled it."""
    similarity: Annotated[float, Field(ge=-1.0, le=1.0)]
    """Cosine similarity of its key to the key that was asked for."""
