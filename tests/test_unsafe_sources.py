"""No source of ours runs what it reads: no pickles, no strings as code, no code of a model, no blind unpacking."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from latent_memory_plugin.config import ModelConfig

REPOSITORY = Path(__file__).parents[1]
SOURCES = sorted(
    path
    for folder in ("latent_memory_plugin", "integrations", "examples")
    for path in (REPOSITORY / folder).rglob("*.py")
    if "tests" not in path.relative_to(REPOSITORY).parts
)

MODULES = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "imp", "code"}
CALLS = {
    *("eval", "exec", "compile", "builtins.eval", "builtins.exec", "builtins.compile", "os.system", "os.popen"),
    *(
        "torch.load",
        "torch.jit.load",
        "torch.hub.load",
        "torch.package.PackageImporter",
        "numpy.load",
        "runpy.run_path",
    ),
    *("yaml.load", "yaml.load_all", "yaml.full_load", "yaml.unsafe_load", "shutil.unpack_archive", "tempfile.mktemp"),
}
IMPORTS = {"__import__", "importlib.import_module"}
METHODS = {"extractall", "read_pickle", "to_pickle"}
FLAGS = {
    **dict.fromkeys(("allow_pickle", "trust_remote_code", "shell", "allow_dangerous_deserialization"), True),
    **dict.fromkeys(("weights_only", "use_safetensors"), False),
}
"""Names of arguments and the value that makes them dangerous."""


def aliases(tree: ast.AST) -> dict[str, str]:
    """Name in the file → dotted name that was imported under it."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=found):
                names |= {one.asname: one.name for one in found if one.asname}
                names |= {one.name.partition(".")[0]: one.name.partition(".")[0] for one in found if not one.asname}
            case ast.ImportFrom(module=str(module), names=found):
                names |= {one.asname or one.name: f"{module}.{one.name}" for one in found}
            case _:
                pass
    return names


def dotted(node: ast.expr, names: dict[str, str]) -> str:
    """`t.load` after `import torch as t` → `torch.load`; empty for what is no name."""
    match node:
        case ast.Name(id=name):
            return names.get(name, name)
        case ast.Attribute(value=value, attr=attribute):
            return f"{dotted(value, names)}.{attribute}"
        case _:
            return ""


def flagged(node: ast.AST) -> Iterator[str]:
    """Dangerous arguments of a call, or entries of a dict that may become arguments."""
    pairs: list[tuple[str | None, ast.expr]] = []
    if isinstance(node, ast.keyword):
        pairs = [(node.arg, node.value)]
    elif isinstance(node, ast.Dict):
        entries = zip(node.keys, node.values, strict=True)
        pairs = [(str(key.value), value) for key, value in entries if isinstance(key, ast.Constant)]
    for name, value in pairs:
        if name in FLAGS and isinstance(value, ast.Constant) and bool(value.value) == FLAGS[name]:
            yield name


def dangers(source: str) -> set[str]:
    """What a source does that runs what it reads."""
    tree = ast.parse(source)
    names = aliases(tree)
    found = {name for name in names.values() if name.partition(".")[0] in MODULES}
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=func, args=[ast.Constant(value=str(name)), *_]) if dotted(func, names) in IMPORTS:
                found.update({name} & MODULES)
            case _:
                pass
        found.update(flagged(node))
        if isinstance(node, (ast.Name, ast.Attribute)) and isinstance(node.ctx, ast.Load):
            name = dotted(node, names)
            if name in CALLS or (isinstance(node, ast.Attribute) and node.attr in METHODS):
                found.add(name)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=[str(path.relative_to(REPOSITORY)) for path in SOURCES])
def test_a_source_runs_nothing_that_it_reads(path: Path) -> None:
    assert not dangers(path.read_text(encoding="utf-8"))


def test_the_code_of_a_model_is_not_run_unless_asked_for() -> None:
    assert not ModelConfig(name="some/model").trust_remote_code


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import pickle", {"pickle"}),
        ("from joblib import load", {"joblib.load"}),
        ("import torch as t\nt.load('x')", {"torch.load"}),
        ("from torch import load as read\nread('x')", {"torch.load"}),
        ("import numpy as np\nnp.load('x')", {"numpy.load"}),
        ("import yaml\nyaml.load('x')\nyaml.safe_load('x')", {"yaml.load"}),
        ("from importlib import import_module\nimport_module('pickle')", {"pickle"}),
        ("f = eval", {"eval"}),
        ("exec('1'); compile('1', '', 'exec')", {"exec", "compile"}),
        ("import re\nmodel.eval(); re.compile('x')", set[str]()),
        ("tarfile.open('x').extractall()", {".extractall"}),
        ("load('x', allow_pickle=True)", {"allow_pickle"}),
        ("load('x', trust_remote_code=True)", {"trust_remote_code"}),
        ("load('x', trust_remote_code=config.trust_remote_code)", set[str]()),
        ("load('x', **{'trust_remote_code': True})", {"trust_remote_code"}),
        ("load('x', weights_only=False)\nload('x', weights_only=True)", {"weights_only"}),
        ("subprocess.run('x', shell=True)", {"shell"}),
    ],
)
def test_dangers_are_found_under_any_name(source: str, found: set[str]) -> None:
    assert dangers(source) == found
