"""The hard half of the embedded world: what its kinds promise, its solutions, and the model that was trained on it."""

import json
import random
import re
from collections import Counter
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from latent_memory_plugin import answers
from latent_memory_plugin.bench.world import LARGEST_FAMILY, measure
from latent_memory_plugin.config import ModelConfig, SamplingConfig
from latent_memory_plugin.engines.hf import LanguageModel
from latent_memory_plugin.engines.hf.load import read
from latent_memory_plugin.errors import InputError, ModelLoadError
from latent_memory_plugin.sandbox import train
from latent_memory_plugin.sandbox.calculator import calculate
from latent_memory_plugin.sandbox.corpus import OPENINGS, choose_procedure, document
from latent_memory_plugin.sandbox.family import Family, Kind, Procedure, Split
from latent_memory_plugin.sandbox.world import FAMILIES, HARD_FAMILIES, families, solve, stream

HARD = train.RECIPES["hard"].folder
CALC = {"type": "function", "function": {"name": "calc", "parameters": {"type": "object", "properties": {}}}}
LARGEST_BYTES = 16_000_000
every_family = pytest.mark.parametrize("family", HARD_FAMILIES, ids=lambda family: family.name)
of_every_split = pytest.mark.parametrize("split", ["tuning", "held-out"])

ANSWERS: dict[str, Callable[..., float]] = {
    "two shifts": lambda a, b, c: a * c + b * c,
    "growing by the same": lambda a, b: sum(a + week * b for week in range(3)),
    "two purchases": lambda p, a, b: p - a - b,
    "spoilt goods": lambda a, b, c: a * b - c,
    "half of a product": lambda a, b: a * b / 2,
    "split and topped up": lambda a, b, c: a / b + c,
    "added once": lambda a, b, c: sum([b] * a) + c,
    "added to each": lambda a, b, c: sum([b + c] * a),
    "more than the other": lambda a, b: a + (a - b),
    "fewer than the other": lambda a, b: a + (a + b),
    "twice as many after": lambda a, b: 3 * a + b,
    "the smaller of two": lambda a, b: next(small for small in range(a) if small + (small + b) == a),
    "beds of a hotel": lambda a, b, c: a * b * c,
    "as many as both": lambda a, b: 2 * (a + a - b),
    "two heaps shared": lambda a, b, c: (a + b) / c,
    "on and off": lambda a, b, c: a + b - c,
    "price of other amounts": lambda a, b, c: a * c / b,
    "half as much again": lambda a: 1.5 * a,
    "taken before the split": lambda a, b, c: (a - b) / c,
    "taken after the split": lambda a, b, c: a / c - b,
    "halved, then more": lambda a, b: a / 2 + b,
    "more, then halved": lambda a, b: (a + b) / 2,
    "steps between": lambda a, b: sum(b for _ in range(1, a)),
    "place in a line": lambda a, b: len(range(1, a)) + 1 + len(range(1, b)),
}
"""The answer of each family from its numbers, written without looking at its procedures."""

FUNCTION_WORDS = """
    a an the this that these those of in on at to from with by for as than then and or but if where when while it its is
    are was were be has have had do does did there how what which who many much each every all one two name other thing
"""
"""Words that carry no meaning of their own; the fillers of a phrasing among them."""


def words(phrasing: str) -> list[str]:
    return re.findall(r"[a-z]+", re.sub(r"\{[abcp]\}", " ", phrasing).lower())


def content(phrasing: str) -> set[str]:
    return set(words(phrasing)) - set(FUNCTION_WORDS.split())


def of_kind(kind: Kind, split: Split | None = None) -> list[Family]:
    return [family for family in HARD_FAMILIES if kind in family.kinds and split in (None, family.split)]


def named(name: str) -> Family:
    [family] = [family for family in HARD_FAMILIES if family.name == name]
    return family


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(HARD)


@pytest.fixture(scope="module")
def hard() -> LanguageModel:
    return LanguageModel.load(ModelConfig(name="embedded-hard"))


# -- families ----------------------------------------------------------------------------------------------------------


def test_the_hard_half_has_twelve_families_for_tuning_and_twelve_held_out_and_every_kind_in_both() -> None:
    for split in ("tuning", "held-out"):
        chosen = families(split, "hard")
        assert len(chosen) == 12 and {family.split for family in chosen} == {split}
        counts = Counter(kind for family in chosen for kind in family.kinds)
        assert counts == {"ways": 6, "reworded": 3, "look-alike": 4, "misled": 2}
    assert families(world="hard") == HARD_FAMILIES
    assert families(world="all") == (*FAMILIES, *HARD_FAMILIES)
    assert len({family.name for family in families(world="all")}) == 48


