"""A live Latent learnt once for all tests, and a memory on a fake model where no model is the point."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # so that tests can import the helpers that lie beside them

from llama_index.core.instrumentation import get_dispatcher  # pyright: ignore[reportPrivateImportUsage]
from llama_index.memory.latent import EpisodeEnds, LatentMemory
from llama_world import FAMILY

from latent_memory_plugin import LatentMemory as CoreMemory
from latent_memory_plugin.sandbox.world import stream
from latent_memory_plugin.testing import FakeModel


@pytest.fixture(scope="session")
def _learnt(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    root = tmp_path_factory.mktemp("learnt") / "root"
    *studied, asked = stream(FAMILY, problems=11, seed=0)
    with CoreMemory(root) as core:
        core.learn([problem.question for problem in studied])
        assert core.find(asked.question).latent_id, "ten problems of this family give a live Latent"
    with CoreMemory(tmp_path_factory.mktemp("held")) as held:
        held.model  # noqa: B018 (held open, so that each test need not load the model again)
        yield root, asked.question


@pytest.fixture
def question(_learnt: tuple[Path, str]) -> str:
    """A question to which the Latent applies."""
    return _learnt[1]


@pytest.fixture
def root(_learnt: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A root of its own with a live Latent; the default one of this test."""
    copied = tmp_path / "root"
    shutil.copytree(_learnt[0], copied)
    monkeypatch.setenv("LATENT_MEMORY_ROOT", str(copied))
    return copied


@pytest.fixture
def core(root: Path) -> Iterator[CoreMemory]:
    """A core memory of that root."""
    with CoreMemory(root) as opened:
        yield opened


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[LatentMemory]:
    """A memory on a fake model that knows no question, so that nothing can be learnt: what is tested is the memory."""
    model: Any = FakeModel({})
    with CoreMemory(tmp_path / "fake", model) as opened:
        yield LatentMemory(core=opened, learn="manual")


@pytest.fixture
def watching() -> Iterator[EpisodeEnds]:
    """The hook, attached for this test alone."""
    hook = EpisodeEnds.attach()
    yield hook
    hook.detach()
    assert hook not in get_dispatcher().span_handlers


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs the Latent that is learnt takes more than a few seconds."""
    for item in items:
        if "_learnt" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
