"""The streams of `bench online`: the embedded world, files, and data sets of the hub on made-up rows."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from latent_memory_plugin.bench.online.sets import SETS, load, read
from latent_memory_plugin.bench.online.stream import SPARE_PROBLEMS, embedded, open_stream
from latent_memory_plugin.errors import InputError
from latent_memory_plugin.sandbox.family import World
from latent_memory_plugin.sandbox.world import families

DATA = Path(__file__).parents[2] / "shared" / "data"


def file_of(folder: Path, rows: list[dict[str, Any]], name: str = "mine.jsonl") -> str:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("world", ["plain", "hard"])
def test_a_stream_of_the_world_asks_all_families_equally_and_keeps_other_problems_of_each(world: World) -> None:
    stream = embedded("tuning", 48, 3, world)
    names = [family.name for family in families("tuning", world)]
    kinds = [one.kind for one in stream.asked]
    assert {kinds.count(name) for name in names} == {4} and set(stream.spare) == set(names)
    met = {one.question for one in stream.asked}
    for kind, spare in stream.spare.items():
        assert len({one.question for one in spare}) == SPARE_PROBLEMS
        assert not met & {one.question for one in spare}
        assert {one.kind for one in spare} == {kind} and {one.phrasing for one in spare} == {0, 1, 2, 3}


def test_the_same_seed_draws_the_same_stream_and_another_one_another() -> None:
    assert embedded("held-out", 12, 1) == embedded("held-out", 12, 1)
    assert embedded("held-out", 12, 1).asked != embedded("held-out", 12, 2).asked


def test_the_halves_of_the_world_have_streams_of_other_names_and_problems() -> None:
    plain, hard = (open_stream("24", "held-out", 0, world=world) for world in ("plain", "hard"))
    assert (plain.name, hard.name) == ("held-out", "hard-held-out")
    assert not set(plain.kinds.values()) & set(hard.kinds.values())


def test_a_file_is_shuffled_by_the_seed_and_what_is_not_asked_is_kept_for_measurements(tmp_path: Path) -> None:
    rows = [{"question": f"What is {number} plus 1?", "answer": number + 1} for number in range(30)]
    path = file_of(tmp_path, [*rows, rows[0]])
    whole, short = open_stream(path, "tuning", 0), open_stream(path, "tuning", 0, first=10)
    assert len(whole.asked) == 30 and whole.name == "mine" and whole.spare == {"mine": ()}
    assert short.asked == whole.asked[:10] and set(short.spare["mine"]) == set(whole.asked[10:])
    assert open_stream(path, "tuning", 1).asked != whole.asked
    assert {one.question: one.answer for one in whole.asked}["What is 4 plus 1?"] == "5"


def test_a_file_without_labels_is_refused_by_its_line(tmp_path: Path) -> None:
    path = file_of(tmp_path, [{"question": "a", "answer": "1"}, {"question": "b"}])
    with pytest.raises(InputError, match=r"Line 2 of .*mine\.jsonl.* 'answer'"):
        open_stream(path, "tuning", 0)


@pytest.mark.parametrize("problems", ["0", "-3", "no-such-set", "/no/such/file.jsonl", ""])
def test_problems_that_are_nothing_known_are_refused_by_value(problems: str) -> None:
    with pytest.raises(InputError, match="gsm8k") as refused:
        open_stream(problems, "tuning", 0)
    assert repr(problems) in str(refused.value)


@pytest.mark.parametrize(
    ("name", "row", "problem"),
    [
        (
            "gsm8k",
            {"question": "A robe takes 2 bolts. ", "answer": "It takes 2/2=<<2/2=1>>1 more.\n#### 1,003"},
            ("A robe takes 2 bolts.", "1003", "gsm8k"),
        ),
        (
            "math-500",
            {
                "problem": "Compute $1+1$.",
                "solution": "...",
                "answer": "\\frac{4}{2}",
                "subject": "Algebra",
                "level": 1,
            },
            ("Compute $1+1$.", "\\frac{4}{2}", "Algebra"),
        ),
        ("amc23", {"id": 0, "question": "How many?", "answer": 27.0, "url": "x"}, ("How many?", "27", "amc23")),
        ("amc23", {"id": 0, "question": "How many?", "answer": "27"}, ("How many?", "27", "amc23")),
        (
            "aime24",
            {"id": 60, "problem": "Find it.", "solution": "...", "answer": "025", "year": "2024"},
            ("Find it.", "25", "aime24"),
        ),
    ],
)
def test_a_row_of_each_data_set_becomes_question_label_and_kind(
    name: str, row: dict[str, Any], problem: tuple[str, str, str]
) -> None:
    assert read(name, [row]) == [problem]


@pytest.mark.parametrize(
    ("name", "row", "named"),
    [
        ("gsm8k", {"question": "q", "answer": None}, "'answer'"),
        ("gsm8k", {"question": "q", "answer": "no result"}, "no result"),
        ("math-500", {"question": "q", "answer": "1", "subject": "Algebra"}, "'problem'"),
        ("aime24", {"problem": "q", "answer": "x+1"}, "x\\+1"),
    ],
)
def test_a_row_that_is_not_what_it_should_be_is_refused_by_its_number(
    name: str, row: dict[str, Any], named: str
) -> None:
    good = {"question": "q", "problem": "q", "answer": "#### 1" if name == "gsm8k" else "1", "subject": "Algebra"}
    with pytest.raises(InputError, match=f"Row 1 of '{name}' .*{named}"):
        read(name, [good, row])


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"latent-memory-plugin\[datasets\]"):
        load("gsm8k")


def hub(monkeypatch: pytest.MonkeyPatch, load_dataset: Any) -> None:
    package = ModuleType("datasets")
    vars(package)["load_dataset"] = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", package)


def test_a_data_set_is_asked_for_by_its_id_configuration_and_split(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted: list[tuple[Any, ...]] = []

    def load_dataset(*names: Any, split: str) -> list[dict[str, Any]]:
        wanted.append((*names, split))
        return [{"question": "q", "problem": "q", "answer": "#### 1", "subject": "s"}]

    hub(monkeypatch, load_dataset)
    assert load("gsm8k") == [("q", "1", "gsm8k")] and load("math-500")[0][2] == "s"
    assert wanted == [("openai/gsm8k", "main", "test"), ("HuggingFaceH4/MATH-500", None, "test")]
    assert set(SETS) == {"gsm8k", "math-500", "amc23", "aime24"}


def test_a_hub_that_cannot_be_reached_is_one_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*names: Any, split: str) -> Any:
        raise ConnectionError("no network here")

    hub(monkeypatch, load_dataset)
    with pytest.raises(InputError, match=r"openai/gsm8k.*no network here.*JSONL"):
        open_stream("gsm8k", "tuning", 0)


@pytest.mark.skipif(not DATA.is_dir(), reason="the data is not beside the repository")
@pytest.mark.parametrize("name", ["gsm8k", "math"])
def test_files_of_real_problems_make_streams(name: str) -> None:
    stream = open_stream(str(DATA / f"{name}.jsonl"), "tuning", 0, first=200)
    assert len(stream.asked) == 200 and len(stream.spare[name]) == SPARE_PROBLEMS
    assert all(one.answer for one in stream.asked)


@pytest.mark.skipif(not DATA.is_dir(), reason="the data is not beside the repository")
def test_real_solutions_in_the_hub_s_own_form_have_the_labels_that_were_cut_out_of_them() -> None:
    with (DATA / "gsm8k.jsonl").open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    found = read("gsm8k", [{"question": row["question"], "answer": row["solution"]} for row in rows])
    assert [answer for _, answer, _ in found] == [row["answer"].replace(",", "") for row in rows]
