"""`bench online` as a whole, on a fake world: answers before learning, no label anywhere but in the oracle, results
that are found again, and a report whose numbers are those of its raw results."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from online_world import Said, answers_of, common, knowing, no_weights, results, small_stream, stretch
from typer.testing import CliRunner

from latent_memory_plugin.bench.online import roster
from latent_memory_plugin.bench.online.meter import Metered
from latent_memory_plugin.bench.online.method import Given, Method
from latent_memory_plugin.bench.online.plan import Plan, Steps
from latent_memory_plugin.bench.online.report import accuracies, summarise
from latent_memory_plugin.bench.online.statistics import paired
from latent_memory_plugin.bench.online.stretch import Stretch
from latent_memory_plugin.bench.online.walk import walk
from latent_memory_plugin.cli import app
from latent_memory_plugin.config import SamplingConfig
from latent_memory_plugin.engines.hf.load import EMBEDDED_FOLDER
from latent_memory_plugin.errors import InputError

needs_weights = pytest.mark.skipif(
    not (EMBEDDED_FOLDER / "model.safetensors").exists(), reason="the embedded model is missing"
)
FAKE_METHODS = "none,majority_16,greedy,raw_icl,reflected_icl,paper,ours,ours_without_trial,oracle"
"""All that need no weights."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run of all methods that a fake model can do, and its folder."""
    folder = tmp_path_factory.mktemp("bench")
    return folder, results(folder, FAKE_METHODS)


@dataclass
class Diary(Method):
    """Writes down what it is asked and taught."""

    pages: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])

    def ask(self, questions: Sequence[str]) -> None:
        self.pages += [("asked", question) for question in questions]

    def learn(self, question: str) -> str:
        self.pages.append(("taught", question))
        return "kept"

    def collect(self) -> list[list[Given]]:
        return [[Given("1", 1, 1)] for what, _ in self.pages if what == "asked"]


# -- the walk ----------------------------------------------------------------------------------------------------


def test_every_problem_is_answered_before_it_is_learnt_from_and_learnt_from_before_the_next_ones(
    tmp_path: Path,
) -> None:
    stream = small_stream(20)
    diary = Diary(common(tmp_path, knowing(stream), stream))
    questions = diary.common.questions
    walked = walk(diary, questions, lambda _: None)
    assert len(walked.given) == len(walked.became) == 20
    for number, question in enumerate(questions):
        asked, taught = diary.pages.index(("asked", question)), diary.pages.index(("taught", question))
        assert asked < taught
        assert all(diary.pages.index(("taught", earlier)) < asked for earlier in questions[: number - number % 8])


def test_where_nothing_is_read_all_methods_give_the_plain_answers_of_the_same_seeds(
    whole: tuple[Path, dict[str, Any]],
) -> None:
    plain = answers_of(whole[1]["none"])
    for name in ("raw_icl", "paper", "ours", "oracle"):
        rows = zip(whole[1][name]["problems"], plain, strict=True)
        pairs = [(mine, bare) for row, bare in rows for mine, bare, source in _answers(row, bare) if source is None]
        assert pairs and all(mine == bare for mine, bare in pairs)


def _answers(row: dict[str, Any], bare: list[str | None]) -> list[tuple[str | None, str | None, str | None]]:
    return list(zip(row["answers"], bare, row["sources"], strict=True))


def test_the_majority_is_the_vote_of_the_pool_and_greed_is_the_likelier_answer(
    whole: tuple[Path, dict[str, Any]],
) -> None:
    folder, found = whole
    assert [len(row["answers"]) for row in found["majority_16"]["problems"]] == [1] * 16
    assert all(row["right"] == [1] for row in found["greedy"]["problems"])
    lines = (folder / "small-0" / "pool.jsonl").read_text(encoding="utf-8").splitlines()[1:]
    pool = {row["question"]: [one["answer"] for one in row["rollouts"]] for row in map(json.loads, lines)}
    for row in found["majority_16"]["problems"]:
        right = pool[row["question"]].count(row["answer"])
        assert row["right"] == [int(right > 8)] or right == 8
        assert row["tokens"] == [16]


# -- labels ------------------------------------------------------------------------------------------------------


def test_with_other_labels_every_method_but_the_oracle_says_exactly_the_same(
    tmp_path: Path, whole: tuple[Path, dict[str, Any]]
) -> None:
    stream = small_stream()
    labels = [one.answer for one in stream.asked][::-1]
    wrong = replace(stream, asked=tuple(replace(one, answer=it) for one, it in zip(stream.asked, labels, strict=True)))
    misled = results(tmp_path, FAKE_METHODS, wrong, knowing(stream))
    for name, result in misled.items():
        assert name == "oracle" or answers_of(result) == answers_of(whole[1][name]), name
    assert not any(sum(row["right"]) for row in misled["ours"]["problems"])


