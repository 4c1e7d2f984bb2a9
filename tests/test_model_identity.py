"""Which model it is: adapters and compiled models are used as what they are, and the fingerprint tells models apart."""

import copy
import time
from typing import Any

import peft
import pytest
import torch
from tiny_models import tiny_model, tiny_tokenizer

from latent_memory_plugin.config import SamplingConfig
from latent_memory_plugin.engines.hf import LanguageModel
from latent_memory_plugin.engines.hf.fingerprint import fingerprint
from latent_memory_plugin.errors import ModelLoadError

QUESTION = "How many posts are there?"
GREEDY = SamplingConfig(temperature=0, max_new_tokens=12)
LORA = peft.LoraConfig(
    task_type="CAUSAL_LM", r=4, lora_alpha=32, lora_dropout=0.5, target_modules=["q_proj", "up_proj"]
)


def wrapped(model: Any, tokenizer: Any = None) -> LanguageModel:
    return LanguageModel.wrap(model, tokenizer or tiny_tokenizer(), "tiny")


def greedy(model: LanguageModel) -> tuple[int, ...]:
    return model.sample([QUESTION], [None], 1, GREEDY, 0)[0][0].token_ids


def generated(model: Any, ids: tuple[int, ...]) -> tuple[int, ...]:
    """By the outer model itself."""
    training = model.training
    out = model.eval().generate(input_ids=torch.tensor([ids]), do_sample=False, max_new_tokens=12, pad_token_id=0)
    model.train(training)
    return tuple(out[0, len(ids) :].tolist())


def adapted(seed: int = 0, architecture: str = "llama", config: Any = LORA, name: str = "default") -> Any:
    """A LoRA that changes what is said: both of its factors are drawn."""
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    model: Any = peft.get_peft_model(tiny_model(architecture), config, adapter_name=name)
    for key, weight in model.named_parameters():
        if "lora_" in key:
            weight.data.normal_(0, 0.3)
    torch.set_rng_state(state)
    return model


# -- adapters and compiled models --------------------------------------------------------------------------------------


def test_a_peft_model_is_read_with_its_active_adapter() -> None:
    outer = adapted().train()
    model = wrapped(outer)
    assert outer.training and outer.base_model.model.model.layers[0].mlp.up_proj.training
    assert greedy(model) == generated(outer, model.prompt_ids(QUESTION)) != greedy(wrapped(tiny_model()))
    latent = torch.ones(2, 32, requires_grad=True)
    model.log_probabilities([QUESTION], [(5, 6)], latent)[0].sum().backward()
    assert latent.grad is not None and all(weight.grad is None for weight in outer.parameters())


def test_a_compiled_model_is_read_as_the_model_below_and_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> Any:
        raise AssertionError("compiled")

    outers: list[Any] = [torch.compile(tiny_model(), backend=refused), torch.compile(adapted(), backend=refused)]
    for outer in outers:
        inner = outer._orig_mod
        model = wrapped(outer)
        assert greedy(model) == greedy(wrapped(inner)) and model.fingerprint == wrapped(inner).fingerprint


@pytest.mark.parametrize(
    "config",
    [
        peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
        peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
    ],
)
def test_an_adapter_beside_the_layers_is_refused_for_the_true_reason(config: Any) -> None:
    kind = config.peft_type.value
    with pytest.raises(ModelLoadError, match=rf"'tiny' \({kind}\) does not act inside .*import_peft"):
        wrapped(peft.get_peft_model(tiny_model(), config))


def test_a_peft_model_is_named_by_what_it_was_loaded_from() -> None:
    assert LanguageModel.wrap(adapted(), tiny_tokenizer()).name == "llama"


# -- the fingerprint ---------------------------------------------------------------------------------------------------


def test_every_mlp_weight_changed_is_another_model() -> None:
    changed: Any = tiny_model()
    for layer in changed.model.layers:
        for weight in layer.mlp.parameters():
            weight.data += 0.01
    first, second = wrapped(tiny_model()), wrapped(changed)
    assert first.fingerprint != second.fingerprint and first.former_fingerprints == second.former_fingerprints


@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("part", ["self_attn.o_proj", "mlp.down_proj", "input_layernorm"])
def test_one_changed_tensor_of_any_layer_is_another_model(layer: int, part: str) -> None:
    changed: Any = tiny_model()
    changed.model.layers[layer].get_submodule(part).weight.data *= 1.02
    assert wrapped(changed).fingerprint != wrapped(tiny_model()).fingerprint


