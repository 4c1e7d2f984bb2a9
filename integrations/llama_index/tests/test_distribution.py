"""What is installed and built: a namespace package that hides nothing of LlamaIndex, and loads nothing heavy."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[1]
MODULE = "llama_index/memory/latent/"


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *command], cwd=PROJECT, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    folder = tmp_path_factory.mktemp("wheel")
    done = run("-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder))
    assert done.returncode == 0, done.stderr
    [wheel] = folder.iterdir()
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_the_module_with_types_and_licence_and_nothing_else(names: set[str]) -> None:
    metadata = {name for name in names if ".dist-info/" in name}
    assert {name.removeprefix(MODULE) for name in names - metadata} == {
        "__init__.py",
        "base.py",
        "block.py",
        "hook.py",
        "llm.py",
        "messages.py",
        "py.typed",
        "replies.py",
        "rooted.py",
        "sitting.py",
    }
    assert [name for name in metadata if name.endswith("licenses/LICENSE")]


def test_no_init_file_hides_the_namespace(names: set[str]) -> None:
    assert {"llama_index/__init__.py", "llama_index/memory/__init__.py"}.isdisjoint(names)
    for folder in (PROJECT / "llama_index", PROJECT / "llama_index" / "memory"):
        assert not (folder / "__init__.py").exists()


def test_importing_loads_neither_torch_nor_chromadb_and_leaves_llama_index_whole() -> None:
    code = (
        "import sys, llama_index.memory.latent as m, llama_index.core, llama_index.core.memory;"
        "print(sorted(m.__all__), {'torch', 'chromadb', 'transformers', 'peft'} & set(sys.modules))"
    )
    done = run("-c", code)
    assert done.stdout.split("\n")[0] == "['EpisodeEnds', 'LatentLLM', 'LatentMemory', 'LatentMemoryBlock'] set()"


def test_making_objects_loads_nothing_either(tmp_path: Path) -> None:
    code = (
        "import sys; from llama_index.memory.latent import *;"
        f"m = LatentMemory(root={str(tmp_path)!r}); LatentLLM(memory=m), LatentMemoryBlock(core=m.core);"
        "print('torch' in sys.modules, 'chromadb' in sys.modules)"
    )
    assert run("-c", code).stdout.strip() == "False False"
    assert not list(tmp_path.iterdir())
