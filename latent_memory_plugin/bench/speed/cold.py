"""Rows of fresh processes: the import, the help, the first answer."""

import subprocess
import sys
import tempfile
import time
from typing import Any

from latent_memory_plugin.bench.speed.pairs import Row, Wanted, alone

COMMAND = "import sys; from latent_memory_plugin.cli import main; sys.argv[0] = 'latent-memory'; main()"
IMPORT = Row("`import latent_memory_plugin` in a fresh process", None, "seconds", Wanted(0.2, "at most"))
HELP = Row("`latent-memory --help`", None, "seconds", Wanted(0.5, "at most"))
ASK = Row("the first `latent-memory ask` of a fresh process, embedded model", None, "seconds", Wanted(6.0, "at most"))


def importing(runs: int) -> dict[str, Any]:
    """The package alone."""
    return alone(IMPORT, _seconds(runs, "import latent_memory_plugin"))


def helping(runs: int) -> dict[str, Any]:
    """The command line without a command."""
    return alone(HELP, _seconds(runs, COMMAND, "--help"))


def asking(runs: int) -> dict[str, Any]:
    """The model loaded, the store made, the question answered, everything closed."""
    with tempfile.TemporaryDirectory() as root:
        return alone(ASK, _seconds(runs, COMMAND, "ask", "What is 17 plus 25?", "--root", root))


def _seconds(runs: int, code: str, *arguments: str) -> list[float]:
    """Of each whole process, the interpreter's own start included, after one that does not count."""
    command = [sys.executable, "-c", code, *arguments]
    found: list[float] = []
    for _ in range(runs + 1):
        began = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        found.append(time.perf_counter() - began)
    return found[1:]
