"""LangChain's own integration tests of a chat model, with the embedded model and, for what it was never taught, with a
model that follows a script; docs/langchain-tests.md says what is skipped and why."""

from typing import Any

from langchain_latent_memory import ChatLatent
from langchain_tests.integration_tests import ChatModelIntegrationTests
from langchain_world import ANSWERS, Scripted


class TestEmbeddedModel(ChatModelIntegrationTests):
    @property
    def chat_model_class(self) -> type[ChatLatent]:
        return ChatLatent

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"seed": 0, "max_tokens": 40}

    @property
    def has_tool_calling(self) -> bool:
        return False  # it was taught one tool, calc, and the standard tests use others

    @property
    def has_structured_output(self) -> bool:
        return False  # which is a call of a tool of that shape

    @property
    def supports_model_override(self) -> bool:
        return False


class TestScriptedModel(ChatModelIntegrationTests):
    """What is ours of tools and structured output: the model under it does what it is told."""

    @property
    def chat_model_class(self) -> type[ChatLatent]:
        return ChatLatent

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": Scripted(ANSWERS), "seed": 0}

    @property
    def supports_json_mode(self) -> bool:
        return True

    @property
    def supports_model_override(self) -> bool:
        return False
