"""`LatentMemoryBlock`: the same inside LlamaIndex's own `Memory`."""

import asyncio
import threading
from typing import Any

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.bridge.pydantic import PrivateAttr
from llama_index.core.memory import BaseMemoryBlock
from llama_index.memory.latent.messages import answer_to, carrier, last_question
from llama_index.memory.latent.rooted import Rooted
from llama_index.memory.latent.sitting import Learn, Sitting, check_learn

from latent_memory_plugin import ChatModel, Reference


class LatentMemoryBlock(Rooted, BaseMemoryBlock[list[ChatMessage]]):
    """Adds an empty message with the reference to the Latent that applies to the question; `LatentLLM` reads it.

    A block sees the answer only when it is asked again, after the agent's run or with the next question, which ends the
    episode. `EpisodeEnds` ends it where nobody asks again. One block serves several `Memory` objects, told apart by
    their session ids.
    """

    name: str = "latent"
    """The block's name in its `Memory`."""
    accept_short_term_memory: bool = False
    """Messages that leave the short-term memory are nothing to this block: it learns from whole episodes."""
    learn: Learn = "background"
    """When an episode is learnt from: `background`, `now`, `manual` (by `core.consolidate()`); None records none."""

    _chat: ChatModel = PrivateAttr()
    _sittings: dict[str, Sitting] = PrivateAttr(default_factory=dict[str, Sitting])
    _lock: Any = PrivateAttr(default_factory=threading.Lock)

    def __init__(self, **fields: Any) -> None:
        """All fields by name, and `core=` or `model=` as `LatentMemory.from_defaults` has them. Raises InputError."""
        check_learn(fields.get("learn"))
        super().__init__(**fields)
        self._chat = ChatModel(self._core)

    async def _aget(self, messages: list[ChatMessage] | None = None, **block_kwargs: Any) -> list[ChatMessage]:
        session = str(block_kwargs.get("session_id", ""))
        return await asyncio.to_thread(self._get, list(messages or ()), session)

    async def _aput(self, messages: list[ChatMessage]) -> None:
        """Nothing: see `accept_short_term_memory`."""

    def _get(self, messages: list[ChatMessage], session: str) -> list[ChatMessage]:
        with self._lock:
            sitting = self._sittings.setdefault(session, Sitting())
        if (asked := sitting.asked) is not None and (answer := answer_to(asked.question, messages)) is not None:
            sitting.finish(answer, self._core, self.learn)
        if not (question := last_question(messages)):
            return []
        answered = answer_to(question, messages) is not None
        found = sitting.reference(self._chat, question, self.learn, anew=not answered, answered=answered)
        return [carrier(found if self._core.enabled else Reference())]
