"""`latent-memory learn`: what it reports, and that stopping it anywhere loses nothing."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from latent_memory_plugin import LatentMemory
from latent_memory_plugin.cli import app
from latent_memory_plugin.cli.learning import learn
from latent_memory_plugin.cli.options import Shared
from latent_memory_plugin.config import Config
from latent_memory_plugin.errors import StoreWriteError
from latent_memory_plugin.records import Outcome, Rollout
from latent_memory_plugin.sandbox.world import families, stream
from latent_memory_plugin.store import Store
from latent_memory_plugin.testing import FakeModel

WEIGHTS = Path(__file__).parents[1] / "latent_memory_plugin" / "sandbox" / "weights"
NEAR = [f"sum: {number} and {number}" for number in range(12)]
ALONE = [f"topic {number}: what is it?" for number in range(3)]

needs_weights = pytest.mark.skipif(not (WEIGHTS / "model.safetensors").exists(), reason="the embedded model is missing")


@dataclass(frozen=True)
class Roomy(FakeModel):
    """A fake with a context that raises `raised[k]` when it is used for the k-th time, or first for what `k` names."""

    context_tokens: int = 10_000
    raised: dict[int | str, BaseException] = field(default_factory=dict[int | str, BaseException])
    uses: list[str] = field(default_factory=list[str])

    def sample(self, *given: Any, **named: Any) -> list[list[Rollout]]:
        self._use("sample")
        return super().sample(*given, **named)

    def log_probabilities(self, *given: Any, **named: Any) -> Any:
        self._use("log_probabilities")
        return super().log_probabilities(*given, **named)

    def _use(self, name: str) -> None:
        self.uses.append(name)
        for moment in (name, len(self.uses)):
            if moment in self.raised:
                raise self.raised[moment]


@dataclass(frozen=True)
class OnFake(Shared):
    """Shared options whose memory has a fake model."""

    fake: Roomy = field(default_factory=lambda: Roomy({}))

    def memory(self, config: Config | None = None) -> LatentMemory:
        return LatentMemory(root=self.root, model=self.fake, config=config)  # pyright: ignore[reportArgumentType]


def fake(raised: dict[int | str, BaseException] | None = None) -> Roomy:
    return Roomy({question: ("2", "3") for question in (*NEAR, *ALONE)}, bias=0.6, raised=raised or {})


def jsonl(folder: Path, questions: list[str]) -> Path:
    file = folder / "questions.jsonl"
    file.write_text("".join(json.dumps({"question": one, "answer": "ignored"}) + "\n" for one in questions))
    return file


def states(root: Path) -> dict[str, str]:
    """Question → state of every episode in the journal; each question once."""
    with Store.open(root, "default") as store:
        episodes = list(store.episodes())
    assert len({episode.question for episode in episodes}) == len(episodes)
    return {episode.question: episode.state for episode in episodes}


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_learning_reports_each_question_once_with_its_status_and_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    shared = OnFake(root=tmp_path / "root", json=str(report), fake=fake())
    learn(shared, jsonl(tmp_path, [*ALONE, *NEAR]))
    written = json.loads(report.read_text())
    outcomes = [Outcome(**one) for one in written["outcomes"]]
    assert {outcome.question for outcome in outcomes} == {*NEAR, *ALONE}
    assert sum(written["summary"].values()) == len(outcomes) == 15
    assert written["summary"]["waiting"] >= 3 and written["summary"]["live"] >= 1
    assert not written["interrupted"]
    shown = capsys.readouterr()
    assert all(status in shown.out for status in ("live", "waiting", "refused", "skipped", "failed"))
    assert "more near episodes with a clear vote are needed" in " ".join(shown.out.split())
    assert shown.err == ""


@pytest.mark.parametrize("use", [1, 2, 5])  # sampling, the first step of distilling, a later one
def test_an_interruption_says_what_was_kept_and_resuming_learns_the_rest_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], use: int
) -> None:
    root, report, file = tmp_path / "root", tmp_path / "report.json", jsonl(tmp_path, [*ALONE, *NEAR])
    broken = fake({use: KeyboardInterrupt()})
    with pytest.raises(typer.Exit) as left:
        learn(OnFake(root=root, json=str(report), fake=broken), file)
    assert left.value.exit_code == 130
    written = json.loads(report.read_text())
    assert written["interrupted"] and len(written["outcomes"]) < 15
    message = capsys.readouterr().err
    assert f"{len(written['outcomes'])} questions" in message and f"{written['pending']} episodes are pend" in message
    kept = states(root)
    assert list(kept.values()).count("pending") == written["pending"] > 0

    learn(OnFake(root=root, json=str(report), fake=fake()), file, resume=True)
    assert set(states(root)) == {*NEAR, *ALONE}
    assert json.loads(report.read_text())["summary"]["live"] >= 1


def test_without_resume_a_second_run_skips_what_a_latent_covers(tmp_path: Path) -> None:
    root, report, file = tmp_path / "root", tmp_path / "report.json", jsonl(tmp_path, NEAR)
    for _ in range(2):
        learn(OnFake(root=root, json=str(report), fake=fake()), file)
    assert json.loads(report.read_text())["summary"]["skipped"] == len(NEAR)


def test_an_error_halfway_goes_on_after_saying_what_was_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = OnFake(root=tmp_path / "root", fake=fake({"log_probabilities": StoreWriteError("The disk is full.")}))
    with pytest.raises(StoreWriteError, match="full"):
        learn(shared, jsonl(tmp_path, [*ALONE, *NEAR]))
    shown = capsys.readouterr()
    kept = list(states(tmp_path / "root").values())
    assert shown.out == "" and shown.err.startswith("Kept: the outcomes of ")
    assert f"; {kept.count('pending')} episodes are pending" in shown.err and kept.count("pending") >= 10


def interruptible(*arguments: str | Path, stderr: int) -> subprocess.Popen[bytes]:
    """The command in a process that heeds SIGINT even where this one was started with it ignored."""
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
    code += "from latent_memory_plugin.cli import main; main()"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, env=environment)


def read_until(terminal: int, wanted: bytes) -> bytes:
    """What a terminal shows until it shows this, or until its end."""
    shown = b""
    while wanted not in shown:
        try:
            some = os.read(terminal, 4096)
        except OSError:
            break
        if not some:
            break
        shown += some
    return shown


@needs_weights
@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_ctrl_c_during_learning_ends_with_130_says_what_was_kept_and_leaves_the_store_whole(tmp_path: Path) -> None:
    # Far more questions than are learnt from before the signal arrives, however fast the machine is.
    questions = [problem.question for problem in stream(families("tuning"), 240, 0)]
    root, file = tmp_path / "root", jsonl(tmp_path, questions)
    terminal, its_end = os.openpty()
    process = interruptible("learn", file, "--root", root, "--json", tmp_path / "report.json", stderr=its_end)
    os.close(its_end)
    shown = read_until(terminal, b"waiting")
    assert b"learning" in shown and b"waiting" in shown, shown
    process.send_signal(signal.SIGINT)
    shown = read_until(terminal, b"goes on.")
    assert process.wait(timeout=60) == 130
    os.close(terminal)

    report = json.loads((tmp_path / "report.json").read_text())
    assert report["interrupted"] and 1 <= len(report["outcomes"]) < len(questions)
    assert f"Kept: the outcomes of {len(report['outcomes'])} questions".encode() in shown and b"Traceback" not in shown
    kept = states(root)
    assert set(kept) <= set(questions) and list(kept.values()).count("pending") == report["pending"]
    assert not list(root.rglob("*.tmp"))
    listed = json.loads(call("list", "--root", root, "--json", "-").stdout)["latents"]
    assert len(listed) == report["summary"]["live"] + report["summary"]["probation"]
    assert call("ask", questions[0], "--root", root).exit_code == 0


@needs_weights
def test_a_file_is_learnt_from_with_the_embedded_model(tmp_path: Path) -> None:
    questions = [stream([family], 1, 0)[0].question for family in families("tuning")[:3]]
    result = call("learn", jsonl(tmp_path, questions), "--root", tmp_path / "root", "--json", "-")
    assert result.exit_code == 0, result.stderr
    summary = json.loads(result.stdout)["summary"]
    assert summary["waiting"] + summary["refused"] == 3  # as many as have clear votes wait for company
    assert set(states(tmp_path / "root")) == set(questions)
