"""The documentation: every python block runs, every link leads somewhere, the command line's reference is the truth."""

import re
from pathlib import Path

import cli_reference
import pytest
import real_models_reference

REPOSITORY = Path(__file__).parents[1]
PAGES = (
    REPOSITORY / "README.md",
    *sorted((REPOSITORY / "docs").glob("*.md")),
    *sorted((REPOSITORY / "integrations").glob("*/README.md")),
)
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#]+)")
WEIGHTS = REPOSITORY / "latent_memory_plugin" / "sandbox" / "weights" / "model.safetensors"


def blocks() -> list[object]:
    """Every python block with its page and the line it starts in."""
    found: list[object] = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in BLOCK.finditer(text):
            line = text.count("\n", 0, match.start()) + 2
            found.append(pytest.param(page, line, match[1], id=f"{page.parent.name}-{page.name}-{line}"))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not WEIGHTS.exists(), reason="the embedded model is missing")
@pytest.mark.parametrize(("page", "line", "code"), blocks())
def test_every_python_block_runs(
    page: Path, line: int, code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LATENT_MEMORY_ROOT", str(tmp_path / "root"))
    # Line numbers of a traceback are then those of the page.
    exec(compile("\n" * (line - 1) + code, str(page), "exec"), {"__name__": "__main__"})


LEAST = {
    "README.md": 4,
    "docs/concepts.md": 1,
    "docs/extending.md": 5,
    "docs/langchain.md": 5,
    "docs/llama_index.md": 4,
    "docs/real-models.md": 2,
}


@pytest.mark.parametrize(("page", "least"), LEAST.items())
def test_the_pages_hold_python_blocks(page: str, least: int) -> None:
    """Else the test above would run nothing and pass."""
    assert len(BLOCK.findall((REPOSITORY / page).read_text(encoding="utf-8"))) >= least


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}-{page.name}")
def test_every_local_link_leads_to_a_file(page: Path) -> None:
    links = LINK.findall(page.read_text(encoding="utf-8"))
    assert not [link for link in links if "://" not in link and not (page.parent / link).exists()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}-{page.name}")
def test_every_fence_that_is_opened_is_closed(page: Path) -> None:
    fences = re.findall(r"^```(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert all(fences[::2]) and not any(fences[1::2]), f"{page.name}: {fences}"
    assert len(fences) % 2 == 0


def test_the_reference_of_the_command_line_is_up_to_date() -> None:
    assert cli_reference.PAGE.read_text(encoding="utf-8") == cli_reference.render(), "run `make docs`"


def test_the_tables_of_real_models_are_those_of_the_arithmetic() -> None:
    page = real_models_reference.PAGE.read_text(encoding="utf-8")
    assert len(real_models_reference.BLOCK.findall(page)) == len(real_models_reference.TABLES) == 4
    assert page == real_models_reference.render(page), "run `make docs`"


def test_the_reference_names_every_command() -> None:
    named = {" ".join(words) for words in cli_reference.all_words()}
    assert named == {
        "",
        "answers",
        "demo",
        "ask",
        "learn",
        "list",
        "show",
        "forget",
        "bench",
        "bench answers",
        "bench world",
        "bench online",
        "bench candidates",
        "bench kill",
        "check",
        "bench background",
        "bench model",
        "bench speed",
        "bench store",
        "evict",
        "export",
        "export-peft",
        "import",
        "import-peft",
    }


def test_the_model_card_states_the_size_the_weights_have() -> None:
    if not WEIGHTS.exists():
        pytest.skip("the embedded model is missing")
    import math

    from safetensors import safe_open

    with safe_open(WEIGHTS, framework="np") as file:
        names: list[str] = list(file.keys())
        parameters = sum(math.prod(file.get_slice(name).get_shape()) for name in names)
    card = (REPOSITORY / "docs" / "model-card.md").read_text(encoding="utf-8")
    assert f"| {parameters:,};" in card
