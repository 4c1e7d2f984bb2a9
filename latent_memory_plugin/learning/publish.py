"""Publishing: a candidate → a stored Latent with a standing, or a refusal, by compare and swap.

Where the world has moved on since the plan was made, it raises `Outdated`, and the episode is planned again.
"""

from typing import TYPE_CHECKING

from latent_memory_plugin import __version__
from latent_memory_plugin.answering.find import retrieve
from latent_memory_plugin.errors import NotFoundError
from latent_memory_plugin.learning.eviction import Budget
from latent_memory_plugin.learning.work import Arrays, Candidate, Plan, Scope, outcome_of
from latent_memory_plugin.records import (
    EpisodeState,
    Latent,
    LatentState,
    Outcome,
    OutcomeStatus,
    Problem,
    Standing,
    Trial,
    Vote,
)
from latent_memory_plugin.store.base import AnyStore

if TYPE_CHECKING:
    import numpy as np

STATE_AFTER: dict[OutcomeStatus, EpisodeState] = {
    "live": "learnt",
    "probation": "learnt",
    "skipped": "learnt",
    "waiting": "pending",
    "refused": "refused",
    "failed": "failed",
}
"""The journal's state of an episode after each outcome."""


class Outdated(Exception):
    """The store is not what it was when the plan was made."""


def publish(store: AnyStore, candidate: Candidate) -> Outcome:
    """What becomes of a candidate: stored live or on probation, or refused; all who took part are settled.

    In milliseconds, under the namespace's lock. Raises Outdated, IndexUnavailableError, StoreWriteError.
    """
    plan, latent = candidate.plan, candidate.latent
    with store.exclusive():
        _check(store, plan)
        status: OutcomeStatus = "probation" if plan.waits_for_trial else "refused"
        if latent.trial.passed or not plan.scope.config.trial.required:
            status = "live"
        if status == "refused":
            _refuse(store, candidate)
        else:
            _admit(store, candidate, status)
        reason = f"{status.capitalize()}. {latent.trial.reason}"
        for other in (plan.episode, *plan.teachers, *plan.held_out):
            store.settle(other.id, STATE_AFTER[status], reason, plan.attempt)
    if status != "refused":
        Budget(store, plan.scope.config).keep({latent.id})
    stored = None if status == "refused" else latent.id
    return outcome_of(plan.episode, status, reason, stored).model_copy(update={"trial": latent.trial})


def _check(store: AnyStore, plan: Plan) -> None:
    """Raises Outdated where another Latent covers the episode, or one that took part was forgotten."""
    expected = None if plan.current is None else plan.current.id
    try:
        for teacher in plan.teachers:
            store.episode_key(teacher.id)
        found = retrieve(store, store.episode_key(plan.episode.id), plan.scope.config.retrieve).latent_id
        state = None if found is None else store.standing(found).state
    except NotFoundError as exc:
        raise Outdated(f"What it was to be learnt from was forgotten meanwhile. {exc}") from exc
    if (found, state) != (expected, plan.current_state):
        raise Outdated(
            f"Somebody else learnt here meanwhile: Latent {found} ({state}) has taken the place of {expected} "
            f"({plan.current_state})."
        )


def _admit(store: AnyStore, candidate: Candidate, state: LatentState) -> None:
    """Stores a Latent with its standing; its previous version is superseded and kept for a roll-back.

    The standing comes first and the predecessor goes last: a process killed in between leaves a Latent with the
    standing it was given, or both versions live, never none.
    """
    plan, latent = candidate.plan, candidate.latent
    _stand(store, plan, latent.id, state, latent.trial.reason)
    store.put(latent, candidate.tensors, plan.key)
    if latent.previous is not None:
        _stand(store, plan, latent.previous, "superseded", f"By {latent.id}.")


def _refuse(store: AnyStore, candidate: Candidate) -> None:
    """A Latent that fails the trial it was on probation for is retired; a live one stays, and is not bettered until its
    neighbourhood has grown again."""
    plan = candidate.plan
    if plan.current is None:
        return
    if plan.current_state == "probation":
        _stand(store, plan, plan.current.id, "retired", f"It failed its trial. {candidate.latent.trial.reason}")
    else:
        store.stand(store.standing(plan.current.id).model_copy(update={"known": plan.known}))


def _stand(store: AnyStore, plan: Plan, latent_id: str, state: LatentState, reason: str) -> None:
    store.stand(Standing(latent_id=latent_id, state=state, reason=reason, known=plan.known))


def adopt(
    store: AnyStore,
    scope: Scope,
    problem: Problem,
    tensors: Arrays,
    key: "np.ndarray",
    state: LatentState,
    reason: str,
) -> str:
    """Stores soft prompt tensors that came from elsewhere under the key (D,) of a problem; the Latent's id."""
    latent = Latent(
        namespace=scope.namespace,
        shapes={name: one.shape for name, one in tensors.items()},
        model=scope.model,
        fingerprint=scope.fingerprint,
        encoder=scope.encoder,
        problem_hash=problem.hash,
        vote=Vote(answer=None, share=0.0, entropy=0.0, counts=()),
        trial=Trial.untried(reason),
        parents=(),
        objective="peft",
        seed=0,
        version=__version__,
    )
    store.stand(Standing(latent_id=latent.id, state=state, reason=reason))
    store.put(latent, tensors, key)
    return latent.id
