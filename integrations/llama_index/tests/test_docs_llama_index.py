"""The page and the README: every python block runs, every link leads somewhere, every name of a class exists."""

import re
from pathlib import Path

import llama_index.core.memory
import pytest

REPOSITORY = Path(__file__).parents[3]
PAGES = (REPOSITORY / "docs" / "llama_index.md", REPOSITORY / "integrations" / "llama_index" / "README.md")
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#]+)")


def blocks() -> list[object]:
    found: list[object] = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in BLOCK.finditer(text):
            line = text.count("\n", 0, match.start()) + 2
            found.append(pytest.param(page, line, match[1], id=f"{page.name}-{line}"))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("page", "line", "code"), blocks())
def test_every_python_block_runs(
    page: Path, line: int, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LATENT_MEMORY_ROOT", str(tmp_path / "root"))
    # Line numbers of a traceback are then those of the page.
    exec(compile("\n" * (line - 1) + code, str(page), "exec"), {"__name__": "__main__"})


def test_each_door_has_a_block() -> None:
    """Else the test above would run nothing and pass."""
    assert len(blocks()) == 5


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_local_link_leads_to_a_file(page: Path) -> None:
    links = LINK.findall(page.read_text(encoding="utf-8"))
    assert not [link for link in links if "://" not in link and not (page.parent / link).exists()]


def test_the_table_names_memories_that_there_are() -> None:
    named = re.findall(r"`([A-Z]\w*Memory\w*)", PAGES[0].read_text(encoding="utf-8").split("## You have")[1])
    assert {"ChatMemoryBuffer", "SimpleComposableMemory", "VectorMemory"} <= set(named)
    known = {*dir(llama_index.core.memory), "LatentMemory", "LatentMemoryBlock"}
    assert set(named) <= known
