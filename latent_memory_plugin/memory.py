"""`LatentMemory`, the public face.

ask       question → key → Hit → sample → Answer
learn     question → Episode → journal → `learning/street.py` → Outcome
look      episodes, Latents, standings, evictions: no model is loaded
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from typing_extensions import Self

from latent_memory_plugin.answering import intake
from latent_memory_plugin.config import Config, ModelConfig, SamplingConfig
from latent_memory_plugin.engines.cancellation import answering
from latent_memory_plugin.errors import InputError, NotFoundError
from latent_memory_plugin.records import (
    USABLE,
    Answer,
    Episode,
    EpisodeState,
    Evicted,
    Hit,
    Latent,
    Outcome,
    Problem,
    Rollout,
    Standing,
    WorkerState,
)
from latent_memory_plugin.shared import (
    Handle,
    Opened,
    Running,
    Wanted,
    chosen_model,
    chosen_root,
    end_running,
    executor_of,
)
from latent_memory_plugin.store.access import ALONE, Access

if TYPE_CHECKING:
    from latent_memory_plugin.answering.ask import Asker
    from latent_memory_plugin.answering.verify import Score, Verifier
    from latent_memory_plugin.answers import EqualAnswers, ExtractAnswer
    from latent_memory_plugin.answers.judge import Judge, Reward
    from latent_memory_plugin.engines import Model
    from latent_memory_plugin.keys import Embedding
    from latent_memory_plugin.learning.learner import Learner
    from latent_memory_plugin.learning.pool import Lane
    from latent_memory_plugin.learning.work import Candidate, Watch
    from latent_memory_plugin.store import Store
    from latent_memory_plugin.store.archive import Manifest
    from latent_memory_plugin.store.moving import Imported
    from latent_memory_plugin.store.store import Forgotten

SECONDS_PER_DAY = 86_400

log = logging.getLogger(__name__)


class LatentMemory:
    """Memory of one namespace for one language model.

    Nothing is loaded or opened before the first use; looking at what is stored loads no model. Objects with the same
    root, namespace and model share one loaded model and one open store. Usable from several threads, and nothing but
    learning itself waits for learning; close it, or use it in a `with` statement.

    Args:
        root: folder of the store; by default `LATENT_MEMORY_ROOT`, else the user's data folder.
        model: path or hub id, a `ModelConfig`, or a `LanguageModel`; by default `config.model`, the embedded one.
        namespace: what is learnt here is found nowhere else.
        config: all settings; `Config.preset("paper")` is another set.
        extract: completion text → answer or None; by default `answers.extract`.
        equal: whether two answers mean the same; by default `answers.equal`.
        reward: (question, completion text) → 0 to 1, in place of the vote or beside it, by `VoteConfig.reward`.
        verifier: (question, completion text) → score, or a `Verifier`, in place of `RouteConfig.verifier`.
        embed: embeds texts, for `RetrieveConfig.key="input"`; by default the model's own token embeddings do.
        watch: called with every candidate after its trial.
        lock_timeout: seconds to wait at most for another process that has the root open.
        read_only: True reads the files beside a process that writes; whatever would write raises `ReadOnlyError`.
        chroma: `http://host:port` of a Chroma server, with which several processes share the root.
    """

    def __init__(
        self,
        root: str | Path | None = None,
        model: "str | Path | ModelConfig | Model | None" = None,
        namespace: str = "default",
        config: Config | None = None,
        *,
        extract: "ExtractAnswer | None" = None,
        equal: "EqualAnswers | None" = None,
        reward: "Reward | None" = None,
        verifier: "Verifier | Score | None" = None,
        embed: "Embedding | None" = None,
        watch: "Callable[[Candidate], None] | None" = None,
        lock_timeout: float = ALONE.lock_timeout,
        read_only: bool = ALONE.read_only,
        chroma: str | None = ALONE.chroma,
    ) -> None:
        self.config = intake.checked_config(config)
        intake.check_namespace(namespace)
        kept = self.config.store.keep_text
        access = Access(lock_timeout=lock_timeout, read_only=read_only, chroma=chroma, keep_text=kept)
        self.loads = chosen_model(self.config.model if model is None else model)
        self.root, self.namespace = chosen_root(root, self.loads), namespace
        self.extract, self.equal = extract, equal
        self.reward, self.verifier, self.watch = reward, verifier, watch
        self._handle = Handle(Wanted(self.root, namespace, self.loads, self.config.retrieve, embed, access))
        self.enabled = True
        self._lock = threading.RLock()
        self._taught: tuple[Learner, Running] | None = None
        self._entered: Lane | None = None

    # Asking

    @overload
    def ask(self, question: str, **options: Any) -> Answer: ...  # pyright: ignore[reportOverlappingOverload]
    @overload
    def ask(self, question: Sequence[str], **options: Any) -> list[Answer]: ...
    def ask(
        self, question: str | Sequence[str], *, n: int = 1, seed: int | None = None, **sampling: Any
    ) -> Answer | list[Answer]:
        """Answers a question, or each of a list, reading the Latent that applies.

        Args:
            question: the problem as text, or several.
            n: completions per question; with several, the text is the first that gives the vote's answer.
            seed: the same seed gives the same answer; by default a fresh one.
            sampling: `temperature`, `top_p`, `max_new_tokens`, `stop`, as in `SamplingConfig`.

        Raises: `InputError`, `ConfigError`, `ContextLengthError` for what cannot be asked; `StoreError` from the disk.
        """
        intake.check_count(n)
        used_seed = intake.chosen_seed(seed)
        chosen = SamplingConfig(**{**self.config.sampling.model_dump(), **sampling})
        problems = intake.problems_of(question)
        with answering():
            found = self._asker.ask(problems, n, chosen, used_seed)
        for answer in found:
            log.debug("Answer %s read %s. %s", answer.id, ", ".join(answer.latent_ids) or "no Latent", answer.reason)
        return found[0] if isinstance(question, str) else found

    async def aask(self, question: str | Sequence[str], **options: Any) -> Any:
        """As `ask`, in a thread."""
        return await _aside(self.ask, question, **options)

    def find(self, question: str) -> Hit:
        """The Latent that is read for a question, or why none. Raises `InputError`, `ContextLengthError`."""
        with answering():
            return self._asker.find([Problem(question=question)])[0]

    def on(self) -> None:
        """Latents are read again."""
        self.enabled = True

    def off(self) -> None:
        """No Latent is read until `on()`: every answer is exactly the plain model's."""
        self.enabled = False

    # Learning

    @overload
    def learn(  # pyright: ignore[reportOverlappingOverload]
        self, question: str, progress: "Watch | None" = None
    ) -> Outcome: ...
    @overload
    def learn(self, question: Sequence[str], progress: "Watch | None" = None) -> list[Outcome]: ...
    def learn(self, question: str | Sequence[str], progress: "Watch | None" = None) -> Outcome | list[Outcome]:
        """Spends compute on a question, or on each of a list: samples, votes, distils, tries and stores.

        A question that a live Latent covers is skipped and costs no sample. Interrupted at any moment, the store is
        whole, every round of rollouts is kept, and `consolidate()` goes on. `progress` is called with a `Progress`
        whenever something has moved: stage, done, total, seconds left, and each outcome.
        Raises `InputError`, `ContextLengthError` where one question cannot be used; then nothing is journaled.
        `CancelledError` after `cancel()`.
        """
        outcomes = self._learner.learn(intake.problems_of(question), **_watched(progress))
        return outcomes[0] if isinstance(question, str) else outcomes

    async def alearn(self, question: str | Sequence[str], progress: "Watch | None" = None) -> Any:
        """As `learn`, in a thread."""
        return await _aside(self.learn, question, progress)

    def observe(
        self,
        question: str,
        answer: str | None = None,
        rollouts: Sequence[str | Rollout] | None = None,
        when: intake.When = "now",
        error: str | None = None,
    ) -> Outcome:
        """Records an episode that an agent has been through, and learns from it.

        Args:
            question: what the agent was asked.
            answer: its final answer; it joins the vote.
            rollouts: completions of the model on the question; where they leave the vote open, the model samples more.
            when: `now`, in the `background`, or `manual`: at the next `consolidate()`.
            error: what the agent broke off with; the episode is recorded as failed and nothing is learnt from it.

        Raises: `InputError`, `ContextLengthError` for what cannot be used; then nothing is journaled.
        """
        intake.check_when(when)
        problem, seen = Problem(question=question), intake.rollouts_of(answer, rollouts)
        if error is not None:
            return self._learner.broken_off(problem, seen, error)
        return self._learner.observe([problem], [seen], when)[0]

    async def aobserve(self, question: str, answer: str | None = None, **options: Any) -> Outcome:
        """As `observe`, in a thread."""
        return await _aside(self.observe, question, answer, **options)

    def observe_all(
        self, questions: Sequence[str], rollouts: Sequence[Sequence[str | Rollout]], when: intake.When = "now"
    ) -> list[Outcome]:
        """As `observe`, of several episodes at once, whose votes are sampled together. Raises as it does."""
        intake.check_when(when)
        problems, seen = intake.episodes_of(questions, rollouts)
        return self._learner.observe(problems, seen, when)

    def consolidate(self, progress: "Watch | None" = None) -> list[Outcome]:
        """Learns from every pending episode, oldest first, once the background worker has done its own; where it is
        paused or held up, from its queue too. Raises `CancelledError` after `cancel()`."""
        learner = self._learner
        learner.lane.settle(learner)
        return learner.consolidate(list(self._store.episodes("pending")), **_watched(progress))

    def feedback(self, answer: Answer | str, *, correct: bool) -> list[Standing]:
        """Says whether an answer was right, by the answer or its id; overrules what a vote said of it.

        The standings that changed by it: a Latent that loses to the plain model is taken back. Empty where nothing
        changed, also where the answer read no Latent.
        """
        from latent_memory_plugin.learning.lifecycle import Lifecycle

        intake.check_verdict(correct)
        self._handle.check_writable()
        return Lifecycle(self._store, self.config.life).feedback(intake.answer_id(answer), correct)

    async def afeedback(self, answer: Answer | str, *, correct: bool) -> list[Standing]:
        """As `feedback`, in a thread."""
        return await _aside(self.feedback, answer, correct=correct)

    # The background worker of the namespace, which all its memories in a process share: it learns from what
    # `observe(when="background")` has queued, oldest first. The queue is in the journal: what an ended process has left
    # in it is taken up as soon as the namespace is opened for writing.

    def pause(self) -> None:
        """Makes the worker take no further episode until `resume()`; the one under way is finished."""
        self._handle.check_writable()
        self._lane.pause()

    def resume(self) -> None:
        """Lets the worker go on, at once also with what it would try again later."""
        learner = self._learner
        learner.lane.resume(learner)

    def cancel(self) -> None:
        """Breaks off all learning in the namespace at the model's next step; what was sampled is kept, and everything
        stays pending or queued. A `learn` or `consolidate` under way raises `CancelledError`; the worker takes no
        further episode until `resume()`."""
        self._lane.cancel()

    def drain(self, timeout: float | None = None) -> None:
        """Waits until nothing is queued. Raises `WorkerError` where the worker is paused, is held up by the disk, or is
        not done after so many seconds; what is queued stays so."""
        self._learner.drain(timeout)

    def progress(self) -> WorkerState:
        """What the worker of this process is doing, how much waits, and what broke off last."""
        return self._lane.state(self._store)

    # Looking

    def episodes(self, state: EpisodeState | None = None) -> Iterator[Episode]:
        """The journal's episodes, oldest first; all, or those in a state."""
        return self._store.episodes(state)

    def latents(self) -> Iterator[Latent]:
        """The Latents that are read, live or on probation, oldest first; `standing` tells which."""
        store = self._store
        return (latent for latent in store.latents() if store.standing(latent.id).state in USABLE)

    def latent(self, latent_id: str) -> Latent:
        """One Latent's record. Raises `NotFoundError`."""
        return self._store.latent(latent_id)

    def standing(self, latent_id: str) -> Standing:
        """What a Latent may do now, and why. Raises `NotFoundError`."""
        return self._store.standing(latent_id)

    def counts(self) -> dict[str, int]:
        """How many episodes are in each state, and how many Latents, by state."""
        store = self._store
        return {**store.counts(), **store.states()}

    def evictions(self) -> Iterator[Evicted]:
        """What has been evicted so far, oldest first."""
        return self._store.evictions()

    # Keeping

    def roll_back(self, latent_id: str) -> Standing:
        """Takes a Latent back in favour of its last version that passed a trial. Raises `NotFoundError`."""
        from latent_memory_plugin.learning.lifecycle import Lifecycle

        self._handle.check_writable()
        return Lifecycle(self._store, self.config.life).roll_back(latent_id, "Taken back by hand.")

    def forget(
        self,
        latent_id: str | None = None,
        *,
        versions: bool = False,
        question: str | None = None,
        older_than_days: float | None = None,
        everything: bool = False,
    ) -> "Forgotten":
        """Deletes what one of the arguments names, texts and all; how much that was. What is being learnt from it
        meanwhile is not stored.

        Args:
            latent_id: a Latent with its standing and its uses.
            versions: with a Latent, its earlier versions too.
            question: every episode of this question, the Latents learnt from one of them, the answers given to it.
            older_than_days: Latents, episodes and uses made before so many days.
            everything: the whole namespace.

        Raises `InputError` where not one thing is named, `NotFoundError` where there is no such Latent,
        `StoreWriteError`.
        """
        asked = [latent_id is not None, question is not None, older_than_days is not None, everything]
        if sum(asked) != 1:
            raise InputError(
                f"{sum(asked)} of latent_id=, question=, older_than_days= and everything=True are given; pass one."
            )
        store = self._store
        if latent_id is not None:
            return store.forget_latents([latent_id, *(self._earlier(latent_id) if versions else ())])
        if question is not None:
            return store.forget_problem(Problem(question=question).hash)
        if older_than_days is not None:
            return store.forget_older(time.time() - intake.checked_days(older_than_days) * SECONDS_PER_DAY)
        return store.forget_everything()

    def evict(self, dry_run: bool = False) -> list[Evicted]:
        """Deletes the least useful Latents until the namespace is within `config.store`, and says which and why; with
        `dry_run` nothing is changed. Without any bound there, nothing goes.

        The same happens whenever a Latent is learnt. Raises `StoreError`.
        """
        from latent_memory_plugin.learning.eviction import Budget

        budget = Budget(self._store, self.config)
        return budget.plan() if dry_run else budget.keep()

    def export_to(self, path: str | Path, latent_ids: Sequence[str] | None = None) -> "Manifest":
        """Writes the namespace, texts and all, as one tar file, or the named Latents alone, without any text; what it
        holds. A file that is there is replaced. Raises `InputError`, `NotFoundError`, `StoreError`."""
        return self._store.export_to(Path(path), latent_ids)

    def import_from(self, path: str | Path) -> "Imported":
        """Takes in what `export_to` wrote, from whatever namespace, all of it or nothing; what was new.

        Raises `WrongModelError` for an archive of another model, `InputError` where an id is taken by something else,
        `StoreError`.
        """
        return self._store.import_from(Path(path))

    def export_peft(self, latent_id: str, folder: str | Path) -> int:
        """Writes a Latent as a PEFT prompt-tuning adapter; the number of its virtual tokens. `forms.peft` says how that
        reads it. Raises `NotFoundError`, `InputError` where the folder is not empty or the Latent's form has no such
        adapter, `StoreError`."""
        from latent_memory_plugin.forms.peft import export_adapter

        latent = self.latent(latent_id)
        tensors = self._store.tensors(latent_id)
        return export_adapter(self.opened.model, latent_id, tensors, Path(folder), latent.form)

    def import_peft(self, folder: str | Path, question: str, state: Literal["probation", "live"] = "probation") -> str:
        """Stores a PEFT prompt-tuning adapter as a Latent that is read for questions like this one; its id.

        No trial was held: on probation it is read with care until one is possible. Raises `InputError`,
        `WrongModelError`, `ContextLengthError`, `StoreError`.
        """
        from latent_memory_plugin.forms.peft import read_adapter
        from latent_memory_plugin.learning.publish import adopt

        self._handle.check_writable()
        if state not in USABLE:
            raise InputError(f"state={state!r} is not one to begin with; choose 'probation' or 'live'.")
        opened, problem = self.opened, Problem(question=question)
        tensors = read_adapter(opened.model, Path(folder))
        [key] = opened.encoder.keys([problem.question])  # (D,)
        reason = f"Imported from the PEFT adapter {Path(folder).name!r:.80}; no trial was held."
        return adopt(self._store, self._learner.scope, problem, tensors, key, state, reason)

    # Opening and closing

    @property
    def model(self) -> "Model":
        """The loaded model."""
        return self.opened.model

    @property
    def opened(self) -> Opened:
        """The loaded model and the open store, for extensions of this library."""
        opened = self._handle.place.opened
        if self._taught is None and not self._handle.wanted.access.read_only and opened.store.queued():
            _ = self._learner
        return opened

    def close(self, wait: bool = False, timeout: float | None = None) -> None:
        """Breaks off learning at the model's next step, leaves the rest queued, and releases model and store.

        `wait` learns from all that is queued first, paused or not, for so many seconds at most; what cannot be learnt
        from, or not in time, stays queued, and `WorkerError` says why once everything is released.
        """
        taught = None if self._handle.inherited else self._taught
        try:
            if wait and taught is not None:
                self.resume()
                self.drain(timeout)
        finally:
            # Not under the lock: an episode under way may be watched by somebody who uses this memory.
            if taught is not None:
                taught[0].close()
            with self._lock:
                self._taught = self._entered = None
                self._handle.close()
                if taught is not None:
                    end_running(taught[1])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        model = self.loads.name or "embedded"
        told = f"LatentMemory(root={str(self.root)!r}, namespace={self.namespace!r}, model={model!r}"
        return f"{told}{self._told_counts()})"

    def _repr_html_(self) -> str:
        from html import escape

        return f"<code>{escape(repr(self))}</code>"

    def _told_counts(self) -> str:
        """What is stored, where that is open already: a look must not open anything."""
        if not self._handle.is_open or self._handle.inherited:
            return ""
        counted = ", ".join(f"{count} {state}" for state, count in self.counts().items() if count)
        return f", {counted or 'empty'}"

    @property
    def _store(self) -> "Store":
        return self._handle.place.store

    @property
    def _lane(self) -> "Lane":
        from latent_memory_plugin.learning.pool import lane_of

        with self._lock:
            if self._entered is None:
                self._entered = lane_of(self._store, self.config.retrieve.key)
            return self._entered

    @property
    def _asker(self) -> "Asker":
        from latent_memory_plugin.answering.ask import Asker

        opened = self.opened
        return Asker(opened.model, opened.store, opened.encoder, self.config, self.judge, self.enabled, self.verifier)

    @property
    def judge(self) -> "Judge":
        """What reads answers and says which are the same and which are right."""
        from latent_memory_plugin.answers.judge import Judge

        own: dict[str, Any] = {
            name: given for name, given in (("extract", self.extract), ("equal", self.equal)) if given is not None
        }
        return Judge(reward=self.reward, mode=self.config.vote.reward, **own)

    @property
    def _learner(self) -> "Learner":
        """What learns for this memory; the first call takes up what an ended process has left in the queue."""
        self._handle.check_writable()
        opened = self._handle.place.opened
        with self._lock:
            if self._taught is None:
                self._taught = self._make_learner(opened)
                if opened.store.queued():
                    self._lane.attach(self._taught[0])
            return self._taught[0]

    def _make_learner(self, opened: Opened) -> "tuple[Learner, Running]":
        from latent_memory_plugin.forms import readable
        from latent_memory_plugin.learning.learner import Learner
        from latent_memory_plugin.learning.street import run
        from latent_memory_plugin.learning.work import Scope

        model, config = opened.model, self.config
        readable(config.form, model)
        scope = Scope(self.namespace, model.name, model.fingerprint, opened.encoder.name, config, self.judge)
        running = executor_of(opened, config.worker.executor, run)
        return Learner(opened.store, model, opened.encoder, scope, running.executor, self._lane, self.watch), running

    def _earlier(self, latent_id: str) -> list[str]:
        """Ids of the earlier versions of a Latent that are still there."""
        found: list[str] = []
        while (previous := self.latent(latent_id).previous) and previous not in found:
            try:
                self.latent(previous)
            except NotFoundError:
                break
            found.append(previous)
            latent_id = previous
        return found


async def _aside(call: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """What a call comes to, in a thread."""
    import asyncio

    return await asyncio.to_thread(call, *given, **named)


def _watched(progress: "Watch | None") -> Mapping[str, Any]:
    return {} if progress is None else {"watch": progress}
