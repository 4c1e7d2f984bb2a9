"""The embedded model: its tokenizer, the script that trains it, and the weights in the package."""

import random
import re
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

from latent_memory_plugin.bench.world import measure
from latent_memory_plugin.engines.hf import LanguageModel
from latent_memory_plugin.sandbox import train
from latent_memory_plugin.sandbox.corpus import document
from latent_memory_plugin.sandbox.family import World
from latent_memory_plugin.sandbox.train import WEIGHTS
from latent_memory_plugin.sandbox.world import FAMILIES

LARGEST_BYTES = 16 * 1024 * 1024
UNSEEN = (
    "A yak costs 1,234.50 €!",
    "火车每小时走60公里。",
    "🙂🚂\tdéjà-vu\n",
    "def f(x):\n    return x ** 2  # ok",
    "\x00\x7f",
)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(WEIGHTS)


# -- tokenizer ---------------------------------------------------------------------------------------------------------


def test_every_digit_is_a_token_of_its_own(tokenizer: Any) -> None:
    for text in ("1234567890", "12+8=20. mean: 20/2=10.", "x42y"):
        pieces = [tokenizer.decode([one]) for one in tokenizer(text, add_special_tokens=False).input_ids]
        assert "".join(pieces) == text
        assert all(len(piece) == 1 for piece in pieces if re.search(r"\d", piece))


@pytest.mark.parametrize("text", [*UNSEEN, "".join(map(chr, range(1, 0x250)))])
def test_text_it_was_never_trained_on_comes_back_as_it_was(tokenizer: Any, text: str) -> None:
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert tokenizer.decode(ids) == text
    assert tokenizer.unk_token_id is None or tokenizer.unk_token_id not in ids


# -- training ----------------------------------------------------------------------------------------------------------


def test_a_batch_depends_on_the_seed_and_its_number_alone(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "ROWS", 2)
    monkeypatch.setattr(train, "ROW_TOKENS", 96)
    first, other = train.batch(tokenizer, 1), train.batch(tokenizer, 2)
    random.seed(5)
    again = train.batch(tokenizer, 1)
    assert torch.equal(first.ids, again.ids) and torch.equal(first.weights, again.weights)
    assert not torch.equal(first.ids, other.ids)
    monkeypatch.setattr(train, "SEED", 1)
    assert not torch.equal(first.ids, train.batch(tokenizer, 1).ids)
    assert first.ids.shape == first.weights.shape == (2, 97)
    assert first.weights.unique().tolist() == pytest.approx([train.UNSPOKEN_WEIGHT, 1.0])


def tiny_model(tokenizer: Any, intermediate_size: int = 24) -> Qwen3ForCausalLM:
    torch.manual_seed(train.SEED)
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": min(24, intermediate_size),
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    more: dict[str, Any] = {"num_key_value_heads": 2, "head_dim": 8, "tie_word_embeddings": True}
    ends = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    return Qwen3ForCausalLM(Qwen3Config(vocab_size=len(tokenizer), **sizes, **more, **ends))


@pytest.fixture
def small_training(monkeypatch: pytest.MonkeyPatch) -> None:
    small = {"ROWS": 2, "ROW_TOKENS": 64, "TOKENIZER_DOCUMENTS": 60, "CHECKPOINT_EVERY": 2, "WARMUP_STEPS": 2}
    for name, value in small.items():
        monkeypatch.setattr(train, name, value)
    monkeypatch.setattr(train, "build_model", tiny_model)


@pytest.mark.usefixtures("small_training")
def test_training_that_is_stopped_and_started_again_ends_at_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train.train(tmp_path / "whole", steps=6)
    whole = load_file(tmp_path / "whole" / "model.safetensors")
    real = train.batch
    seen: list[int] = []

    def stopped_at_five(tokenizer: Any, step: int, *families: Any) -> train.Batch:
        seen.append(step)
        if seen.count(5) == 1 and step == 5:
            raise KeyboardInterrupt
        return real(tokenizer, step, *families)

    monkeypatch.setattr(train, "batch", stopped_at_five)
    with pytest.raises(KeyboardInterrupt):
        train.train(tmp_path / "parts", steps=6)
    assert (tmp_path / "parts" / "checkpoint.safetensors").exists()
    train.train(tmp_path / "parts", steps=6)
    assert seen == [0, 1, 2, 3, 4, 5, 4, 5]
    parts = load_file(tmp_path / "parts" / "model.safetensors")
    assert parts.keys() == whole.keys()
    assert all(torch.allclose(parts[name], whole[name], atol=1e-6) for name in whole)
    assert not (tmp_path / "parts" / "checkpoint.safetensors").exists()


