"""`LatentMemory`, the public face. It draws the arrows of the one-way street:

    ask:      question → key → Hit → sample → Answer
    learn:    question → Episode → journal → rollouts → Vote → Latent → Trial → store

Nothing flows back: a stage takes records and returns new ones.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from typing_extensions import Self

from latent_memory_plugin import answers
from latent_memory_plugin.answering import intake
from latent_memory_plugin.answering.ask import Asker
from latent_memory_plugin.background import Background
from latent_memory_plugin.config import Config, ModelConfig, SamplingConfig
from latent_memory_plugin.keeping import Keeping
from latent_memory_plugin.learning.lifecycle import Life
from latent_memory_plugin.records import Answer, Episode, EpisodeState, Hit, Outcome, Problem, Rollout
from latent_memory_plugin.records.latent import Candidate, Standing
from latent_memory_plugin.shared import Handle, Opened, chosen_model, chosen_root
from latent_memory_plugin.store.access import ALONE, Access

if TYPE_CHECKING:
    from latent_memory_plugin.answering.verify import Score, Verifier
    from latent_memory_plugin.engines.hf import LanguageModel
    from latent_memory_plugin.keys.encoder import Embedding
    from latent_memory_plugin.learning.judge import Reward
    from latent_memory_plugin.learning.learner import Learner, Progress


class LatentMemory(Keeping, Background):
    """Memory of one namespace for one language model.

    Nothing is loaded or opened before the first use. Objects with the same root, namespace and model share one loaded
    model and one open store. Usable from several threads; close it, or use it in a `with` statement.

    Args:
        root: folder of the store; by default `LATENT_MEMORY_ROOT`, else the user's data folder.
        model: path or hub id, a `ModelConfig`, or a `LanguageModel`; by default `config.model`, the embedded one.
        namespace: what is learnt here is found nowhere else.
        config: all settings; `Config.preset("paper")` is another set.
        extract: completion text → answer or None; by default `answers.extract`.
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
        model: "str | Path | ModelConfig | LanguageModel | None" = None,
        namespace: str = "default",
        config: Config | None = None,
        *,
        extract: Callable[[str], str | None] | None = None,
        reward: "Reward | None" = None,
        verifier: "Verifier | Score | None" = None,
        embed: "Embedding | None" = None,
        watch: Callable[[Candidate], None] | None = None,
        lock_timeout: float = ALONE.lock_timeout,
        read_only: bool = ALONE.read_only,
        chroma: str | None = ALONE.chroma,
    ) -> None:
        self.config = intake.checked_config(config)
        intake.check_namespace(namespace)
        kept = self.config.store.keep_text
        access = Access(lock_timeout=lock_timeout, read_only=read_only, chroma=chroma, keep_text=kept)
        self.root, self.namespace = chosen_root(root), namespace
        self.extract = answers.extract if extract is None else extract
        self.reward, self.verifier, self.watch = reward, verifier, watch
        self.loads = chosen_model(self.config.model if model is None else model)
        self._handle = Handle(self.root, namespace, self.loads, self.config.retrieve, embed, access)
        self.enabled = True
        self._lock = threading.RLock()
        self._taught: Learner | None = None

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
        found = self._asker.ask(intake.problems_of(question), n, chosen, used_seed)
        return found[0] if isinstance(question, str) else found

    def find(self, question: str) -> Hit:
        """The Latent that is read for a question, or why none. Raises `InputError`, `ContextLengthError`."""
        return self._asker.find([Problem(question=question)])[0]

    def on(self) -> None:
        """Latents are read again."""
        self.enabled = True

    def off(self) -> None:
        """No Latent is read until `on()`: every answer is exactly the plain model's."""
        self.enabled = False

    @overload
    def learn(  # pyright: ignore[reportOverlappingOverload]
        self, question: str, progress: "Progress | None" = None
    ) -> Outcome: ...
    @overload
    def learn(self, question: Sequence[str], progress: "Progress | None" = None) -> list[Outcome]: ...
    def learn(self, question: str | Sequence[str], progress: "Progress | None" = None) -> Outcome | list[Outcome]:
        """Spends compute on a question, or on each of a list: samples, votes, distils, tries and stores.

        A question that a live Latent covers is skipped and costs no sample. Interrupted at any moment, the store is
        whole and `consolidate()` goes on. `progress` is called with each outcome.
        Raises `InputError`, `ContextLengthError` where one question cannot be used; then nothing is journaled.
        """
        problems = intake.problems_of(question)
        outcomes = self._learner.learn(problems, progress)
        return outcomes[0] if isinstance(question, str) else outcomes

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
        problem, seen = Problem(question=question), intake.rollouts_of(answer, rollouts, self.extract)
        if error is not None:
            return self._learner.broken_off(problem, seen, error)
        return self._learner.observe([problem], [seen], when)[0]

    def observe_all(
        self, questions: Sequence[str], rollouts: Sequence[Sequence[str | Rollout]], when: intake.When = "now"
    ) -> list[Outcome]:
        """As `observe`, of several episodes at once, whose votes are sampled together. Raises as it does."""
        intake.check_when(when)
        problems, seen = intake.episodes_of(questions, rollouts, self.extract)
        return self._learner.observe(problems, seen, when)

    def consolidate(self, progress: "Progress | None" = None) -> list[Outcome]:
        """Learns from every pending episode, oldest first, once the background worker has done its own; where it is
        paused or held up, from its queue too."""
        self._learner.settle()
        return self._learner.consolidate(list(self.opened.store.episodes("pending")), progress)

    def episodes(self, state: EpisodeState | None = None) -> Iterator[Episode]:
        """The journal's episodes, oldest first; all, or those in a state."""
        return self.opened.store.episodes(state)

    def feedback(self, answer: Answer | str, *, correct: bool) -> list[Standing]:
        """Says whether an answer was right, by the answer or its id; overrules what a vote said of it.

        The standings that changed by it: a Latent that loses to the plain model is taken back. Empty where nothing
        changed, also where the answer read no Latent.
        """
        intake.check_verdict(correct)
        self._handle.check_writable()
        answer_id, opened = intake.answer_id(answer), self.opened
        with opened.learning:
            return Life(opened.store, self.config.life).feedback(answer_id, correct)

    def close(self, wait: bool = False) -> None:
        """Ends the worker after its current episode, leaves the rest queued, and releases model and store.

        `wait` learns from all that is queued first, paused or not; what cannot be learnt from stays queued, and
        `WorkerError` says why once everything is released.
        """
        taught = None if self._handle.inherited else self._taught
        try:
            if wait and taught is not None:
                taught.resume()
                taught.drain()
        finally:
            # Not under the lock: the episode under way may be watched by somebody who uses this memory.
            if taught is not None:
                taught.close()
            with self._lock:
                self._taught = None
                self._handle.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"LatentMemory(root={str(self.root)!r}, namespace={self.namespace!r})"

    @property
    def model(self) -> "LanguageModel":
        """The loaded model."""
        return self.opened.model

    @property
    def opened(self) -> Opened:
        """The loaded model and the open store, for extensions of this library."""
        return self._handle.opened

    @property
    def _asker(self) -> Asker:
        opened = self.opened
        return Asker(opened.model, opened.store, opened.encoder, self.config, self.extract, self.enabled, self.verifier)

    @property
    def _learner(self) -> "Learner":
        self._handle.check_writable()
        opened = self.opened
        with self._lock:
            if self._taught is None:
                from latent_memory_plugin.learning.judge import Judge
                from latent_memory_plugin.learning.learner import make_learner

                judge = Judge(self.extract, self.reward, self.config.vote.reward)
                self._taught = make_learner(opened, self.namespace, self.config, judge, self.watch)
            return self._taught
