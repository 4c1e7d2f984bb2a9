"""`LatentMemoryMiddleware`: a Latent once per problem, for every call of the agent's model."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from threading import Lock
from typing import Annotated, Any, cast
from uuid import UUID, uuid4

from langchain.agents.middleware import AgentMiddleware, AgentState
from langchain.agents.middleware.types import ModelRequest, ModelResponse, PrivateStateAttr
from langchain_core.messages import AIMessage
from langchain_core.runnables import run_in_executor
from langgraph.config import get_config
from typing_extensions import NotRequired, TypedDict, override

from langchain_latent_memory.chat_models import ChatLatent
from langchain_latent_memory.memory import LatentMemory
from langchain_latent_memory.messages import CARRIER, asked
from langchain_latent_memory.runs import runs
from latent_memory_plugin import LatentMemory as Core
from latent_memory_plugin import Occasion, Reference

UNDER_WAY = 10_000
"""Problems under way that are known; an agent that is interrupted for good never says that it is over."""


class Asked(TypedDict):
    """What the agent's state keeps of a problem."""

    episode: str
    """Which problem it is, among those of this process."""
    question: str
    """What memory was asked."""
    reference: dict[str, Any]
    """What it answered."""


class LatentState(AgentState[Any]):
    """The agent's state, with what memory was asked; it survives checkpoints."""

    latent_memory: NotRequired[Annotated[Asked, PrivateStateAttr]]


class LatentMemoryMiddleware(AgentMiddleware[LatentState, Any, Any]):
    """Asks memory before the agent starts, hands the reference to every call of its model through `model_settings`, and
    observes the episode at the end, as failed where the agent ended in an error.

    A chat model other than `ChatLatent` is called as if there were no memory.
    """

    state_schema = LatentState

    def __init__(self, memory: LatentMemory | Core | None = None) -> None:
        """`memory` is by default `LatentMemory()`."""
        super().__init__()
        self.memory = LatentMemory.wrap(memory)
        self._open: OrderedDict[str, Occasion] = OrderedDict()
        self._lock = Lock()

    @override
    def before_agent(self, state: LatentState, runtime: Any) -> dict[str, Any]:
        """The reference for the user's last message."""
        _, question = asked(state["messages"])
        occasion = self.memory.occasion(question)
        told = Asked(episode=uuid4().hex, question=occasion.question, reference=occasion.reference.carried())
        return {"latent_memory": told}

    @override
    async def abefore_agent(self, state: LatentState, runtime: Any) -> dict[str, Any]:
        """As `before_agent`; the event loop is not held up."""
        return await run_in_executor(None, self.before_agent, state, runtime)

    @override
    def wrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], ModelResponse[Any]]
    ) -> ModelResponse[Any]:
        """Hands the reference to the model."""
        told = self._told(request)
        if told is None:
            return handler(request)
        unwatched = self._watch(told)
        try:
            return handler(self._referred(request, told))
        except Exception as exc:  # whatever the model raises
            if unwatched is not None:
                unwatched.end(exc)
            raise

    @override
    async def awrap_model_call(
        self, request: ModelRequest[Any], handler: Callable[[ModelRequest[Any]], Awaitable[ModelResponse[Any]]]
    ) -> ModelResponse[Any]:
        """Hands the reference to the model."""
        told = self._told(request)
        if told is None:
            return await handler(request)
        unwatched = self._watch(told)
        try:
            return await handler(self._referred(request, told))
        except Exception as exc:  # whatever the model raises
            if unwatched is not None:
                await run_in_executor(None, unwatched.end, exc)
            raise

    @override
    def after_agent(self, state: LatentState, runtime: Any) -> None:
        """Observes the episode where `ChatLatent` has answered."""
        told = state.get("latent_memory")
        with self._lock:
            occasion = None if told is None else self._open.pop(told["episode"], None)
        if occasion is not None:
            occasion.answer = _answer(state)
            occasion.end()

    @override
    async def aafter_agent(self, state: LatentState, runtime: Any) -> None:
        """Observes the episode; the event loop is not held up."""
        await run_in_executor(None, self.after_agent, state, runtime)

    def _told(self, request: ModelRequest[Any]) -> Asked | None:
        """What memory was asked, for a model that can use it."""
        return request.state.get("latent_memory") if isinstance(request.model, ChatLatent) else None

    def _referred(self, request: ModelRequest[Any], told: Asked) -> ModelRequest[Any]:
        settings = {**request.model_settings, CARRIER: told["reference"]}
        return request.override(model=cast(ChatLatent, request.model).reading(self.memory), model_settings=settings)

    def _watch(self, told: Asked) -> Occasion | None:
        """Ends the episode with the agent's run, this one or, resumed, another; without a run to watch, the episode,
        which the caller ends."""
        occasion, run_id = self._occasion(told), _agent_run()
        if run_id is None:
            return occasion
        runs.open(run_id, occasion)
        return None

    def _occasion(self, told: Asked) -> Occasion:
        """The problem under way, of this process or, from a checkpoint, of another."""
        with self._lock:
            if told["episode"] not in self._open:
                reference = Reference.of(told["reference"])
                self._open[told["episode"]] = Occasion(self.memory.core, told["question"], reference, self.memory.learn)
            while len(self._open) > UNDER_WAY:
                self._open.popitem(last=False)
            return self._open[told["episode"]]


def _agent_run() -> UUID | None:
    """The run of the agent in whose step this is; None where Python does not tell (3.10 and older, async)."""
    try:
        step = cast(Any, get_config())["callbacks"].parent_run_id
    except (RuntimeError, KeyError, AttributeError):
        return None
    return runs.parent(step)


def _answer(state: LatentState) -> str | None:
    """The agent's last words, else its structured answer; None where they are not of `ChatLatent`."""
    messages = state["messages"]
    last = next((one for one in reversed(messages) if isinstance(one, AIMessage)), None)
    if last is None or CARRIER not in last.response_metadata:
        return None
    structured: Any = state.get("structured_response")
    said = "" if last is not messages[-1] else str(last.text)
    return said or (str(structured) if structured is not None else "")
