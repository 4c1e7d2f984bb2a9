"""The map of the package, held as data: which module may import what, and what no module may do."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import latent_memory_plugin

PACKAGE = "latent_memory_plugin"
FOLDER = Path(latent_memory_plugin.__file__).parent
REPOSITORY = FOLDER.parent
FILES = sorted(FOLDER.rglob("*.py"))
EXAMPLES = sorted((REPOSITORY / "examples").glob("*.py"))

MAX_FILE_LINES = 250
MAX_FUNCTION_LINES = 39


class Room(NamedTuple):
    """One module or folder of the package and what it may import."""

    own: str
    """Other rooms of the package, separated by spaces."""
    libraries: str = ""
    """Top-level names of foreign packages, separated by spaces."""


RECORDS = "errors records config seams"
STAGES = "distil eviction forms gather judge life neighbourhood registry retrieve trial"

# Imports under TYPE_CHECKING load nothing and are left out of account. The standard library, typing_extensions and
# `latent_memory_plugin.__version__` are open to every room.
ROOMS = {
    "__init__": Room(""),
    "errors": Room(""),
    "frozen": Room("errors", "pydantic"),
    "records": Room("errors frozen", "pydantic"),
    "config": Room("errors frozen", "pydantic"),
    "answers": Room("", "math_verify latex2sympy2_extended sympy"),
    "vote": Room("errors records config answers"),
    "judge": Room(f"{RECORDS} answers vote"),
    "gather": Room(f"{RECORDS} vote judge"),
    "neighbourhood": Room(RECORDS, "numpy"),
    "life": Room(f"{RECORDS} answers"),
    "eviction": Room(RECORDS),
    "registry": Room(f"{RECORDS} neighbourhood", "torch numpy"),
    "intake": Room("errors records config"),
    "seams": Room("records config"),
    "model": Room(f"{RECORDS} forms halting", "torch transformers tokenizers huggingface_hub jinja2 numpy"),
    "distil": Room(RECORDS, "torch"),
    "forms": Room(RECORDS, "torch"),
    "trial": Room(RECORDS),
    "retrieve": Room(RECORDS),
    "encoder": Room(f"{RECORDS} model", "numpy"),
    "verify": Room(f"{RECORDS} answers"),
    "access": Room("errors frozen", "pydantic"),
    "race": Room(f"{RECORDS} retrieve"),
    "store": Room(f"{RECORDS} frozen access", "chromadb safetensors filelock httpx numpy pydantic"),
    "consolidate": Room(f"{RECORDS} {STAGES} encoder race", "torch numpy"),
    "halting": Room(""),
    "worker": Room(f"{RECORDS} halting"),
    "background": Room(f"{RECORDS} shared worker"),
    "shared": Room(f"{RECORDS} access model store encoder", "platformdirs"),
    "asker": Room(f"{RECORDS} answers vote retrieve verify", "torch"),
    "tools": Room("errors records"),
    "turn": Room(f"{RECORDS} asker tools"),
    "chat": Room(f"{RECORDS} intake asker tools turn"),
    "occasion": Room("errors intake records"),
    "learner": Room(f"{RECORDS} retrieve consolidate judge worker", "numpy"),
    "interchange": Room(f"{RECORDS} forms", "torch numpy safetensors peft"),
    "keeping": Room(f"{RECORDS} eviction life shared trial interchange"),
    "memory": Room(
        f"{RECORDS} answers intake judge life consolidate shared asker learner worker keeping background access"
    ),
    "sandbox": Room(f"{RECORDS} answers model", "torch transformers tokenizers safetensors numpy"),
    "questions": Room("errors records"),
    "bench": Room(
        f"{RECORDS} store retrieve answers vote model memory sandbox questions forms distil asker shared encoder judge "
        "consolidate testing",
        "matplotlib numpy torch peft datasets transformers trl",
    ),
    "cli": Room(f"{RECORDS} access keeping store shared memory sandbox bench questions", "typer rich click"),
    "testing": Room(RECORDS, "torch numpy"),
}
ALWAYS = {"__init__", "typing_extensions"}
FRAMEWORKS = {"langchain", "langchain_core", "langgraph", "llama_index"}
READS_ENVIRONMENT = {"cli", "shared"}


def room_of(path: Path) -> str:
    return path.relative_to(FOLDER).with_suffix("").parts[0]


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def loaded(node: ast.AST) -> Iterator[ast.AST]:
    """Every node below this one, bodies of `if TYPE_CHECKING` left out."""
    for child in ast.iter_child_nodes(node):
        yield child
        if is_type_checking(child):
            assert isinstance(child, ast.If)
            for other in child.orelse:
                yield from (other, *loaded(other))
        else:
            yield from loaded(child)


def imported(tree: ast.Module, path: Path) -> Iterator[str]:
    """Dotted names that a module imports anywhere, also inside functions and by `import_module("name")`."""
    parents = (PACKAGE, *path.relative_to(FOLDER).parent.parts)
    for node in loaded(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                start = parents[: len(parents) - level + 1] if level else ()
                base = ".".join((*start, *([module] if module else [])))
                yield from (f"{base}.{alias.name}" for alias in names)
            case ast.Call(func=func, args=[ast.Constant(value=str(name)), *_]) if is_import_call(func):
                yield name
            case _:
                pass


def is_import_call(func: ast.expr) -> bool:
    return ast.unparse(func) in {"import_module", "importlib.import_module", "__import__"}


def target(name: str) -> str:
    """The room of the package, or the foreign package, that a dotted name belongs to."""
    first, _, rest = name.partition(".")
    if first != PACKAGE:
        return first
    inner = rest.partition(".")[0]
    if inner in ROOMS:
        return inner
    if inner == "__version__":
        return "__init__"
    return "memory" if inner in ("", "*") else latent_memory_plugin._home(inner)


def forbidden_imports(path: Path, source: str) -> set[str]:
    """What a module imports though the map does not allow it."""
    room = room_of(path)
    allowed = ALWAYS | {room} | set(ROOMS[room].own.split()) | set(ROOMS[room].libraries.split())
    found = {target(name) for name in imported(ast.parse(source), path)}
    return found - allowed - sys.stdlib_module_names


def unsafe_acts(path: Path, source: str) -> set[str]:
    """Printing, dynamic imports and reading the environment outside their rooms."""
    tree, room = ast.parse(source), room_of(path)
    acts: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id="print")) if room != "cli":
                acts.add("print")
            case ast.Call(func=func, args=[argument, *_]) if is_import_call(func) and room != "__init__":
                if not isinstance(argument, ast.Constant):
                    acts.add("import of a computed name")
            case ast.Attribute() if ast.unparse(node) in {"os.environ", "os.getenv"} and room not in READS_ENVIRONMENT:
                acts.add("environment")
            case _:
                pass
    return acts


def each(files: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", files, ids=[str(file.relative_to(REPOSITORY)) for file in files])


def test_every_module_has_a_room_and_every_room_a_module() -> None:
    assert {room_of(path) for path in FILES} == set(ROOMS)


@each(FILES)
def test_a_module_imports_only_what_the_map_allows(path: Path) -> None:
    assert not forbidden_imports(path, path.read_text(encoding="utf-8"))


@each(FILES)
def test_no_module_mentions_a_framework_even_for_its_types(path: Path) -> None:
    nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    assert FRAMEWORKS.isdisjoint(name.partition(".")[0] for name in names)


@each(FILES)
def test_a_module_neither_prints_nor_reads_the_environment_outside_its_room(path: Path) -> None:
    assert not unsafe_acts(path, path.read_text(encoding="utf-8"))


@each([*FILES, *EXAMPLES])
def test_files_and_functions_are_short(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    lengths = {
        f"{node.name}, line {node.lineno}": (node.end_lineno or node.lineno) - node.lineno + 1
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }
    assert len(source.splitlines()) <= MAX_FILE_LINES
    assert not {name: lines for name, lines in lengths.items() if lines > MAX_FUNCTION_LINES}


def test_seams_hold_protocols_only() -> None:
    tree = ast.parse((FOLDER / "seams.py").read_text(encoding="utf-8"))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    assert classes
    assert all("Protocol" in {ast.unparse(base).partition("[")[0] for base in node.bases} for node in classes)
    assert not [node for node in tree.body if isinstance(node, ast.FunctionDef)]


@pytest.mark.parametrize(
    ("file", "source", "found"),
    [
        ("retrieve.py", "import torch", {"torch"}),
        ("retrieve.py", "def f():\n    from latent_memory_plugin.store import Store", {"store"}),
        ("retrieve.py", "from . import vote", {"vote"}),
        ("store/index.py", "from ..model import LanguageModel", {"model"}),
        ("store/index.py", "from .files import read\nimport chromadb.config", set[str]()),
        ("trial.py", "from latent_memory_plugin import LatentMemory, Vote, __version__", {"memory"}),
        ("trial.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch", set[str]()),
        ("trial.py", "if TYPE_CHECKING:\n    pass\nelse:\n    import torch", {"torch"}),
        ("errors.py", "import importlib\nimportlib.import_module('chromadb')", {"chromadb"}),
        ("memory.py", "import langchain_core.messages", {"langchain_core"}),
    ],
)
def test_the_map_finds_forbidden_imports_wherever_they_stand(file: str, source: str, found: set[str]) -> None:
    assert forbidden_imports(FOLDER / file, source) == found


@pytest.mark.parametrize(
    ("file", "source", "found"),
    [
        ("vote.py", "print('x')", {"print"}),
        ("cli.py", "print(os.environ)", set[str]()),
        ("model/door.py", "os.environ['X']", {"environment"}),
        ("vote.py", "importlib.import_module(name)", {"import of a computed name"}),
    ],
)
def test_the_map_finds_unsafe_acts(file: str, source: str, found: set[str]) -> None:
    assert unsafe_acts(FOLDER / file, source) == found
