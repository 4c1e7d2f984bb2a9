"""The generation config: each setting does what it does in `generate`, is replaced by SamplingConfig, or is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import tiny_model, tiny_tokenizer
from transformers import GenerationConfig, MinPLogitsWarper, TopPLogitsWarper

from latent_memory_plugin.config import ModelConfig, SamplingConfig
from latent_memory_plugin.engines.hf import LanguageModel
from latent_memory_plugin.engines.hf.processors import HONOURED, REFUSED
from latent_memory_plugin.errors import ModelLoadError

QUESTIONS = ["How many posts are there?", "A train travels 60 kilometres in 45 minutes. What is its speed?", "Why?"]
GREEDY = SamplingConfig(temperature=0, max_new_tokens=24)

ENDINGS = {"eos_token_id", "stop_strings"}
REPLACED = {"do_sample", "max_length", "max_new_tokens", "num_return_sequences", "temperature", "top_k", "top_p"}
WITHOUT_EFFECT = {
    "assistant_confidence_threshold", "assistant_ensemble_weight", "assistant_lookbehind", "bos_token_id",
    "cache_config", "cache_implementation", "compile_config", "continuous_batching_config", "decoder_start_token_id",
    "disable_compile", "early_stopping", "is_assistant", "length_penalty", "low_memory", "max_cache_len",
    "max_matching_ngram_size", "num_assistant_tokens", "num_assistant_tokens_schedule", "output_attentions",
    "output_hidden_states", "output_logits", "output_scores", "pad_token_id", "prefill_chunk_size",
    "prompt_lookup_num_tokens", "remove_invalid_values", "renormalize_logits", "return_dict_in_generate",
    "speculation_type", "target_lookbehind", "transformers_version", "use_cache", "use_mtp", "_from_model_config",
}  # fmt: skip
"""Caches, speed, what is returned, beams (which are refused), and the form of the logits that are returned."""


def model_with(**wanted: Any) -> LanguageModel:
    plain = tiny_model("llama")
    plain.generation_config.update(**wanted)
    return LanguageModel.wrap(plain, tiny_tokenizer(), "tiny")


def generated(model: LanguageModel, question: str) -> tuple[int, ...]:
    prompt, plain = model.prompt_ids(question), model._engine.model
    out: Any = plain.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=GREEDY.max_new_tokens)  # pyright: ignore[reportCallIssue]
    return tuple(out[0, len(prompt) :].tolist())


def greedy(model: LanguageModel) -> list[tuple[int, ...]]:
    return [one.token_ids for [one] in model.sample(QUESTIONS, [None] * 3, 1, GREEDY, seed=0)]


FREE = greedy(model_with())
COMMON = FREE[0][3]
SETTINGS: dict[str, Any] = {
    "repetition_penalty": 1.5,
    "no_repeat_ngram_size": 1,
    "bad_words_ids": [[COMMON], [FREE[1][0], FREE[1][1]]],
    "suppress_tokens": [COMMON, FREE[1][5]],
    "begin_suppress_tokens": [one[0] for one in FREE],
    "sequence_bias": [[[COMMON], -5.0], [[COMMON + 1], 3.0]],
    "min_length": 30,
    "min_new_tokens": 20,
    "eos_token_id": [2, COMMON],
}

ENDS = [2, *range(100, 130)]


def test_every_setting_is_honoured_replaced_refused_or_without_effect() -> None:
    kinds = [set(HONOURED), set(REFUSED), ENDINGS, REPLACED, WITHOUT_EFFECT]
    assert sum(map(len, kinds)) == len(set().union(*kinds))
    assert set(GenerationConfig().to_dict()) <= set().union(*kinds)


@pytest.mark.parametrize("setting", sorted(SETTINGS))
def test_greedy_completions_are_those_of_generate(setting: str) -> None:
    wanted = {setting: SETTINGS[setting]}
    if setting in ("min_length", "min_new_tokens"):
        wanted["eos_token_id"] = [2, *(one[2] for one in FREE)]
    model = model_with(**wanted)
    expected = [generated(model, question) for question in QUESTIONS]
    assert greedy(model) == expected
    assert expected != FREE, "the setting changes nothing here, so this would not show whether it is honoured"


def test_all_settings_together_hold_for_every_row_of_a_batch_and_with_rows_leaving_it() -> None:
    model = model_with(**{**SETTINGS, "min_length": 0, "min_new_tokens": 2, "eos_token_id": ENDS})
    together = model.sample(QUESTIONS, [None] * 3, 4, SamplingConfig(max_new_tokens=24), seed=3)
    alone = [
        model.sample([question], [None], 4, SamplingConfig(max_new_tokens=24), seed=3, max_batch_tokens=1)[0]
        for question in QUESTIONS
    ]
    assert together == alone
    assert len({len(one.token_ids) for group in together for one in group}) > 1


def test_min_p_after_top_p_leaves_the_tokens_that_generate_leaves() -> None:
    min_p, top_p, temperature = 0.15, 0.6, 1.3
    plain, model = model_with(), model_with(min_p=min_p)
    prompt = torch.tensor([plain.prompt_ids(QUESTIONS[0])])
    with torch.no_grad():
        logits: Any = plain._engine.model(input_ids=prompt).logits[:, -1] / temperature
    left = MinPLogitsWarper(min_p)(prompt, TopPLogitsWarper(top_p)(prompt, logits))  # pyright: ignore[reportArgumentType]
    chances = torch.softmax(left, -1)[0]
    sampling = SamplingConfig(max_new_tokens=1, temperature=temperature, top_p=top_p)
    [drawn] = model.sample(QUESTIONS[:1], [None], 4000, sampling, seed=0)
    shares = torch.bincount(torch.tensor([one.token_ids[0] for one in drawn]), minlength=320) / 4000
    assert torch.equal(shares > 0, chances > 0.001)
    torch.testing.assert_close(shares, chances, atol=0.03, rtol=0)
    only_top_p = torch.softmax(TopPLogitsWarper(top_p)(prompt, logits), -1)[0]  # pyright: ignore[reportArgumentType]
    assert (only_top_p > 0).sum() > (chances > 0).sum()


def test_stop_strings_of_the_generation_config_end_a_completion() -> None:
    [[free]] = model_with().sample(QUESTIONS[:1], [None], 1, GREEDY, seed=0)
    [[stopped]] = model_with(stop_strings=[free.text[4:7]]).sample(QUESTIONS[:1], [None], 1, GREEDY, seed=0)
    assert stopped.finished and stopped.text == free.text[: free.text.find(free.text[4:7])]


def test_log_probabilities_are_the_models_own_whatever_the_settings() -> None:
    plain, model = model_with(), model_with(repetition_penalty=1.5, suppress_tokens=[20])
    values = [one.log_probabilities(QUESTIONS[:1], [(20, 21, 2)], None)[0] for one in (plain, model)]
    assert torch.equal(*values) and bool(values[0].isfinite().all())


@pytest.mark.parametrize(
    ("setting", "value"),
    [("num_beams", 4), ("guidance_scale", 1.5), ("typical_p", 0.9), ("forced_eos_token_id", 2), ("penalty_alpha", 0.6)],
)
def test_what_cannot_be_done_is_refused_by_name(setting: str, value: Any) -> None:
    with pytest.raises(ModelLoadError, match=rf"'tiny' sets \{{'{setting}': {value}\}}.*generation_config='ends'"):
        model_with(**{setting: value})


def test_the_ends_alone_can_be_taken(tmp_path: Path) -> None:
    plain = tiny_model("llama")
    plain.generation_config.update(num_beams=4, repetition_penalty=1.5, eos_token_id=[2, COMMON])
    plain.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ModelLoadError, match="num_beams"):
        LanguageModel.load(ModelConfig(name=str(tmp_path), device="cpu"))
    model = LanguageModel.load(ModelConfig(name=str(tmp_path), device="cpu", generation_config="ends"))
    ends = (2, COMMON)
    cut = [one[: min((one.index(end) for end in ends if end in one), default=23) + 1] for one in FREE]
    assert greedy(model) == cut
