"""`examples/reproduce_paper.py` end to end on a small random model and real problems, and how models are asked."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from answering_model import saved_answering_model
from online_world import common, knowing, no_weights, results, small_stream, stretch
from tiny_models import tiny_model, tiny_tokenizer
from typer.testing import CliRunner

from latent_memory_plugin.answers.vote import vote
from latent_memory_plugin.bench.cost import Device
from latent_memory_plugin.bench.online import expense
from latent_memory_plugin.bench.online.asking import Asking
from latent_memory_plugin.bench.online.common import answered, kept_or_drawn
from latent_memory_plugin.bench.online.method import Given
from latent_memory_plugin.bench.online.plan import Plan, Steps
from latent_memory_plugin.bench.online.run import check_lengths
from latent_memory_plugin.bench.online.sets import SETS
from latent_memory_plugin.bench.online.stream import Asked, open_stream
from latent_memory_plugin.bench.online.stretch import Stretch
from latent_memory_plugin.bench.online.training import Example, Schedule, descend, parts
from latent_memory_plugin.bench.online.walk import right
from latent_memory_plugin.config import ModelConfig, SamplingConfig
from latent_memory_plugin.engines.hf import LanguageModel
from latent_memory_plugin.errors import InputError, ModelError
from latent_memory_plugin.records import Rollout

REPOSITORY = Path(__file__).parents[1]
EXAMPLE = REPOSITORY / "examples" / "reproduce_paper.py"
DATA = REPOSITORY.parent / "shared" / "data"
BOXED = r"Please reason step by step, and put your final answer within \boxed{}."
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the data is not beside the repository")


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, str(EXAMPLE), *map(str, arguments)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1", "COLUMNS": "160"}


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), env=environment(), capture_output=True, text=True, timeout=540)


# -- the whole of it -----------------------------------------------------------------------------------------------

METHODS = "none,majority_4,greedy,raw_icl,reflected_icl,paper,ours,offline_soft_prompt,lora_per_problem,lora_offline"
SMALL = (
    *("--first", "9", "--samples", "2", "--voters", "4", "--max-new-tokens", "6", "--temperature", "1"),
    *("--dtype", "float32", "--device", "cpu"),
)


@needs_data
@pytest.mark.slow
def test_every_method_goes_along_real_problems_and_the_report_holds_all_of_them(tmp_path: Path) -> None:
    model = saved_answering_model(tmp_path / "model")
    done = run("--model", model, "--problems", DATA / "gsm8k.jsonl", *SMALL, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    [found] = json.loads((tmp_path / "out" / "results.json").read_text())["experiments"]
    assert found["problems"] == "gsm8k" and found["reported"] == {} and list(found["methods"]) == METHODS.split(",")
    for name, measured in found["methods"].items():
        assert f" {name} " in done.stdout and f"{measured['whole_stream']:.3f}" in done.stdout
    assert {"paper", "ours", "lora_per_problem"} <= {one for one, it in found["methods"].items() if it["scored_tokens"]}
    lengths = [len(json.loads(path.read_text())["problems"]) for path in tmp_path.rglob("gsm8k-0/*.json")]
    assert lengths == [9] * 10


@needs_data
@pytest.mark.slow
def test_killed_in_the_middle_and_started_again_it_comes_to_what_an_unbroken_run_comes_to(tmp_path: Path) -> None:
    model, methods = saved_answering_model(tmp_path / "model"), "none,greedy,raw_icl,paper"
    told = ("--model", model, "--problems", DATA / "math.jsonl", "--methods", methods, *SMALL)
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    with subprocess.Popen(command(*told, "--out", killed), env=environment(), stdout=subprocess.DEVNULL) as process:
        wait_for(process, lambda: list(killed.rglob("math-0/raw_icl.json")))
        process.send_signal(signal.SIGKILL)
    assert not (killed / "results.json").exists() and not list(killed.rglob("math-0/paper.json"))
    kept = {path: path.stat().st_mtime_ns for path in killed.rglob("math-0/*.json*")}
    again, unbroken = run(*told, "--out", killed), run(*told, "--out", whole)
    assert again.returncode == unbroken.returncode == 0, again.stderr + unbroken.stderr
    assert {path: path.stat().st_mtime_ns for path in kept} == kept, "what was finished is not made again"
    for name in methods.split(","):
        [mine], [other] = (list(out.rglob(f"math-0/{name}.json")) for out in (killed, whole))
        assert json.loads(mine.read_text())["problems"] == json.loads(other.read_text())["problems"], name


def wait_for(process: "subprocess.Popen[bytes]", there: Any) -> None:
    deadline = time.monotonic() + 300
    while not there():
        assert process.poll() is None and time.monotonic() < deadline, "it ended or hung before that"
        time.sleep(0.05)


def called(*arguments: str | Path) -> Any:
    """What the example's command line does and says, in this process."""
    spec = importlib.util.spec_from_file_location("reproduce_paper", EXAMPLE)
    assert spec is not None and spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    app = typer.Typer()
    app.command()(example.main)
    return CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "100"})


