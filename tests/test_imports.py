"""The public names, and what importing them costs."""

import ast
import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import latent_memory_plugin
from latent_memory_plugin import config, errors, records

SOURCE = Path(latent_memory_plugin.__file__)
MAX_IMPORT_SECONDS = 0.05

PROBE = """
import json, sys, time
before, started = set(sys.modules), time.process_time()
{statement}
seconds = time.process_time() - started
print(json.dumps([seconds, sorted({{name.partition(".")[0] for name in set(sys.modules) - before}})]))
"""


def probe(statement: str) -> tuple[float, set[str]]:
    """Processor seconds one statement takes in a fresh interpreter, and the top-level modules it loads."""
    command = [sys.executable, "-c", PROBE.format(statement=statement)]
    done = subprocess.run(command, cwd=SOURCE.parents[1], capture_output=True, text=True, check=True, timeout=60)
    seconds, modules = json.loads(done.stdout)
    return seconds, set(modules)


def belongs(value: Any, module: str) -> bool:
    """Whether an object is defined in a module or in one of its package."""
    return f"{value.__module__}.".startswith(f"{module}.")


def test_every_public_class_of_records_config_and_errors_is_exported() -> None:
    expected = {
        name
        for module in (records, config, errors)
        for name, value in vars(module).items()
        if inspect.isclass(value) and belongs(value, module.__name__) and not name.startswith("_")
    }
    assert set(latent_memory_plugin.__all__) == expected | {*latent_memory_plugin.HOMES, "__version__"}


ALIASES = {"When", "__version__"}
"""Names of things that have none of their own."""


@pytest.mark.parametrize("name", [name for name in latent_memory_plugin.__all__ if name not in ALIASES])
def test_an_exported_name_is_the_object_of_its_home(name: str) -> None:
    value: Any = getattr(latent_memory_plugin, name)
    assert value.__name__ == name
    assert belongs(value, f"latent_memory_plugin.{latent_memory_plugin._home(name)}")
    assert value.__doc__


def test_type_checkers_see_the_same_names_as_the_interpreter() -> None:
    block = next(node for node in ast.parse(SOURCE.read_text(encoding="utf-8")).body if isinstance(node, ast.If))
    seen = {
        (f"latent_memory_plugin.{latent_memory_plugin._home(alias.name)}" == node.module, alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == {(True, name) for name in latent_memory_plugin.__all__ if name != "__version__"}


def test_an_unknown_name_is_refused_by_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'LatentMemroy'"):
        _ = latent_memory_plugin.LatentMemroy  # pyright: ignore[reportAttributeAccessIssue]


def test_names_are_listed_before_they_are_loaded() -> None:
    assert set(latent_memory_plugin.__all__) <= set(dir(latent_memory_plugin))


def test_importing_the_package_loads_no_foreign_package() -> None:
    _, modules = probe("import latent_memory_plugin")
    assert modules - sys.stdlib_module_names == {"latent_memory_plugin"}


def test_importing_the_package_takes_a_few_milliseconds() -> None:
    assert min(probe("import latent_memory_plugin")[0] for _ in range(5)) < MAX_IMPORT_SECONDS


def test_records_config_and_errors_load_neither_model_nor_store() -> None:
    _, modules = probe("from latent_memory_plugin import Answer, Config, LatentMemoryError")
    assert "pydantic" in modules
    assert modules.isdisjoint({"torch", "transformers", "peft", "chromadb", "numpy", "sympy", "matplotlib"})
