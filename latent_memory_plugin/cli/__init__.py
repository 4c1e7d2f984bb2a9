"""The command `latent-memory`. Every import that takes time stands inside the command that needs it.

options    what several commands share, errors in one line
asking     ask
learning   learn
looking    list, show
forgetting forget
moving     export, import, export-peft, import-peft
checking   check, bench kill
growing    evict, bench store
measuring  demo, bench world
streaming  bench online; costing says what it would cost
conforming bench model
speeding   bench speed
reading    answers, bench answers
output     tables for people, JSON for programs
"""

import gc
import signal
import sys
from typing import Annotated

import typer

from latent_memory_plugin import __version__
from latent_memory_plugin.cli import (
    asking,
    checking,
    forgetting,
    growing,
    learning,
    looking,
    measuring,
    moving,
    reading,
)

__all__ = ["app", "main"]

app = typer.Typer(
    help="Memory for frozen language models: what many samples agree on, kept as a few trained embedding vectors.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # Plain help starts in half the time.
    rich_markup_mode=None,
)
"""All commands."""


def main() -> None:
    """Runs the command line and ends the process: 0 done, 1 an error, 2 wrong usage, 130 interrupted."""
    # Imports make objects that stay. Looking through them ever again is a tenth of the first answer's time.
    gc.set_threshold(100_000, 50, 50)
    # As after Ctrl-C: what is under way ends at once, and what was journaled is kept.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    arguments = sys.argv[1:]
    app(args=[*arguments, "-"] if arguments[-1:] == ["--json"] else arguments)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit()


@app.callback()
def _all_commands(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Shows the version and exits.")
    ] = False,
) -> None:
    """Takes the options that stand before the command."""


for _module in (measuring, asking, learning, looking, forgetting, growing, moving, checking, reading):
    _module.register(app)
