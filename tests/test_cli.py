"""The command line: exit codes, errors in one line, JSON and nothing but JSON, and files that are refused whole.

What learning does and how it is interrupted is in `test_cli_learn.py`.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from store_builders import ENCODER, MODEL, TRIAL, episode, key, latent, old_journal, tensor, use
from typer.testing import CliRunner, Result

from latent_memory_plugin import __version__
from latent_memory_plugin.cli import app
from latent_memory_plugin.cli.options import one_line_errors
from latent_memory_plugin.records import Answer, Latent, Standing
from latent_memory_plugin.sandbox.family import World
from latent_memory_plugin.sandbox.world import families
from latent_memory_plugin.store import Store

WEIGHTS = Path(__file__).parents[1] / "latent_memory_plugin" / "sandbox" / "weights"
QUESTION = "A trip lasts 3 weeks and 2 days. How many days is that?"
FIRST_ID, SECOND_ID = "aaaa1" + "0" * 27, "aaaa2" + "0" * 27

needs_weights = pytest.mark.skipif(not (WEIGHTS / "model.safetensors").exists(), reason="the embedded model is missing")


def call(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def shell(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from latent_memory_plugin.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, cwd=Path(__file__).parents[1], capture_output=True, text=True, timeout=300)


def refusal(result: Result | subprocess.CompletedProcess[str]) -> str:
    """The one line a refused command leaves on standard error."""
    code = result.exit_code if isinstance(result, Result) else result.returncode
    assert (code, result.stdout) == (1, "")
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    return result.stderr


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root that is not there yet."""
    return tmp_path / "root"


@pytest.fixture(scope="module")
def embedded() -> Iterator[Any]:
    from latent_memory_plugin.engines.hf import LanguageModel

    yield LanguageModel.load()


@pytest.fixture
def filled(root: Path, embedded: Any) -> Path:
    """A root of the embedded model with two Latents whose ids begin alike."""
    asked = episode(QUESTION, rollouts=())
    with Store.open(root, "default", (embedded.name, embedded.fingerprint), embedded.encoder) as store:
        vector, other = embedded.keys([QUESTION, "How many legs do 3 hens and 4 pigs have?"])  # (D,) each
        store.commit(asked, vector)
        for number, latent_id in enumerate((FIRST_ID, SECOND_ID)):
            record = latent(
                id=latent_id,
                model=embedded.name,
                fingerprint=embedded.fingerprint,
                encoder=embedded.encoder,
                shape=(3, embedded.hidden_size),
                parents=(asked.id,),
                created=1e9 + number,
            )
            vectors = embedded.token_embeddings([5, 6, 7]).numpy()  # (P, H)
            mixed = vector + 0.2 * number * other  # (D,)
            store.put(record, {"latent": vectors}, mixed / np.linalg.norm(mixed))
    return root


# -- help and usage ----------------------------------------------------------------------------------------------


def test_help_names_every_command() -> None:
    result = call("--help")
    assert result.exit_code == 0
    names = {line.split()[0] for line in result.stdout.partition("Commands:")[2].splitlines() if line.strip()}
    assert names == {
        "answers",
        "demo",
        "ask",
        "learn",
        "list",
        "show",
        "forget",
        "check",
        "evict",
        "export",
        "import",
        "export-peft",
        "import-peft",
        "bench",
    }


def test_version_is_the_package_s() -> None:
    assert call("--version").stdout == f"{__version__}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("ask",),
        ("ask", QUESTION, "--n", "many"),
        ("ask", QUESTION, "--no-such-option"),
        ("no-such-command",),
        ("bench", "world", "--problems", "0"),
        ("demo", "--picture", "/no/such/folder/demo.png"),
    ],
)
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...]) -> None:
    assert call(*arguments).exit_code == 2


def test_a_json_path_that_cannot_be_written_is_refused_before_any_work(root: Path) -> None:
    assert call("ask", QUESTION, "--root", root, "--json", root / "missing" / "report.json").exit_code == 2
    assert not root.exists()


# -- errors ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("ask", "   "), "empty"),
        (("ask", "x" * 100_000), "100,000 characters"),
        (("ask", QUESTION, "--model", "/no/such/model"), "'/no/such/model'"),
        (("show", "aaaa"), "'default'"),
        (("forget", "aaaa", "--namespace", "other"), "'other'"),
        (("list", "--namespace", ""), "''"),
        (("learn", "/no/such/file.jsonl"), "'/no/such/file.jsonl'"),
    ],
)
def test_an_error_is_one_line_that_names_the_value_and_leaves_nothing_behind(
    root: Path, arguments: tuple[str, ...], named: str
) -> None:
    assert named in refusal(call(*arguments, "--root", root))
    assert not root.exists()


