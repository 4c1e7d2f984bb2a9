"""The example runs as a newcomer runs it: as a program."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[4]
EXAMPLE = REPOSITORY / "examples" / "langchain_math_agent.py"
MOST_LINES = 60


def test_it_is_short() -> None:
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


@pytest.mark.slow
def test_it_learns_and_tells_all_accuracies(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLE), "--problems", "16"]
    settings = {**os.environ, "LATENT_MEMORY_ROOT": str(tmp_path / "root"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=settings, capture_output=True, text=True, timeout=540)
    assert done.returncode == 0, done.stderr
    assert "after 16 episodes without a label" in done.stdout
    shares = re.findall(r"(\d+)%", done.stdout)
    assert len(shares) == 3 and all(0 <= int(share) <= 100 for share in shares)
    assert not list(tmp_path.iterdir()), "it learns in a temporary root and leaves nothing behind"