def test_the_plain_half_is_what_is_met_without_asking_for_another() -> None:
    assert families() == families(world="plain") == FAMILIES
    assert {family.world for family in FAMILIES} == {"plain"} and {family.world for family in HARD_FAMILIES} == {"hard"}


def test_an_unknown_world_is_named() -> None:
    for call in (families, measure):
        with pytest.raises(InputError, match="'soft'"):
            call(world="soft")  # pyright: ignore[reportArgumentType]


@every_family
def test_an_answer_is_that_of_a_calculation_of_its_own(family: Family) -> None:
    rng = random.Random(family.name)
    for _ in range(200):
        problem = family.draw(rng)
        assert ANSWERS[family.name](**problem.numbers) == int(problem.answer)


@every_family
def test_every_way_gives_the_label_and_every_misconception_another_answer(family: Family) -> None:
    rng = random.Random(0)
    for _ in range(100):
        problem = family.draw(rng)
        for way in family.ways:
            assert answers.extract(solve(problem, way)) == problem.answer
        for wrong in family.misconceptions:
            assert not answers.equal(str(answers.extract(solve(problem, wrong))), problem.answer)


@every_family
def test_every_phrasing_shows_every_number_and_leaves_nothing_to_fill_in(family: Family) -> None:
    assert len(family.phrasings) == len(family.belief) == 4
    for phrasing in range(4):
        problem = family.draw(random.Random(phrasing), phrasing)
        assert problem.phrasing == phrasing and not re.search(r"[{}]", problem.question)
        assert Counter(re.findall(r"\d+", problem.question)) == Counter(map(str, problem.numbers.values()))


@every_family
def test_a_family_has_more_problems_than_are_ever_asked_for(family: Family) -> None:
    rng = random.Random(0)
    assert len({family.draw(rng).question for _ in range(20 * LARGEST_FAMILY)}) > LARGEST_FAMILY


def test_a_stream_of_the_hard_half_is_seeded_distinct_and_balanced() -> None:
    problems = stream(families("held-out", "hard"), 60, seed=3)
    assert problems == stream(families("held-out", "hard"), 60, seed=3)
    assert len({problem.question for problem in problems}) == 60
    assert set(Counter(problem.family.name for problem in problems).values()) == {5}


# -- kinds -------------------------------------------------------------------------------------------------------------


def test_a_solution_begins_with_words_that_say_nothing_of_its_way_or_family() -> None:
    rng = random.Random(0)
    begun: dict[str, Counter[str]] = {}
    for _ in range(3000):
        family = rng.choice(HARD_FAMILIES)
        said = next(text for text, spoken in document((family,), rng) if spoken)
        if not re.match(r"\d+[-+*/]", said):
            begun.setdefault(family.name, Counter())[re.split(r"\w+: (?=[\d<])", said)[0]] += 1
    assert begun.keys() == ANSWERS.keys()
    for counts in begun.values():
        assert counts.keys() == set(OPENINGS)
        assert min(counts.values()) > 0.1 * counts.total()


@every_family
def test_the_first_token_after_them_names_its_way(family: Family, tokenizer: Any) -> None:
    openers = [tokenizer(f" {one.steps[0].label}:", add_special_tokens=False).input_ids[0] for one in family.procedures]
    assert len(set(openers)) == len(openers)


def test_first_words_recur_from_family_to_family_so_that_none_gives_its_family_away() -> None:
    for split in ("tuning", "held-out"):
        met = Counter(way.steps[0].label for family in families(split, "hard") for way in family.procedures)
        alone = [label for label, families_with_it in met.items() if families_with_it == 1]
        assert len(alone) <= len(met) / 2
        for family in families(split, "hard"):
            assert any(met[one.steps[0].label] > 1 for one in family.procedures)


@pytest.mark.parametrize("family", of_kind("ways"), ids=lambda family: family.name)
def test_where_the_right_procedure_has_several_ways_a_misconception_is_the_likeliest_path(family: Family) -> None:
    assert len(family.ways) == 3 and len({way.steps for way in family.ways}) == 3
    for belief in family.belief:
        leading = (1 - belief) * family.leading
        assert belief / 3 < 0.6 * leading
        assert (1 - belief) * (1 - family.leading) / 2 < 0.6 * leading
    rng = random.Random(0)
    used = Counter(choose_procedure(family, rng.randrange(4), rng).name for _ in range(4000))
    assert used["right"] / 4000 == pytest.approx(0.48, abs=0.04)
    assert used[next(iter(family.wrong))] / 4000 == pytest.approx(0.34, abs=0.04)


