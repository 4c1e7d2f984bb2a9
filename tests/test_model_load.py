"""Loading: a folder gives the model that was saved, quietly; whatever cannot be loaded says why and what to do."""

from pathlib import Path

import pytest
import torch
from tiny_models import tiny_model, tiny_tokenizer

from latent_memory_plugin import engines
from latent_memory_plugin.config import ModelConfig, SamplingConfig
from latent_memory_plugin.engines.hf import LanguageModel
from latent_memory_plugin.engines.hf.load import read
from latent_memory_plugin.errors import ConfigError, ModelLoadError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    tiny_model("qwen3").save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path


def copy(folder: Path, target: Path) -> Path:
    for file in folder.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


def test_a_folder_gives_the_model_that_was_saved(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    loaded = LanguageModel.load(ModelConfig(name=str(folder), device="cpu"))
    original = LanguageModel.wrap(tiny_model("qwen3"), tiny_tokenizer())
    sampling = SamplingConfig(max_new_tokens=8)
    assert capfd.readouterr() == ("", "")
    assert loaded.name == str(folder)
    assert loaded.fingerprint == original.fingerprint
    assert loaded.sample(["How?"], [None], 2, sampling, 0) == original.sample(["How?"], [None], 2, sampling, 0)
    assert not any(weight.requires_grad for weight in loaded._engine.model.parameters())
    assert not loaded._engine.model.training


@pytest.mark.parametrize("dtype", ["auto", "float32", "bfloat16", "float16"])
def test_the_number_format_is_the_one_asked_for(folder: Path, dtype: str) -> None:
    config = ModelConfig(name=str(folder), dtype=dtype, device="cpu")  # pyright: ignore[reportArgumentType]
    expected = torch.float32 if dtype == "auto" else getattr(torch, dtype)
    assert LanguageModel.load(config)._engine.embedding.dtype == expected


def test_one_checkpoint_has_one_fingerprint_in_float32_and_bfloat16(folder: Path) -> None:
    both = {
        LanguageModel.load(ModelConfig(name=str(folder), dtype=dtype, device="cpu")).fingerprint
        for dtype in ("float32", "bfloat16")
    }
    assert len(both) == 1 and len(both.pop()) == 64


def test_the_fingerprint_changes_with_weights_architecture_and_vocabulary_and_not_with_the_template() -> None:
    def fingerprint(architecture: str = "llama", seed: int = 0, template: str = "x", pieces: int = 320) -> str:
        return LanguageModel.wrap(tiny_model(architecture, seed), tiny_tokenizer(template, pieces=pieces)).fingerprint

    first = fingerprint()
    assert fingerprint() == fingerprint(template="y") == first
    assert first not in {fingerprint(seed=1), fingerprint("mistral"), fingerprint(pieces=300)}


def test_the_config_names_the_engine_that_loads_it(folder: Path) -> None:
    assert isinstance(engines.load(ModelConfig(name=str(folder), device="cpu")), LanguageModel)
    engines.register("named", lambda config: config.name)
    try:
        assert engines.load(ModelConfig(name="x", engine="named")) == "x"
        with pytest.raises(ConfigError, match=r"no engine 'steam'; known are .*'hf', 'named'.*engines\.register"):
            engines.load(ModelConfig(engine="steam"))
    finally:
        engines.ENGINES._things.pop("named")  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize("name", ["/no/such/folder", "./no-such-folder", "~/no-such-folder", "a/b/c"])
def test_a_path_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(ModelLoadError, match=f"'{name}'.*Qwen"):
        LanguageModel.load(ModelConfig(name=name))


def test_a_file_is_not_a_model(folder: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"config\.json"):
        LanguageModel.load(ModelConfig(name=str(folder / "config.json")))


def test_a_hub_id_that_cannot_be_had_is_named() -> None:
    with pytest.raises(ModelLoadError, match=r"'no-such-organisation-ever/no-such-model'.*network"):
        LanguageModel.load(ModelConfig(name="no-such-organisation-ever/no-such-model"))


def test_a_name_no_hub_would_accept_is_named() -> None:
    with pytest.raises(ModelLoadError, match="'not a name'"):
        LanguageModel.load(ModelConfig(name="not a name"))


@pytest.mark.parametrize("file", ["config.json", "model.safetensors", "tokenizer.json"])
@pytest.mark.parametrize("content", [b"", b'{"model_type": 3', b"{}", None])
def test_a_folder_with_a_broken_file_is_named(folder: Path, tmp_path: Path, file: str, content: bytes | None) -> None:
    broken = copy(folder, tmp_path)
    (broken / file).unlink()
    if content is not None:
        (broken / file).write_bytes(content)
    with pytest.raises(ModelLoadError, match=str(broken)):
        LanguageModel.load(ModelConfig(name=str(broken), device="cpu"))


def test_weights_in_a_pickle_file_are_not_opened(folder: Path, tmp_path: Path) -> None:
    pickled = copy(folder, tmp_path)
    (pickled / "model.safetensors").unlink()
    torch.save(tiny_model("qwen3").state_dict(), pickled / "pytorch_model.bin")
    with pytest.raises(ModelLoadError, match="safetensors"):
        LanguageModel.load(ModelConfig(name=str(pickled), device="cpu"))


@pytest.mark.parametrize("device", ["cuda:77", "nonsense"])
def test_a_device_that_is_not_there_is_named(folder: Path, device: str) -> None:
    with pytest.raises(ModelLoadError, match=f"'{device}'"):
        LanguageModel.load(ModelConfig(name=str(folder), device=device))


def test_without_the_embedded_model_the_way_to_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match="make sandbox-model"):
        read(ModelConfig(), embedded=tmp_path)


def test_the_embedded_model_is_the_default(folder: Path) -> None:
    assert read(ModelConfig(device="cpu"), embedded=folder)[2] == "embedded"


def test_a_vocabulary_without_an_end_token_is_refused_with_the_way_out() -> None:
    tokenizer, model = tiny_tokenizer(), tiny_model()
    tokenizer.eos_token = None
    model.generation_config.eos_token_id = None
    with pytest.raises(ModelLoadError, match=r"tokenizer\.eos_token"):
        LanguageModel.wrap(model, tokenizer)
    model.generation_config.eos_token_id = [2]
    assert LanguageModel.wrap(model, tokenizer)._end_ids == (2,)


def test_a_tokenizer_larger_than_its_model_is_refused() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.add_tokens(["one too many", "two too many"])
    with pytest.raises(ModelLoadError, match="320 embeddings"):
        LanguageModel.wrap(tiny_model(), tokenizer)


def test_a_wrapped_model_is_named_by_what_it_was_loaded_from(folder: Path) -> None:
    assert LanguageModel.wrap(tiny_model(), tiny_tokenizer()).name == "llama"
    assert LanguageModel.wrap(tiny_model(), tiny_tokenizer(), "mine").name == "mine"
    loaded = LanguageModel.load(ModelConfig(name=str(folder), device="cpu"))
    assert LanguageModel.wrap(loaded._engine.model, tiny_tokenizer()).name == str(folder)
