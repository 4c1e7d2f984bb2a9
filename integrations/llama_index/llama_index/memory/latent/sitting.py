"""`Sitting`: the problems of one conversation, one after the other, each looked up once and observed once."""

import threading
import uuid
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, get_args
from weakref import WeakValueDictionary

from llama_index.core.bridge.pydantic import BaseModel, Field, PrivateAttr

from latent_memory_plugin import ChatModel, InputError, Occasion, Outcome, Reference, When
from latent_memory_plugin import LatentMemory as CoreMemory

Learn = When | None
"""When an episode is learnt from; None records nothing."""

ABANDONED = "The next question came before an answer."


class Asked(BaseModel):
    """A question and the Latent that applies to it, as a saved memory keeps them."""

    id: str = Field(default_factory=lambda: uuid.uuid4().hex)
    """By which copies of a memory know that they are about the same episode."""
    question: str = ""
    """What was asked."""
    latent: dict[str, Any] = Field(default_factory=dict)
    """`Reference.carried()`: looked up when the question was asked."""
    over: bool = False
    """True once the episode has ended."""


@dataclass(eq=False)
class Attempt(Occasion):
    """An occasion that tells its memory when it has ended, whichever hook ended it."""

    asked: Asked = field(default_factory=Asked)
    """What the memory knows of it."""

    def end(self, error: BaseException | str | None = None) -> Outcome | None:
        """As `Occasion.end`: without an answer and an error it goes on."""
        self.asked.over = self.asked.over or error is not None or self.answer is not None
        return super().end(error)

    def finish(self, answer: str) -> None:
        """Ends it with the agent's answer, empty where it is not known; the first one counts."""
        self.answer = self.answer or answer
        self.end()


running: ContextVar[list[Attempt] | None] = ContextVar("running", default=None)
"""Attempts of the agent's run that this code runs in, where `EpisodeEnds` watches it."""

_attempts: "WeakValueDictionary[str, Attempt]" = WeakValueDictionary()
"""By id: copies of a memory in one process observe an episode once."""


class Sitting(BaseModel):
    """One conversation's question under way. Usable from several threads."""

    asked: Asked | None = None
    """The question; None before the first one."""

    _attempt: Attempt | None = PrivateAttr(default=None)
    _lock: Any = PrivateAttr(default_factory=threading.RLock)

    def reference(self, chat: ChatModel, question: str, learn: Learn, *, anew: bool, answered: bool) -> Reference:
        """The reference for a question, looked up when the question is new.

        Args:
            chat: looks it up.
            question: what is asked.
            learn: when the episode is learnt from.
            anew: a question whose episode has ended is asked another time.
            answered: its answer is known already, so there is nothing to observe.
        """
        left = None
        with self._lock:
            asked = self.asked
            if asked is None or asked.question != question or (asked.over and anew):
                found = chat.refer(question).carried()
                left, self._attempt = self._attempt, None
                asked = self.asked = Asked(question=question, latent=found, over=answered)
            self._resume(chat.memory, learn)
        if left is not None:
            left.end(ABANDONED)
        return Reference.of(asked.latent)

    def move_on(self, question: str | None = None) -> None:
        """The next question is there, None where none is: one that is left without an answer has failed."""
        with self._lock:
            asked = self.asked
            if asked is not None and not asked.over and asked.question == question:
                return
            left, self._attempt, self.asked = self._attempt, None, None
        if left is not None:
            left.end(ABANDONED)

    def finish(self, answer: str, core: CoreMemory, learn: Learn) -> None:
        """The agent has answered."""
        with self._lock:
            self._resume(core, learn)
            attempt = self._attempt
        if attempt is not None:
            attempt.finish(answer)

    def _resume(self, core: CoreMemory, learn: Learn) -> None:
        """The attempt at what is asked, also after the memory was restored in the middle of it."""
        if self.asked is None or self.asked.over:
            return
        if self._attempt is None:
            asked = self.asked
            fresh = Attempt(core, asked.question, Reference.of(asked.latent), learn, asked=asked)
            self._attempt = _attempts.setdefault(asked.id, fresh)
        watched = running.get()
        if watched is not None and self._attempt not in watched:
            watched.append(self._attempt)


def check_learn(learn: Any) -> None:
    """Raises InputError where it names no time to learn."""
    known = (*get_args(When), None)
    if learn not in known:
        raise InputError(f"learn={learn!r} is unknown; choose one of {', '.join(map(repr, known))}.")