def test_layers_in_another_order_are_another_model() -> None:
    changed: Any = tiny_model()
    changed.model.layers[1].mlp, changed.model.layers[2].mlp = changed.model.layers[2].mlp, changed.model.layers[1].mlp
    assert wrapped(changed).fingerprint != wrapped(tiny_model()).fingerprint


@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
@pytest.mark.parametrize("resized", [True, False])
def test_a_token_added_later_is_not_another_model(architecture: str, resized: bool) -> None:
    tokenizer, model = tiny_tokenizer(pieces=318), tiny_model(architecture)
    before = wrapped(copy.deepcopy(model), copy.deepcopy(tokenizer)).fingerprint
    tokenizer.add_special_tokens({"pad_token": "<nothing>"})
    if resized:
        tokenizer.add_tokens(["<one>", "<two>"])
        model.resize_token_embeddings(len(tokenizer))
    assert len(tokenizer) == (321 if resized else 319)
    after = wrapped(model, tokenizer)
    assert after.fingerprint == before
    other = tiny_model(architecture, seed=1)
    assert wrapped(other, tiny_tokenizer(pieces=318)).fingerprint != before


def test_an_adapter_is_another_model_loaded_merged_or_scaled_and_none_where_it_is_off() -> None:
    plain = wrapped(tiny_model()).fingerprint
    other_scale: Any = copy.deepcopy(LORA)
    other_scale.lora_alpha = 16
    found = {
        "plain": plain,
        "loaded": wrapped(adapted()).fingerprint,
        "other": wrapped(adapted(seed=1)).fingerprint,
        "scaled": wrapped(adapted(config=other_scale)).fingerprint,
        "merged": wrapped(adapted().merge_and_unload()).fingerprint,
    }
    assert len(set(found.values())) == len(found)
    in_place = adapted()
    in_place.merge_adapter()
    assert wrapped(in_place).fingerprint == found["merged"]
    off = adapted()
    off.base_model.disable_adapter_layers()
    assert wrapped(off).fingerprint == plain and greedy(wrapped(off)) == greedy(wrapped(tiny_model()))


def test_an_adapter_that_is_loaded_and_not_active_does_not_count_and_neither_does_its_name() -> None:
    both = adapted()
    both.add_adapter("second", LORA)
    assert wrapped(both).fingerprint == wrapped(adapted()).fingerprint == wrapped(adapted(name="v2")).fingerprint
    both.set_adapter("second")
    assert wrapped(both).fingerprint != wrapped(adapted()).fingerprint


def test_an_adapter_of_transformers_own_counts_too() -> None:
    model: Any = tiny_model()
    model.add_adapter(LORA)
    assert wrapped(model).fingerprint != wrapped(tiny_model()).fingerprint


def test_the_former_fingerprint_is_that_of_version_0_1() -> None:
    former = "26041931852024f8d5872773d8c113519b21b95633e37ccf70cd7c4de439bc70"
    assert LanguageModel.load().former_fingerprints == (former,)


class Huge:
    """What the fingerprint asks of an engine and its model, in the shapes of Llama 3.1 8B, of weights never written."""

    hidden_size, layers = 4096, 32

    def __init__(self) -> None:
        wide = {"q": (4096, 4096), "k": (1024, 4096), "v": (1024, 4096), "o": (4096, 4096), "norm": (4096,)}
        wide |= {"gate": (14336, 4096), "up": (14336, 4096), "down": (4096, 14336), "norm2": (4096,)}
        self.tensors = {"embed": torch.empty(128256, 4096, dtype=torch.bfloat16)}
        for layer in range(self.layers):
            shapes = {f"layers.{layer}.{name}": shape for name, shape in wide.items()}
            self.tensors |= {name: torch.empty(shape, dtype=torch.bfloat16) for name, shape in shapes.items()}
        self.model, self.config = self, tiny_model().config

    def named_parameters(self) -> Any:
        return self.tensors.items()

    def modules(self) -> tuple[()]:
        return ()

    def get_input_embeddings(self) -> None:
        return None

    get_output_embeddings = get_input_embeddings


def test_eight_billion_weights_take_about_a_second_at_most() -> None:
    engine: Any = Huge()
    assert sum(tensor.numel() for tensor in engine.tensors.values()) > 7e9
    began = time.process_time()
    assert fingerprint(engine, tiny_tokenizer())
    assert time.process_time() - began < 1
