"""`LatentMemory`, the public face. It draws the arrows of the one-way street:

    ask:      question → key → Hit → sample → Answer
    learn:    question → Episode → journal → rollouts → Vote → Latent → Trial → store

Nothing flows back: a stage takes records and returns new ones.
"""

import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, overload

from typing_extensions import Self

from latent_memory_plugin import answers
from latent_memory_plugin.asker import Asker
from latent_memory_plugin.config import Config, ModelConfig, SamplingConfig
from latent_memory_plugin.errors import ConfigError, InputError
from latent_memory_plugin.records import Answer, Episode, EpisodeState, Latent, Outcome, Problem, Rollout
from latent_memory_plugin.shared import Opened, chosen_model, chosen_root, close_shared, open_shared

if TYPE_CHECKING:
    from latent_memory_plugin.learner import Learner, Progress
    from latent_memory_plugin.model import LanguageModel

When = Literal["now", "background", "manual"]

WAITING = {
    "now": "",
    "background": "Recorded; the background worker learns from it.",
    "manual": "Recorded; the next consolidate() learns from it.",
}
"""Why an episode is not learnt from yet, by `when`."""
LARGEST_SEED = 2**31


class LatentMemory:
    """Memory of one namespace for one language model.

    Nothing is loaded or opened before the first use. Objects with the same root, namespace and model share one loaded
    model and one open store. Usable from several threads; close it, or use it in a `with` statement.
    """

    def __init__(
        self,
        root: str | Path | None = None,
        model: "str | Path | ModelConfig | LanguageModel | None" = None,
        namespace: str = "default",
        config: Config | None = None,
        *,
        extract: Callable[[str], str | None] | None = None,
    ) -> None:
        """
        Args:
            root: folder of the store; by default `LATENT_MEMORY_ROOT`, else the user's data folder.
            model: path or hub id, a `ModelConfig`, or a `LanguageModel`; by default `config.model`, the embedded one.
            namespace: what is learnt here is found nowhere else.
            config: all settings; `Config.preset("paper")` is another set.
            extract: completion text → answer or None; by default `answers.extract`.
        """
        self.config = Config() if config is None else config
        if not isinstance(self.config, Config):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"config={config!r} is not a Config; pass Config(...) or Config.preset('paper').")
        if not isinstance(namespace, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(f"namespace={namespace!r} is not text; pass a name such as 'default'.")
        self.root = chosen_root(root)
        self.namespace = namespace
        self.extract = answers.extract if extract is None else extract
        self._model = chosen_model(self.config.model if model is None else model)
        self._enabled = True
        self._lock = threading.RLock()
        self._key: Any = None
        self._open: Opened | None = None
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
        if not isinstance(n, int) or n < 1:  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(f"n={n!r} completions cannot be sampled; ask for a whole number from 1.")
        if seed is not None and not isinstance(seed, int):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(f"seed={seed!r} is not a whole number; pass one, or None for a fresh one.")
        chosen = SamplingConfig(**{**self.config.sampling.model_dump(), **sampling})
        used_seed = secrets.randbelow(LARGEST_SEED) if seed is None else seed
        problems, opened = _problems(question), self._opened
        asker = Asker(opened.model, opened.store, self.config.retrieve, self.extract, self._enabled)
        found = asker.ask(problems, n, chosen, used_seed)
        return found[0] if isinstance(question, str) else found

    def on(self) -> None:
        """Latents are read again."""
        self._enabled = True

    def off(self) -> None:
        """No Latent is read until `on()`: every answer is exactly the plain model's."""
        self._enabled = False

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
        problems = _problems(question)
        outcomes = self._learner.learn(problems, progress)
        return outcomes[0] if isinstance(question, str) else outcomes

    def observe(
        self,
        question: str,
        answer: str | None = None,
        rollouts: Sequence[str | Rollout] | None = None,
        when: When = "now",
    ) -> Outcome:
        """Records an episode that an agent has been through, and learns from it.

        Args:
            question: what the agent was asked.
            answer: its final answer; it joins the vote.
            rollouts: completions of the model on the question; with fewer than two, the model samples its own.
            when: `now`, in the `background`, or `manual`: at the next `consolidate()`.

        Raises: `InputError`, `ContextLengthError` for what cannot be used; then nothing is journaled.
        """
        if when not in WAITING:
            raise InputError(f"when={when!r} is unknown; choose one of {', '.join(map(repr, WAITING))}.")
        problem, seen = Problem(question=question), self._seen(answer, rollouts)
        learner = self._learner
        learner.check([problem])
        episode = learner.commit(problem, seen, learner.keys([problem])[0])
        if when == "now":
            return learner.consolidate([episode], None)[0]
        if when == "background":
            learner.consolidate_later(episode)
        return Outcome(question=episode.question, status="waiting", reason=WAITING[when], episode_id=episode.id)

    def consolidate(self, progress: "Progress | None" = None) -> list[Outcome]:
        """Learns from every pending episode, oldest first, once the background worker has done its own."""
        self._learner.drain()
        return self._learner.consolidate(list(self._opened.store.episodes("pending")), progress)

    def episodes(self, state: EpisodeState | None = None) -> Iterator[Episode]:
        """The journal's episodes, oldest first; all, or those in a state."""
        return self._opened.store.episodes(state)

    def latents(self) -> Iterator[Latent]:
        """The live Latents, oldest first."""
        return self._opened.store.latents()

    def latent(self, latent_id: str) -> Latent:
        """One Latent's record. Raises `NotFoundError`."""
        return self._opened.store.latent(latent_id)

    def forget(self, latent_id: str) -> None:
        """Deletes a Latent. Raises `NotFoundError`."""
        self._opened.store.remove(latent_id)

    def close(self) -> None:
        """Ends the worker after its current episode, leaves the rest pending, and releases model and store."""
        with self._lock:
            if self._taught is not None:
                self._taught.close()
            if self._open is not None:
                close_shared(self._key)
            self._taught = self._open = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"LatentMemory(root={str(self.root)!r}, namespace={self.namespace!r})"

    @property
    def model(self) -> "LanguageModel":
        """The loaded model."""
        return self._opened.model

    @property
    def _opened(self) -> Opened:
        with self._lock:
            if self._open is None:
                self._key, self._open = open_shared(self.root, self.namespace, self._model)
            return self._open

    @property
    def _learner(self) -> "Learner":
        with self._lock:
            if self._taught is None:
                from latent_memory_plugin.consolidate import Consolidator
                from latent_memory_plugin.learner import Learner

                opened = self._opened
                consolidator = Consolidator(opened.model, opened.store, self.namespace, self.config, self.extract)
                self._taught = Learner(consolidator, opened.learning)
            return self._taught

    def _seen(self, answer: str | None, rollouts: Sequence[str | Rollout] | None) -> tuple[Rollout, ...]:
        """The rollouts an agent hands over; its bare answer votes but is not to be imitated."""
        if isinstance(rollouts, str):
            raise InputError(f"rollouts={rollouts!r:.60} is one string; pass a list of completions.")
        seen = tuple(one if isinstance(one, Rollout) else Rollout(text=one) for one in rollouts or ())
        if answer is None:
            return seen
        if not isinstance(answer, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InputError(f"answer={answer!r:.60} is not text; pass the answer as a string.")
        return (*seen, Rollout(text=answer, answer=self.extract(answer) or answer.strip() or None, finished=False))


def _problems(question: str | Sequence[str]) -> list[Problem]:
    """All questions checked before anything is done with one of them."""
    if isinstance(question, str):
        return [Problem(question=question)]
    if not isinstance(question, Sequence):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InputError(f"{question!r:.60} is neither a question nor a list of questions; pass text.")
    return [Problem(question=one) for one in question]