@needs_weights
@pytest.mark.parametrize(
    ("option", "named"),
    [
        (("--temperature", "-1"), "temperature=-1.0"),
        (("--top-p", "0"), "top_p=0.0"),
        (("--max-new-tokens", "0"), "max_new_tokens=0"),
        (("--max-new-tokens", "100000"), "max_new_tokens"),
        (("--n", "0"), "n=0"),
        (("--n", "-3"), "n=-3"),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(root: Path, option: tuple[str, str], named: str) -> None:
    assert named in refusal(call("ask", QUESTION, "--root", root, *option))


def test_debug_shows_the_traceback_and_without_it_there_is_none(root: Path) -> None:
    shown = shell("ask", " ", "--root", root, "--debug")
    assert shown.returncode == 1
    assert "Traceback" in shown.stderr and "InputError" in shown.stderr
    assert "Traceback" not in refusal(shell("ask", " ", "--root", root))


def test_ctrl_c_anywhere_is_one_line_and_exit_code_130(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as left, one_line_errors(debug=False):
        raise KeyboardInterrupt
    assert left.value.exit_code == 130
    assert capsys.readouterr().err == "Interrupted.\n"


def test_a_root_below_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    result = call("ask", QUESTION, "--root", file / "root", "--model", WEIGHTS)
    assert "file" in refusal(result)


@needs_weights
def test_a_root_of_another_model_is_refused_with_both_names(root: Path) -> None:
    Store.open(root, "default", MODEL, ENCODER).close()
    message = refusal(call("ask", QUESTION, "--root", root))
    assert "'tiny'" in message and "'embedded'" in message


def test_a_root_in_use_by_another_process_is_looked_at_but_not_changed(root: Path) -> None:
    import os

    with Store.open(root, "default", MODEL, ENCODER) as store:
        store.put(latent(id=FIRST_ID), {"latent": tensor()}, key())
        assert FIRST_ID[:12] in shell("list", "--root", root).stdout
        assert f"process {os.getpid()}" in refusal(shell("forget", FIRST_ID, "--root", root))


@pytest.mark.parametrize(
    "line",
    [
        "{'question': 1}",
        '{"question": "unfinished',
        '{"answer": "12"}',
        '{"question": null}',
        '{"question": 12}',
        '["question"]',
        '"question"',
        "null",
        '{"question": "  "}',
        '{"question": "\\ud800"}',
        f'{{"question": "{"x" * 70_000}"}}',
        "[" * 100_000,
        "1" * 10_000,
    ],
)
def test_a_broken_line_is_named_by_number_before_anything_is_learnt(root: Path, tmp_path: Path, line: str) -> None:
    file = tmp_path / "questions.jsonl"
    file.write_text(f'{{"question": "{QUESTION}"}}\n\n{line}\n{{"question": "{QUESTION}"}}\n', encoding="utf-8")
    message = refusal(call("learn", file, "--root", root))
    assert "Line 3 of" in message and str(file) in message
    assert len(message) < 1000
    assert not root.exists()


@pytest.mark.parametrize(
    ("content", "named"), [(b"", "no question"), (b"\n\n", "no question"), (b"\xff\xfe{", "UTF-8")]
)
def test_a_file_without_questions_is_refused(root: Path, tmp_path: Path, content: bytes, named: str) -> None:
    file = tmp_path / "questions.jsonl"
    file.write_bytes(content)
    assert named in refusal(call("learn", file, "--root", root))


@needs_weights
def test_a_line_the_model_has_no_room_for_is_named_before_anything_is_learnt(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "questions.jsonl"
    file.write_text(json.dumps({"question": QUESTION}) + "\n" + json.dumps({"question": "7 " * 5000}) + "\n")
    assert "Line 2 of" in refusal(call("learn", file, "--root", root))
    with Store.open(root, "default") as store:
        assert list(store.episodes()) == []


# -- list, show, forget ------------------------------------------------------------------------------------------


def test_listing_a_root_that_is_not_there_is_empty_and_does_not_make_it(root: Path) -> None:
    assert json.loads(call("list", "--root", root, "--json", "-").stdout) == {"latents": [], "states": {}}
    assert call("list", "--root", root).exit_code == 0
    assert not root.exists()


@needs_weights
def test_list_shows_the_latents_of_its_namespace_oldest_first(filled: Path) -> None:
    listed = json.loads(call("list", "--root", filled, "--json", "-").stdout)["latents"]
    assert [one["id"] for one in listed] == [FIRST_ID, SECOND_ID]
    assert [one["questions"] for one in listed] == [[QUESTION]] * 2
    assert json.loads(call("list", "--root", filled, "--namespace", "other", "--json", "-").stdout) == {
        "latents": [],
        "states": {},
    }
    assert FIRST_ID[:12] in call("list", "--root", filled).stdout


@needs_weights
def test_listing_loads_neither_torch_nor_chromadb(filled: Path) -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from latent_memory_plugin.cli import app;"
        f"result = CliRunner().invoke(app, ['list', '--root', {str(filled)!r}]);"
        "print(result.exit_code, sorted({'torch', 'chromadb', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "0 []\n", done.stderr


@needs_weights
def test_show_gives_the_whole_record_for_an_id_or_its_unique_beginning(filled: Path) -> None:
    for given in (FIRST_ID, FIRST_ID[:5], FIRST_ID[:20]):
        shown = json.loads(call("show", given, "--root", filled, "--json", "-").stdout)
        assert shown.pop("questions") == [QUESTION]
        assert shown.pop("standing")["state"] == "live"
        assert shown.pop("versions") == {"earlier": [], "later": []}
        assert shown.pop("uses") == {"total": 0, "correct": 0, "wrong": 0, "unknown": 0}
        assert Latent.from_json(json.dumps(shown)).id == FIRST_ID
    human = call("show", FIRST_ID, "--root", filled).stdout
    assert FIRST_ID in human and "0.4 → 0.8" in human and "embedded" in human


@needs_weights
@pytest.mark.parametrize("command", ["show", "forget"])
@pytest.mark.parametrize(
    ("given", "named"),
    [("aaaa", SECOND_ID), ("aaa", "4 digits"), ("", "4 digits"), ("b" * 32, "b" * 32), ("../../x", "../../x")],
)
def test_an_id_that_is_unknown_short_or_ambiguous_is_refused(
    filled: Path, command: str, given: str, named: str
) -> None:
    assert named in refusal(call(command, given, "--root", filled))
    assert len(json.loads(call("list", "--root", filled, "--json", "-").stdout)["latents"]) == 2


@needs_weights
def test_forget_deletes_that_latent_alone_and_for_good(filled: Path) -> None:
    forgotten = json.loads(call("forget", FIRST_ID[:5], "--root", filled, "--json", "-").stdout)["forgotten"]
    assert forgotten == {"latents": 1, "episodes": 0, "uses": 0}
    assert FIRST_ID in refusal(call("forget", FIRST_ID, "--root", filled))
    answer = Answer.from_json(call("ask", QUESTION, "--root", filled, "--json", "-").stdout)
    assert answer.latent_ids == (SECOND_ID,)


@pytest.fixture
def versions(root: Path) -> list[str]:
    """Ids of four versions of a Latent, oldest first: forgotten, superseded, live, on probation without a trial."""
    ids = [f"{number}" * 32 for number in range(1, 5)]
    unexamined = TRIAL.model_copy(update={"answers": 0, "episode_ids": (), "reason": "too few near episodes"})
    with Store.open(root, "default", MODEL, ENCODER) as store:
        for number, (latent_id, previous) in enumerate(zip(ids, (None, *ids), strict=False)):
            trial = unexamined if number == 3 else TRIAL
            store.put(
                latent(id=latent_id, previous=previous, created=1e9 + number, trial=trial), {"latent": tensor()}, key()
            )
        store.stand(Standing(latent_id=ids[1], state="superseded", reason="a newer one is read", since=2e9))
        store.stand(Standing(latent_id=ids[3], state="probation"))
        store.record_uses([use(f"answer {number}", ids[1], correct=number < 5 or None) for number in range(6)])
        store.record_uses([use("wrong", ids[1], correct=False), use("of another", ids[2], correct=True)])
        store.remove(ids[0])
    return ids


def test_list_gives_every_latent_its_standing(root: Path, versions: list[str]) -> None:
    listed = json.loads(call("list", "--root", root, "--json", "-").stdout)["latents"]
    assert [one["id"] for one in listed] == versions[1:]
    assert [one["standing"]["state"] for one in listed] == ["superseded", "live", "probation"]
    assert listed[0]["standing"] == {
        "latent_id": versions[1], "state": "superseded", "reason": "a newer one is read", "known": 0, "since": 2e9
    }  # fmt: skip
    lines = call("list", "--root", root).stdout.splitlines()
    for latent_id, state in zip(versions[1:], ("superseded", "live", "probation"), strict=True):
        assert [line for line in lines if latent_id[:12] in line and state in line]
    assert "1 probation, 1 live, 1 superseded" in lines[0]


def test_show_gives_the_versions_before_and_after_in_their_order(root: Path, versions: list[str]) -> None:
    for number, latent_id in enumerate(versions[1:], 1):
        shown = json.loads(call("show", latent_id, "--root", root, "--json", "-").stdout)
        assert shown["previous"] == versions[number - 1]
        # Nothing is known of what came before a forgotten one.
        assert shown["versions"] == {"earlier": versions[:number], "later": versions[number + 1 :]}
    human = call("show", versions[2], "--root", root).stdout
    places = [human.partition("Versions")[2].index(latent_id[:12]) for latent_id in versions]
    assert places == sorted(places)
    assert "forgotten" in human and "shown here" in human


def test_show_counts_the_answers_that_read_it_by_what_became_of_them(root: Path, versions: list[str]) -> None:
    shown = json.loads(call("show", versions[1], "--root", root, "--json", "-").stdout)
    assert shown["uses"] == {"total": 7, "correct": 5, "wrong": 1, "unknown": 1}
    human = call("show", versions[1], "--root", root).stdout
    assert "7 answers, 5 right, 1 wrong, 1 not known" in human
    assert "superseded since" in human and "a newer one is read" in human
    unread = call("show", versions[3], "--root", root).stdout
    assert "0 answers" in unread and "right" not in unread


def test_show_gives_what_the_trial_found_and_nothing_it_did_not_look_for(root: Path, versions: list[str]) -> None:
    found = TRIAL.model_copy(update={"least_gain": 0.21, "nearby_ids": ("x", "y"), "nearby_change": -0.03})
    with Store.open(root, "default", MODEL, ENCODER) as store:
        store.put(latent(id="a" * 32, trial=found), {"latent": tensor()}, key())
    human = call("show", "a" * 32, "--root", root).stdout
    assert "0.40 before, 0.80 after" in human and "3 episodes, 24 answers" in human
    assert "+0.21" in human and "-0.03 on 2 episodes" in human
    plain = call("show", versions[2], "--root", root).stdout
    assert "before" in plain and "least gain" not in plain and "nearby" not in plain
    unexamined = call("show", versions[3], "--root", root).stdout
    assert "too few near episodes" in unexamined and "before" not in unexamined


def test_looking_takes_a_store_of_the_previous_version(root: Path) -> None:
    old_journal(root / "default", QUESTION)
    assert json.loads(call("list", "--root", root, "--json", "-").stdout) == {"latents": [], "states": {}}


def test_an_unreadable_latent_is_warned_of_in_one_line_and_can_be_forgotten(root: Path) -> None:
    with Store.open(root, "default", MODEL, ENCODER) as store:
        store.put(latent(id=FIRST_ID), {"latent": tensor()}, key())
    (file,) = (root / "default" / "latents").iterdir()
    file.write_bytes(file.read_bytes()[:100])
    listed = call("list", "--root", root, "--json", "-")
    assert json.loads(listed.stdout) == {"latents": [], "states": {}}
    assert listed.stderr.startswith("warning: ") and listed.stderr.count("\n") == 1 and str(file) in listed.stderr
    assert call("forget", FIRST_ID[:6], "--root", root).exit_code == 0
    assert not file.exists()


# -- ask ---------------------------------------------------------------------------------------------------------


@needs_weights
def test_ask_reads_the_latent_that_applies_unless_told_otherwise(filled: Path) -> None:
    arguments = ("ask", QUESTION, "--root", filled, "--seed", "5", "--n", "2", "--json", "-")
    answer = Answer.from_json(call(*arguments).stdout)
    assert answer.latent_ids == (FIRST_ID,) and len(answer.rollouts) == 2 and answer.seed == 5
    assert Answer.from_json(call(*arguments).stdout).model_copy(update={"id": answer.id}) == answer
    plain = Answer.from_json(call(*arguments, "--no-memory").stdout)
    assert plain.latent_ids == () and plain.usage.latent_tokens == 0


@needs_weights
def test_ask_shows_text_answer_and_reason_and_writes_the_same_as_json(root: Path, tmp_path: Path) -> None:
    file = tmp_path / "answer.json"
    result = call("ask", QUESTION, "--root", root, "--temperature", "0", "--json", file)
    answer = Answer.from_json(file.read_bytes())
    assert result.exit_code == 0
    assert answer.text in result.stdout and answer.reason in result.stdout


@needs_weights
def test_at_a_shell_json_without_a_file_is_standard_output_and_pure_json(root: Path) -> None:
    done = shell("ask", "How many [bold]apples[/bold] :smile:\n are 2 and 3?", "--root", root, "--json")
    assert done.returncode == 0, done.stderr
    assert Answer.from_json(done.stdout).question == "How many [bold]apples[/bold] :smile:\n are 2 and 3?"


@needs_weights
def test_brackets_in_a_question_are_text_and_not_markup(root: Path) -> None:
    with Store.open(root, "default", MODEL, ENCODER) as store:
        asked = episode("Is [red] a colour :smile:?")
        store.commit(asked, key())
        store.put(latent(parents=(asked.id,)), {"latent": tensor()}, key())
    assert "[red]" in call("list", "--root", root).stdout and ":smile:" in call("list", "--root", root).stdout


# -- demo and bench ----------------------------------------------------------------------------------------------


@needs_weights
def test_bench_world_gives_every_family_and_the_mean_as_json() -> None:
    result = call("bench", "world", "--problems", "1", "--rollouts", "2", "--json", "-")
    report = json.loads(result.stdout)
    assert len(report["families"]) == 24
    assert {family["split"] for family in report["families"].values()} == {"tuning", "held-out"}
    assert set(report["mean"]) == {"one_sample", "majority_2", "greedy"}


@needs_weights
def test_bench_world_measures_one_split_of_one_half() -> None:
    told = ("--world", "hard", "--families", "tuning", "--problems", "1", "--rollouts", "2", "--json", "-")
    report = json.loads(call("bench", "world", *told).stdout)
    assert report["model"] == "embedded-hard" and set(report["splits"]) == {"tuning"} and len(report["families"]) == 12


@needs_weights
@pytest.mark.parametrize(("half", "model"), [("plain", "embedded"), ("hard", "embedded-hard")])
def test_the_demo_runs_on_the_half_of_the_world_that_is_named(tmp_path: Path, half: World, model: str) -> None:
    told = ("--world", half, "--families", "tuning", "--picture", str(tmp_path / "demo.png"), "--json", "-")
    report = json.loads(call("demo", "--problems", "2", *told).stdout)
    known = {family.name for family in families("tuning", half)}
    assert report["model"] == model and report["world"] == half
    assert {one["kind"] for one in report["problems"]} <= known
    assert all(one["greedy"] in (0.0, 1.0) for one in report["problems"])


@needs_weights
def test_bench_online_walks_the_hard_half_with_greedy_and_a_majority_as_arms(tmp_path: Path) -> None:
    told = ("--world", "hard", "--families", "tuning", "--problems", "12", "--voters", "4", "--samples", "1")
    out = ("--methods", "none,majority_4,greedy", "--out", str(tmp_path / "out"), "--json", "-")
    report = json.loads(call("bench", "online", *told, *out).stdout)
    assert [one["name"] for one in report["streams"]] == ["hard-tuning"]
    assert list(report["methods"]) == ["none", "majority_4", "greedy"]


@needs_weights
def test_the_demo_reports_draws_and_keeps_to_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = call("demo", "--problems", "4", "--seed", "3", "--json", "demo.json")
    assert result.exit_code == 0, result.stderr
    report = json.loads((tmp_path / "demo.json").read_text())
    assert set(report["second_half"]) >= {"without_memory", "with_memory", "majority_16", "greedy"}
    assert set(report["latents"]) >= {"live", "refused"} and report["seed"] == 3 and report["seconds"] > 0
    assert {path.name for path in tmp_path.iterdir()} == {"demo.json", "demo.png"}
    assert "with memory" in result.stdout
