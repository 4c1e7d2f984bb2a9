"""Learnt memory for frozen language models, in LangChain.

create_agent(model=ChatLatent(), middleware=[LatentMemoryMiddleware()])
prompt | LatentMemory() | ChatLatent()          prompt | ChatLatent(memory=memory)
LLMChain(llm=ChatLatent(), prompt=prompt, memory=LatentMemory())
RunnableWithMessageHistory(chain, lambda session: LatentChatMessageHistory(session))
"""

from typing import TYPE_CHECKING, Any

from langchain_latent_memory.chat_models import ChatLatent
from langchain_latent_memory.history import LatentChatMessageHistory
from langchain_latent_memory.memory import LatentMemory

if TYPE_CHECKING:
    from langchain_latent_memory.middleware import LatentMemoryMiddleware

__all__ = ["ChatLatent", "LatentChatMessageHistory", "LatentMemory", "LatentMemoryMiddleware"]


def __getattr__(name: str) -> Any:
    """The middleware, which needs langchain beside langchain-core, on first use (PEP 562)."""
    if name != "LatentMemoryMiddleware":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from langchain_latent_memory.middleware import LatentMemoryMiddleware
    except ModuleNotFoundError as exc:
        package = (exc.name or "langchain").partition(".")[0]
        raise ImportError(
            f"LatentMemoryMiddleware needs the package {package!r}: pip install 'langchain-latent-memory[agents]'."
        ) from exc
    return LatentMemoryMiddleware
