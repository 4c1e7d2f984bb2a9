"""The tree of runs under way: which episode a model's call belongs to, when it is over, whose answer was whose.

LangChain tells every callback handler when a run starts and ends, and by which run it was started. Two handlers
for the whole process listen, registered with LangChain's own hook for such handlers; for runs without a Latent they
keep one entry each while they last.
"""

import threading
from collections import OrderedDict
from contextvars import ContextVar
from typing import Any, cast
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tracers.context import register_configure_hook

from latent_memory_plugin import LatentMemory as Core
from latent_memory_plugin import Occasion

REMEMBERED = 10_000
"""Finished runs whose answers feedback can still find by the id of any run around them."""

UNDER_WAY = 100_000
"""Runs under way that are known; a stream that nobody reads to its end never says that it is over."""

model_run: ContextVar[UUID | None] = ContextVar("latent_memory_model_run", default=None)
"""The chat model's run that started last here: LangChain streams without telling the model its run."""
offered: "ContextVar[Offer | None]" = ContextVar("latent_memory_offer", default=None)
"""What a classic chain's memory found, for the run that the chain is about to start."""


class Offer:
    """An occasion that waits for the run it belongs to."""

    def __init__(self, occasion: Occasion) -> None:
        self.occasion = occasion
        self.taken = False


class Runs(BaseCallbackHandler):
    """Runs under way, the occasions that end with them, and the answers given in them; told where a run starts."""

    run_inline = True  # in the caller's own thread and task, where the context variables are

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parents: OrderedDict[UUID, UUID | None] = OrderedDict()
        self._occasions: dict[UUID, list[Occasion]] = {}
        self._answers: OrderedDict[UUID, list[str]] = OrderedDict()

    def open(self, run_id: UUID, occasion: Occasion) -> None:
        """Ends the occasion when that run ends."""
        with self._lock:
            known = self._occasions.setdefault(run_id, [])
            if not any(one is occasion for one in known):
                known.append(occasion)

    def occasion(
        self, run_id: UUID | None, question: str, memory: Core | None = None, *, referred: bool = False
    ) -> Occasion | None:
        """The occasion that a model's call belongs to: the latest of the nearest run around it whose question it asks,
        and of that memory where one is named.

        A call that carries a reference, `referred`, belongs to a run's only occasion also where a step between has put
        the question in other words.
        """
        with self._lock:
            for one in self._around(run_id):
                found = [each for each in reversed(self._occasions.get(one, [])) if _is_of(each, memory)]
                asking = [each for each in found if each.question and each.question in question]
                asking.sort(key=lambda each: each.question != question)
                if not asking and referred and len(found) == 1:
                    asking = found
                if asking:
                    return asking[0]
        return None

    def parent(self, run_id: UUID | None) -> UUID | None:
        """The run that started this one."""
        with self._lock:
            return None if run_id is None else self._parents.get(run_id)

    def answered(self, run_id: UUID | None, answer_id: str) -> None:
        """Lets feedback find an answer by the id of every run around it."""
        with self._lock:
            for one in self._around(run_id):
                self._answers.setdefault(one, []).append(answer_id)
            while len(self._answers) > REMEMBERED:
                self._answers.popitem(last=False)

    def answers(self, run_id: UUID) -> list[str]:
        """The ids of the answers given in a run; of a chat model's run of another process, its own."""
        with self._lock:
            return list(self._answers.get(run_id, [run_id.hex]))

    def _around(self, run_id: UUID | None) -> list[UUID]:
        """The run and all that it is part of, the innermost first."""
        found: list[UUID] = []
        while run_id is not None:
            found.append(run_id)
            run_id = self._parents.get(run_id)
        return found

    def _started(self, run_id: UUID, parent_run_id: UUID | None) -> None:
        with self._lock:
            self._parents[run_id] = parent_run_id
            while len(self._parents) > UNDER_WAY:
                forgotten, _ = self._parents.popitem(last=False)
                self._occasions.pop(forgotten, None)

    def ended(self, run_id: UUID, error: BaseException | None = None) -> None:
        """Ends a run's occasions. Those of a run that broke off wait for the run around it, which may try again."""
        with self._lock:
            parent = self._parents.pop(run_id, None)
            over = self._occasions.pop(run_id, [])
            if error is not None and parent is not None and parent in self._parents:
                self._hand_up(parent, over)
                return
        abandoned = isinstance(error, GeneratorExit)  # nobody reads the stream any more: no failure of the model's
        for occasion in over:
            occasion.end(None if abandoned else error)

    def _hand_up(self, parent: UUID, over: list[Occasion]) -> None:
        known = self._occasions.setdefault(parent, [])
        for occasion in over:
            occasion.answer = None
            if not any(one.question == occasion.question and _is_of(one, occasion.memory) for one in known):
                known.append(occasion)

    def on_chain_start(
        self, serialized: Any, inputs: Any, *, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any
    ) -> None:
        """A chain, a graph or one of their steps begins; the one whose memory has just been asked, with its offer."""
        self._started(run_id, parent_run_id)
        offer = offered.get()
        if offer is not None and not offer.taken and _mentions(inputs, offer.occasion):
            offer.taken = True
            self.open(run_id, offer.occasion)

    def on_chat_model_start(
        self, serialized: Any, messages: Any, *, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any
    ) -> None:
        """A chat model begins."""
        self._started(run_id, parent_run_id)
        model_run.set(run_id)

    def on_tool_start(
        self, serialized: Any, input_str: str, *, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any
    ) -> None:
        """A tool begins; it may ask a model."""
        self._started(run_id, parent_run_id)


class Ends(BaseCallbackHandler):
    """Told where a run ends. LangChain calls it in a thread, so that recording an episode holds up no event loop."""

    def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        """Nothing; LangChain would write the messages as text for a handler without this method."""

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """It has ended well."""
        runs.ended(run_id)

    def on_llm_end(self, response: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """It has ended well."""
        runs.ended(run_id)

    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """It has ended well."""
        runs.ended(run_id)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """It broke off."""
        runs.ended(run_id, error)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """It broke off."""
        runs.ended(run_id, error)

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """It broke off."""
        runs.ended(run_id, error)


def _mentions(inputs: Any, occasion: Occasion) -> bool:
    """Whether a chain is given the question; memory may also have been asked for no chain at all."""
    given = cast(dict[str, Any], inputs).values() if isinstance(inputs, dict) else [inputs]
    return any(occasion.question in str(one) for one in given)


def _is_of(occasion: Occasion, memory: Core | None) -> bool:
    """Whether the occasion is of that memory, or of another object with the same store."""
    mine = occasion.memory
    return memory is None or (mine.root, mine.namespace) == (memory.root, memory.namespace)


runs, _told = Runs(), Ends()
_starts: ContextVar[Runs | None] = ContextVar("latent_memory_starts", default=runs)
_ends: ContextVar[Ends | None] = ContextVar("latent_memory_ends", default=_told)
register_configure_hook(_starts, inheritable=True)
register_configure_hook(_ends, inheritable=True)
