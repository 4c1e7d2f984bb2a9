"""Puts this folder on the path, and keeps every test away from the user's own memory."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from langchain_world import TOPICS, fake_core, give_latent

from latent_memory_plugin import LatentMemory as Core


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The default root: empty, and another than that of any memory under test."""
    root = tmp_path / "elsewhere"
    monkeypatch.setenv("LATENT_MEMORY_ROOT", str(root))
    return root


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    """A memory over the fake model, with a Latent for the questions of the topic `sum`."""
    with fake_core(tmp_path / "root") as made:
        give_latent(made, TOPICS[0])
        yield made
