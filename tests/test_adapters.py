"""The adapters' distributions: what they import of the core, what their wheels hold, and that they stand alone."""

import ast
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

import latent_memory_plugin

REPOSITORY = Path(latent_memory_plugin.__file__).parents[1]
ADAPTERS = {"langchain": "langchain_latent_memory", "llama_index": "llama_index/memory/latent"}
FILES = [
    path for name, module in ADAPTERS.items() for path in (REPOSITORY / "integrations" / name / module).glob("*.py")
]
MAX_FILE_LINES = 250


def run(*command: str, cwd: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_an_adapter_uses_the_cores_public_names_alone(path: Path) -> None:
    taken: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("latent_memory_plugin"):
            assert node.module == "latent_memory_plugin", ast.unparse(node)
            taken.update(alias.name for alias in node.names)
        if isinstance(node, ast.Import):
            assert not [alias for alias in node.names if alias.name.startswith("latent_memory_plugin.")]
    assert taken <= set(latent_memory_plugin.__all__)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_an_adapter_is_thin(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_FILE_LINES


@pytest.mark.parametrize("framework", ["langchain_core", "langchain", "llama_index"])
def test_the_core_loads_no_framework(framework: str) -> None:
    code = (
        "import sys, latent_memory_plugin as core\n"
        "for name in core.__all__: getattr(core, name)\n"
        f"assert {framework!r} not in sys.modules"
    )
    done = run(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The three wheels, built without a network."""
    built: dict[str, Path] = {}
    folders = {"core": REPOSITORY} | {name: REPOSITORY / "integrations" / name for name in ADAPTERS}
    for name, folder in folders.items():
        place = tmp_path_factory.mktemp(name)
        command = (sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(place))
        done = run(*command, cwd=folder)
        assert done.returncode == 0, done.stderr
        (built[name],) = place.iterdir()
    return built


@pytest.mark.parametrize("name", ADAPTERS)
def test_the_wheel_holds_the_module_and_no_other_package(name: str, wheels: dict[str, Path]) -> None:
    with zipfile.ZipFile(wheels[name]) as archive:
        files = [file for file in archive.namelist() if ".dist-info/" not in file]
    assert files and all(file.startswith(f"{ADAPTERS[name]}/") for file in files)  # no __init__.py above a namespace
    assert f"{ADAPTERS[name]}/py.typed" in files


@pytest.mark.slow
def test_all_three_wheels_install_into_an_empty_environment_and_are_imported_from_there(
    wheels: dict[str, Path], tmp_path: Path
) -> None:
    done = run(sys.executable, "-m", "venv", str(tmp_path / "empty"))
    assert done.returncode == 0, done.stderr
    python = str(tmp_path / "empty" / "bin" / "python")
    done = run(python, "-m", "pip", "install", "--no-index", "--no-deps", *map(str, wheels.values()))
    assert done.returncode == 0, done.stderr
    (site,) = (tmp_path / "empty" / "lib").glob("python*/site-packages")
    # The libraries they need, without the editable installations that stand beside them.
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib"))
    code = (
        "import latent_memory_plugin, langchain_latent_memory, llama_index.memory.latent\n"
        "for one in (latent_memory_plugin, langchain_latent_memory, llama_index.memory.latent):\n"
        "    [getattr(one, name) for name in one.__all__]\n"
        "    print(one.__file__)\n"
    )
    done = run(python, "-W", "ignore", "-c", code, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line.startswith(str(site)) for line in done.stdout.splitlines()] == [True] * 3
