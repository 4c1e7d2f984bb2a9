"""Encoders: the two kinds of keys, and what an embedding of the caller's must give."""

import importlib
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import ARCHITECTURES, tiny_model, tiny_tokenizer

from latent_memory_plugin import keys
from latent_memory_plugin.config import RetrieveConfig
from latent_memory_plugin.engines.hf import LanguageModel
from latent_memory_plugin.errors import ConfigError, InputError, PluginError
from latent_memory_plugin.keys import Embedding, Encoder, make
from latent_memory_plugin.keys.centre import CENTRE_QUESTIONS
from latent_memory_plugin.testing import FakeModel

QUESTIONS = [
    "How many posts are there?",
    "A train travels 60 kilometres in 45 minutes. What is its speed?",
    "How many posts are there now?",
]
KV, INPUT = RetrieveConfig(key="kv"), RetrieveConfig(key="input")


@pytest.fixture(scope="module", params=ARCHITECTURES)
def model(request: pytest.FixtureRequest) -> LanguageModel:
    return LanguageModel.wrap(tiny_model(request.param), tiny_tokenizer())


def letters(texts: list[str]) -> np.ndarray:
    """Counts of a few letters, (N, 5)."""
    return np.array([[text.count(letter) for letter in "aeios"] for text in texts], dtype=np.float64)


def own(function: Any = letters, name: str = "letters") -> Encoder:
    return make(FakeModel({}), INPUT, Embedding(name, function))


# -- kv ----------------------------------------------------------------------------------------------------------------


def test_kv_keys_are_the_models_own_bit_for_bit(model: LanguageModel) -> None:
    encoder = make(model, KV)
    assert encoder.name == model.encoder == "hidden-last-1-v1"
    assert (encoder.keys(QUESTIONS) == model.keys(QUESTIONS)).all()


def test_kv_is_the_default_and_asks_a_model_for_nothing_but_its_keys() -> None:
    fake = FakeModel({})
    encoder = make(fake, RetrieveConfig())
    assert encoder.name == fake.encoder and (encoder.keys(["sum: 1"]) == fake.keys(["sum: 2"])).all()


# -- input, from the model's token embeddings --------------------------------------------------------------------------


def test_every_kind_of_key_has_unit_length_and_does_not_depend_on_company(model: LanguageModel) -> None:
    for encoder in (make(model, INPUT), own()):
        made = encoder.keys(QUESTIONS)
        assert made.dtype == np.float32 and len(made) == 3
        assert np.linalg.norm(made, axis=1) == pytest.approx(1, abs=1e-5)
        assert np.concatenate([encoder.keys([one]) for one in QUESTIONS]) == pytest.approx(made, abs=1e-5)
        assert encoder.keys([]).shape == (0, made.shape[1])
        assert made[0] @ made[2] > made[0] @ made[1] + 0.1


def test_input_keys_are_weighted_means_of_token_embeddings_without_what_all_questions_share() -> None:
    model = LanguageModel.wrap(tiny_model("qwen3"), tiny_tokenizer())
    common = Counter(token for one in CENTRE_QUESTIONS for token in model.question_ids(one))

    def mean(question: str) -> np.ndarray:
        ids = model.question_ids(question)
        weights = torch.tensor([0.01 / (0.01 + common[one] / common.total()) for one in ids])  # (T,)
        return ((weights[:, None] * model.token_embeddings(ids)).sum(0) / weights.sum()).numpy()  # (H,)

    centre = np.stack([mean(one) for one in CENTRE_QUESTIONS])  # (N, H)
    _, vectors = np.linalg.eigh(np.cov(centre.T))
    raw = mean(QUESTIONS[0]) - centre.mean(axis=0)
    raw -= raw @ vectors[:, -1] * vectors[:, -1]
    [key] = make(model, INPUT).keys(QUESTIONS[:1])
    assert key == pytest.approx(raw / np.linalg.norm(raw), abs=1e-3)
    assert abs(key @ vectors[:, -1]) < 1e-3


def test_input_keys_are_of_the_words_and_not_of_the_template(model: LanguageModel) -> None:
    plain = LanguageModel.wrap(model._engine.model, tiny_tokenizer("{{ messages[0]['content'] }} Answer:"))
    made, others = (make(one, INPUT).keys(QUESTIONS) for one in (model, plain))
    assert made == pytest.approx(others, abs=1e-5)


# -- input, from an embedding of the caller's --------------------------------------------------------------------------


def test_an_embedding_of_the_callers_is_centred_and_scaled() -> None:
    raw = letters(QUESTIONS) - letters(list(CENTRE_QUESTIONS)).mean(axis=0)
    expected = raw / np.linalg.norm(raw, axis=1, keepdims=True)
    assert own().keys(QUESTIONS) == pytest.approx(expected, abs=1e-5)


def test_lists_and_tensors_are_embeddings_too() -> None:
    for function in (lambda texts: letters(texts).tolist(), lambda texts: torch.from_numpy(letters(texts))):
        assert own(function).keys(QUESTIONS) == pytest.approx(own().keys(QUESTIONS), abs=1e-6)


def test_the_centre_is_embedded_once() -> None:
    calls: list[int] = []

    def counted(texts: list[str]) -> np.ndarray:
        calls.append(len(texts))
        return letters(texts)

    encoder = own(counted)
    encoder.keys(QUESTIONS)
    encoder.keys(QUESTIONS[:1])
    assert calls == [len(CENTRE_QUESTIONS), 3, 1]


