"""The records that travel along the one-way street, frozen and validated.

    Problem → Rollout* → Vote → Latent → Trial → store      (learning)
    Problem → key → Hit → Answer                            (using)

A stage takes records and returns new ones; a field never changes its meaning. Tensors are not part of a
record: they live beside it, in the store.
"""

from latent_memory_plugin._moved import forward
from latent_memory_plugin.records.answer import Answer, Hit, Outcome, OutcomeStatus, Usage
from latent_memory_plugin.records.base import Count, Share, new_id, of_look, question_hash
from latent_memory_plugin.records.chat import Choice, Dialogue, Reference, Reply, ToolCall
from latent_memory_plugin.records.episode import (
    MAX_QUESTION_CHARACTERS,
    NOT_KEPT,
    Episode,
    EpisodeState,
    Neighbour,
    Problem,
    Rollout,
    Vote,
    lead_probability,
)
from latent_memory_plugin.records.latent import (
    USABLE,
    Evicted,
    Holding,
    Latent,
    LatentState,
    Standing,
    Trial,
    Use,
)
from latent_memory_plugin.records.worker import Queued, WorkerState, WorkerStatus

__all__ = [
    "MAX_QUESTION_CHARACTERS",
    "NOT_KEPT",
    "USABLE",
    "Answer",
    "Choice",
    "Count",
    "Dialogue",
    "Episode",
    "EpisodeState",
    "Evicted",
    "Hit",
    "Holding",
    "Latent",
    "LatentState",
    "Neighbour",
    "Outcome",
    "OutcomeStatus",
    "Problem",
    "Queued",
    "Reference",
    "Reply",
    "Rollout",
    "Share",
    "Standing",
    "ToolCall",
    "Trial",
    "Usage",
    "Use",
    "Vote",
    "WorkerState",
    "WorkerStatus",
    "lead_probability",
    "new_id",
    "of_look",
    "question_hash",
]

__getattr__ = forward(__name__, "latent_memory_plugin.learning.work", "Candidate")
