"""What several commands share: their options, and errors that are one line."""

import inspect
import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec, TextIO

import typer

if TYPE_CHECKING:
    from latent_memory_plugin.config import Config
    from latent_memory_plugin.memory import LatentMemory
    from latent_memory_plugin.store.access import Access

Own = ParamSpec("Own")

STANDARD_OUTPUT = "-"
INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells give it: 128 and the signal's number."""


@dataclass(frozen=True)
class Shared:
    """The shared options as they were given; those a command does not have keep their defaults."""

    root: Path | None = None
    """Folder of the store; None is the default one."""
    namespace: str = "default"
    """Part of the store."""
    model: str | None = None
    """Path or hub id; None is the embedded model."""
    json: str | None = None
    """Where the report goes as JSON: a file, `-` for standard output, None for nowhere."""
    lock_timeout: float = 0.0
    """Seconds to wait for another process that has the root open."""
    chroma: str | None = None
    """Address of the Chroma server that holds the index; None embeds Chroma."""
    debug: bool = False
    """True shows tracebacks."""

    @property
    def quiet(self) -> bool:
        """True where standard output belongs to the JSON report."""
        return self.json == STANDARD_OUTPUT

    @property
    def access(self) -> "Access":
        """How the root is opened for writing."""
        from latent_memory_plugin.store.access import Access

        return Access(lock_timeout=self.lock_timeout, chroma=self.chroma)

    def memory(self, config: "Config | None" = None) -> "LatentMemory":
        """The memory these options name."""
        from latent_memory_plugin.memory import LatentMemory

        return LatentMemory(
            self.root, self.model, self.namespace, config, lock_timeout=self.lock_timeout, chroma=self.chroma
        )


def writable_file(value: str | None) -> str | None:
    """Refuses a path that cannot become a file, before any work is done for it."""
    path = Path(value or STANDARD_OUTPUT)
    if value is not None and value != STANDARD_OUTPUT and (path.is_dir() or not path.parent.is_dir()):
        raise typer.BadParameter(f"{value!r} cannot be written: it is a folder, or its folder does not exist.")
    return value


ROOT = Annotated[
    Path | None,
    typer.Option("--root", help="Folder of the store [default: LATENT_MEMORY_ROOT, else the user's data folder]."),
]
NAMESPACE = Annotated[str, typer.Option("--namespace", help="Part of the store; nothing crosses from one to another.")]
MODEL = Annotated[str | None, typer.Option("--model", help="Folder or hub id of a model [default: the embedded one].")]
JSON = Annotated[
    str | None,
    typer.Option(
        "--json", metavar="FILE", callback=writable_file, help="Writes the report as JSON; - is standard output."
    ),
]
LOCK_TIMEOUT = Annotated[
    float,
    typer.Option(
        "--lock-timeout", metavar="SECONDS", min=0, help="Waits so long for another process that has the root open."
    ),
]
CHROMA = Annotated[
    str | None,
    typer.Option(
        "--chroma", metavar="URL", help="The Chroma server with which several processes share the root [default: none]."
    ),
]
DEBUG = Annotated[bool, typer.Option("--debug", help="Shows the traceback of an error.")]

ANNOTATIONS = {
    "root": ROOT,
    "namespace": NAMESPACE,
    "model": MODEL,
    "lock_timeout": LOCK_TIMEOUT,
    "chroma": CHROMA,
    "json": JSON,
    "debug": DEBUG,
}
REPORT_ONLY = ("json", "debug")
MODEL_ONLY = ("model", *REPORT_ONLY)
LOOKING = ("root", "namespace", *REPORT_ONLY)
"""Looks at a store, also while another process has it open."""
ROOT_ONLY = ("root", "lock_timeout", "chroma", *REPORT_ONLY)
STORE = ("root", "namespace", "lock_timeout", "chroma", *REPORT_ONLY)
STORE_AND_MODEL = ("root", "namespace", "model", "lock_timeout", "chroma", *REPORT_ONLY)


def command(
    app: typer.Typer, name: str, shared: tuple[str, ...], function: Callable[Concatenate[Shared, Own], None]
) -> None:
    """Adds `function` to `app` with the options named in `shared`, which reach it as its first argument."""

    def run(**given: Any) -> None:
        common = Shared(**{option: given.pop(option) for option in shared})
        with one_line_errors(common.debug), one_line_warnings():
            function(common, **given)  # pyright: ignore[reportCallIssue]

    run.__doc__ = function.__doc__
    run.__signature__ = inspect.Signature([*_own(function), *_shared(shared)])  # type: ignore[attr-defined]
    app.command(name)(run)


def given(**options: Any) -> dict[str, Any]:
    """The options that were named; the rest keep their defaults."""
    return {name: value for name, value in options.items() if value is not None}


def _own(function: Callable[..., None]) -> list[inspect.Parameter]:
    parameters = list(inspect.signature(function).parameters.values())[1:]
    return [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]


def _shared(names: tuple[str, ...]) -> list[inspect.Parameter]:
    defaults = {field.name: field.default for field in fields(Shared)}
    keyword = inspect.Parameter.KEYWORD_ONLY
    return [inspect.Parameter(name, keyword, default=defaults[name], annotation=ANNOTATIONS[name]) for name in names]


@contextmanager
def one_line_errors(debug: bool) -> Generator[None, None, None]:
    """Turns an exception into one line on standard error and an exit code; with `debug` it goes through."""
    try:
        yield
    except (typer.Exit, typer.BadParameter, BrokenPipeError):
        raise
    except KeyboardInterrupt as exc:
        typer.echo("Interrupted.", err=True)
        raise typer.Exit(INTERRUPTED) from exc
    except Exception as exc:  # the outermost door: whatever went wrong, a person reads one line
        if debug:
            raise
        typer.echo(f"error: {_sentence(exc)}", err=True)
        raise typer.Exit(1) from exc


@contextmanager
def one_line_warnings() -> Generator[None, None, None]:
    """Shows this library's warnings as one line each on standard error, and nobody else's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("default", module="latent_memory_plugin")
        warnings.showwarning = _show_warning
        yield


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    typer.echo(f"warning: {' '.join(str(message).split())}", err=True)


def _sentence(error: Exception) -> str:
    from latent_memory_plugin.errors import LatentMemoryError

    text = " ".join(str(error).split())
    if isinstance(error, (LatentMemoryError, OSError)):
        return text
    return f"{type(error).__name__}: {text} (--debug shows where)"
