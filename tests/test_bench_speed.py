"""`bench speed` on a tiny model: what it compares is the same work, and its report says what was measured."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from latent_memory_plugin.bench.speed import cold, learning, reference, sampling
from latent_memory_plugin.bench.speed.pairs import Row, Wanted, alone, compare
from latent_memory_plugin.bench.speed.share import model_share
from latent_memory_plugin.bench.speed.subject import Subject, build
from latent_memory_plugin.cli import app
from latent_memory_plugin.config import SamplingConfig


@pytest.fixture(scope="module")
def subject() -> Subject:
    return build("tiny", "float32")


def run(*arguments: str) -> Any:
    return CliRunner().invoke(app, ("bench", "speed", "--shape", "tiny", "--pairs", "1", *arguments))


def test_ours_and_the_reference_take_turns_and_warm_up_first() -> None:
    order: list[str] = []
    figures = {"ours": itertools.count(10.0, 10.0), "theirs": itertools.count(1.0)}

    def measure(name: str) -> float:
        order.append(name)
        return next(figures[name])

    row = Row("work", "theirs", "tokens/s", Wanted(10.0, "at least"))
    warm_up = lambda: order.append("warm") or {"model_share": 0.5}  # noqa: E731
    report = compare(row, lambda: measure("ours"), lambda: measure("theirs"), 3, warm_up)
    assert order == ["warm", "theirs", *["ours", "theirs"] * 3]
    assert report["runs"] == [(10.0, 2.0), (20.0, 3.0), (30.0, 4.0)]
    assert (report["ours"], report["reference"], report["model_share"]) == (20.0, 3.0, 0.5)
    assert report["ratio"] == pytest.approx(20 / 3) and report["met"] is False
    assert report["pairs"] == 3 and report["enough_pairs"] is False


@pytest.mark.parametrize(("value", "met"), [(0.1, True), (0.3, False)])
def test_a_row_without_a_reference_is_judged_by_itself(value: float, met: bool) -> None:
    report = alone(Row("start", None, "seconds", Wanted(0.2, "at most")), [value] * 5)
    assert report["met"] is met and report["enough_pairs"] and "ratio" not in report


def test_rollouts_of_forced_length_have_it_and_the_reference_reads_the_same_rows(subject: Subject) -> None:
    question = subject.questions[0]
    latent, greedy = subject.latent(question), SamplingConfig(temperature=0, max_new_tokens=12)
    [[ours]] = subject.endless.sample([question], [latent], 1, greedy, 0)
    drawn = sampling.generate(subject, question, latent, 3, 12, ())
    assert len(ours.token_ids) == 12 and drawn.shape == (3, 12)
    subject.module.generation_config.eos_token_id = int(ours.token_ids[4])
    [[ended]] = subject.endless.sample([question], [latent], 1, greedy, 0)
    again = sampling.generate(subject, question, latent, 3, 12, ())
    subject.module.generation_config.eos_token_id = 2
    assert ended == ours and again.shape == (3, 12)


def test_tokens_are_counted_up_to_the_end_of_each_row() -> None:
    tokens = torch.tensor([[5, 2, 0, 0], [2, 2, 5, 5], [5, 6, 7, 8], [5, 6, 7, 3]])
    assert sampling._until_end(tokens, (2, 3)) == 2 + 1 + 4 + 4


def test_the_share_of_the_model_is_that_of_its_forward_and_backward_passes(subject: Subject) -> None:
    question = subject.questions[0]
    both = model_share(subject, lambda: learning.learn(subject, question, steps=1, new_tokens=8))
    plain = torch.Tensor.backward
    assert 0.2 < both < 1
    assert model_share(subject, lambda: sum(range(100_000))) == 0
    assert torch.Tensor.backward is plain and not subject.module._forward_hooks


def test_a_long_prompt_has_nearly_the_tokens_that_were_asked_for(subject: Subject) -> None:
    assert 490 < len(subject.model.prompt_ids(subject.long(512))) <= 512


def test_the_bytes_of_a_step_leave_out_an_embedding_that_is_not_the_head(subject: Subject) -> None:
    weights = sum(weight.numel() for weight in subject.module.parameters())
    assert sampling._bytes_read(subject) == 4 * weights


def test_the_report_says_what_was_measured_and_on_what(tmp_path: Path) -> None:
    file = tmp_path / "speed.json"
    result = run("--only", "long_prompt", "--only", "import", "--json", str(file))
    assert result.exit_code == 0, result.output
    report = json.loads(file.read_text())
    assert set(report["rows"]) == {"long_prompt", "import"} and report["machine"]["threads"] >= 1
    long = report["rows"]["long_prompt"]
    [[ours, theirs]] = long["runs"]
    assert long["ratio"] == pytest.approx(ours / theirs) and long["prompt_tokens"] <= 512
    assert 0 < long["model_share"] < 1 and long["wanted"] == "at least 1.3" and not long["enough_pairs"]
    assert report["rows"]["import"]["ours"] > 0 and "long_prompt" in result.output


def test_each_row_is_told_and_kept_as_soon_as_it_is_measured_and_a_second_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, measured = tmp_path / "speed.json", list[str]()

    def row(name: str, fails: bool = False) -> dict[str, Any]:
        if fails:
            raise KeyboardInterrupt
        measured.append(name)
        return alone(Row(name, None, "seconds", None), [float(len(measured))])

    monkeypatch.setattr(cold, "importing", lambda _: row("import"))
    monkeypatch.setattr(cold, "helping", lambda _: row("help"))
    monkeypatch.setattr(cold, "asking", lambda _: row("ask", fails=True))
    chosen = [one for name in ("import", "help", "ask") for one in ("--only", name)]
    first = run(*chosen, "--json", str(file))
    assert first.exit_code == 130 and "import: 1 seconds" in first.stderr and "help: 2 seconds" in first.stderr
    kept = json.loads(file.read_text())
    assert list(kept["rows"]) == ["import", "help"]
    monkeypatch.setattr(cold, "asking", lambda _: row("ask"))
    second = run(*chosen, "--json", str(file))
    assert second.exit_code == 0 and measured == ["import", "help", "ask"]
    report = json.loads(file.read_text())
    assert list(report["rows"]) == ["import", "help", "ask"]
    assert {name: report["rows"][name] for name in kept["rows"]} == kept["rows"]
    for other in (("--pairs", "2"), ("--shape", "0.5b")):
        assert run("--only", "import", "--json", str(file), *other).exit_code == 0
    assert measured[3:] == ["import", "import"]
    file.write_text("{ no JSON")
    assert run("--only", "help", "--json", str(file)).exit_code == 0 and measured[-1] == "help"
    assert list(json.loads(file.read_text())["rows"]) == ["help"]


def test_a_row_that_was_skipped_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "speed.json"
    monkeypatch.setattr(reference, "is_installed", lambda: False)
    for _ in range(2):
        assert "latent-memory-plugin[bench]" in run("--only", "memory", "--json", str(file)).output
    monkeypatch.setattr(learning, "memory", lambda *_: alone(Row("memory", None, "MiB", None), [7.0]))
    assert run("--only", "memory", "--json", str(file)).exit_code == 0
    assert json.loads(file.read_text())["rows"]["memory"]["ours"] == 7.0


def test_a_row_that_is_not_there_is_refused_with_those_that_are() -> None:
    result = run("--only", "sampling")
    assert result.exit_code == 1 and "sampling" in result.output and "to_the_end" in result.output


def test_without_trl_the_rows_that_need_it_say_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "is_installed", lambda: False)
    result = run("--only", "memory")
    assert result.exit_code == 0 and "latent-memory-plugin[bench]" in result.output
