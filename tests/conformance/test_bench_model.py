"""`bench model`: a row for each check, JSON for programs, and the exit status that says whether one failed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from architectures import build
from tiny_models import BOS_TEMPLATE, tiny_tokenizer
from typer.testing import CliRunner, Result

from latent_memory_plugin.bench.conformance import CheckResult, Subject, run
from latent_memory_plugin.bench.conformance.prompting import prompting
from latent_memory_plugin.bench.conformance.result import holds
from latent_memory_plugin.cli import app
from latent_memory_plugin.errors import ModelError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    build("GPT2").save_pretrained(tmp_path)
    tiny_tokenizer(BOS_TEMPLATE, bos=True).save_pretrained(tmp_path)
    return tmp_path


def bench(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(
        app, ["bench", "model", "--model", str(folder), "--device", "cpu", *options], env={"COLUMNS": "200"}
    )


def report(folder: Path) -> dict[str, Any]:
    return json.loads(bench(folder, "--json", "-").stdout)


@pytest.mark.slow
def test_a_model_that_keeps_every_promise_ends_with_0(folder: Path) -> None:
    told = report(folder)
    assert (told["failed"], told["refused"], told["architecture"]) == (0, 0, "GPT2LMHeadModel")
    assert told["passed"] + told["skipped"] == len(told["checks"]) > 20
    assert all(row["measured"] <= row["limit"] for row in told["checks"] if row["limit"] is not None)


def test_a_failed_check_ends_with_1_and_stands_in_the_table(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(_: Subject) -> Iterator[CheckResult]:
        yield holds("two and two are five", False)

    monkeypatch.setattr(run, "CHECKS", {"prompts": prompting, "sums": wrong})
    result = bench(folder)
    assert result.exit_code == 1
    assert "two and two are five" in result.stdout and "1 failed" in result.stdout


def test_an_error_of_the_library_is_a_refusal_and_a_foreign_one_a_failure(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(_: Subject) -> Iterator[CheckResult]:
        yield holds("first", True)
        raise ModelError("Not with this model; use another.")

    def breaking(_: Subject) -> Iterator[CheckResult]:
        yield from ()
        raise RuntimeError("size mismatch")

    monkeypatch.setattr(run, "CHECKS", {"one": refusing, "two": breaking})
    rows = {row["name"]: (row["outcome"], row["note"]) for row in report(folder)["checks"]}
    assert rows == {
        "first": ("passed", ""),
        "one: the rest": ("refused", "Not with this model; use another."),
        "two: the rest": ("failed", "RuntimeError: size mismatch"),
    }


def test_a_model_that_the_library_refuses_is_one_row_with_the_reason(folder: Path) -> None:
    file = folder / "generation_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "num_beams": 4}))
    [row] = report(folder)["checks"]
    assert row["outcome"] == "refused" and "num_beams" in row["note"]
