"""Running: a draw or a plan on an engine. No store, no lock and no clock: it may be cancelled at every step of the
model, repeated, and sent to another thread, process or machine."""

from typing import TYPE_CHECKING, Any, overload

from latent_memory_plugin import __version__
from latent_memory_plugin.engines.base import Model
from latent_memory_plugin.engines.cancellation import reported
from latent_memory_plugin.errors import ConfigError, DistilError, WrongModelError
from latent_memory_plugin.forms import FORMS, Loaded, Tensors
from latent_memory_plugin.learning.trial import Examination, Examiner, examine
from latent_memory_plugin.learning.work import Candidate, Draw, Drawn, Plan, Progress, Watch, unwatched
from latent_memory_plugin.plugins import blamed
from latent_memory_plugin.records import Latent, Trial

if TYPE_CHECKING:
    import numpy as np

    from latent_memory_plugin.objectives import Step


@overload
def run(engines: Model, work: Draw, watch: Watch = unwatched) -> Drawn: ...
@overload
def run(engines: Model, work: Plan, watch: Watch = unwatched) -> Candidate: ...
@overload
def run(engines: Model, work: Draw | Plan, watch: Watch = unwatched) -> Any: ...
def run(engines: Model, work: Draw | Plan, watch: Watch = unwatched) -> Drawn | Candidate:
    """What a draw or a plan comes to. The same work on the same engine gives the same, bit for bit.

    Raises ConfigError for work of another version of this library, WrongModelError for that of another model,
    ModelError, DistilError, RewardError, PluginError.
    """
    _check(engines, work)
    if isinstance(work, Draw):
        nothing, sampling = [None] * len(work.questions), work.scope.config.sampling
        with reported(lambda done, total: watch(Progress("sampling", done, total))):
            return engines.sample(work.questions, nothing, work.count, sampling, work.seed)
    tensors = _learnt(engines, work, watch) if work.teachers else _in_place(work).tensors
    latent = _record(work, tensors, _trial(engines, work, tensors, watch))
    return Candidate(work, latent, {name: _array(tensor) for name, tensor in tensors.items()})


def _check(engines: Model, work: Draw | Plan) -> None:
    if work.version != __version__:
        raise ConfigError(
            f"The plan is of version {work.version!r} of latent-memory-plugin, this is {__version__!r}; run it with "
            "the same version."
        )
    if work.scope.fingerprint != engines.fingerprint:
        raise WrongModelError(
            f"The plan is for the model {work.scope.model!r} (fingerprint {work.scope.fingerprint[:12]!r}), not for "
            f"{engines.name!r} (fingerprint {engines.fingerprint[:12]!r}); run it on that one."
        )


def _learnt(engines: Model, plan: Plan, watch: Watch) -> Tensors:
    """The tensors that the teachers' episodes come to."""
    from latent_memory_plugin.objectives import OBJECTIVES, Attempt, lessons

    scope, config = plan.scope, plan.scope.config.distil
    form = plan.scope.config.form

    def report(step: "Step") -> None:
        watch(Progress("distilling", step.number, config.steps + 1, question=plan.episode.question))

    with blamed("form", form):
        start = FORMS.get(form).start(engines, plan.teachers[0].problem, config.latent_tokens)
    attempt = Attempt(
        engines, form, lessons(plan.teachers), config, scope.config.sampling, scope.judge.score, plan.seed, report
    )
    with blamed("objective", config.objective.kind):
        return dict(OBJECTIVES.get(config.objective.kind).train(attempt, start))


def _trial(engines: Model, plan: Plan, tensors: Tensors, watch: Watch) -> Trial:
    config = plan.scope.config
    if not config.trial.required:
        return Trial.untried("No trial is required.")
    if plan.missing:
        return Trial.untried(f"No trial yet: {plan.missing} more near episodes with a vote are needed.")
    rival = None
    if plan.current is not None and plan.current_state == "live":
        rival = _in_place(plan)
    examiner = Examiner(engines, config.trial, config.sampling, plan.scope.judge.score, plan.seed, plan.look)
    form = config.form if plan.teachers or plan.current is None else plan.current.form
    with reported(lambda done, total: watch(Progress("examining", done, total, question=plan.episode.question))):
        return examine(examiner, Loaded(form, tensors), Examination(plan.held_out, plan.nearby, rival))


def _record(plan: Plan, tensors: Tensors, trial: Trial) -> Latent:
    """What is stored of the candidate; one that was not learnt anew is the Latent in place after its trial."""
    made: dict[str, Any] = {"id": plan.attempt, "trial": trial, "version": plan.version, "created": plan.created}
    if not plan.teachers and plan.current is not None:
        return plan.current.model_copy(update=made | {"previous": plan.current.id})
    scope, first = plan.scope, plan.teachers[0]
    if first.vote is None:
        raise DistilError(f"Episode {first.id!r} has no vote; only episodes with one can be learnt from.")
    return Latent(
        **made,
        namespace=scope.namespace,
        form=scope.config.form,
        shapes={name: tuple(tensor.shape) for name, tensor in tensors.items()},
        model=scope.model,
        fingerprint=scope.fingerprint,
        encoder=scope.encoder,
        problem_hash=first.problem.hash,
        problems=tuple(one.problem.hash for one in plan.teachers),
        vote=first.vote,
        parents=tuple(one.id for one in plan.teachers),
        objective=scope.config.distil.objective.kind,
        seed=plan.seed,
        previous=None if plan.current is None else plan.current.id,
    )


def _in_place(plan: Plan) -> Loaded:
    """The Latent in place."""
    form = plan.scope.config.form if plan.current is None else plan.current.form
    return Loaded.from_arrays(form, plan.tensors)


def _array(tensor: Any) -> "np.ndarray":
    import torch

    return tensor.detach().to("cpu", torch.float32).numpy()
