"""Keys: unit length, stable in any company, near for near questions."""

import numpy as np
import pytest
import torch
from tiny_models import ARCHITECTURES, tiny_model, tiny_tokenizer

from latent_memory_plugin.engines.hf import LanguageModel
from latent_memory_plugin.engines.hf.keys import KeyEncoder
from latent_memory_plugin.errors import ConfigError, ContextLengthError

QUESTIONS = [
    "How many posts are there?",
    "A train travels 60 kilometres in 45 minutes. What is its speed?",
    "How many posts are there now?",
]


@pytest.fixture(params=ARCHITECTURES)
def model(request: pytest.FixtureRequest) -> LanguageModel:
    return LanguageModel.wrap(tiny_model(request.param), tiny_tokenizer())


def test_keys_have_unit_length_and_do_not_depend_on_company(model: LanguageModel) -> None:
    keys = model.keys(QUESTIONS)
    assert keys.dtype == np.float32 and keys.shape == (3, 32)
    assert np.linalg.norm(keys, axis=1) == pytest.approx(1, abs=1e-5)
    assert np.concatenate([model.keys([one]) for one in QUESTIONS]) == pytest.approx(keys, abs=1e-4)


def test_near_questions_have_near_keys(model: LanguageModel) -> None:
    keys = model.keys(QUESTIONS)
    assert keys[0] @ keys[2] > keys[0] @ keys[1] + 0.1


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_raw_keys_are_the_hidden_states_transformers_gives(model: LanguageModel, pooling: str) -> None:
    with torch.no_grad():
        output = model._engine.model(torch.tensor([model.prompt_ids(QUESTIONS[0])]), output_hidden_states=True)
    states = output.hidden_states[2][0]
    first = len(model.prompt_ids(QUESTIONS[0])) - len(model.question_ids(QUESTIONS[0])) - 2
    question = states[first : first + len(model.question_ids(QUESTIONS[0]))]
    expected = states[-1] if pooling == "last" else question.mean(0)
    raw = model.raw_keys(QUESTIONS, 2, pooling)  # pyright: ignore[reportArgumentType]
    assert raw[0] == pytest.approx(expected.numpy(), abs=1e-4)


def test_the_encoder_names_what_it_does(model: LanguageModel) -> None:
    assert model.encoder == "hidden-last-1-v1"
    assert KeyEncoder(2, "mean").name == "hidden-mean-2-v1"


def test_no_questions_have_no_keys(model: LanguageModel) -> None:
    assert model.keys([]).shape == (0, 32)


def test_a_layer_that_is_not_there_and_a_question_beyond_the_context_are_refused(model: LanguageModel) -> None:
    with pytest.raises(ConfigError, match="0 to 3"):
        model.raw_keys(QUESTIONS, 4)
    with pytest.raises(ContextLengthError):
        model.keys(["posts " * 300])