@pytest.mark.parametrize("family", of_kind("misled"), ids=lambda family: family.name)
def test_where_most_votes_are_wrong_a_misconception_leads_in_three_of_four_phrasings(family: Family) -> None:
    led = [(1 - belief) * family.leading > 1.2 * belief for belief in family.belief]
    assert sorted(led) == [False, True, True, True]


@pytest.mark.parametrize("family", of_kind("reworded"), ids=lambda family: family.name)
def test_rewordings_share_no_word_that_carries_meaning(family: Family) -> None:
    for one, other in combinations(family.phrasings, 2):
        assert not content(one) & content(other)
        assert min(len(content(one)), len(content(other))) >= 3
        shared = set(words(one)) & set(words(other))
        assert len(shared) / len(set(words(one)) | set(words(other))) < 0.3


@pytest.mark.parametrize("family", of_kind("look-alike"), ids=lambda family: family.name)
def test_families_that_look_alike_share_nearly_all_words_and_need_different_procedures(family: Family) -> None:
    twin = named(family.twin)
    assert twin.twin == family.name and twin.split == family.split and twin.ranges == family.ranges
    for one, other in zip(family.phrasings, twin.phrasings, strict=True):
        mine, theirs = Counter(words(one)), Counter(words(other))
        assert one != other
        assert 2 * (mine & theirs).total() / (mine.total() + theirs.total()) >= 0.85
    assert {way.steps for way in family.ways}.isdisjoint({way.steps for way in twin.ways})
    assert family.misconceptions[0].steps in {way.steps for way in twin.ways}


# -- splits ------------------------------------------------------------------------------------------------------------


def test_no_wording_occurs_twice_in_either_half() -> None:
    wordings = [phrasing for family in families(world="all") for phrasing in family.phrasings]
    assert len(set(wordings)) == len(wordings)


def test_no_held_out_phrasing_is_near_one_that_anything_is_tuned_on() -> None:
    tuning = [phrasing for family in families("tuning", "all") for phrasing in family.phrasings]
    for family in families("held-out", "hard"):
        for phrasing in family.phrasings:
            for met in tuning:
                shared = content(phrasing) & content(met)
                assert len(shared) <= 0.5 * len(content(phrasing) | content(met)), (phrasing, met)


def skeleton(procedure: Procedure) -> tuple[tuple[str, str, str], ...]:
    """The steps with letters and labels renamed in the order in which they occur."""
    names: dict[str, str] = {}

    def renamed(text: str) -> str:
        return text if text.isdigit() else names.setdefault(text, f"x{len(names)}")

    lines: list[tuple[str, str, str]] = []
    for step in procedure.steps:
        lines.append((renamed(step.left), step.operator, renamed(step.right)))
        names[step.label] = f"x{len(names)}-{len(lines)}"
    return tuple(lines)


def test_no_right_procedure_of_a_held_out_family_is_one_of_a_tuning_family() -> None:
    found = {
        split: {skeleton(way) for family in families(split, "hard") for way in family.ways}
        for split in ("tuning", "held-out")
    }
    assert min(map(len, found.values())) > 12 and found["tuning"].isdisjoint(found["held-out"])


# -- training text -----------------------------------------------------------------------------------------------------


@of_every_split
def test_the_text_has_tools_systems_and_two_problems_as_that_of_the_plain_half(split: Split, tokenizer: Any) -> None:
    rng = random.Random(0)
    texts = ["".join(piece for piece, _ in document(families(split, "hard"), rng)) for _ in range(400)]
    assert 0.06 < sum("<|tools|>calc<|end|>" in text for text in texts) / 400 < 0.2
    assert 0.06 < sum(text.count("<|user|>") == 2 for text in texts) / 400 < 0.2
    assert sum("<|system|>" in text for text in texts) > 20
    for text in texts[:40]:
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert tokenizer.decode(ids) == text


# -- weights -----------------------------------------------------------------------------------------------------------


def test_the_weights_of_both_halves_are_small_safe_and_finite() -> None:
    files = [path for path in train.WEIGHTS.rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix in {".bin", ".pt", ".pkl", ".py"}]
    assert sum(path.stat().st_size for path in files if path.suffix == ".safetensors") <= LARGEST_BYTES
    weights = list(AutoModelForCausalLM.from_pretrained(HARD, local_files_only=True).parameters())
    assert 1_500_000 < sum(weight.numel() for weight in weights) < 2_500_000
    assert all(bool(torch.isfinite(weight).all()) for weight in weights)


