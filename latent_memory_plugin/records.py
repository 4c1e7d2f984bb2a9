"""The records that travel along the one-way street, frozen and validated.

    Problem → Rollout* → Vote → Latent → Trial → store      (learning)
    Problem → key → Hit → Answer                            (using)

A stage takes records and returns new ones; a field never changes its meaning. Tensors are not part of a
record: they live beside it, in the store.
"""

import hashlib
import math
import time
import uuid
from typing import Annotated, Literal

from pydantic import Field, field_validator

from latent_memory_plugin.errors import InputError
from latent_memory_plugin.frozen import Frozen, encodable

MAX_QUESTION_CHARACTERS = 65_536

EpisodeState = Literal["pending", "learnt", "refused", "failed"]
OutcomeStatus = Literal["live", "probation", "waiting", "refused", "skipped", "failed"]
LatentState = Literal["candidate", "probation", "live", "suspended", "superseded", "retired"]
USABLE: tuple[LatentState, ...] = ("live", "probation")
"""The states in which a Latent is read."""
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]


def new_id() -> str:
    """A fresh identifier: 32 hexadecimal digits."""
    return uuid.uuid4().hex


def lead_probability(ahead: int, behind: int) -> float:
    """P(p > 1/2) for p ~ Beta(ahead + 1, behind + 1): the chance that the leader of a count of two really leads."""
    throws = ahead + behind + 1
    return sum(math.comb(throws, heads) for heads in range(ahead + 1)) / 2**throws


def question_hash(question: str) -> str:
    """SHA-256 of a question without surrounding white space, 64 hexadecimal digits."""
    return hashlib.sha256(question.strip().encode()).hexdigest()


class Problem(Frozen):
    """One question to the model."""

    question: str
    """The text as the user wrote it, without surrounding white space; 1 to 65,536 characters."""

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
        return question_hash(self.question)


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
    entropy: Annotated[float, Field(ge=0.0)]
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
    created: float = Field(default_factory=time.time)
    """Unix time in seconds."""

    @property
    def question(self) -> str:
        """The text of the problem."""
        return self.problem.question


class Trial(Frozen):
    """The examination of a candidate Latent on other episodes of its neighbourhood."""

    episode_ids: tuple[str, ...]
    """The episodes it was examined on, none of which it learnt from."""
    agreement_before: Share
    """Share of answers without the candidate that agree with the votes, weighted by the votes' trust."""
    agreement_after: Share
    """The same with the candidate."""
    answers: Count
    """Number of answers sampled with the candidate."""
    passed: bool
    """True where the candidate may live."""
    reason: str
    """Why it passed or not, in words."""
    least_gain: Annotated[float, Field(ge=-1.0, le=1.0)] | None = None
    """Lower end of the one-sided confidence interval of the gain, -1 to 1; None where no test was made."""
    nearby_ids: tuple[str, ...] = ()
    """Episodes of nearby neighbourhoods that would read the candidate, examined for harm."""
    nearby_change: Annotated[float, Field(ge=-1.0, le=1.0)] | None = None
    """Change of the agreement there, -1 to 1; None where there were none."""

    @property
    def gain(self) -> float:
        """Agreement after minus agreement before, -1 to 1."""
        return self.agreement_after - self.agreement_before


class Latent(Frozen):
    """The record of one stored Latent. Its tensors `latent` (P, H) and `key` (D,), float32, lie beside it."""

    id: str = Field(default_factory=new_id, pattern=r"^[0-9a-f]{32}$")
    """32 hexadecimal digits; also the name of its file."""
    namespace: str
    """The namespace it was learnt in."""
    form: Literal["soft_prompt"] = "soft_prompt"
    """How the tensor enters the model."""
    shape: tuple[int, int]
    """Latent tokens P and hidden size H."""
    dtype: Literal["float32"] = "float32"
    """Number format of the stored tensors."""
    model: str
    """Name of the model it belongs to."""
    fingerprint: str
    """Fingerprint of that model; a Latent is never used with another."""
    encoder: str
    """Name of the method that made the key."""
    problem_hash: str
    """SHA-256 of the first parent's question, where learning started from."""
    vote: Vote
    """The vote of that parent."""
    trial: Trial
    """The examination that let it live."""
    parents: tuple[str, ...]
    """Ids of the episodes it was learnt from, the most trusted first."""
    objective: str
    """Name of the distillation objective."""
    seed: int
    """Seed of the attempt."""
    version: str
    """Version of this library that wrote it."""
    previous: str | None = None
    """Id of the Latent it took the place of; None for the first of its neighbourhood."""
    created: float = Field(default_factory=time.time)
    """Unix time in seconds."""


class Standing(Frozen):
    """What a stored Latent may do now. The Latent's file never changes; this does, in the journal."""

    latent_id: str
    """The Latent."""
    state: LatentState = "live"
    """`candidate`: waits for its trial, is not read. `probation`: is read where the answer without it agrees or a
    verifier prefers it. `live`: is read. `suspended`: lost to the plain model, is not read. `superseded`: a newer
    version is read. `retired`: never read again."""
    reason: str = ""
    """Why, in words."""
    since: float = Field(default_factory=time.time)
    """Unix time in seconds."""


class Use(Frozen):
    """One answer that read a Latent, and what became of it."""

    answer_id: str
    """Id of the `Answer`."""
    latent_id: str
    """The Latent it read."""
    problem_hash: str
    """SHA-256 of the question."""
    answer: str | None
    """The answer given."""
    correct: bool | None = None
    """Whether it agreed with the later vote, or was right by feedback; None while nothing is known."""
    expected: Share | None = None
    """Chance of the plain model to be right there: the later vote's share; None where no vote was taken."""
    source: Literal["vote", "feedback"] | None = None
    """Who judged it; feedback overrules a vote."""
    created: float = Field(default_factory=time.time)
    """Unix time in seconds."""


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