def test_keys_of_different_methods_have_different_names(model: LanguageModel) -> None:
    names = [make(model, KV).name, make(model, INPUT).name, own().name, own(name="other").name]
    assert names[1:] == ["input-sif-v1", "input-letters-v1", "input-other-v1"] and len(set(names)) == 4


@pytest.mark.parametrize(
    "wrong",
    [
        lambda texts: letters(texts)[:-1],
        lambda texts: letters(texts)[0],
        lambda texts: letters(texts)[:, :0],
        lambda texts: letters(texts) * np.nan,
        lambda texts: letters(texts) + 1e300,
        lambda texts: letters(texts).astype(complex),
        lambda texts: [str(text) for text in texts],
        lambda texts: None,
    ],
    ids=["a row short", "one row", "no columns", "nan", "too large", "complex", "text", "nothing"],
)
def test_an_embedding_that_gives_no_finite_rows_is_refused_by_name(wrong: Any) -> None:
    with pytest.raises(InputError, match=r"'odd' gave .* 24 texts; it must give 24 rows of finite numbers"):
        own(wrong, "odd").keys(QUESTIONS)


def test_an_embedding_whose_width_changes_is_refused() -> None:
    with pytest.raises(InputError, match=r"'odd' gave vectors of 4 numbers after some of 5"):
        own(lambda texts: letters(texts)[:, : 5 if len(texts) == 24 else 4], "odd").keys(QUESTIONS)


@pytest.mark.parametrize("wrong", [lambda texts: 1 / 0, lambda texts: [[1.0], [1.0, 2.0]]], ids=["raises", "ragged"])
def test_an_embedding_that_fails_is_named_with_its_error(wrong: Any) -> None:
    with pytest.raises(InputError, match=r"'odd' raised \w*Error"):
        own(wrong, "odd").keys(QUESTIONS)


def test_an_embedding_needs_a_name_a_function_and_a_use() -> None:
    with pytest.raises(ConfigError, match="has no name; pass Embedding"):
        make(FakeModel({}), INPUT, letters)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="name and version"):
        Embedding(" ", letters)
    with pytest.raises(ConfigError, match="'x' is 7; pass a function"):
        Embedding("x", 7)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="key='input'"):
        make(FakeModel({}), KV, Embedding("x", letters))


# -- kinds from elsewhere ----------------------------------------------------------------------------------------------


class Lengths:
    """One number for each question, and what goes wrong where it is asked for."""

    def __init__(self, made: Any = None) -> None:
        self.name, self.made = "lengths-v1", made

    def keys(self, questions: Sequence[str]) -> np.ndarray:
        return self.made(questions) if self.made else np.array([[len(one)] for one in questions], dtype=np.float32)


@pytest.fixture
def kinds() -> Iterator[dict[str, Any]]:
    found: dict[str, Any] = {
        "lengths": lambda model, embed: Lengths(),
        "unmade": lambda model, embed: 1 / 0,
        "broken": lambda model, embed: Lengths(lambda questions: {}["no"]),
        "short": lambda model, embed: Lengths(lambda questions: np.zeros((1, 4))),
        "endless": lambda model, embed: Lengths(lambda questions: np.full((len(questions), 4), np.inf)),
    }
    for name, one in found.items():
        keys.register(name, one)
    yield found
    for name in found:
        keys.KEYS._things.pop(name)  # pyright: ignore[reportPrivateUsage]


def test_a_registered_kind_makes_the_keys_where_the_config_names_it(kinds: dict[str, Any]) -> None:
    encoder = make(FakeModel({}), RetrieveConfig(key="lengths"))
    assert encoder.name == "lengths-v1" and encoder.keys(["a", "abc"]).tolist() == [[1.0], [3.0]]
    assert RetrieveConfig.from_json(RetrieveConfig(key="lengths").model_dump_json()).key == "lengths"


def test_an_unknown_kind_names_the_known_ones_and_how_to_register(kinds: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"no key 'touch'; known are .*'input', 'kv', 'lengths'.*keys\.register"):
        RetrieveConfig(key="touch")
    with pytest.raises(ConfigError, match="another key 'kv' already"):
        keys.register("kv", kinds["lengths"])


def test_a_kind_that_fails_is_told_with_its_name(kinds: dict[str, Any]) -> None:
    with pytest.raises(PluginError, match="key 'unmade' raised ZeroDivisionError"):
        make(FakeModel({}), RetrieveConfig(key="unmade"))
    with pytest.raises(PluginError, match="key 'broken' raised KeyError"):
        make(FakeModel({}), RetrieveConfig(key="broken")).keys(["a"])
    for name in ("short", "endless"):
        with pytest.raises(PluginError, match=f"key '{name}' gave an array of shape .* 2 rows of finite numbers"):
            make(FakeModel({}), RetrieveConfig(key=name)).keys(["a", "b"])


def test_a_config_is_checked_without_torch_and_numpy() -> None:
    code = "import sys; from latent_memory_plugin.config import Config; Config(); "
    code += "assert not {'torch', 'numpy', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_old_import_path_still_leads_here() -> None:
    old = importlib.import_module("latent_memory_plugin.encoder")

    with pytest.warns(DeprecationWarning, match=r"latent_memory_plugin\.keys"):
        assert old.Embedding is Embedding
    with pytest.warns(DeprecationWarning):
        assert old.make_encoder is make
