"""All methods by name, in the order of the tables."""

from collections.abc import Mapping
from typing import Any

from latent_memory_plugin.answers import agree, extract
from latent_memory_plugin.bench.online import context, lora, memories, offline, plain
from latent_memory_plugin.bench.online.common import Common
from latent_memory_plugin.bench.online.method import Method
from latent_memory_plugin.errors import InputError

OURS = "ours"
NONE = "none"
ORACLE = "oracle"
MAJORITY = "majority"

_SIMPLE: dict[str, type[Method]] = {
    NONE: plain.OneSample,
    "greedy": plain.Greedy,
    "raw_icl": context.RawTraces,
    "reflected_icl": context.ReflectedTraces,
    "offline_soft_prompt": offline.OfflineSoftPrompt,
    "lora_per_problem": lora.LoraPerProblem,
    "lora_offline": offline.OfflineLora,
}
_ORDER = (
    NONE,
    MAJORITY,
    "greedy",
    "raw_icl",
    "reflected_icl",
    "paper",
    OURS,
    "ours_without_trial",
    "ours_without_neighbours",
    "offline_soft_prompt",
    "lora_per_problem",
    "lora_offline",
    ORACLE,
)
TWO_PASS = ("offline_soft_prompt", "lora_offline")
"""Methods that see the whole stream before they answer its first problem."""


def names(voters: int) -> list[str]:
    """All methods; the majority is named after its number of voters."""
    return [f"{MAJORITY}_{voters}" if name == MAJORITY else name for name in _ORDER]


def chosen(wanted: str | None, voters: int) -> list[str]:
    """The methods of a list separated by commas, in the order of the tables; all for None. Raises `InputError`."""
    known = names(voters)
    if wanted is None:
        return known
    asked = [name.strip() for name in wanted.split(",") if name.strip()]
    unknown = [name for name in asked if name not in known]
    if unknown or not asked:
        raise InputError(f"--methods {wanted!r} names no method {unknown}; the methods are {', '.join(known)}.")
    return [name for name in known if name in asked]


def build(name: str, common: Common, labels: Mapping[str, str]) -> Method:
    """The method of that name. The labels, question → right answer, go to the oracle and to nothing else."""
    if name in _SIMPLE:
        return _SIMPLE[name](common)
    if name.startswith(MAJORITY):
        return plain.Majority(common)
    if name == ORACLE:
        right = dict(labels)
        return memories.remembering(name, common, lambda question, text: float(agree(extract(text), right[question])))
    return memories.remembering(name, common)


def settings_of(name: str) -> dict[str, Any]:
    """What a method is made with, beside what all share: results of other settings are not taken for its own."""
    if name in memories.CONFIGS:
        return memories.CONFIGS[name].model_dump()
    if name in ("lora_per_problem", "lora_offline"):
        return {"rank": lora.RANK, "one": str(lora.ONE_PROBLEM), "whole": str(lora.WHOLE_STREAM)}
    if name == "offline_soft_prompt":
        return {"schedule": str(offline.SOFT_PROMPT)}
    return {}
