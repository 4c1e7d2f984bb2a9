"""The examples run as a newcomer runs them: as programs, in a folder of their own."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
EXAMPLES = REPOSITORY / "examples"
WEIGHTS = REPOSITORY / "latent_memory_plugin" / "sandbox" / "weights" / "model.safetensors"
AGENTS = ("langchain_math_agent.py", "llama_index_math_agent.py")
AGENT_LINES = 60
PNG_START = b"\x89PNG\r\n\x1a\n"
LEARN_AND_ASK_LINES = 30

needs_weights = pytest.mark.skipif(not WEIGHTS.exists(), reason="the embedded model is missing")


def command(name: str, *arguments: str | Path) -> list[str]:
    return [sys.executable, str(EXAMPLES / name), *map(str, arguments)]


def environment(root: Path) -> dict[str, str]:
    return {**os.environ, "LATENT_MEMORY_ROOT": str(root), "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}


def run(folder: Path, name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(name, *arguments),
        cwd=folder,
        env=environment(folder / "root"),
        capture_output=True,
        text=True,
        timeout=540,
    )


def test_learn_and_ask_is_short() -> None:
    assert len((EXAMPLES / "learn_and_ask.py").read_text().splitlines()) <= LEARN_AND_ASK_LINES


@pytest.mark.slow
@needs_weights
def test_learn_and_ask_says_what_was_learnt_and_which_latent_was_read_or_why_none(tmp_path: Path) -> None:
    done = run(tmp_path, "learn_and_ask.py")
    assert done.returncode == 0, done.stderr
    outcomes, _, asked = done.stdout.partition("\n\n")
    assert len(outcomes.splitlines()) == 10
    assert {line.split()[0] for line in outcomes.splitlines()} <= {"live", "waiting", "refused", "skipped"}
    assert "Memory: " in asked
    assert not list(tmp_path.iterdir()), "it learns in a temporary root and leaves nothing behind"


@pytest.mark.slow
@needs_weights
def test_math_agent_shows_its_tables_and_writes_a_picture_and_a_report(tmp_path: Path) -> None:
    done = run(tmp_path, "math_agent.py", "--count", "12", "--seed", "3", "--families", "tuning")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"demo.json", "demo.png"}
    report = json.loads((tmp_path / "demo.json").read_text())
    assert list(report)[:4] == ["second_half", "latents", "seconds", "seed"]
    assert report["seed"] == 3 and report["seconds"] > 0 and len(report["problems"]) == 12
    assert report["world"] == "hard" and report["model"] == "embedded-hard"
    for name in ("without_memory", "with_memory", "majority_16", "greedy"):
        assert 0 <= report["second_half"][name] <= 1
        assert f"{report['second_half'][name]:.2f}" in done.stdout
    assert set(report["latents"]) == {"live", "refused"}
    picture = (tmp_path / "demo.png").read_bytes()
    assert picture.startswith(PNG_START) and len(picture) > 10_000
    for words in ("one sample without memory", "one sample with memory", "majority of 16", "greedy", "live", "refused"):
        assert words in done.stdout


@pytest.mark.slow
@needs_weights
def test_math_agent_takes_problems_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    rows = [{"question": f"What is {number} plus 2?", "answer": str(number + 2)} for number in (3, 5)]
    file.write_text("\n".join(map(json.dumps, rows)))
    assert run(tmp_path, "math_agent.py", "--problems", file).returncode == 0
    problems = json.loads((tmp_path / "demo.json").read_text())["problems"]
    assert [problem["kind"] for problem in problems] == ["mine", "mine"]


@pytest.mark.parametrize(
    ("lines", "named"), [('{"question": "What is 1 + 1?"}\nnot JSON\n', "Line 2"), (None, "missing.jsonl")]
)
def test_math_agent_refuses_an_unusable_file_in_one_line(tmp_path: Path, lines: str | None, named: str) -> None:
    file = tmp_path / "missing.jsonl"
    if lines is not None:
        file.write_text(lines)
    done = run(tmp_path, "math_agent.py", "--problems", file)
    assert done.returncode == 1 and named in done.stderr
    assert done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
    assert not (tmp_path / "demo.json").exists()


@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_is_short(name: str) -> None:
    assert len((EXAMPLES / name).read_text(encoding="utf-8").splitlines()) <= AGENT_LINES


@pytest.mark.slow
@needs_weights
@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_learns_between_two_passes_and_tells_all_accuracies(name: str, tmp_path: Path) -> None:
    done = run(tmp_path, name, "--problems", "16")
    assert done.returncode == 0, done.stderr
    assert "after 16 episodes without a label" in done.stdout
    shares = re.findall(r"(\d+)%", done.stdout)
    assert len(shares) == 3 and all(0 <= int(share) <= 100 for share in shares)
    assert not list(tmp_path.iterdir()), "it learns in a temporary root and leaves nothing behind"


@pytest.mark.slow
@needs_weights
@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is sent as a POSIX signal")
def test_ctrl_c_ends_math_agent_in_one_line_and_leaves_no_temporary_root(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    settings = {**environment(tmp_path / "root"), "TMPDIR": str(scratch)}
    arguments = command("math_agent.py", "--count", "200")
    with subprocess.Popen(arguments, cwd=tmp_path, env=settings, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 300
        while not list(scratch.glob("*/demo/journal.sqlite")) and time.monotonic() < deadline:
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert errors.strip().splitlines()[-1] == "Interrupted." and "Traceback" not in errors
    assert not list(scratch.glob("*/demo"))
    assert not (tmp_path / "demo.json").exists()
