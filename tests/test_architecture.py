"""The map of the package, held as data: which module may import what, and what no module may do."""

import ast
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

import latent_memory_plugin
from latent_memory_plugin.plugins import ENGINES, EXECUTORS, FORMS, OBJECTIVES

PACKAGE = "latent_memory_plugin"
FOLDER = Path(latent_memory_plugin.__file__).parent
REPOSITORY = FOLDER.parent
FILES = sorted(FOLDER.rglob("*.py"))
EXAMPLES = sorted((REPOSITORY / "examples").glob("*.py"))

MAX_FUNCTION_LINES = 40


class Room(NamedTuple):
    """One module or folder of the package and what it may import."""

    own: str
    """Other rooms of the package, separated by spaces."""
    libraries: str = ""
    """Top-level names of foreign packages, separated by spaces."""


# Imports under TYPE_CHECKING load nothing and are left out of account. The standard library, typing_extensions and
# `latent_memory_plugin.__version__` are open to every room.
ROOMS = {
    "__init__": Room(""),
    "_moved": Room(""),
    "errors": Room(""),
    "plugins": Room("errors"),
    "frozen": Room("errors", "pydantic"),
    "config": Room("errors frozen plugins", "pydantic"),
    "records": Room("errors frozen _moved", "pydantic"),
    "questions": Room("errors records answers"),
    "answers": Room("errors records config", "babel mpmath pint simplemma sympy text_to_num"),
    "forms": Room("errors records plugins", "torch numpy safetensors peft"),
    "engines": Room(
        "errors records config plugins forms keys", "torch transformers tokenizers huggingface_hub jinja2 numpy peft"
    ),
    "keys": Room("errors records config plugins", "numpy"),
    "objectives": Room("errors records config plugins forms engines", "torch"),
    "executors": Room("errors config plugins engines", "torch"),
    "store": Room("errors frozen records", "chromadb safetensors filelock httpx numpy pydantic"),
    "answering": Room("errors records config answers forms engines store", "torch"),
    "learning": Room(
        "errors records config plugins answers answering forms engines keys objectives executors store", "numpy torch"
    ),
    "shared": Room("errors config plugins engines keys store", "platformdirs"),
    "memory": Room("errors records config answers answering forms engines learning shared store"),
    "testing": Room("errors records config forms engines", "torch numpy"),
    "sandbox": Room("errors records config answers engines", "torch transformers tokenizers safetensors numpy"),
    "bench": Room(
        "errors records config questions answers answering forms engines keys objectives learning store shared memory "
        "testing sandbox",
        "matplotlib numpy torch peft datasets transformers trl math_verify latex2sympy2_extended",
    ),
    "cli": Room(
        "errors records config questions answers store shared memory learning answering sandbox bench",
        "typer rich click",
    ),
}
ALWAYS = {"__init__", "typing_extensions"}
FRAMEWORKS = {"langchain", "langchain_core", "langgraph", "llama_index"}
STAGES = {"planning", "run", "publish", "rollouts"}
READS_ENVIRONMENT = {"cli", "shared"}
IMPORTS_BY_NAME = {"__init__", "_moved", "plugins"}


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
    return "memory" if inner in ("", "*") else latent_memory_plugin._home(inner).partition(".")[0]


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
            case ast.Call(func=func, args=[argument, *_]) if is_import_call(func) and room not in IMPORTS_BY_NAME:
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
def test_functions_are_short(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    lengths = {
        f"{node.name}, line {node.lineno}": (node.end_lineno or node.lineno) - node.lineno + 1
        for node in ast.walk(ast.parse(source))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    }
    assert not {name: lines for name, lines in lengths.items() if lines > MAX_FUNCTION_LINES}


def test_no_rooms_import_one_another_in_a_circle() -> None:
    order = TopologicalSorter({name: room.own.split() for name, room in ROOMS.items()})
    assert set(order.static_order()) == set(ROOMS)


def test_few_modules_stand_at_the_top() -> None:
    assert len(list(FOLDER.glob("*.py"))) <= 12


@each(sorted((FOLDER / "learning").glob("*.py")))
def test_stages_do_not_import_one_another(path: Path) -> None:
    """The street alone knows them."""
    names = set(imported(ast.parse(path.read_text(encoding="utf-8")), path))
    known = {one for one in STAGES if any(name.startswith(f"{PACKAGE}.learning.{one}.") for name in names)}
    assert path.stem == "street" or not known


@each(FILES)
def test_nothing_branches_on_the_name_of_a_plug_in(path: Path) -> None:
    """A name of one stands where it is registered and where it is the default, and in no comparison."""
    names = {name for point in (FORMS, OBJECTIVES, ENGINES, EXECUTORS) for name in point.names()}
    compared = [
        ast.unparse(node)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Compare)
        for side in (node.left, *node.comparators)
        if isinstance(side, ast.Constant) and side.value in names
    ]
    assert not compared or room_of(path) in {"bench", "cli"}


@pytest.mark.parametrize(
    ("file", "source", "found"),
    [
        ("questions.py", "import torch", {"torch"}),
        ("questions.py", "def f():\n    from latent_memory_plugin.store import Store", {"store"}),
        ("questions.py", "from . import store", {"store"}),
        ("store/index.py", "from ..engines import Model", {"engines"}),
        ("store/index.py", "from .files import read\nimport chromadb.config", set[str]()),
        ("keys/kv.py", "from latent_memory_plugin import LatentMemory, Vote, __version__", {"memory"}),
        ("plugins.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import torch", set[str]()),
        ("plugins.py", "if TYPE_CHECKING:\n    pass\nelse:\n    import torch", {"torch"}),
        ("errors.py", "import importlib\nimportlib.import_module('chromadb')", {"chromadb"}),
        ("memory.py", "import langchain_core.messages", {"langchain_core"}),
    ],
)
def test_the_map_finds_forbidden_imports_wherever_they_stand(file: str, source: str, found: set[str]) -> None:
    assert forbidden_imports(FOLDER / file, source) == found


@pytest.mark.parametrize(
    ("file", "source", "found"),
    [
        ("config.py", "print('x')", {"print"}),
        ("cli.py", "print(os.environ)", set[str]()),
        ("engines/door.py", "os.environ['X']", {"environment"}),
        ("config.py", "importlib.import_module(name)", {"import of a computed name"}),
    ],
)
def test_the_map_finds_unsafe_acts(file: str, source: str, found: set[str]) -> None:
    assert unsafe_acts(FOLDER / file, source) == found
