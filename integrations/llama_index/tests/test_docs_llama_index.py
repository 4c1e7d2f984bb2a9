"""The page of the doors; tests/test_docs.py runs its blocks."""

import re
from pathlib import Path

import llama_index.core.memory

PAGE = Path(__file__).parents[3] / "docs" / "llama_index.md"


def test_the_table_names_memories_that_there_are() -> None:
    named = re.findall(r"`([A-Z]\w*Memory\w*)", PAGE.read_text(encoding="utf-8").split("## You have")[1])
    assert {"ChatMemoryBuffer", "SimpleComposableMemory", "VectorMemory"} <= set(named)
    known = {*dir(llama_index.core.memory), "LatentMemory", "LatentMemoryBlock"}
    assert set(named) <= known