def test_the_dry_run_says_plan_and_cost_of_a_model_whose_weights_are_not_there(tmp_path: Path) -> None:
    tiny_model("qwen3").config.save_pretrained(tmp_path / "model")
    done = called("--dry-run", "--model", tmp_path / "model", "--model", "Qwen/Qwen3-1.7B", "--problems", "aime24")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.count(" on aime24: 30 problems, 1 seed.") == 2
    assert "1,720,574,976 parameters in bfloat16, 2 times: 6.4 of 80 GiB" in done.stdout
    for words in ("plain rollouts", "lora_offline", "together", "never measured on a GPU", "2,039 GB/s, 312 TFLOPS"):
        assert words in done.stdout


def test_by_default_all_three_models_go_along_all_four_sets() -> None:
    done = called("--dry-run", "--methods", "none,paper,ours", "--on", "h200")
    assert done.exit_code == 0, done.stderr
    for model in ("meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen2.5-Math-7B", "Qwen/Qwen3-1.7B"):
        for problems in ("math-500: 500", "amc23: 40", "aime24: 30", "gsm8k: 1,319"):
            assert f"{model} on {problems} problems" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--dry-run", "--model", "nobody/nothing"), "'nobody/nothing'"),
        (("--dry-run", "--on", "rtx-4090"), "has 24.0 GiB"),
        (("--dry-run", "--on", "abacus"), "'abacus'"),
        (("--dry-run", "--problems", "nowhere.jsonl"), "'nowhere.jsonl'"),
        (("--problems", "math-500=nowhere.jsonl"), "'nowhere.jsonl'"),
        (("--methods", "magic", "--dry-run"), "'magic'"),
        (("--max-new-tokens", "0"), "max_new_tokens"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(arguments: tuple[str, ...], named: str) -> None:
    done = called(*arguments)
    assert done.exit_code == 1 and done.stderr.startswith("error: ") and named in done.stderr
    assert done.stderr.count("\n") == 1 and not done.stdout


def test_without_the_extra_the_data_sets_of_the_hub_are_refused_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    done = called("--problems", "amc23")
    assert done.exit_code == 1 and "latent-memory-plugin[datasets]" in done.stderr and done.stderr.count("\n") == 1


def test_a_gpu_that_is_too_small_is_refused_before_the_model_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expense, "gpu", lambda name: Device("small", 8 * 2**30, 1.0, 1.0))
    asking = Asking(SamplingConfig(max_new_tokens=3072))
    plan = Plan("amc23", methods=("ours",), model=ModelConfig(name="Qwen/Qwen2.5-Math-7B"), asking=asking)
    with pytest.raises(ModelError, match=r"'Qwen/Qwen2.5-Math-7B'.*'small' has 8\.0 GiB"):
        expense.pass_tokens(plan)
    unknown = Plan("amc23", model=ModelConfig(name="nobody/nothing"))
    assert expense.pass_tokens(unknown) is None, "the hub may know it"


# -- how a model is asked ------------------------------------------------------------------------------------------


def test_the_instruction_stands_behind_the_question_and_is_no_part_of_it() -> None:
    plain = LanguageModel.wrap(tiny_model(), tiny_tokenizer(), "tiny")
    tokenizer = Asking(instruction=BOXED).prepare(tiny_tokenizer(), "tiny")
    told = LanguageModel.wrap(tiny_model(), tokenizer, "tiny")
    question = "What is its speed?"
    asked: Any = tokenizer.decode(list(told.prompt_ids(question)))
    assert asked == f"<user>{question}\n{BOXED}<end><assistant>"
    assert told.question_ids(question) == plain.question_ids(question)
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    assert str(tokenizer.decode(list(told.prompt_ids(turns)))).count(BOXED) == 1
    assert told.fingerprint == plain.fingerprint


@pytest.mark.parametrize("instruction", ["it's", 'say "1"', "a\\b {{ c }} {% d %}", "two\nlines", "π ≤ 4"])
def test_an_instruction_of_any_characters_is_read_as_it_is(instruction: str) -> None:
    tokenizer = Asking(instruction=instruction).prepare(tiny_tokenizer(), "tiny")
    messages = [{"role": "user", "content": "q"}]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    assert text == f"<user>q\n{instruction}<end>"


@pytest.mark.parametrize(("thinking", "written"), [(None, "unset"), (True, "on"), (False, "off")])
def test_whether_it_thinks_reaches_the_template(thinking: bool | None, written: str) -> None:
    template = "{{ 'unset' if enable_thinking is not defined else 'on' if enable_thinking else 'off' }}"
    tokenizer = Asking(thinking=thinking).prepare(tiny_tokenizer(template), "tiny")
    assert tokenizer.apply_chat_template([{"role": "user", "content": "q"}], tokenize=False) == written


def test_a_tokenizer_without_a_template_takes_no_instruction() -> None:
    assert Asking().prepare(tiny_tokenizer(None), "tiny").chat_template is None
    with pytest.raises(InputError, match=r"'tiny' has no single chat template.*pass none"):
        Asking(instruction=BOXED).prepare(tiny_tokenizer(None), "tiny")


