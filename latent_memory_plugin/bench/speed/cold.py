"""Rows of fresh processes: the import, the help, the first answer."""

import os
import subprocess
import sys
import tempfile
import time
from statistics import median
from typing import Any

from latent_memory_plugin.bench.speed.pairs import Row, Wanted, alone

COMMAND = "import sys; from latent_memory_plugin.cli import main; sys.argv[0] = 'latent-memory'; main()"
IMPORT = Row("`import latent_memory_plugin` in a fresh process", None, "seconds", Wanted(0.2, "at most"))
HELP = Row("`latent-memory --help`", None, "seconds", Wanted(0.5, "at most"))
ASK = Row("the first `latent-memory ask` of a fresh process, embedded model", None, "seconds", Wanted(6.0, "at most"))


def importing(runs: int) -> dict[str, Any]:
    """The package alone."""
    return _measured(IMPORT, runs, "import latent_memory_plugin")


def helping(runs: int) -> dict[str, Any]:
    """The command line without a command."""
    return _measured(HELP, runs, COMMAND, "--help")


def asking(runs: int) -> dict[str, Any]:
    """The model loaded, the store made, the question answered, everything closed."""
    with tempfile.TemporaryDirectory() as root:
        return _measured(ASK, runs, COMMAND, "ask", "What is 17 plus 25?", "--root", root)


def _measured(row: Row, runs: int, code: str, *arguments: str) -> dict[str, Any]:
    """Seconds of each whole process, the interpreter's own start included, after one that does not count; beside them
    its processor seconds, which other work on the machine lengthens less."""
    command = [sys.executable, "-c", code, *arguments]
    seconds: list[float] = []
    worked: list[float] = []
    for _ in range(runs + 1):
        began, before = time.perf_counter(), os.times()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        after = os.times()
        seconds.append(time.perf_counter() - began)
        worked.append(after.children_user + after.children_system - before.children_user - before.children_system)
    return alone(row, seconds[1:]) | {"processor_seconds": median(worked[1:])}
