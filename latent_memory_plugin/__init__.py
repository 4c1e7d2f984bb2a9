"""Memory for frozen language models: what many samples agree on, kept as a few trained embedding vectors.

Every name below is loaded on first use, so importing the package loads neither torch nor chromadb nor pydantic.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from latent_memory_plugin.answering.chat import ChatModel
    from latent_memory_plugin.answering.intake import When
    from latent_memory_plugin.answering.session import Occasion
    from latent_memory_plugin.answering.turn import question_of
    from latent_memory_plugin.config import (
        Config,
        DistilConfig,
        GrpoConfig,
        ImitateConfig,
        ImitateThenGrpoConfig,
        LifeConfig,
        ModelConfig,
        NeighbourConfig,
        ObjectiveConfig,
        RetrieveConfig,
        RouteConfig,
        SamplingConfig,
        StoreConfig,
        TrialConfig,
        VoteConfig,
        WorkerConfig,
    )
    from latent_memory_plugin.errors import (
        CancelledError,
        ConfigError,
        ContextLengthError,
        CorruptError,
        DistilError,
        IndexUnavailableError,
        InputError,
        LatentMemoryError,
        ModelError,
        ModelLoadError,
        NotFoundError,
        OutdatedError,
        PluginError,
        ReadOnlyError,
        RewardError,
        StoreError,
        StoreLockedError,
        StoreWriteError,
        WorkerError,
        WrongModelError,
    )
    from latent_memory_plugin.learning.work import Candidate, Progress
    from latent_memory_plugin.memory import LatentMemory
    from latent_memory_plugin.records import (
        Answer,
        Choice,
        Dialogue,
        Episode,
        Evicted,
        Hit,
        Holding,
        Latent,
        Neighbour,
        Outcome,
        Problem,
        Queued,
        Reference,
        Reply,
        Rollout,
        Standing,
        ToolCall,
        Trial,
        Usage,
        Use,
        Vote,
        WorkerState,
    )
    from latent_memory_plugin.store.root import namespaces

__version__ = "0.1.0"

__path__.append(f"{__path__[0]}/_moved")  # import paths of before, see there

HOMES = {
    "Candidate": "learning.work",
    "ChatModel": "answering.chat",
    "LatentMemory": "memory",
    "Occasion": "answering.session",
    "Progress": "learning.work",
    "When": "answering.intake",
    "namespaces": "store.root",
    "question_of": "answering.turn",
}

__all__ = [
    "Answer",
    "CancelledError",
    "Candidate",
    "ChatModel",
    "Choice",
    "Config",
    "ConfigError",
    "ContextLengthError",
    "CorruptError",
    "Dialogue",
    "DistilConfig",
    "DistilError",
    "Episode",
    "Evicted",
    "GrpoConfig",
    "Hit",
    "Holding",
    "ImitateConfig",
    "ImitateThenGrpoConfig",
    "IndexUnavailableError",
    "InputError",
    "Latent",
    "LatentMemory",
    "LatentMemoryError",
    "LifeConfig",
    "ModelConfig",
    "ModelError",
    "ModelLoadError",
    "Neighbour",
    "NeighbourConfig",
    "NotFoundError",
    "ObjectiveConfig",
    "Occasion",
    "Outcome",
    "OutdatedError",
    "PluginError",
    "Problem",
    "Progress",
    "Queued",
    "ReadOnlyError",
    "Reference",
    "Reply",
    "RetrieveConfig",
    "RewardError",
    "Rollout",
    "RouteConfig",
    "SamplingConfig",
    "Standing",
    "StoreConfig",
    "StoreError",
    "StoreLockedError",
    "StoreWriteError",
    "ToolCall",
    "Trial",
    "TrialConfig",
    "Usage",
    "Use",
    "Vote",
    "VoteConfig",
    "When",
    "WorkerConfig",
    "WorkerError",
    "WorkerState",
    "WrongModelError",
    "__version__",
    "namespaces",
    "question_of",
]


def _home(name: str) -> str:
    """The module that defines a public name."""
    if name in HOMES:
        return HOMES[name]
    for ending, module in (("Error", "errors"), ("Config", "config")):
        if name.endswith(ending):
            return module
    return "records"


def __getattr__(name: str) -> Any:
    """The public object `name`, imported on first use (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_home(name)}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """The public names, loaded or not."""
    return sorted({*globals(), *__all__})
