"""The soft prompt starts from the problem's own tokens, and what is no soft prompt is refused."""

import pytest
import torch
from tiny_models import tiny_model, tiny_tokenizer

from latent_memory_plugin.engines.hf import LanguageModel
from latent_memory_plugin.errors import InputError, WrongModelError
from latent_memory_plugin.forms.soft_prompt import SOFT_PROMPT
from latent_memory_plugin.records import Problem

PROBLEM = Problem(question="How many posts?")


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return LanguageModel.wrap(tiny_model(dtype=torch.bfloat16), tiny_tokenizer())


@pytest.mark.parametrize("tokens", [1, 3, 20])
def test_it_starts_from_the_embeddings_of_the_question_cut_or_repeated(model: LanguageModel, tokens: int) -> None:
    ids = model.question_ids(PROBLEM.question)
    latent = SOFT_PROMPT.start(model, PROBLEM, tokens)["latent"]
    assert latent.shape == (tokens, 32) and latent.dtype == torch.float32 and not latent.requires_grad
    table = model._engine.embedding.float()
    assert all(torch.equal(latent[place], table[ids[place % len(ids)]]) for place in range(tokens))


def test_training_the_start_leaves_the_embeddings_alone(model: LanguageModel) -> None:
    before = model.token_embeddings(model.question_ids(PROBLEM.question))
    SOFT_PROMPT.start(model, PROBLEM, 4)["latent"].zero_()
    assert torch.equal(model.token_embeddings(model.question_ids(PROBLEM.question)), before)


def test_no_vectors_are_no_latent(model: LanguageModel) -> None:
    with pytest.raises(InputError, match="latent_tokens=0"):
        SOFT_PROMPT.start(model, PROBLEM, 0)


@pytest.mark.parametrize(
    "tensor",
    [torch.ones(32), torch.ones(1, 2, 32), torch.ones(0, 32), torch.ones(2, 32, dtype=torch.long), [[1.0] * 32]],
)
def test_what_is_no_matrix_of_numbers_is_refused(model: LanguageModel, tensor: torch.Tensor) -> None:
    with pytest.raises(InputError, match=r"'latent' \(P, 32\)"):
        SOFT_PROMPT.check({"latent": tensor}, model)


@pytest.mark.parametrize("tensors", [{}, {"vectors": torch.ones(2, 32)}, dict.fromkeys("ab", torch.ones(2, 32))])
def test_tensors_of_other_names_are_none_of_this_form(model: LanguageModel, tensors: dict[str, torch.Tensor]) -> None:
    with pytest.raises(InputError, match="one floating-point tensor 'latent'"):
        SOFT_PROMPT.check(tensors, model)


def test_a_latent_of_another_width_names_both(model: LanguageModel) -> None:
    with pytest.raises(WrongModelError, match=r"48.*32"):
        SOFT_PROMPT.check({"latent": torch.ones(2, 48)}, model)


def test_values_that_are_not_finite_are_refused_where_asked(model: LanguageModel) -> None:
    SOFT_PROMPT.check({"latent": torch.ones(2, 32)}, model)
    broken = {"latent": torch.tensor([[1.0] * 31 + [float("inf")]])}
    SOFT_PROMPT.check(broken, model, finite=False)
    with pytest.raises(InputError, match="infinity"):
        SOFT_PROMPT.check(broken, model)


def test_it_enters_as_it_is_and_takes_a_token_for_each_vector() -> None:
    tensors = {"latent": torch.ones(3, 32)}
    assert SOFT_PROMPT.enter(tensors).vectors is tensors["latent"] and SOFT_PROMPT.latent_tokens(tensors) == 3
