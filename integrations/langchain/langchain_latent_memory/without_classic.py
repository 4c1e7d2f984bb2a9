"""What stands in for `langchain_classic`'s memory class where that package is not installed."""

from typing import Any, NoReturn

from langchain_core.load.serializable import Serializable


class BaseMemory(Serializable):
    """Refuses what only classic chains ask for."""

    def __getattribute__(self, name: str) -> Any:
        """Raises ImportError for the methods of a classic chain's memory."""
        if name in ("load_memory_variables", "aload_memory_variables", "save_context", "asave_context"):
            _refuse(name)
        return super().__getattribute__(name)


def _refuse(name: str) -> NoReturn:
    raise ImportError(
        f"{name} is for classic chains, which need the package langchain-classic: "
        "pip install 'langchain-latent-memory[classic]'."
    )