def test_problems_too_long_for_the_context_are_refused_with_the_number_that_fits() -> None:
    model = LanguageModel.wrap(tiny_model(), tiny_tokenizer(), "tiny")
    stream = small_stream()
    longest = max(len(model.prompt_ids(one.question)) for one in stream.asked)
    room = model.context_tokens - 20 - longest
    check_lengths(model, stream, room)
    with pytest.raises(InputError, match=rf"Lower max_new_tokens to {room} or less"):
        check_lengths(model, stream, room + 1)


@pytest.mark.parametrize("asking", [Asking(SamplingConfig(max_new_tokens=9)), Asking(instruction="Think.")])
def test_results_of_another_way_of_asking_are_not_taken_for_these(asking: Asking, tmp_path: Path) -> None:
    stream = small_stream()
    results(tmp_path, "none", stream)
    other = Plan(methods=("none",), out=tmp_path, asking=asking)
    plain, told = stretch(tmp_path, "none"), Stretch(other, knowing(stream), no_weights, Steps(None, 0), stream)
    assert told.key != plain.key and told.results()[0]["key"] != plain.results()[0]["key"]
    json.dumps(told.key)


def test_sampling_and_the_token_budget_of_a_plan_reach_every_method(tmp_path: Path) -> None:
    stream = small_stream()
    sampling = SamplingConfig(max_new_tokens=9)
    plan = Plan(methods=("ours",), out=tmp_path, asking=Asking(sampling), max_batch_tokens=77, effects=False)
    one = Stretch(plan, knowing(stream), no_weights, Steps(None, 0), stream)
    from latent_memory_plugin.bench.online.memories import remembering

    memory = remembering("ours", one.common)
    assert memory.config.sampling == sampling and memory.config.distil.max_batch_tokens == 77
    memory.close()
    assert all(latent["effect"] is None for latent in one.results()[0]["latents"])


def test_a_step_in_several_passes_is_the_step_in_one(tmp_path: Path) -> None:
    stream = small_stream()
    shared = common(tmp_path, knowing(stream), stream)
    learnt = [Example(one.question, tuple(range(number + 1)), 0.5 + number) for number, one in enumerate(stream.asked)]
    places: list[torch.Tensor] = []
    passes: list[int] = []

    def loss(batch: list[Example]) -> torch.Tensor:
        passes[-1] += 1
        weights = torch.tensor([example.weight for example in batch])
        targets = torch.tensor([float(len(example.completion)) for example in batch])
        return (weights * (places[-1] - targets) ** 2).sum() / weights.sum()

    for budget in (None, 60):
        places.append(torch.zeros((), requires_grad=True))
        passes.append(0)
        limited = replace(shared, max_batch_tokens=budget)
        descend([places[-1]], loss, learnt, Schedule(20, 0.1), 0, partial(parts, limited))
    assert passes[0] == 20 < passes[1]
    torch.testing.assert_close(places[0], places[1])


# -- problems ------------------------------------------------------------------------------------------------------

ROWS = {
    "gsm8k": {"question": "How many?", "answer": "Two.\n#### 2"},
    "math-500": {"problem": "How many?", "solution": "", "answer": "2", "subject": "Algebra", "level": 1},
    "amc23": {"id": 0, "question": "How many?", "answer": "2.0", "url": ""},
    "aime24": {"id": 0, "problem": "How many?", "solution": "", "answer": "002", "year": "2024"},
}


@pytest.mark.parametrize("name", SETS)
def test_a_file_with_the_fields_of_the_hub_stands_in_for_a_data_set(name: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(ROWS[name]) + "\n\n", encoding="utf-8")
    stream = open_stream(f"{name}={file}", "tuning", 0)
    kind = "Algebra" if name == "math-500" else name
    assert stream.name == name and stream.asked == (Asked("How many?", "2", kind),)


@pytest.mark.parametrize("text", ["", "[1]\n", "{", '{"question": "q"}'])
def test_a_file_that_is_no_data_set_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"math-500"):
        open_stream(f"math-500={file}", "tuning", 0)


@needs_data
def test_real_completions_go_through_files_votes_and_scores_as_they_are(tmp_path: Path) -> None:
    with (DATA / "math_rollouts.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    texts = {row["question"]: [Rollout(text=text) for text in row["rollouts"]] for row in rows}
    path, drawn = tmp_path / "pool.jsonl", lambda some: [texts[one] for one in some]
    fresh = kept_or_drawn(drawn, list(texts), path, {}, lambda _: None)

    def never(some: list[str]) -> Any:
        raise AssertionError(f"{len(some)} were drawn again")

    assert kept_or_drawn(never, list(texts), path, {}, lambda _: None).rollouts == fresh.rollouts
    for row in rows:
        group, asked = answered(texts[row["question"]]), Asked(row["question"], row["answer"], "math")
        assert fresh.rollouts[row["question"]] == group
        assert right([Given(one.answer, 0, 0) for one in group], asked) == row["correct"]
        share = sum(row["correct"]) / len(group)
        assert share <= 0.5 or right([Given(vote([one.answer for one in group]).answer, 0, 0)], asked) == [True]
