"""Every check holds for every architecture; where there is nothing to check, this file says so beforehand."""

from functools import lru_cache

import pytest
from architectures import SETTINGS, build
from tiny_models import BOS_TEMPLATE, tiny_tokenizer

from latent_memory_plugin.bench.conformance import CHECKS, Subject, check

REDUCED = ("GPT2", "OPT", "Qwen3", "Mistral")
"""What `make test-fast` runs."""

NO_THINKING = "thinking can be switched by template_arguments"
NO_LIMIT = "too long is refused with the numbers"
NO_EMBEDDINGS = "completions with a Latent equal those of generate"
SKIPPED = {
    "Bloom": {NO_LIMIT},
    "Mamba": {NO_LIMIT},
    "Mamba2": {NO_LIMIT},
    "Bamba": {NO_EMBEDDINGS},
    "FalconH1": {NO_EMBEDDINGS},
}
"""Bloom and Mamba name no context length; `generate` of Bamba and Falcon-H1 takes no embeddings to compare with."""


@lru_cache(maxsize=1)
def subject(architecture: str) -> Subject:
    return Subject.of(build(architecture), tiny_tokenizer(BOS_TEMPLATE, bos=True), architecture)


def architectures() -> list[object]:
    return [
        pytest.param(name, marks=[] if name in REDUCED else [pytest.mark.slow], id=name) for name in sorted(SETTINGS)
    ]


@pytest.mark.parametrize("group", CHECKS)
@pytest.mark.parametrize("architecture", architectures())
def test_the_library_keeps_its_promises(architecture: str, group: str) -> None:
    rows = list(check(subject(architecture), group))
    assert rows
    assert not {row.name: (row.measured, row.note) for row in rows if row.outcome in ("failed", "refused")}
    skipped = {row.name for row in rows if row.outcome == "skipped"}
    assert skipped <= SKIPPED.get(architecture, set()) | {NO_THINKING}