def test_the_oracle_alone_is_given_the_labels(tmp_path: Path) -> None:
    stream = small_stream()
    shared = common(tmp_path, knowing(stream), stream)
    labels = {one.question: one.answer for one in stream.asked}
    for name in FAKE_METHODS.split(","):
        method = roster.build(name, shared, labels)
        reward = getattr(method, "reward", None)
        assert (reward is not None) == (name == "oracle")
        if reward is not None:
            question = stream.asked[0].question
            assert reward(question, f"#### {labels[question]}") == 1.0 and reward(question, "#### 0") == 0.0
        method.close()


# -- results that are found again ----------------------------------------------------------------------------------


def test_a_second_run_reads_what_the_first_one_wrote_and_samples_nothing(
    tmp_path: Path, whole: tuple[Path, dict[str, Any]]
) -> None:
    stream, said = small_stream(), Said()
    names = tuple(FAKE_METHODS.split(","))
    model: Any = Metered(knowing(stream))
    steps = Steps(said, 16 * len(names))
    again = Stretch(Plan(methods=names, out=whole[0]), model, no_weights, steps, stream).results()
    assert again == list(whole[1].values())
    assert model.sampled_tokens == model.scored_tokens == 0
    assert said.steps[-1][:2] == (16 * len(names), 16 * len(names))


@pytest.mark.parametrize("change", ["model", "samples", "problems", "broken file", "half of the pool"])
def test_results_made_otherwise_are_not_taken_for_these(tmp_path: Path, change: str) -> None:
    stream = small_stream()
    results(tmp_path, "none,raw_icl", stream)
    other = small_stream(12) if change == "problems" else stream
    model: Any = Metered(knowing(stream, fingerprint="a" * 64) if change == "model" else knowing(stream))
    folder = tmp_path / "small-0"
    if change == "broken file":
        (folder / "raw_icl.json").write_text((folder / "raw_icl.json").read_text()[:-40])
    if change == "half of the pool":
        (folder / "raw_icl.json").unlink()
        (folder / "pool.jsonl").write_text((folder / "pool.jsonl").read_text()[:-700])
    plan = Plan(methods=("none", "raw_icl"), samples=2 if change == "samples" else 4, out=tmp_path)
    found = Stretch(plan, model, no_weights, Steps(None, 0), other).results()
    fresh = results(tmp_path / "elsewhere", "raw_icl", other) if change not in ("samples", "model") else None
    assert model.sampled_tokens > 0
    assert fresh is None or answers_of(found[1]) == answers_of(fresh["raw_icl"])
    for line in (folder / "pool.jsonl").read_text(encoding="utf-8").splitlines():
        json.loads(line)