@pytest.mark.parametrize("world", ["plain", "hard"])
def test_a_recipe_trains_on_its_half_with_the_width_that_its_weights_have(tokenizer: Any, world: World) -> None:
    recipe = train.RECIPES[world]
    assert {family.world for family in recipe.families} == {world}
    asked = tokenizer.decode(train.batch(tokenizer, 0, recipe.families).ids[0])
    other = train.RECIPES["plain" if world == "hard" else "hard"].families
    assert asked != tokenizer.decode(train.batch(tokenizer, 0, other).ids[0])
    made = train.build_model(AutoTokenizer.from_pretrained(recipe.folder), recipe.intermediate_size)
    weights = load_file(recipe.folder / "model.safetensors")
    assert {name: tuple(one.shape) for name, one in weights.items()} == {
        name: tuple(one.shape) for name, one in made.named_parameters()
    }


def test_the_text_of_the_plain_half_is_that_of_its_committed_weights() -> None:
    rng = random.Random("corpus-0-0")
    text = "".join(piece for _ in range(500) for piece, _ in document(FAMILIES, rng))
    assert sha256(text.encode()).hexdigest() == "2cc747d60ab5e76a56484f3c54351b1a477e3d73c63d83c0663dabc716b298fc"


@pytest.mark.usefixtures("small_training")
def test_training_makes_its_text_likelier_and_its_result_loads(tmp_path: Path) -> None:
    tokenizer: Any = train.build_tokenizer()
    rows = train.batch(tokenizer, 0)
    before = train.loss_of(tiny_model(tokenizer), rows).item()
    train.train(tmp_path, steps=30)
    trained: Any = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert train.loss_of(trained, rows).item() < before - 0.5
    assert AutoTokenizer.from_pretrained(tmp_path).get_vocab() == tokenizer.get_vocab()


# -- weights -----------------------------------------------------------------------------------------------------------


def test_the_embedded_model_is_small_safe_and_loads_by_its_architecture() -> None:
    files = {path.name for path in WEIGHTS.iterdir()}
    assert "model.safetensors" in files and not any(name.endswith((".bin", ".pt", ".pkl", ".py")) for name in files)
    assert sum(path.stat().st_size for path in WEIGHTS.glob("*.safetensors")) <= LARGEST_BYTES
    model = AutoModelForCausalLM.from_pretrained(WEIGHTS, local_files_only=True)
    assert isinstance(model, Qwen3ForCausalLM)
    assert sum(weight.numel() for weight in model.parameters()) < 4_000_000
    assert all(bool(torch.isfinite(weight).all()) for weight in model.parameters())


def test_the_tokenizer_of_the_weights_is_the_one_the_script_makes(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "TOKENIZER_DOCUMENTS", 60)
    made: Any = train.build_tokenizer()
    assert made.chat_template == tokenizer.chat_template
    for name in ("pad_token_id", "bos_token_id", "eos_token_id", "padding_side"):
        assert getattr(made, name) == getattr(tokenizer, name)
    special = [token for token in made.get_vocab() if token.startswith("<|")]
    assert {token: made.get_vocab()[token] for token in special} == {
        token: tokenizer.get_vocab()[token] for token in special
    }


def test_the_embedded_model_can_solve_its_problems_but_does_not_reliably(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = [family for family in FAMILIES if family.name in ("sharing the rest", "weeks and days")]
    monkeypatch.setattr("latent_memory_plugin.bench.world.families", lambda split, world: tuple(chosen))
    report = measure(LanguageModel.load(), problems_per_family=10, rollouts=8)
    assert len(report["families"]) == 2
    for family in report["families"].values():
        assert 0.3 <= family["one_sample"] <= 0.7
