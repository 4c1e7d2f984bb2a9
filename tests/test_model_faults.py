"""Models and tokenizers that are wrong in some way are refused in words, and never answered with random numbers."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import BOS_TEMPLATE, TEMPLATE, tiny_model, tiny_tokenizer
from transformers import BertConfig, BertLMHeadModel

from latent_memory_plugin.config import ModelConfig, SamplingConfig
from latent_memory_plugin.engines.hf import LanguageModel
from latent_memory_plugin.engines.hf.prompts import Prompts
from latent_memory_plugin.errors import ConfigError, InputError, ModelLoadError

QUESTION = "How many posts are there?"
GREEDY = SamplingConfig(temperature=0, max_new_tokens=8)


def saved(folder: Path, architecture: str = "llama", **settings: Any) -> ModelConfig:
    tiny_model(architecture).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    change(folder / "config.json", **settings)
    return ModelConfig(name=str(folder), device="cpu")


def change(file: Path, **settings: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))


def rewrite(folder: Path, rename: Any) -> None:
    """The checkpoint with other names of weights; those renamed to None are left out."""
    file = folder / "model.safetensors"
    weights = {new: tensor for name, tensor in load_file(file).items() if (new := rename(name)) is not None}
    save_file(weights, file, {"format": "pt"})


def greedy(model: LanguageModel) -> tuple[int, ...]:
    return model.sample([QUESTION], [None], 1, GREEDY, 0)[0][0].token_ids


# -- checkpoints that are not whole ------------------------------------------------------------------------------------


def test_a_missing_matrix_is_named(tmp_path: Path) -> None:
    config = saved(tmp_path)
    rewrite(tmp_path, lambda name: None if name == "model.layers.1.mlp.up_proj.weight" else name)
    with pytest.raises(ModelLoadError, match=r"lacks the weights \['model\.layers\.1\.mlp\.up_proj\.weight'\].*Random"):
        LanguageModel.load(config)


def test_layers_under_a_wrong_prefix_are_missing_and_what_is_there_instead_is_named(tmp_path: Path) -> None:
    config = saved(tmp_path)
    rewrite(tmp_path, lambda name: name.replace("model.layers.", "model.blocks."))
    with pytest.raises(
        ModelLoadError, match=r"lacks the weights \['model\.layers\.0.* more, it holds \['model\.blocks"
    ):
        LanguageModel.load(config)


def test_matrices_of_another_shape_are_named_with_both(tmp_path: Path) -> None:
    config = saved(tmp_path, intermediate_size=40)
    with pytest.raises(ModelLoadError, match=r"other shapes.*mlp\.down_proj\.weight: \(32, 48\) for \(32, 40\)"):
        LanguageModel.load(config)


@pytest.mark.parametrize("tied", [True, False])
def test_a_head_that_is_tied_is_not_missing_and_one_that_is_not_is(tied: bool, tmp_path: Path) -> None:
    config = saved(tmp_path, "qwen3" if tied else "llama")
    rewrite(tmp_path, lambda name: None if name == "lm_head.weight" else name)
    if tied:
        assert greedy(LanguageModel.load(config)) == greedy(LanguageModel.wrap(tiny_model("qwen3"), tiny_tokenizer()))
        return
    with pytest.raises(ModelLoadError, match=r"lacks the weights \['lm_head\.weight'\]"):
        LanguageModel.load(config)


@pytest.mark.parametrize("method", ["quench", "gptq2"])
def test_a_way_of_quantising_that_nobody_knows_is_named(method: str, tmp_path: Path) -> None:
    config = saved(tmp_path, quantization_config={"quant_method": method, "bits": 4})
    with pytest.raises(ModelLoadError, match=f"quantised by '{method}', which this version of transformers does not"):
        LanguageModel.load(config)


def bert(decoder: bool = False) -> Any:
    sizes: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    state = torch.get_rng_state()
    torch.manual_seed(0)
    config = BertConfig(**sizes, vocab_size=320, intermediate_size=48, initializer_range=0.2, is_decoder=decoder)
    model = BertLMHeadModel(config)
    torch.set_rng_state(state)
    return model.eval()


def test_a_model_that_looks_ahead_is_refused_by_its_path_and_wrapped(tmp_path: Path) -> None:
    bert().save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    change(tmp_path / "tokenizer_config.json", tokenizer_class="PreTrainedTokenizerFast")
    with pytest.raises(ModelLoadError, match=r"BertLMHeadModel of .* is no decoder: a later token changes"):
        LanguageModel.load(ModelConfig(name=str(tmp_path), device="cpu"))
    with pytest.raises(ModelLoadError, match="is no decoder"):
        LanguageModel.wrap(bert(), tiny_tokenizer(), "bert")


def test_the_same_architecture_as_a_decoder_is_used() -> None:
    assert len(greedy(LanguageModel.wrap(bert(decoder=True), tiny_tokenizer(), "bert"))) > 0


# -- a beginning-of-sequence token that every turn repeats -------------------------------------------------------------

CHATML = (
    "{% for message in messages %}{{ bos_token + message['role'] + '\n' + message['content'] + '<end>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ bos_token + 'assistant\n' }}{% endif %}"
)
PER_USER = (
    "{% for message in messages %}{% if message['role'] == 'user' %}{{ bos_token }}{% endif %}"
    "<{{ message['role'] }}>{{ message['content'] }}<end>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def prompts(template: Any, bos: bool = True) -> Prompts:
    tokenizer = tiny_tokenizer(TEMPLATE, bos)
    tokenizer.chat_template = template
    return Prompts(tokenizer, "tiny")


@pytest.mark.parametrize(("template", "marks"), [(CHATML, True), (BOS_TEMPLATE, False), (PER_USER, False)])
def test_a_bos_that_begins_every_message_is_a_part_of_the_template(template: str, marks: bool) -> None:
    reader = prompts(template)
    prompt = reader.read(QUESTION)
    assert prompt.ids[0] == 1 and reader.bos_marks_turns is marks and prompt.bos_tokens == (not marks)
    assert reader.tokenizer.decode(list(prompt.ids[prompt.question])) == QUESTION


def test_a_latent_stands_before_the_header_of_the_first_turn() -> None:
    model = LanguageModel.wrap(tiny_model(), (tokenizer := tiny_tokenizer(CHATML, bos=True)), "chatml")
    between = [40, 50, 60]
    latent, ids = model.token_embeddings(between), model.prompt_ids(QUESTION)
    assert model.prefix_ids == () and str(tokenizer.decode(list(ids))).startswith("<s>user\n")
    plain: Any = model._engine.model
    expected = plain.generate(torch.tensor([[*between, *ids]]), do_sample=False, max_new_tokens=8)
    assert model.sample([QUESTION], [latent], 1, GREEDY, 0)[0][0].token_ids == tuple(
        expected[0, len(ids) + 3 :].tolist()
    )


# -- templates that drop the question ----------------------------------------------------------------------------------

PARTS = (
    "{% for message in messages %}<{{ message['role'] }}>{% for part in message['content'] %}{{ part['text'] }}"
    "{% endfor %}<end>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
ADDED = TEMPLATE.replace("message['content']", "'x' + message['content'][0]['text']")
DEAF = "{% for message in messages %}<{{ message['role'] }}><end>{% endfor %}<assistant>"
LAST_DEAF = "{% for message in messages[:-1] %}{{ message['content'] }}{% endfor %}<assistant>"


@pytest.mark.parametrize("template", [PARTS, ADDED])
def test_a_template_that_reads_lists_of_parts_gets_them(template: str) -> None:
    reader = prompts(template)
    prompt = reader.read(QUESTION)
    text = reader.tokenizer.decode(list(prompt.ids))
    assert text == f"<user>{'x' if template == ADDED else ''}{QUESTION}<end><assistant>"
    assert reader.tokenizer.decode(list(prompt.ids[prompt.question])) == QUESTION


def test_a_template_that_drops_the_question_is_refused_in_words() -> None:
    reader = prompts(DEAF)
    with pytest.raises(InputError, match=r"'tiny' leaves the question 'How many posts are there\?' out of the prompt"):
        reader.read(QUESTION)
    turns = [{"role": "user", "content": "First."}, {"role": "user", "content": QUESTION}]
    with pytest.raises(InputError, match="leaves the question 'How many"):
        prompts(LAST_DEAF).read(turns)
    assert prompts(LAST_DEAF).read([*turns, {"role": "assistant", "content": "Yes."}]).ids


@pytest.mark.parametrize("change", ["upper", "trim", "title"])
def test_a_template_that_changes_the_question_does_not_drop_it(change: str) -> None:
    reader = prompts(TEMPLATE.replace("message['content']", f"message['content'] | {change}"))
    assert reader.read(QUESTION).ids


# -- foreign errors ----------------------------------------------------------------------------------------------------


def test_a_list_of_templates_without_a_default_is_told_in_words() -> None:
    reader = prompts({"rag": TEMPLATE, "other": TEMPLATE})
    with pytest.raises(InputError, match=r"'tiny' fails .*ValueError.*no default.*correct tokenizer\.chat_template"):
        reader.read(QUESTION)


@pytest.mark.parametrize("broken", ["{{ 1 + 'a' }}", "{{ messages[0].nothing.more }}", "{{ 1 / 0 }}"])
def test_what_goes_wrong_inside_a_template_is_told_in_words(broken: str) -> None:
    with pytest.raises(InputError, match=r"'tiny' fails on messages with the roles \['user'\] \(\w+Error: .*correct"):
        prompts(TEMPLATE + broken).read(QUESTION)


def test_a_template_that_is_no_jinja_is_told_with_its_line_and_not_as_a_matter_of_roles() -> None:
    with pytest.raises(ModelLoadError, match=r"'tiny' is no valid Jinja \(line 2: "):
        prompts(TEMPLATE + "\n{% for %}")


@pytest.mark.parametrize("end", ["<end>", ["<end>", 5]])
def test_an_end_token_that_is_no_id_is_told_with_the_id(end: Any) -> None:
    model = tiny_model()
    model.generation_config.eos_token_id = end
    with pytest.raises(ModelLoadError, match=r"end token '<end>', which is no id; write 2 into eos_token_id"):
        LanguageModel.wrap(model, tiny_tokenizer(), "tiny")


def test_an_end_token_as_text_in_a_file_is_this_librarys_error(tmp_path: Path) -> None:
    config = saved(tmp_path)
    change(tmp_path / "generation_config.json", eos_token_id="<end>")
    with pytest.raises(ModelLoadError, match="<end>"):
        LanguageModel.load(config)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("repetition_penalty", -1),
        ("repetition_penalty", "much"),
        ("no_repeat_ngram_size", -2),
        ("bad_words_ids", [[-3]]),
        ("bad_words_ids", [[999]]),
        ("min_p", 1.5),
        ("sequence_bias", {(1,): "x"}),
    ],
)
def test_a_setting_of_the_generation_config_that_cannot_be_carried_out_is_named(setting: str, value: Any) -> None:
    model = tiny_model()
    setattr(model.generation_config, setting, value)
    with pytest.raises(
        ModelLoadError, match=rf"'tiny' sets {setting}=.*cannot be carried out.*generation_config='ends'"
    ):
        LanguageModel.wrap(model, tiny_tokenizer(), "tiny")


@pytest.mark.parametrize("tokenizer", [None, "gpt2", tiny_model()])
def test_what_is_no_tokenizer_is_refused(tokenizer: Any) -> None:
    with pytest.raises(ModelLoadError, match=r"tokenizer of 'LlamaForCausalLM' is a .*AutoTokenizer\.from_pretrained"):
        LanguageModel.wrap(tiny_model(), tokenizer)


@pytest.mark.parametrize("model", [None, torch.nn.Linear(2, 2), "gpt2"])
def test_what_is_no_model_of_transformers_is_refused(model: Any) -> None:
    with pytest.raises(ModelLoadError, match=r"pass a PreTrainedModel of transformers"):
        LanguageModel.wrap(model, tiny_tokenizer())


# -- devices and quantisation ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device_map", ["cpu", {"": "cpu"}, {"model": "cpu", "lm_head": "cpu"}])
def test_a_device_map_gives_the_same_model(device_map: Any, tmp_path: Path) -> None:
    config = saved(tmp_path)
    mapped = LanguageModel.load(ModelConfig(name=config.name, device_map=device_map, attn_implementation="eager"))
    assert greedy(mapped) == greedy(LanguageModel.load(config))
    assert mapped.fingerprint == LanguageModel.load(config).fingerprint
    assert mapped._engine.model.config._attn_implementation == "eager"


def test_weights_that_are_brought_for_each_pass_are_read_learnt_through_and_fingerprinted() -> None:
    from accelerate import cpu_offload

    plain = LanguageModel.wrap(tiny_model("qwen3"), tiny_tokenizer(), "tiny")
    moved: Any = cpu_offload(tiny_model("qwen3"), execution_device=torch.device("cpu"))
    assert moved.get_input_embeddings().weight.device.type == "meta"
    offloaded = LanguageModel.wrap(moved, tiny_tokenizer(), "tiny")
    assert greedy(offloaded) == greedy(plain)
    assert (offloaded.fingerprint, offloaded.former_fingerprints) == (plain.fingerprint, plain.former_fingerprints)
    latent = torch.ones(2, 32)
    assert torch.equal(*(one.log_probabilities([QUESTION], [(5, 6)], latent)[0] for one in (offloaded, plain)))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"device_map": "everywhere"}, "everywhere"),
        ({"attn_implementation": "fast"}, "fast"),
        ({"quantization_config": {"quant_method": "quench"}}, "quench"),
        ({"quantization_config": {"bits": 4}}, "quant_method|bits"),
    ],
)
def test_settings_that_transformers_does_not_know_are_told_in_words(settings: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=words):
        LanguageModel.load(ModelConfig(name=saved(tmp_path).name, **settings))


def test_settings_of_devices_that_contradict_one_another_are_refused() -> None:
    with pytest.raises(ConfigError, match="device='cpu' and device_map='auto' exclude"):
        ModelConfig(device="cpu", device_map="auto")
    with pytest.raises(ConfigError, match="device_map='auto', too"):
        ModelConfig(max_memory={"cpu": "1GiB"})
    with pytest.raises(ConfigError, match="quantization_config=3"):
        ModelConfig(quantization_config=3)  # type: ignore[arg-type]


def test_settings_of_devices_and_quantisation_can_be_stored_and_compared() -> None:
    from transformers import BitsAndBytesConfig

    way = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.bfloat16)
    config = ModelConfig(device_map="auto", max_memory={0: "1GiB", "cpu": 7}, quantization_config=way)  # type: ignore[arg-type]
    assert ModelConfig.from_json(config.model_dump_json()) == config == copy.copy(config)
    assert config.quantization_config is not None and config.quantization_config["bnb_4bit_compute_dtype"] == "bfloat16"
    assert hash(config) != hash(ModelConfig())