def test_an_interrupted_run_keeps_the_methods_that_were_finished(tmp_path: Path) -> None:
    stream = small_stream()

    def interrupt(done: int, total: int, what: str) -> None:
        if what == "seed 0: raw_icl" and done > 40:
            raise KeyboardInterrupt

    plan = Plan(methods=("none", "greedy", "raw_icl"), out=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        Stretch(plan, knowing(stream), no_weights, Steps(interrupt, 48), stream).results()
    assert {path.name for path in (tmp_path / "small-0").iterdir()} == {
        *("none.json", "greedy.json"),
        *("pool.jsonl", "answers.jsonl"),
    }
    assert len(results(tmp_path, "none,greedy,raw_icl", stream)) == 3


# -- the report ----------------------------------------------------------------------------------------------------


def test_the_report_begins_with_the_methods_and_each_with_its_accuracy(whole: tuple[Path, dict[str, Any]]) -> None:
    report = json.loads(json.dumps(summarise([list(whole[1].values())])))
    assert list(report)[:2] == ["methods", "seconds"]
    assert list(report["methods"]) == FAKE_METHODS.split(",")
    for found in report["methods"].values():
        assert list(found)[:2] == ["after_first_third", "coverage"]
        assert found["interval"][0] <= found["after_first_third"] <= found["interval"][1]
    assert {"coverage", "live", "refused", "harmful_live", "refused_helpful"} <= set(report["methods"]["ours"])
    assert "live" not in report["methods"]["none"] and report["methods"]["none"]["coverage"] == 0
    assert set(report["forgetting"]) == {"raw_icl", "reflected_icl", "paper", "ours", "ours_without_trial", "oracle"}
    assert set(report["transfer"]) == {"paper", "ours", "ours_without_trial", "oracle"}
    assert set(report["pass_at_k"]["ours"]) == {str(k) for k in range(1, 17)}


def test_the_numbers_of_the_report_are_those_of_the_raw_results(whole: tuple[Path, dict[str, Any]]) -> None:
    found = whole[1]
    report = summarise([list(found.values())])
    later = {
        name: [sum(row["right"]) / len(row["right"]) for row in one["problems"][5:]] for name, one in found.items()
    }
    for name, shares in later.items():
        assert report["methods"][name]["after_first_third"] == pytest.approx(sum(shares) / 11, abs=1e-4)
        assert accuracies([found[name]]) == shares
    minus = paired(later["ours"], later["none"])
    assert minus is not None and report["ours_minus"]["none"] == minus._asdict()
    read = [source is not None for row in found["ours"]["problems"][5:] for source in row["sources"]]
    assert report["methods"]["ours"]["coverage"] == pytest.approx(sum(read) / len(read), abs=1e-4)
    assert report["methods"]["majority_16"]["tokens_per_answer"] == 16


def test_a_latent_that_lives_lifts_the_fake_model_from_three_quarters_to_all(
    whole: tuple[Path, dict[str, Any]],
) -> None:
    for name in ("ours", "oracle"):
        read = [ok for row in whole[1][name]["problems"] for ok in _right_where_read(row)]
        assert len(read) > 16 and sum(read) / len(read) > 0.9
        assert whole[1][name]["live"] == 2 and whole[1][name]["harmful_live"] == 0
        for latent in whole[1][name]["latents"]:
            effect = latent["effect"]
            assert effect["with"] > 0.95 and 0.65 < effect["without"] < 0.85 and effect["samples"] >= 200


def _right_where_read(row: dict[str, Any]) -> list[int]:
    return [ok for ok, source in zip(row["right"], row["sources"], strict=True) if source is not None]


def test_streams_of_several_seeds_are_pooled_problem_by_problem(tmp_path: Path) -> None:
    streams = [list(results(tmp_path, "none,ours", small_stream(seed=seed)).values()) for seed in (0, 1)]
    alone, both = [summarise([one]) for one in streams], summarise(streams)
    assert both["methods"]["none"]["by_seed"] == [one["methods"]["none"]["after_first_third"] for one in alone]
    assert both["methods"]["ours"]["after_first_third"] == pytest.approx(
        sum(one["methods"]["ours"]["after_first_third"] for one in alone) / 2, abs=1e-4
    )
    assert both["methods"]["ours"]["live"] == sum(one["methods"]["ours"]["live"] for one in alone)
    assert [one["seed"] for one in both["streams"]] == [0, 1] and len(both["curves"]["ours"]) == 16


@needs_weights
def test_the_command_measures_draws_and_finds_its_results_again(tmp_path: Path) -> None:
    out, report = tmp_path / "out", tmp_path / "report.json"
    arguments = ("bench", "online", "--problems", "6", "--families", "tuning", "--samples", "2", "--out", str(out))
    chosen = ("--methods", "none,majority_4,greedy", "--voters", "4", "--json", str(report))
    for seeds in (("--seed", "0"), ("--seed", "0", "--seed", "1")):
        result = CliRunner().invoke(app, [*arguments, *chosen, *seeds])
        assert result.exit_code == 0, result.output
    read = json.loads(report.read_text(encoding="utf-8"))
    assert list(read)[:2] == ["methods", "seconds"] and list(read["methods"]) == ["none", "majority_4", "greedy"]
    assert [one["seed"] for one in read["streams"]] == [0, 1] and "majority_4" in result.stdout
    assert {path.name for path in out.iterdir()} == {"tuning-0", "tuning-1", "learning-curve.png"}
    assert {path.name for path in (out / "tuning-0").glob("*.json")} == {"none.json", "majority_4.json", "greedy.json"}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--methods", "none,magic"), "'magic'"),
        (("--problems", "no-such-thing"), "'no-such-thing'"),
        (("--problems", "0"), "'0'"),
    ],
)
def test_the_command_refuses_what_it_does_not_know_in_one_line(arguments: tuple[str, ...], named: str) -> None:
    result = CliRunner().invoke(app, ["bench", "online", *arguments])
    assert result.exit_code == 1 and named in result.stderr and result.stderr.count("\n") == 1


# -- wrong use -----------------------------------------------------------------------------------------------------


def test_methods_are_taken_in_the_order_of_the_tables_and_unknown_ones_refused_by_name() -> None:
    assert Plan(methods=("ours", "none")).names == ["none", "ours"]
    assert Plan(voters=8).names[1] == "majority_8" and len(Plan().names) == 13
    with pytest.raises(InputError, match=r"'magic'.*majority_16.*oracle"):
        _ = Plan(methods=("none", "magic")).names


@pytest.mark.parametrize("change", [{"samples": 0}, {"voters": 1}, {"first": 0}, {"seeds": ()}])
def test_counts_that_cannot_be_measured_are_refused_by_value(change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="cannot be measured"):
        Plan(**change)


def test_a_metered_model_counts_completion_tokens_and_changes_nothing() -> None:
    stream = small_stream()
    plain, metered = knowing(stream), Metered(knowing(stream))
    questions = [one.question for one in stream.asked]
    given = (questions, [None] * 16, 3, SamplingConfig(), 1)
    assert metered.sample(*given) == plain.sample(*given)
    assert metered.sampled_tokens == 48 and metered.scored_tokens == 0
    metered.log_probabilities(questions[:2], [(1,), (2,)], None)
    assert metered.scored_tokens == 2 and metered.name == "embedded"


def test_stretches_of_other_streams_have_other_folders(tmp_path: Path) -> None:
    assert stretch(tmp_path, "none", small_stream(seed=4)).folder == tmp_path / "small-4"
