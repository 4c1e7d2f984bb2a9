"""Checkpoints of every kind are loaded as transformers loads them, or refused with what to do."""

import importlib.util
import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from architectures import EXPERTS, SETTINGS, SIZES, build
from tiny_models import BOS_TEMPLATE, TEMPLATE, tiny_tokenizer
from transformers import AutoModelForCausalLM

from latent_memory_plugin.bench.conformance import CHECKS, Subject, check
from latent_memory_plugin.config import Config, ModelConfig, SamplingConfig
from latent_memory_plugin.engines.hf import LanguageModel
from latent_memory_plugin.engines.hf.engine import Engine
from latent_memory_plugin.errors import ContextLengthError, InputError, ModelLoadError

QUESTION = "How many posts are there?"
THINKING = BOS_TEMPLATE + "{% if enable_thinking is defined and not enable_thinking %}<system>{% endif %}"
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"


def saved(folder: Path, architecture: str, template: str = BOS_TEMPLATE, **options: Any) -> ModelConfig:
    build(architecture).save_pretrained(folder, **options)
    tokenizer = tiny_tokenizer(template, bos=True)
    tokenizer.unk_token = tokenizer.pad_token  # else Qwen2's tokenizer class, which is taken by the model, adds one
    tokenizer.save_pretrained(folder)
    return ModelConfig(name=str(folder), device="cpu")


def greedy(model: LanguageModel, latent: torch.Tensor | None = None) -> list[tuple[int, ...]]:
    sampling = SamplingConfig(temperature=0, max_new_tokens=12)
    return [one.token_ids for [one] in model.sample([QUESTION, "Why?"], [latent, None], 1, sampling, 0)]


def wrapped(architecture: str) -> LanguageModel:
    return LanguageModel.wrap(build(architecture), tiny_tokenizer(BOS_TEMPLATE, bos=True))


@pytest.mark.parametrize("architecture", sorted(SETTINGS))
@pytest.mark.slow
def test_a_model_saved_and_loaded_by_its_path_is_the_same(architecture: str, tmp_path: Path) -> None:
    loaded, original = LanguageModel.load(saved(tmp_path, architecture)), wrapped(architecture)
    latent = torch.randn(3, original.hidden_size, generator=torch.Generator().manual_seed(0))
    assert loaded.fingerprint == original.fingerprint
    assert greedy(loaded, latent) == greedy(original, latent)


def test_a_sharded_checkpoint_is_read_whole(tmp_path: Path) -> None:
    loaded = LanguageModel.load(saved(tmp_path, "Llama", max_shard_size="20KB"))
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 2
    assert greedy(loaded) == greedy(wrapped("Llama"))


@pytest.mark.parametrize("tied", [True, False])
def test_tied_embeddings_stay_tied_and_learning_leaves_them(tied: bool, tmp_path: Path) -> None:
    build("Llama", tie_word_embeddings=tied).save_pretrained(tmp_path)
    tiny_tokenizer(BOS_TEMPLATE, bos=True).save_pretrained(tmp_path)
    plain: Any = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert (plain.lm_head.weight.data_ptr() == plain.get_input_embeddings().weight.data_ptr()) == tied
    rows = [
        row
        for group in ("learning", "reading")
        for row in check(Subject.of(plain, tiny_tokenizer(BOS_TEMPLATE, bos=True), "tied"), group)
    ]
    assert rows and all(row.outcome == "passed" for row in rows)


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is not None, reason="bitsandbytes is installed")
def test_a_quantised_checkpoint_without_its_package_says_which(tmp_path: Path) -> None:
    config = saved(tmp_path, "Llama")
    file = tmp_path / "config.json"
    settings = json.loads(file.read_text())
    settings["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    file.write_text(json.dumps(settings))
    with pytest.raises(ModelLoadError, match=r"(?i)needs a package.*bitsandbytes.*install"):
        LanguageModel.load(config)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
@pytest.mark.parametrize("bits", [4, 8])
def test_a_quantised_checkpoint_keeps_every_promise(bits: int, tmp_path: Path) -> None:
    full, narrow = tmp_path / "full", tmp_path / "narrow"
    build("Llama", hidden_size=64, head_dim=16, intermediate_size=128).save_pretrained(full)
    way = transformers.BitsAndBytesConfig(
        load_in_4bit=bits == 4, load_in_8bit=bits == 8, bnb_4bit_compute_dtype=torch.float32
    )
    quantised: Any = AutoModelForCausalLM.from_pretrained(full, quantization_config=way, dtype=torch.float32)
    quantised.save_pretrained(narrow)
    tokenizer = tiny_tokenizer(BOS_TEMPLATE, bos=True)
    plain: Any = AutoModelForCausalLM.from_pretrained(narrow)
    assert plain.is_quantized
    rows = [row for group in CHECKS for row in check(Subject.of(plain, tokenizer, "narrow"), group)]
    assert not [row for row in rows if row.outcome in ("failed", "refused")]


def test_a_hub_id_without_a_network_is_named_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    began = time.monotonic()
    with pytest.raises(ModelLoadError, match=r"'nobody/nothing'.*network"):
        LanguageModel.load(ModelConfig(name="nobody/nothing"))
    assert time.monotonic() - began < 20


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "Gemma3nText": (
        {
            "hidden_size_per_layer_input": 8,
            "vocab_size_per_layer_input": 320,
            "layer_types": ["sliding_attention", "full_attention"],
            "activation_sparsity_pattern": [0.0, 0.0],
            "num_kv_shared_layers": 0,
        },
        "per-layer embeddings",
    ),
    "RecurrentGemma": ({}, "RecurrentGemmaForCausalLM of 'tiny' cannot read a Latent"),
    "MiniMax": (
        {**EXPERTS, "num_local_experts": 4, "layer_types": ["linear_attention", "full_attention"], "block_size": 8},
        "MiniMaxForCausalLM of 'tiny' cannot read a Latent",
    ),
    "Rwkv": ({}, "takes no 'inputs_embeds'|takes no 'past_key_values'"),
}
"""Architectures whose caches or embeddings transformers keeps in a form of their own."""


