"""What is installed, built and typed at a shell: the command, the wheel, the pinned versions, the Makefile."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import time
import zipfile
from importlib.metadata import entry_points, requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import latent_memory_plugin

REPOSITORY = Path(latent_memory_plugin.__file__).parents[1]
WEIGHTS = "latent_memory_plugin/sandbox/weights/"
MAX_HELP_SECONDS = 0.5
OWN = {"langchain-latent-memory", "llama-index-memory-latent"}
"""Distributions of this repository."""
MAX_WHEEL_BYTES = 20_000_000


def run(*command: str, cwd: Path = REPOSITORY, **environment: str) -> subprocess.CompletedProcess[str]:
    # `make test ARGS=...` hands its own variables to the tests; a make started here must not take them up.
    ours = ("MAKE", "MFLAGS", "ARGS", "SEED", "PYTHON", "TORCH_INDEX")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return subprocess.run(command, cwd=cwd, env=inherited | environment, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def command() -> str:
    found = shutil.which("latent-memory", path=sysconfig.get_path("scripts"))
    assert found, "The command latent-memory is not installed in this environment; run `make install`."
    return found


def test_the_command_is_installed_under_its_name() -> None:
    (entry,) = entry_points(group="console_scripts", name="latent-memory")
    assert entry.value == "latent_memory_plugin.cli:main"
    assert version("latent-memory-plugin") == latent_memory_plugin.__version__


def test_help_loads_neither_torch_nor_chromadb(command: str) -> None:
    done = run(command, "--help", PYTHONPROFILEIMPORTTIME="1")
    modules = set(re.findall(r"^import time:.*\| +(\w+)", done.stderr, re.MULTILINE))
    assert done.returncode == 0, done.stderr[-2000:]
    assert "latent_memory_plugin" in modules
    assert modules.isdisjoint({"torch", "chromadb", "transformers", "peft", "sympy", "matplotlib"})


def test_help_takes_less_than_half_a_second(command: str) -> None:
    best = float("inf")
    for _ in range(10):
        started = time.perf_counter()
        done = run(command, "--help")
        best = min(best, time.perf_counter() - started)
        assert done.returncode == 0, done.stderr[-2000:]
        if best < MAX_HELP_SECONDS:
            return
    pytest.fail(f"The fastest of ten runs took {best:.2f} s.")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("wheel"), "wheel")


def build(folder: Path, kind: str) -> Path:
    done = run(sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(folder))
    assert done.returncode == 0, done.stderr
    (built,) = folder.iterdir()
    return built


def test_the_wheel_holds_the_package_with_types_and_weights_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    weights = {f"{WEIGHTS}{file.name}" for file in (REPOSITORY / WEIGHTS).iterdir() if file.is_file()}
    assert {name.partition("/")[0] for name in names} == {
        "latent_memory_plugin",
        f"latent_memory_plugin-{latent_memory_plugin.__version__}.dist-info",
    }
    assert {"latent_memory_plugin/py.typed", "latent_memory_plugin/__init__.py"} <= names
    assert weights <= names
    assert [name for name in weights if name.endswith(".safetensors")]
    assert [name for name in names if name.endswith("licenses/LICENSE")]


def test_the_wheel_is_small_enough_to_carry_its_model(wheel: Path) -> None:
    assert wheel.stat().st_size < MAX_WHEEL_BYTES


def test_the_source_distribution_can_be_tested_and_built_again(tmp_path: Path) -> None:
    with tarfile.open(build(tmp_path, "sdist")) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for needed in ("pyproject.toml", "constraints.txt", "Makefile", "LICENSE", "README.md", "tests/test_packaging.py"):
        assert needed in names
    assert not [name for name in names if name.startswith((".venv", "shared", ".git/"))]


def pins(python: str) -> dict[str, Requirement]:
    """Pinned requirement by normalised name, for one version of Python."""
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    parsed = [Requirement(line) for line in lines if line and not line.startswith("#")]
    usable = [pin for pin in parsed if pin.marker is None or pin.marker.evaluate({"python_version": python})]
    assert len({pin.name for pin in usable}) == len(usable)
    return {canonicalize_name(pin.name): pin for pin in usable}


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.13"])
def test_every_requirement_is_pinned_inside_its_bounds(python: str) -> None:
    pinned = pins(python)
    for text in requires("latent-memory-plugin") or []:
        requirement = Requirement(text)
        if requirement.name in OWN:
            continue
        (pin,) = pinned[canonicalize_name(requirement.name)].specifier
        assert pin.operator == "=="
        assert requirement.specifier.contains(pin.version), text


def test_no_pin_names_a_build_for_one_kind_of_machine() -> None:
    assert not [pin for pin in pins("3.11").values() if "+" in str(pin.specifier)]


def test_the_changelog_has_an_entry_for_this_version() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[:2] == ["Unreleased", latent_memory_plugin.__version__]


def test_make_names_its_commands() -> None:
    done = run("make")
    assert {"make demo", "make test", "make lint"} <= {line[: line.find("  ")] for line in done.stdout.splitlines()}


@pytest.mark.parametrize(("seed", "expected"), [((), "math_agent.py"), (("SEED=3",), "math_agent.py --seed 3")])
def test_make_demo_hands_its_seed_on(seed: tuple[str, ...], expected: str) -> None:
    last = run("make", "--dry-run", "demo", *seed).stdout.splitlines()[-1]
    assert last.rstrip().endswith(expected)


def test_make_without_a_usable_python_says_what_is_wanted(tmp_path: Path) -> None:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(REPOSITORY / name, tmp_path)
    done = run("make", "test", "PYTHON=no-such-python", cwd=tmp_path)
    assert done.returncode != 0
    assert "no-such-python" in done.stderr and "3.10 or newer" in done.stderr
    assert not (tmp_path / ".venv").exists()
