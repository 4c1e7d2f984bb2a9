"""LangChain's own unit tests of a chat model; docs/langchain-tests.md says what is skipped and why."""

from typing import Any

from langchain_latent_memory import ChatLatent
from langchain_tests.unit_tests import ChatModelUnitTests

OF_A_SERVER = ("timeout", "max_retries", "api_key")
"""Standard parameters that a local model has not."""


class TestChatLatent(ChatModelUnitTests):
    @property
    def chat_model_class(self) -> type[ChatLatent]:
        return ChatLatent

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"seed": 0}

    @property
    def standard_chat_model_params(self) -> dict[str, Any]:
        told = super().standard_chat_model_params
        return {name: value for name, value in told.items() if name not in OF_A_SERVER}
