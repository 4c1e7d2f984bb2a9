"""GGUF files and folders: unpacked by transformers, and then a model like any other. Tiny ones, and a real one."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from real_model import needs_smollm2, smollm2
from tiny_models import tiny_model, tiny_tokenizer

from latent_memory_plugin.config import ModelConfig, SamplingConfig
from latent_memory_plugin.engines.hf import LanguageModel, load
from latent_memory_plugin.errors import ModelLoadError
from latent_memory_plugin.forms.soft_prompt import SOFT_PROMPT
from latent_memory_plugin.records import Problem

gguf: Any = pytest.importorskip("gguf")

QUESTION = "How many posts are there?"
GREEDY = SamplingConfig(temperature=0, max_new_tokens=12)
END_OF_TEXT = "<|endoftext|>"
"""transformers adds it to every GPT-2 tokenizer of a GGUF file."""


def tiny() -> tuple[Any, Any]:
    model, tokenizer = tiny_model(), tiny_tokenizer()
    tokenizer.add_special_tokens({"unk_token": END_OF_TEXT})
    model.resize_token_embeddings(len(tokenizer))
    return model, tokenizer


def write(file: Path, without: str = "") -> ModelConfig:
    """A tiny Llama as a GGUF file, one weight left out."""
    model, tokenizer = tiny()
    config, writer = model.config, gguf.GGUFWriter(str(file), "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(8)
    writer.add_value_length(8)
    writer.add_rope_dimension_count(8)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(len(tokenizer))
    _write_tokenizer(writer, tokenizer)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        kind = name.split(".")[-2]
        if kind in heads:  # llama.cpp rotates neighbours, transformers halves
            tensor = tensor.reshape(heads[kind], 2, -1, tensor.shape[1]).swapaxes(1, 2).reshape(tensor.shape)
        if name != without:
            writer.add_tensor(names.get_name(name, try_suffixes=(".weight",)), tensor.contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return ModelConfig(name=str(file), device="cpu")


def _write_tokenizer(writer: Any, tokenizer: Any) -> None:
    vocabulary, special = tokenizer.get_vocab(), set(tokenizer.all_special_tokens)
    tokens = sorted(vocabulary, key=vocabulary.__getitem__)
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in special else 1 for token in tokens])
    writer.add_token_merges([" ".join(one) for one in merges])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(0)
    writer.add_unk_token_id(vocabulary[END_OF_TEXT])
    writer.add_chat_template(tokenizer.chat_template)


def greedy(model: LanguageModel) -> tuple[int, ...]:
    return model.sample([QUESTION], [None], 1, GREEDY, 0)[0][0].token_ids


def test_a_file_and_a_folder_with_one_give_the_model_that_was_written(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "tiny.gguf")
    original = LanguageModel.wrap(*tiny())
    for name in (tmp_path / "tiny.gguf", tmp_path):
        loaded = LanguageModel.load(ModelConfig(name=str(name), device="cpu"))
        assert capfd.readouterr() == ("", "")
        assert loaded.name == str(name) and loaded.prompt_ids(QUESTION) == original.prompt_ids(QUESTION)
        assert greedy(loaded) == greedy(original)
        assert not getattr(loaded._engine.model, "is_quantized", False)


def test_a_file_that_lies_where_python_runs_is_not_taken_for_another_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    (tmp_path / "here" / "tiny.gguf").write_bytes(b"no model")
    config = write(tmp_path / "there" / "tiny.gguf")
    monkeypatch.chdir(tmp_path / "here")
    assert greedy(LanguageModel.load(config)) == greedy(LanguageModel.wrap(*tiny()))


def test_a_file_without_one_of_its_weights_is_refused(tmp_path: Path) -> None:
    config = write(tmp_path / "tiny.gguf", without="model.layers.1.mlp.up_proj.weight")
    with pytest.raises(ModelLoadError, match=r"lacks the weights \['model\.layers\.1\.mlp\.up_proj\.weight'\]"):
        LanguageModel.load(config)


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF" + b"\xff" * 200])
def test_a_broken_file_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(content)
    with pytest.raises(ModelLoadError, match=r"x\.gguf' could not be loaded"):
        LanguageModel.load(ModelConfig(name=str(tmp_path / "x.gguf"), device="cpu"))


def test_a_file_that_is_not_there_and_a_folder_with_several_are_named(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"no model folder 'x\.gguf'.*a \.gguf file"):
        LanguageModel.load(ModelConfig(name="x.gguf"))
    for name in ("a.gguf", "b.gguf"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(ModelLoadError, match=r"holds \['a\.gguf', 'b\.gguf'\]; name one"):
        LanguageModel.load(ModelConfig(name=str(tmp_path)))


@pytest.mark.parametrize("missing", ["gguf", "accelerate"])
def test_without_the_packages_the_extra_is_named(missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.gguf").write_bytes(b"")
    monkeypatch.setattr(load, "find_spec", lambda name: None if name == missing else object())
    with pytest.raises(ModelLoadError, match=rf"packages \['{missing}'\].*pip install 'latent-memory-plugin\[gguf\]'"):
        LanguageModel.load(ModelConfig(name=str(tmp_path)))


# -- a real one --------------------------------------------------------------------------------------------------------


@needs_smollm2
@pytest.mark.slow
def test_a_real_model_answers_and_reads_a_latent_before_its_first_turn() -> None:
    model = smollm2()
    question = "What is the capital of France?"
    [[plain]] = model.sample([question], [None], 1, GREEDY, 0)
    assert "Paris" in plain.text and not model.prefix_ids
    between = model.token_embeddings(model.question_ids("Answer in Italian."))
    read: Any = model._engine.model
    rows = torch.cat([between, model.token_embeddings(model.prompt_ids(question))])[None]  # (1, P + T, H)
    with torch.no_grad():
        made = read.generate(inputs_embeds=rows, attention_mask=torch.ones(rows.shape[:2]), do_sample=False,
                             max_new_tokens=12)[0].tolist()  # fmt: skip
    [[with_latent], [beside]] = model.sample([question, question], [between, None], 1, GREEDY, 0)
    assert with_latent.token_ids == tuple(made) and beside == plain


@needs_smollm2
@pytest.mark.slow
def test_a_real_model_learns_a_word_through_a_latent() -> None:
    model, problem = smollm2(), Problem(question="What is the opposite of hot?")
    latent = SOFT_PROMPT.start(model, problem, 4)["latent"].requires_grad_()
    wanted = (*model._prompts.text_ids("Banana"), 2)
    losses: list[float] = []
    optimizer = torch.optim.Adam([latent], lr=0.02)
    for _ in range(8):
        values, _ = model.log_probabilities([problem.question], [wanted], latent)
        loss = -values.mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 1


@needs_smollm2
@pytest.mark.slow
def test_a_real_model_in_another_format_or_with_a_pad_token_is_the_same_model(tmp_path: Path) -> None:
    model = smollm2()
    other, tokenizer = copy.deepcopy((model._engine.model, model._tokenizer))
    other.to(torch.bfloat16).save_pretrained(tmp_path)  # type: ignore[arg-type]
    tokenizer.save_pretrained(tmp_path)
    narrow = LanguageModel.load(ModelConfig(name=str(tmp_path), device="cpu"))
    assert narrow._engine.embedding.dtype == torch.bfloat16
    assert (narrow.fingerprint, narrow.former_fingerprints) == (model.fingerprint, model.former_fingerprints)
    tokenizer.add_special_tokens({"pad_token": "<nothing>"})
    other.resize_token_embeddings(len(tokenizer))
    padded = LanguageModel.wrap(other, tokenizer)
    assert padded.fingerprint == model.fingerprint and padded.former_fingerprints != model.former_fingerprints