def test_each_half_has_a_model_by_name(hard: LanguageModel) -> None:
    default, by_name = LanguageModel.load(), LanguageModel.load(ModelConfig(name="embedded"))
    assert default.fingerprint == by_name.fingerprint != hard.fingerprint
    assert (default.name, by_name.name, hard.name) == ("embedded", "embedded", "embedded-hard")


def test_without_the_weights_of_the_hard_half_the_way_to_them_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"make sandbox-model.*--world hard"):
        read(ModelConfig(name="embedded-hard"), embedded=tmp_path)


def test_the_tokenizer_of_the_hard_weights_has_the_template_and_marks_of_the_plain_ones(tokenizer: Any) -> None:
    plain: Any = AutoTokenizer.from_pretrained(train.WEIGHTS)
    assert tokenizer.chat_template == plain.chat_template
    marks = [token for token in plain.get_vocab() if token.startswith("<|") or token.endswith("tool_call>")]
    assert len(marks) == 10
    assert {mark: tokenizer.get_vocab()[mark] for mark in marks if mark.startswith("<|")} == {
        mark: plain.get_vocab()[mark] for mark in marks if mark.startswith("<|")
    }
    assert {"<tool_call>", "</tool_call>"} <= tokenizer.get_vocab().keys()


def test_a_tokenizer_of_the_hard_text_is_the_committed_one(tokenizer: Any, tmp_path: Path) -> None:
    train.build_tokenizer(train.RECIPES["hard"].families).save_pretrained(tmp_path)
    assert (tmp_path / "tokenizer.json").read_text() == (HARD / "tokenizer.json").read_text()


def test_the_hard_model_calls_calc_and_goes_on_from_its_result(tokenizer: Any) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(HARD, local_files_only=True)
    for problem in stream(families("tuning", "hard"), 6, seed=1):
        results, said = worked(model, tokenizer, problem.question)
        assert results and said == f"#### {results[-1]}"


def worked(model: Any, tokenizer: Any, question: str) -> tuple[list[str], str]:
    """The results of the calculations that a model asks for, and what it says in the end."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": question}]
    results: list[str] = []
    for _ in range(6):
        prompt = tokenizer.apply_chat_template(messages, tools=[CALC], add_generation_prompt=True, return_tensors="pt")
        ids = model.generate(**prompt, do_sample=False, max_new_tokens=60)[0, prompt["input_ids"].shape[1] :]
        said, _, call = tokenizer.decode(ids, skip_special_tokens=True).partition("<tool_call>")
        if not call:
            return results, said
        function = json.loads(call.removesuffix("</tool_call>"))
        results.append(calculate(function["arguments"]["expression"]))
        messages.append({"role": "assistant", "content": said, "tool_calls": [{"function": function}]})
        messages.append({"role": "tool", "content": results[-1]})
    raise AssertionError(f"The model calls and calls: {messages!r}")


def opener(text: str) -> str:
    """The word that names the way of a solution."""
    for words_before in OPENINGS:
        text = text.removeprefix(words_before)
    return text.split(":")[0]


@pytest.mark.slow
def test_a_right_way_ends_at_the_right_answer_nearly_always(hard: LanguageModel) -> None:
    right = taken = 0
    for family in families("tuning", "hard"):
        openers = {way.steps[0].label for way in family.ways}
        problems = stream([family], 6, seed=2)
        questions = [problem.question for problem in problems]
        for problem, group in zip(problems, hard.sample(questions, [None] * 6, 16, SamplingConfig(), 0), strict=True):
            begun = [rollout for rollout in group if opener(rollout.text) in openers]
            taken += len(begun)
            right += sum(answers.extract(rollout.text) == problem.answer for rollout in begun)
    assert taken > 12 * 6 * 16 * 0.3 and right / taken > 0.92


@pytest.mark.slow
def test_greedy_is_wrong_where_a_majority_is_right(hard: LanguageModel) -> None:
    report = measure(hard, problems_per_family=12, world="hard")
    for split in ("tuning", "held-out"):
        means = report["splits"][split]
        assert 0.38 <= means["one_sample"] <= 0.57
        assert means["greedy"] <= 0.5
        assert 0.5 <= means["majority_16"] <= 0.75
        ways, misled = report["kinds"]["ways"][split], report["kinds"]["misled"][split]
        assert ways["greedy"] < 0.2 < 0.5 < ways["majority_16"]
        assert misled["majority_16"] < means["majority_16"] - 0.1
