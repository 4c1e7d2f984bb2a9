"""The baselines of `bench online`: what they read, what they learn from, and that a LoRA of nothing changes nothing."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from online_world import common, knowing, small_stream
from tiny_models import tiny_model, tiny_tokenizer

from latent_memory_plugin.answers import agree, extract
from latent_memory_plugin.bench.online import after, context, lora, offline
from latent_memory_plugin.bench.online.common import Common, Settings
from latent_memory_plugin.bench.online.effect import HARM, Effects, Subject
from latent_memory_plugin.bench.online.memories import remembering
from latent_memory_plugin.bench.online.stream import Asked, embedded
from latent_memory_plugin.bench.online.training import Example, Schedule, batches, descend, examples, weighted
from latent_memory_plugin.config import ModelConfig, SamplingConfig
from latent_memory_plugin.engines.hf import LanguageModel, load
from latent_memory_plugin.forms import Loaded
from latent_memory_plugin.records import Rollout

QUESTIONS = ["What is its speed?", "How many posts are there? First add the numbers.", "Maria has 12 apples."]
SURE = 0.9
"""Confidence that a vote of the fake model reaches often and not always."""
COMPLETIONS = [(7, 8, 9, 2), (40, 41, 2), (33, 34, 35, 36, 2)]


def tiny_common() -> Common:
    """A random model of three layers; there are no rollouts of it."""

    def weights() -> Any:
        return tiny_model(), tiny_tokenizer()

    return Common(LanguageModel.wrap(tiny_model(), tiny_tokenizer(), "tiny"), weights, {}, {}, 0.0, Settings())


def world(out: Path, problems: int) -> Common:
    """The embedded model on a stream of the tuning families."""

    def weights() -> Any:
        return load.read(ModelConfig())[:2]

    return common(out, LanguageModel.load(), embedded("tuning", problems, 0), weights, samples=2, voters=16)


# -- LoRA ----------------------------------------------------------------------------------------------------------


def test_an_adapter_whose_second_matrix_is_zero_is_the_plain_model() -> None:
    shared = tiny_common()
    adapter = lora.Adapter(shared)
    adapter.reset(seed=3)
    assert any(weight.abs().sum() > 0 for name, weight in adapter.state.items() if ".lora_A." in name)
    given = (QUESTIONS, [None] * 3, 3, SamplingConfig(max_new_tokens=12), 5)
    assert adapter.model.sample(*given) == shared.plain.sample(*given)
    for mine, plain in zip(
        adapter.model.log_probabilities(QUESTIONS, COMPLETIONS, None),
        shared.plain.log_probabilities(QUESTIONS, COMPLETIONS, None),
        strict=True,
    ):
        torch.testing.assert_close(mine, plain)


def test_log_probabilities_of_a_batch_are_those_of_the_model_row_by_row() -> None:
    shared = tiny_common()
    adapter = lora.Adapter(shared)
    prompts = [shared.plain.prompt_ids(question) for question in QUESTIONS]
    values, mask = lora.log_probabilities(adapter.module, prompts, COMPLETIONS)
    for row, (question, completion) in enumerate(zip(QUESTIONS, COMPLETIONS, strict=True)):
        alone, _ = shared.plain.log_probabilities([question], [completion], None)
        torch.testing.assert_close(values[row][mask[row]], alone[0], atol=1e-4, rtol=1e-4)


def test_training_an_adapter_makes_its_examples_likelier_and_leaves_the_plain_model_alone() -> None:
    shared = tiny_common()
    plain, _ = shared.plain.log_probabilities(QUESTIONS, COMPLETIONS, None)
    adapter = lora.Adapter(shared)
    learnt = [Example(*pair, 1.0) for pair in zip(QUESTIONS, COMPLETIONS, strict=True)]
    tokens = adapter.train(learnt, Schedule(steps=30, learning_rate=0.01), seed=0)
    trained, _ = adapter.model.log_probabilities(QUESTIONS, COMPLETIONS, None)
    assert tokens == 30 * 12 and trained.sum() > plain.sum() + 5
    torch.testing.assert_close(shared.plain.log_probabilities(QUESTIONS, COMPLETIONS, None)[0], plain)


def test_an_adapter_that_is_loaded_again_is_the_one_that_was_stored() -> None:
    adapter = lora.Adapter(tiny_common())
    learnt = [Example(*pair, 1.0) for pair in zip(QUESTIONS, COMPLETIONS, strict=True)]
    adapter.train(learnt[:1], Schedule(steps=5, learning_rate=0.01), seed=0)
    stored, (before, _) = adapter.state, adapter.model.log_probabilities(QUESTIONS, COMPLETIONS, None)
    adapter.train(learnt[1:], Schedule(steps=5, learning_rate=0.01), seed=1)
    assert not torch.allclose(adapter.model.log_probabilities(QUESTIONS, COMPLETIONS, None)[0], before)
    adapter.load(stored)
    torch.testing.assert_close(adapter.model.log_probabilities(QUESTIONS, COMPLETIONS, None)[0], before)


def test_the_same_seed_trains_the_same_adapter() -> None:
    adapter = lora.Adapter(tiny_common())
    learnt = [Example(*pair, 1.0) for pair in zip(QUESTIONS, COMPLETIONS, strict=True)]
    states: list[lora.State] = []
    for _ in range(2):
        adapter.train(learnt, Schedule(steps=3, learning_rate=0.01), seed=7)
        states.append(adapter.state)
    assert all(torch.equal(weight, states[1][name]) for name, weight in states[0].items())


def test_lora_per_problem_keeps_one_adapter_for_near_questions_and_answers_each_with_its_own(tmp_path: Path) -> None:
    shared = world(tmp_path, 4)
    few = Schedule(steps=3, learning_rate=0.005)
    method = lora.LoraPerProblem(shared, schedule=few)
    first = shared.questions[0]
    method.ask([first])
    assert method.read(first) is None
    became = {question: method.learn(question) for question in shared.questions}
    assert became[first] == "live" and set(became.values()) <= {"live", "skipped"}
    assert set(method.stored) == {question for question, status in became.items() if status == "live"}
    method.ask(shared.questions)
    given = method.collect()
    assert [one.source for one in given[0]] == [None, None]
    assert [some[0].source for some in given[1:]] == [method.read(question) for question in shared.questions]
    alone = lora.LoraPerProblem(shared, stored=method.stored)
    alone.ask(shared.questions[2:3])
    assert alone.collect() == given[3:4]


# -- two passes ----------------------------------------------------------------------------------------------------


def test_an_offline_soft_prompt_and_an_offline_lora_learn_from_believed_votes_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(offline, "BELIEVED", SURE)
    stream = small_stream()
    shared = common(tmp_path, knowing(stream, bias=0.4), stream)
    method = offline.OfflineSoftPrompt(shared)
    learnt = offline.whole_stream(method)
    sure = {question for question in shared.questions if shared.vote(question).confidence >= SURE}
    assert sure and {example.question for example in learnt} <= sure < set(shared.questions)
    assert method.cost.given_tokens == 16 * 16


def test_an_offline_soft_prompt_is_read_with_every_question_and_helps(tmp_path: Path) -> None:
    stream = small_stream()
    shared = common(tmp_path, knowing(stream), stream)
    method = offline.OfflineSoftPrompt(shared)
    method.study()
    method.ask(shared.questions)
    given = method.collect()
    right = [agree(one.answer, asked.answer) for asked, some in zip(stream.asked, given, strict=True) for one in some]
    assert {one.source for some in given for one in some} == {offline.WHOLE} and sum(right) / len(right) > 0.95


# -- in-context learning --------------------------------------------------------------------------------------------


def test_the_demonstration_is_the_nearest_earlier_problem_with_a_trace_that_won_its_vote(tmp_path: Path) -> None:
    stream = small_stream()
    shared = common(tmp_path, knowing(stream), stream)
    method = context.RawTraces(shared, confidence=SURE)
    assert method.read("sum: number 2") is None
    became = {question: method.learn(question) for question in ("sum: number 0", "age: number 1")}
    assert set(became.values()) == {"kept"}
    shown = method.read("sum: number 2")
    assert shown == context.Demonstration("sum: number 0", "#### 100")
    assert method.read("sum: number 0") is None, "a problem is no demonstration of itself"
    assert context.turns("sum: number 2", shown) == [
        {"role": "user", "content": "sum: number 0"},
        {"role": "assistant", "content": "#### 100"},
        {"role": "user", "content": "sum: number 2"},
    ]


def test_a_vote_that_is_not_believed_gives_no_demonstration(tmp_path: Path) -> None:
    stream = small_stream()
    shared = common(tmp_path, knowing(stream, bias=0.0), stream)
    method = context.RawTraces(shared, confidence=SURE)
    for question in shared.questions:
        believed = shared.vote(question).confidence >= SURE
        assert (method.learn(question) == "kept") == believed
    assert 0 < len(method.known) < 16


def test_a_demonstration_that_does_not_fit_the_context_is_left_out(tmp_path: Path) -> None:
    stream = small_stream()
    shared = common(tmp_path, knowing(stream, context_tokens=10), stream)
    method = context.RawTraces(shared, confidence=SURE)
    method.learn("sum: number 0")
    method.ask(["sum: number 2"])
    assert [one.source for one in method.collect()[0]] == [None] * 4


def test_a_reflection_keeps_the_vote_s_answer_or_the_trace_stays(tmp_path: Path) -> None:
    shared = world(tmp_path, 8)
    method = context.ReflectedTraces(shared, confidence=0.0)
    for question in shared.questions:
        method.learn(question)
    method.reflect(method.known)
    assert method.known and set(method.reflected) == set(method.known)
    for question, shown in method.reflected.items():
        assert agree(extract(shown.text), shared.vote(question).answer)
    assert method.cost.sampled_tokens > 0


def test_a_real_model_is_shown_a_losing_trace_and_asked_for_the_method(tmp_path: Path) -> None:
    stream = small_stream()
    shared = common(tmp_path, knowing(stream, name="real", bias=0.5), stream)
    question = next(one for one in shared.questions if shared.vote(one).counts[1:])
    asked = context.ReflectedTraces(shared)._looking_back(context.Demonstration(question, "#### 1"))
    assert [turn["role"] for turn in asked] == ["user", "assistant", "user"]
    assert "#### 0" in asked[-1]["content"] and "method" in asked[-1]["content"]


# -- training ------------------------------------------------------------------------------------------------------


def test_batches_hold_every_problem_once_before_one_comes_again_and_all_its_examples_together() -> None:
    learnt = [Example(str(number), (number, part), 1.0) for number in range(7) for part in range(number % 3 + 1)]
    drawn = list(batches(learnt, Schedule(steps=14, learning_rate=1.0, problems=3), seed=0))
    order = [list(dict.fromkeys(one.question for one in batch)) for batch in drawn]
    assert {len(some) for some in order} <= {2, 3}, "two rounds meet in a batch"
    first, second = ([one for some in order[start:] for one in some][:6] for start in (0, 2))
    assert len(set(first)) == 6 and {one for some in order[:3] for one in some} == {str(number) for number in range(7)}
    counted = Counter(one.question for batch in drawn for one in batch)
    assert all(times % (int(question) % 3 + 1) == 0 for question, times in counted.items()) and second


def test_examples_are_the_distinct_agreeing_completions_weighted_by_how_often_they_came(tmp_path: Path) -> None:
    stream = small_stream()
    texts = ["a #### 5", "a #### 5", "b #### 5", "#### 6", "c #### 5"]
    pool = tuple(
        Rollout(text=text, answer=extract(text), token_ids=(ord(text[0]),), finished=text[0] != "c") for text in texts
    )
    plain = knowing(stream)
    shared = Common(plain, lambda: pytest.fail("no weights"), {"q": pool}, {}, 0.0, Settings())
    found = examples(shared, "q", 8, 0.5)
    assert [(one.question, one.completion) for one in found] == [("q", (ord("a"),)), ("q", (ord("b"),))]
    assert [one.weight for one in found] == [pytest.approx(0.5 * 2 / 3), pytest.approx(0.5 / 3)]
    assert [one.weight for one in examples(shared, "q", 1, 1.0)] == [1.0]


def test_the_loss_is_the_weighted_mean_over_rows_of_the_mean_over_tokens() -> None:
    values = torch.tensor([[-1.0, -3.0, -100.0], [-4.0, -100.0, -100.0]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    batch = [Example("a", (1, 2), 3.0), Example("b", (1,), 1.0)]
    assert weighted(values, mask, batch).item() == pytest.approx((3 * 2 + 1 * 4) / 4)


def test_descending_ends_where_the_loss_is_least() -> None:
    place = torch.tensor([4.0, -2.0], requires_grad=True)
    learnt = [Example("a", (1, 2, 3), 1.0)]
    tokens = descend([place], lambda _: (place**2).sum(), learnt, Schedule(steps=200, learning_rate=0.1), seed=0)
    assert tokens == 600 and place.detach().abs().max() < 0.05


# -- true effects --------------------------------------------------------------------------------------------------


def test_a_true_effect_is_the_change_of_accuracy_that_the_tensor_makes(tmp_path: Path) -> None:
    stream = small_stream()
    shared = common(tmp_path, knowing(stream, bias=0.0), stream)
    effects = Effects(shared, stream.spare)
    tensors = [Loaded("soft_prompt", {"latent": torch.full((2, 4), value)}) for value in (3.0, -3.0, 0.0)]
    good, bad, none = effects.of([Subject(one, "sum", frozenset({0, 1})) for one in tensors], HARM)
    assert good is not None and bad is not None and none is not None
    assert good["with"] == 1.0 and good["change"] == pytest.approx(0.5, abs=0.15) and good["samples"] == 200
    assert bad["with"] == 0.0 and bad["change"] == pytest.approx(-0.5, abs=0.15)
    assert none["change"] == 0.0 and none["samples"] == 800, "an effect near the bound is measured more finely"
    unseen = [one for one in stream.spare["sum"] if one.phrasing not in (0, 1)]
    assert good["unseen_phrasings"]["problems"] == len(unseen) and good["unseen_phrasings"]["with"] == 1.0
    assert effects.of([Subject(tensors[0], "no such kind", frozenset())], HARM) == [None]


def test_asking_once_more_for_a_measurement_leaves_no_trace_in_the_memory(tmp_path: Path) -> None:
    stream = small_stream()
    shared = common(tmp_path, knowing(stream), stream)
    memory = remembering("ours", shared)
    for question in shared.questions[:14]:
        memory.learn(question)
    uses = memory._opened.store.uses
    memory.ask(shared.questions[14:])
    once = len(uses())
    assert once == sum(some[0].source is not None for some in memory.collect()) > 0
    before = memory.answers(shared.questions, recorded=False)
    assert len(uses()) == once and memory.answers(shared.questions, recorded=False) == before
    assert memory.unrecorded(shared.questions[:3], 11)[0].text == memory.memory.ask(shared.questions[0], seed=11).text
    memory.close()


def test_what_is_forgotten_is_seen_where_the_first_problems_are_asked_again(tmp_path: Path) -> None:
    stream = small_stream(24)
    shared = common(tmp_path, knowing(stream), stream)

    class Fading(context.RawTraces):
        def collect(self) -> Any:
            late = bool(self.known)
            right = {one.question: one.answer for one in stream.asked}
            rows = [(question, self.bare(question)[0]) for question, _ in self.waiting]
            self.waiting = []
            return [[replace(one, answer="0" if late else right[question])] for question, one in rows]

    method = Fading(shared, confidence=SURE)
    method.ask(shared.questions)
    walked = after.Walked(method.collect(), [], 0.0)
    method.learn("sum: number 0")
    found = after.forgetting(method, stream, walked)
    assert found["problems"] == 8 and found["then"] == 1.0 and found["now"] == 0.0 and found["read_then"] == 0


def test_pass_at_k_of_rollouts_counts_what_agrees_with_the_label() -> None:
    asked = [Asked("a", "1", "k"), Asked("b", "2", "k")]
    groups = [
        [Rollout(text="", answer=one) for one in some] for some in (["1", "2", None, "1.0"], ["3", "3", "3", "3"])
    ]
    assert after.passes(groups, asked) == {"1": 0.25, "2": pytest.approx(5 / 12, abs=1e-4), "3": 0.5, "4": 0.5}
