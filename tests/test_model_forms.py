"""Forms behind the seam: an engine reads whatever enters as vectors, and gradient flows to whatever tensors entered."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny_models import ARCHITECTURES, tiny_model, tiny_tokenizer

from latent_memory_plugin import forms
from latent_memory_plugin.config import SamplingConfig
from latent_memory_plugin.engines.base import Engine, Readable, Reader
from latent_memory_plugin.engines.hf import LanguageModel
from latent_memory_plugin.errors import ConfigError, ContextLengthError, InputError, PluginError
from latent_memory_plugin.forms import Entry, Loaded, Tensors
from latent_memory_plugin.forms.peft import export_adapter
from latent_memory_plugin.records import Problem
from latent_memory_plugin.testing import FakeModel

QUESTIONS = ["How many posts?", "A train travels 60 kilometres.", "How many posts?", "What is its speed?"]
COMPLETIONS = [(20, 21, 22, 2), (30, 2), (40, 41, 2), (50,)]
WARM = SamplingConfig(max_new_tokens=16)
RANK = 2


class Factorised:
    """The vectors (P, H) as the product of `a` (P, r) and `b` (r, H)."""

    needs = frozenset({"vectors"})

    def start(self, reader: Reader, problem: Problem, latent_tokens: int) -> Tensors:
        ids = reader.question_ids(problem.question)[:RANK]
        return {"a": torch.ones(latent_tokens, len(ids)), "b": reader.token_embeddings(ids)}

    def check(self, tensors: Tensors, engine: Engine, *, finite: bool = True) -> None:
        if set(tensors) != {"a", "b"} or tensors["b"].shape[1] != engine.hidden_size:
            raise InputError(f"{sorted(tensors)!r} are no factors.")

    def enter(self, tensors: Tensors) -> Entry:
        return Entry(vectors=tensors["a"] @ tensors["b"])

    def latent_tokens(self, tensors: Tensors) -> int:
        return len(tensors["a"])


class Cached(Factorised):
    needs = frozenset({"vectors", "keys_and_values"})


class Broken(Factorised):
    def enter(self, tensors: Tensors) -> Entry:
        raise KeyError("c")


class Narrow(Factorised):
    def enter(self, tensors: Tensors) -> Entry:
        return Entry(vectors=tensors["a"])


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    for name, form in {"factorised": Factorised(), "cached": Cached(), "broken": Broken(), "narrow": Narrow()}.items():
        forms.register(name, form)
    yield
    for name in ("factorised", "cached", "broken", "narrow"):
        forms.FORMS._things.pop(name)  # pyright: ignore[reportPrivateUsage]


@pytest.fixture(params=ARCHITECTURES)
def model(request: pytest.FixtureRequest) -> LanguageModel:
    return LanguageModel.wrap(tiny_model(request.param), tiny_tokenizer(), "tiny")


@pytest.fixture
def llama() -> LanguageModel:
    return LanguageModel.wrap(tiny_model("llama"), tiny_tokenizer(), "tiny")


def factors(tokens: int = 3, seed: int = 0, name: str = "factorised") -> Loaded:
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(shape, generator=generator) for shape in ((tokens, RANK), (RANK, 32)))
    return Loaded(name, {"a": a, "b": b})


def product(latent: Loaded) -> torch.Tensor:
    return latent.tensors["a"] @ latent.tensors["b"]


def test_rows_with_different_forms_and_without_equal_the_rows_alone(model: LanguageModel) -> None:
    soft = torch.randn(5, 32, generator=torch.Generator().manual_seed(3))
    latents: list[Readable] = [factors(), soft, None, Loaded("soft_prompt", {"latent": soft})]
    together = model.sample(QUESTIONS, latents, 3, WARM, seed=5)
    alone = [model.sample([one], [latent], 3, WARM, 5)[0] for one, latent in zip(QUESTIONS, latents, strict=True)]
    assert together == alone
    assert together[0] == model.sample(QUESTIONS[:1], [product(factors())], 3, WARM, 5)[0]
    assert list(model.stream(QUESTIONS[0], latents[0], WARM, 5))[-1] == together[0][0]


def test_gradient_flows_to_the_tensors_of_the_form(model: LanguageModel) -> None:
    latent = factors()
    for tensor in latent.tensors.values():
        tensor.requires_grad_()
    values, _ = model.log_probabilities(QUESTIONS, COMPLETIONS, latent)
    values.sum().backward()
    plain = product(factors()).requires_grad_()
    expected, _ = model.log_probabilities(QUESTIONS, COMPLETIONS, plain)
    expected.sum().backward()
    assert torch.equal(values, expected) and plain.grad is not None
    a, b = latent.tensors["a"], latent.tensors["b"]
    torch.testing.assert_close(a.grad, plain.grad @ b.detach().T)
    torch.testing.assert_close(b.grad, a.detach().T @ plain.grad)


def test_sampling_keeps_no_graph_of_tensors_that_are_trained(llama: LanguageModel) -> None:
    latent = factors()
    expected = llama.sample(QUESTIONS[:1], [latent], 2, WARM, 0)
    for tensor in latent.tensors.values():
        tensor.requires_grad_()
    assert llama.sample(QUESTIONS[:1], [latent], 2, WARM, 0) == expected
    assert all(tensor.grad is None for tensor in latent.tensors.values())


def test_a_form_whose_needs_the_engine_does_not_take_is_refused_in_words(llama: LanguageModel) -> None:
    words = r"'cached' enters a pass with \['keys_and_values'\].*'tiny' takes \['vectors'\]"
    with pytest.raises(ConfigError, match=words):
        forms.readable("cached", llama)
    with pytest.raises(ConfigError, match=words):
        llama.sample(QUESTIONS[:1], [factors(name="cached")], 1, WARM, 0)
    with pytest.raises(ConfigError, match=r"no form 'unknown'; known are .*'soft_prompt'.*forms\.register"):
        llama.stream(QUESTIONS[0], factors(name="unknown"), WARM, 0)


def test_what_a_form_raises_or_enters_wrongly_is_told_with_its_name(llama: LanguageModel) -> None:
    with pytest.raises(PluginError, match="form 'broken' raised KeyError"):
        llama.log_probabilities(QUESTIONS[:1], [(2,)], factors(name="broken"))
    with pytest.raises(PluginError, match=r"form 'narrow' entered vectors of the shape \(3, 2\); .*\(P, 32\)"):
        llama.sample(QUESTIONS[:1], [factors(name="narrow")], 1, WARM, 0)
    with pytest.raises(InputError, match="no factors"):
        llama.sample(QUESTIONS[:1], [Loaded("factorised", {"latent": torch.ones(2, 32)})], 1, WARM, 0)


def test_what_enters_counts_in_the_context(llama: LanguageModel) -> None:
    with pytest.raises(ContextLengthError, match="300 Latent tokens"):
        llama.sample(QUESTIONS[:1], [factors(300)], 1, WARM, 0)


def test_a_form_that_enters_as_a_prompt_is_exported_as_what_enters(llama: LanguageModel, tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    arrays = {name: tensor.numpy() for name, tensor in factors().tensors.items()}
    assert export_adapter(llama, "a" * 32, arrays, folder, "factorised") == 3
    written = load_file(folder / "adapter_model.safetensors")["prompt_embeddings"]
    torch.testing.assert_close(written, product(factors()))
    with pytest.raises(InputError, match="'cached' is no prompt"):
        export_adapter(llama, "a" * 32, arrays, folder.parent / "other", "cached")


def test_the_fake_reads_forms_as_models_do() -> None:
    fake = FakeModel({"sum: 1": ("2", "3")})
    pushed = Loaded("factorised", {"a": torch.ones(2, 1), "b": torch.full((1, 4), 9.0).requires_grad_()})
    assert {one.text for one in fake.sample(["sum: 1"], [pushed], 20, WARM, 0)[0]} == {"#### 2"}
    fake.log_probabilities(["sum: 1"], [(2,)], pushed)[0].sum().backward()
    assert pushed.tensors["b"].grad is not None and bool(pushed.tensors["b"].grad.any())
