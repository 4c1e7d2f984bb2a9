"""Verifiers: what each believes, and what they refuse."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import CONTEXT_TOKENS, tiny_model, tiny_tokenizer
from transformers import LlamaConfig, LlamaForSequenceClassification

from latent_memory_plugin.answering.verify import (
    Dispute,
    Likelihood,
    Preference,
    Scored,
    Verifier,
    make_verifier,
    over_steps,
)
from latent_memory_plugin.answers import extract
from latent_memory_plugin.answers.judge import Judge
from latent_memory_plugin.config import ModelConfig, RouteConfig, SamplingConfig
from latent_memory_plugin.engines.hf import LanguageModel, RewardModel
from latent_memory_plugin.errors import ConfigError, ContextLengthError, ModelLoadError, RewardError
from latent_memory_plugin.records import Rollout
from latent_memory_plugin.testing import FakeModel

QUESTION = "sum: 1+1"
FIRST, SECOND = (Rollout(text=f"#### {one}", answer=str(one), token_ids=(one,)) for one in (1, 2))
DISPUTE = Dispute(QUESTION, (FIRST, SECOND))


def fake(bias: float = 1.0) -> FakeModel:
    return FakeModel({QUESTION: ("1", "2"), "sum: 2+2": ("1", "2")}, bias=bias)


def voting(bias: float, temperature: float = 1.0, seed: int = 0, rollouts: int = 8) -> Verifier:
    config = RouteConfig(verifier="vote", verifier_rollouts=rollouts)
    return make_verifier(fake(bias), config, Judge(extract), SamplingConfig(temperature=temperature), seed)


# -- likelihood --------------------------------------------------------------------------------------------------------


def test_likelihood_prefers_what_the_plain_model_finds_likelier_per_token() -> None:
    [likely], [unlikely] = (Likelihood(fake(bias)).prefer([DISPUTE]) for bias in (1.0, -1.0))
    assert (likely.chosen, unlikely.chosen) == (0, 1)
    assert likely.scores == pytest.approx((math.log(1 / (1 + math.exp(-1))), math.log(1 / (1 + math.exp(1)))))
    assert likely.sampled_tokens == 0


def test_likelihood_is_the_mean_of_the_tokens_log_probabilities_however_long_the_others_are() -> None:
    model = LanguageModel.wrap(tiny_model(), tiny_tokenizer())
    answers = tuple(Rollout(text="x", token_ids=ids) for ids in ((20, 21, 22, 2), (30, 2), (40,)))
    [together] = Likelihood(model).prefer([Dispute("How many posts?", answers)])
    for score, rollout in zip(together.scores, answers, strict=True):
        values, _ = model.log_probabilities(["How many posts?"], [rollout.token_ids], None)
        assert score == pytest.approx(float(values.mean()), abs=1e-4)


def test_likelihood_reads_a_completion_that_came_as_text() -> None:
    model = LanguageModel.wrap(tiny_model(), tiny_tokenizer())
    [preference] = Likelihood(model).prefer([Dispute("How many?", (Rollout(text="Seven."), Rollout(text="Eight.")))])
    assert all(math.isfinite(score) for score in preference.scores)


# -- vote --------------------------------------------------------------------------------------------------------------


def test_a_vote_counts_fresh_completions_with_each_answer_and_what_they_cost() -> None:
    other = Dispute("sum: 2+2", (SECOND, FIRST))
    first, second = voting(bias=20).prefer([DISPUTE, other])
    assert (first.scores, second.scores) == ((8.0, 0.0), (0.0, 8.0))
    assert (first.chosen, second.chosen, first.sampled_tokens) == (0, 1, 8)


def test_between_equals_the_plain_models_answer_is_preferred() -> None:
    neither = tuple(one.model_copy(update={"answer": answer}) for one, answer in ((FIRST, "7"), (SECOND, "9")))
    [preference] = voting(bias=0).prefer([Dispute(QUESTION, neither)])
    assert preference.scores == (0.0, 0.0) and preference.chosen == 0
    assert Preference((0.5, 0.5)).chosen == 0 and Preference((0.4, 0.5)).chosen == 1


def test_a_votes_completions_are_not_those_of_the_answer_itself() -> None:
    model = LanguageModel.load()
    question = "A trip lasts 3 weeks and 2 days. How many days is that?"
    plain = model.sample([question], [None], 8, SamplingConfig(), seed=3)[0]
    seen: list[str] = []
    verifier = make_verifier(model, RouteConfig(verifier="vote"), Judge(seen.append), SamplingConfig(), seed=3)
    verifier.prefer([Dispute(question, (plain[0], plain[1]))])
    assert len(seen) == 8 and seen != [one.text for one in plain]


def test_a_vote_on_greedy_answers_is_drawn_at_temperature_one() -> None:
    [preference] = voting(bias=0.1, temperature=0, rollouts=64).prefer([DISPUTE])
    assert all(count > 8 for count in preference.scores) and sum(preference.scores) == 64


# -- functions of the caller's -----------------------------------------------------------------------------------------


def own(given: Any) -> Verifier:
    return make_verifier(fake(), RouteConfig(), Judge(extract), SamplingConfig(), 0, given)


def test_a_function_of_question_and_text_takes_the_built_in_verifiers_place() -> None:
    calls: list[tuple[str, str]] = []

    def longest(question: str, text: str) -> float:
        calls.append((question, text))
        return len(text)

    [preference] = own(longest).prefer([Dispute(QUESTION, (FIRST, Rollout(text="#### 10")))])
    assert preference == Preference((6.0, 7.0)) and preference.chosen == 1
    assert calls == [(QUESTION, "#### 1"), (QUESTION, "#### 10")]
    assert own(longest).name == "longest"


def test_a_verifier_object_is_taken_as_it_is() -> None:
    verifier = Likelihood(fake())
    assert own(verifier) is verifier


@pytest.mark.parametrize("worth", [math.nan, math.inf, "much", None, [0.5, 0.5]])
def test_a_function_that_gives_no_finite_number_is_refused_by_name(worth: Any) -> None:
    def odd(question: str, text: str) -> Any:
        return worth

    with pytest.raises(RewardError, match=r"odd .*'#### 1'.*number"):
        own(odd).prefer([DISPUTE])


def test_a_function_that_fails_is_named_with_its_error() -> None:
    def broken(question: str, text: str) -> float:
        raise KeyError("missing")

    with pytest.raises(RewardError, match="broken raised KeyError: 'missing'"):
        own(broken).prefer([DISPUTE])


def test_what_is_no_verifier_is_refused() -> None:
    with pytest.raises(ConfigError, match="'likelihood' is neither"):
        own("likelihood")


@pytest.mark.parametrize(("reduce", "score"), [("mean", 0.5), ("min", 0.1), ("last", 0.6)])
def test_step_scores_become_one_score(reduce: Any, score: float) -> None:
    steps = over_steps(lambda question, text: [0.8, 0.1, 0.6], reduce)
    assert steps("", "") == pytest.approx(score)


def test_a_completion_without_steps_scores_nothing() -> None:
    assert over_steps(lambda question, text: [])("", "") == 0


def test_step_scores_must_be_finite_and_their_reduction_known() -> None:
    with pytest.raises(RewardError, match="nan"):
        Scored(over_steps(lambda question, text: [0.5, math.nan])).prefer([DISPUTE])
    with pytest.raises(ConfigError, match=r"'max' is unknown.*'mean', 'min', 'last'"):
        over_steps(lambda question, text: [0.5], "max")  # type: ignore[arg-type]


# -- reward models -----------------------------------------------------------------------------------------------------


def classifier(outputs: int = 1) -> LlamaForSequenceClassification:
    config = LlamaConfig(
        vocab_size=320,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=CONTEXT_TOKENS,
        pad_token_id=0,
        initializer_range=0.2,
    )
    config.num_labels = outputs
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForSequenceClassification(config).eval()


def saved(folder: Path, model: Any, template: bool = True) -> Path:
    model.save_pretrained(folder)
    (tiny_tokenizer() if template else tiny_tokenizer(None)).save_pretrained(folder)
    return folder


def test_a_reward_model_gives_the_logit_of_the_last_token_of_the_conversation(tmp_path: Path) -> None:
    model, tokenizer = classifier(), tiny_tokenizer()
    reward = RewardModel.load(saved(tmp_path, model))
    text = "<user>How many posts?<end><assistant>There are 7.<end>"
    ids = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])  # (1, T)
    with torch.no_grad():
        expected = float(model.score(model.model(ids).last_hidden_state)[0, -1, 0])
    assert reward("How many posts?", "There are 7.") == pytest.approx(expected, abs=1e-4)
    assert reward("How many posts?", "There are 8.") != pytest.approx(expected, abs=1e-4)
    assert not any(weight.requires_grad for weight in reward._model.parameters())


def test_a_reward_model_is_a_verifier(tmp_path: Path) -> None:
    reward = RewardModel.load(str(saved(tmp_path, classifier())))
    [preference] = own(reward).prefer([DISPUTE])
    assert preference.scores == (reward(QUESTION, FIRST.text), reward(QUESTION, SECOND.text))
    assert own(reward).name == "RewardModel"


def test_a_reward_model_without_a_chat_template_reads_a_pair_of_texts(tmp_path: Path) -> None:
    model = classifier()
    reward = RewardModel.load(saved(tmp_path, model, template=False))
    ids = tiny_tokenizer(None)("How many?", "There are 7.")["input_ids"]
    with torch.no_grad():
        expected = float(model(torch.tensor([ids])).logits[0, 0])
    assert reward("How many?", "There are 7.") == pytest.approx(expected, abs=1e-4)


def test_what_is_too_long_for_a_reward_model_is_refused(tmp_path: Path) -> None:
    reward = RewardModel.load(saved(tmp_path, classifier()))
    with pytest.raises(ContextLengthError, match=f"more than the {CONTEXT_TOKENS}"):
        own(reward).prefer([Dispute("posts " * CONTEXT_TOKENS, (FIRST, SECOND))])


@pytest.mark.parametrize(
    ("make", "words"),
    [(lambda: classifier(2), "2 outputs"), (tiny_model, r"lacks the weights \['score.weight'\]")],
    ids=["two outputs", "a language model"],
)
def test_what_is_no_reward_model_is_refused(tmp_path: Path, make: Callable[[], Any], words: str) -> None:
    model = make()
    model.config.num_labels = 2 if words == "2 outputs" else 1
    with pytest.raises(ModelLoadError, match=words):
        RewardModel.load(saved(tmp_path, model))


def test_a_reward_model_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"'no-such-organisation-ever/no-such-reward'.*network"):
        RewardModel.load("no-such-organisation-ever/no-such-reward")
    with pytest.raises(ModelLoadError, match="no-such-folder"):
        RewardModel.load(tmp_path / "no-such-folder")
    with pytest.raises(ModelLoadError, match=f"{tmp_path}.*sequence classification"):
        RewardModel.load(tmp_path)
    with pytest.raises(ModelLoadError, match="no embedded reward model"):
        RewardModel.load(ModelConfig())