@pytest.mark.parametrize("architecture", REFUSED)
def test_what_cannot_read_a_latent_is_refused_when_it_is_taken_in(
    architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes, words = REFUSED[architecture]
    monkeypatch.setitem(SETTINGS, architecture, {**SIZES, **changes})
    with pytest.raises(ModelLoadError, match=words):
        LanguageModel.wrap(build(architecture), tiny_tokenizer(), "tiny")


def test_a_model_that_ignores_padding_is_refused_when_it_is_taken_in(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = Engine.forward

    def unmasked(self: Engine, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        return forward(self, inputs._replace(mask=torch.ones_like(inputs.mask)), *args, **kwargs)

    monkeypatch.setattr(Engine, "forward", unmasked)
    with pytest.raises(ModelLoadError, match=r"does not read a padded row.*standard deviations"):
        wrapped("GPT2")


def test_thinking_is_switched_by_a_setting_of_the_model(tmp_path: Path) -> None:
    config = saved(tmp_path, "Qwen3", THINKING)
    ids = {
        way: LanguageModel.load(config.model_copy(update={"template_arguments": {"enable_thinking": way}})).prompt_ids(
            QUESTION
        )
        for way in (True, False)
    }
    assert ids[True] == LanguageModel.load(config).prompt_ids(QUESTION) != ids[False]
    expected: Any = tiny_tokenizer(THINKING, bos=True).apply_chat_template(
        [{"role": "user", "content": QUESTION}], add_generation_prompt=True, enable_thinking=False, return_dict=False
    )
    assert list(ids[False]) == expected


def test_an_argument_that_the_template_does_not_know_is_refused() -> None:
    with pytest.raises(ModelLoadError, match="'enable_thinking'"):
        LanguageModel.wrap(build("Llama"), tiny_tokenizer(), template_arguments={"enable_thinking": False})


def test_template_arguments_are_part_of_a_config_that_can_be_compared_and_stored() -> None:
    config = Config(model=ModelConfig(template_arguments={"enable_thinking": False}))
    assert Config.from_json(config.model_dump_json()) == config
    assert hash(config.model) == hash(config.model.model_copy()) != hash(ModelConfig())


def test_a_template_without_a_system_role_says_so_and_one_with_it_reads_it() -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}]
    without = LanguageModel.wrap(build("Gemma2"), tiny_tokenizer(NO_SYSTEM + BOS_TEMPLATE, bos=True))
    with pytest.raises(InputError, match="System role not supported"):
        without.prompt_ids(messages)
    assert len(wrapped("Gemma2").prompt_ids(messages)) > len(without.prompt_ids(QUESTION))


@pytest.mark.parametrize("template", [BOS_TEMPLATE, TEMPLATE, None])
def test_a_latent_stands_after_the_only_bos(template: str | None) -> None:
    model = LanguageModel.wrap(build("Llama"), tiny_tokenizer(template, bos=True))
    ids = model.prompt_ids(QUESTION)
    assert ids.count(1) == len(model.prefix_ids) == (template != TEMPLATE)


def test_prompt_latent_and_new_tokens_may_fill_the_context_and_no_more() -> None:
    model = wrapped("OPT")
    latent = torch.randn(7, model.hidden_size)
    room = model.context_tokens - len(model.prompt_ids(QUESTION)) - 7
    for new, fits in ((room, True), (room + 1, False)):
        sampling = SamplingConfig(temperature=0, max_new_tokens=new)
        if fits:
            assert model.sample([QUESTION], [latent], 1, sampling, 0)[0][0].token_ids
            continue
        with pytest.raises(ContextLengthError, match=rf"{len(model.prompt_ids(QUESTION))} prompt.*7 Latent.*{new} new"):
            model.sample([QUESTION], [latent], 1, sampling, 0)
