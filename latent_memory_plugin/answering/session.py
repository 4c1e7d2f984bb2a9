"""`Occasion`: one problem that an agent is working on, from the question to what is learnt from it."""

import logging
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from latent_memory_plugin.answering.intake import When
from latent_memory_plugin.errors import InputError, ModelError
from latent_memory_plugin.records import Outcome, Reference

if TYPE_CHECKING:
    from latent_memory_plugin.memory import LatentMemory

log = logging.getLogger(__name__)


@dataclass
class Occasion:
    """A question under way. However many hooks see its end, it is observed once."""

    memory: "LatentMemory"
    """Where it is recorded."""
    question: str
    """What the agent was asked."""
    reference: Reference
    """The Latent that is read for it."""
    when: When | None = "background"
    """When it is learnt from; None records nothing."""
    answer: str | None = None
    """What the agent has answered; None while it has not."""
    _over: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def end(self, error: BaseException | str | None = None) -> Outcome | None:
        """Records the episode, as failed where the agent ended in an error; None where that was done before, and where
        there is neither an answer nor an error yet.

        An answer that was read with a Latent does not vote: it would confirm what it comes from. A question that memory
        cannot use is logged, for it must not break the agent. Raises `StoreError` from the disk.
        """
        if self.when is None or not self.question.strip() or (error is None and self.answer is None):
            return None
        with self._lock:
            over, self._over = self._over, True
        if over:
            return None
        try:
            if error is not None:
                told = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
                return self.memory.observe(self.question, error=told)
            plain = self.answer if self.answer and not self.reference.ids else None
            return self.memory.observe(self.question, plain, when=self.when)
        except (InputError, ModelError) as exc:
            log.warning("Nothing is learnt from %.60r: %s", self.question, exc)
            return None
