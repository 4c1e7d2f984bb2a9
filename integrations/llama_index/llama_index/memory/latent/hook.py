"""`EpisodeEnds`: ends episodes where an agent's run or a chat ends, in an answer or in an error."""

import logging
import threading
from contextlib import suppress
from contextvars import Token
from typing import Any, cast

from llama_index.core.agent.workflow import AgentOutput
from llama_index.core.bridge.pydantic import Field
from llama_index.core.chat_engine.types import AgentChatResponse, BaseChatEngine, StreamingAgentChatResponse
from llama_index.core.instrumentation import get_dispatcher  # pyright: ignore[reportPrivateImportUsage]
from llama_index.core.instrumentation.span import BaseSpan
from llama_index.core.instrumentation.span_handlers import BaseSpanHandler
from llama_index.core.workflow import StopEvent, Workflow
from llama_index.memory.latent.sitting import Attempt, running
from typing_extensions import Self

from latent_memory_plugin import LatentMemoryError

log = logging.getLogger(__name__)


class Run(BaseSpan):
    """An agent's run, or a chat."""

    attempts: list[Any] = Field(default_factory=list)
    """Attempts that memories made in it."""
    token: Any = None
    """Gives `running` its value back."""


class EpisodeEnds(BaseSpanHandler[Run]):
    """Tells memories how an agent's run ended. `EpisodeEnds.attach()` is all that is needed.

    Without it an episode that breaks off is noticed with the next question; with it at once, and recorded as failed.
    A run that is cancelled has not ended: it may be taken up from its saved context.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    @classmethod
    def class_name(cls) -> str:
        """Its name among span handlers."""
        return "EpisodeEnds"

    @classmethod
    def attach(cls) -> Self:
        """Watches all runs from now on; attached once, however often it is called."""
        dispatcher = get_dispatcher()
        handlers = cast(list[Any], dispatcher.span_handlers)
        present = [handler for handler in handlers if isinstance(handler, cls)]
        if not present:
            present = [cls()]
            dispatcher.add_span_handler(present[0])
        return present[0]

    def detach(self) -> None:
        """Watches no longer."""
        dispatcher = get_dispatcher()
        handlers = cast(list[Any], dispatcher.span_handlers)
        dispatcher.span_handlers = [handler for handler in handlers if handler is not self]

    def new_span(
        self,
        id_: str,
        bound_args: Any,
        instance: Any = None,
        parent_span_id: str | None = None,
        tags: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Run | None:
        """A run begins."""
        streamed = isinstance(instance, StreamingAgentChatResponse)
        if not (streamed or isinstance(instance, BaseChatEngine) or _is_run(instance, id_)):
            return None
        run = Run(id_=id_, parent_id=parent_span_id)
        if streamed:  # it writes down the answer of the chat in whose context it was started
            run.attempts = running.get() or []
        run.token = running.set(run.attempts)
        return run

    def prepare_to_exit_span(
        self, id_: str, bound_args: Any, instance: Any = None, result: Any = None, **kwargs: Any
    ) -> Run | None:
        """A run has ended; where the answer is still being streamed, or it was cancelled, its episodes go on."""
        run = self.open_spans.get(id_)
        streamed = isinstance(instance, StreamingAgentChatResponse)
        if run is not None and (streamed or isinstance(result, StopEvent | AgentChatResponse)):
            _end(run, answer=instance.response if streamed else _answer(result))
        return _left(run)

    def prepare_to_drop_span(
        self, id_: str, bound_args: Any, instance: Any = None, err: BaseException | None = None, **kwargs: Any
    ) -> Run | None:
        """A run has broken off."""
        run = self.open_spans.get(id_)
        if run is not None:
            _end(run, error=err or "The agent's run broke off.")
        return _left(run)


def _is_run(instance: Any, id_: str) -> bool:
    """Whether a span is a workflow's run and not another method of it."""
    return isinstance(instance, Workflow) and ".run-" in id_


def _answer(result: Any) -> str:
    """The answer in what a run gave; empty where it is no text."""
    told = result.result if isinstance(result, StopEvent) else result
    if isinstance(told, AgentOutput):
        return told.response.content or ""
    return told.response if isinstance(told, AgentChatResponse) else told if isinstance(told, str) else ""


def _end(run: Run, answer: str = "", error: BaseException | str | None = None) -> None:
    """Ends a run's episodes; the answer is the last one's. The dispatcher swallows errors, so they are logged."""
    attempts: list[Attempt] = run.attempts
    for attempt in attempts:
        try:
            if error is not None:
                attempt.end(error)
            else:
                attempt.finish(answer if attempt is attempts[-1] else "")
        except LatentMemoryError:
            log.exception("The episode of %.60r is not recorded.", attempt.question)


def _left(run: Run | None) -> Run | None:
    token: Token[Any] | None = None if run is None else run.token
    if token is not None:
        with suppress(ValueError):  # it ended in another context than it began in, which is gone with its value
            running.reset(token)
    return run
