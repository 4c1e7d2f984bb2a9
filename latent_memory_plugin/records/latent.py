"""What was learnt: `Trial`, `Latent`, and its life after that: `Standing`, `Use`.

Legend: P latent tokens, H hidden size, D key size.
"""

import time
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast

from pydantic import Field, model_validator

from latent_memory_plugin.frozen import Frozen
from latent_memory_plugin.records.base import Count, Share, new_id
from latent_memory_plugin.records.episode import Vote

Size = Annotated[int, Field(ge=1)]
Time = Annotated[float, Field(ge=0.0, le=1e11)]

LatentState = Literal["probation", "live", "suspended", "superseded", "retired"]
USABLE: tuple[LatentState, ...] = ("live", "probation")
"""The states in which a Latent is read."""


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

    @classmethod
    def untried(cls, reason: str) -> "Trial":
        """The record of a trial that was not held, and why."""
        return cls(episode_ids=(), agreement_before=0.0, agreement_after=0.0, answers=0, passed=False, reason=reason)


class Latent(Frozen):
    """The record of one stored Latent. Its tensors and its key (D,), float32, lie beside it."""

    id: str = Field(default_factory=new_id, pattern=r"^[0-9a-f]{32}$")
    """32 hexadecimal digits; also the name of its file."""
    namespace: str
    """The namespace it was learnt in."""
    form: str = "soft_prompt"
    """How its tensors enter the model: the name of a form."""
    shapes: Annotated[dict[str, tuple[Size, ...]], Field(min_length=1)]
    """Shape of each tensor by its name; a soft prompt has one, `latent`, of shape (P, H)."""
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
    problems: tuple[str, ...] = ()
    """SHA-256 of the question of each parent; empty in files of schema 1."""
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
    created: Time = Field(default_factory=time.time)
    """Unix time in seconds."""

    @model_validator(mode="before")
    @classmethod
    def _one_tensor(cls, fields: Any) -> Any:
        """`shape=(P, H)` is that of the one tensor `latent`, as files of schema 1 have it."""
        named = dict(cast("dict[str, Any]", fields)) if isinstance(fields, dict) else {}
        if "shape" not in named:
            return cast(Any, fields)
        shape = named.pop("shape")
        return {"shapes": {"latent": shape}} | named

    @property
    def shape(self) -> tuple[int, ...]:
        """Of its first tensor: (P, H) of a soft prompt."""
        return next(iter(self.shapes.values()))

    def __hash__(self) -> int:
        return hash(self.id)


class Standing(Frozen):
    """What a stored Latent may do now. The Latent's file never changes; this does, in the journal."""

    latent_id: str
    """The Latent."""
    state: LatentState = "live"
    """`probation`: is read where the answer without it agrees or a
    verifier prefers it. `live`: is read. `suspended`: lost to the plain model, is not read. `superseded`: a newer
    version is read. `retired`: never read again."""
    reason: str = ""
    """Why, in words."""
    known: Count = 0
    """Episodes of its neighbourhood at the last attempt to better it; it is attempted anew when there are more."""
    since: Time = Field(default_factory=time.time)
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
    """The answer given with the Latent."""
    text: str | None = None
    """The completion, where an external reward has to judge it; None elsewhere."""
    returned: bool = True
    """False where the caller was given the plain model's different answer instead."""
    correct: bool | None = None
    """Whether it agreed with the later vote, or was right by feedback; None while nothing is known."""
    expected: Share | None = None
    """Chance of the plain model to be right there: the later vote's share; None where no vote was taken."""
    source: Literal["vote", "feedback"] | None = None
    """Who judged it; feedback overrules a vote."""
    created: Time = Field(default_factory=time.time)
    """Unix time in seconds."""


class Evicted(Frozen):
    """A Latent that was deleted, or would be, because its namespace held more than its budget."""

    latent_id: str
    """The Latent."""
    reason: str
    """Which bound was exceeded, and why this Latent was the one to go, in words."""
    created: float = Field(default_factory=time.time)
    """When, as a Unix time in seconds."""


@dataclass(frozen=True)
class Holding:
    """What is to be known of a stored Latent to choose which one goes."""

    latent_id: str
    """The Latent."""
    bytes: int
    """Size of its file."""
    stored: float
    """When it came into this store, learnt or imported: a Unix time in seconds."""
    state: LatentState = "live"
    """What it may do now."""
    wins: int = 0
    """Answers with it that were right."""
    losses: int = 0
    """Answers with it that were wrong."""
    last_use: float | None = None
    """When it was last read, as a Unix time in seconds; None where it never was."""
