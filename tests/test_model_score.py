"""Log-probabilities: those of the plain softmax, with a gradient to the Latent that finite differences confirm."""

import pytest
import torch
from tiny_models import ARCHITECTURES, tiny_model, tiny_tokenizer, tokens_read

from latent_memory_plugin.config import SamplingConfig
from latent_memory_plugin.engines.hf import LanguageModel
from latent_memory_plugin.errors import ContextLengthError, InputError, WrongModelError
from latent_memory_plugin.records import Rollout

QUESTIONS = ["How many posts?", "A train travels 60 kilometres.", "How many posts?", "How many posts?"]
COMPLETIONS = [(20, 21, 22, 2), (30, 2), (40, 41, 2), (50,)]


def wrapped(architecture: str, dtype: torch.dtype = torch.float32) -> LanguageModel:
    return LanguageModel.wrap(tiny_model(architecture, dtype=dtype), tiny_tokenizer())


@pytest.fixture(params=ARCHITECTURES)
def model(request: pytest.FixtureRequest) -> LanguageModel:
    return wrapped(request.param)


def latent_of(tokens: int = 3, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(tokens, 32, generator=torch.Generator().manual_seed(0), dtype=dtype)


def reference(
    model: LanguageModel, question: str, completion: tuple[int, ...], latent: torch.Tensor | None
) -> list[float]:
    """From the whole logits of one row, nothing padded, shared or cut."""
    prompt = model.prompt_ids(question)
    rows = model.token_embeddings([*prompt, *completion])
    rows = rows if latent is None else torch.cat([latent, rows])
    with torch.no_grad():
        logits = model._engine.model(inputs_embeds=rows[None]).logits[0].log_softmax(-1)
    first = len(rows) - len(completion) - 1
    return [float(logits[first + place, token]) for place, token in enumerate(completion)]


@pytest.mark.parametrize("latent", [None, latent_of()])
def test_values_are_those_of_a_log_softmax_over_each_row_alone(
    model: LanguageModel, latent: torch.Tensor | None
) -> None:
    values, mask = model.log_probabilities(QUESTIONS, COMPLETIONS, latent)
    assert values.dtype == torch.float32 and values.shape == mask.shape == (4, 4)
    assert mask.sum(1).tolist() == [4, 2, 3, 1]
    assert values[~mask].tolist() == [0.0] * 6
    for row, (question, completion) in enumerate(zip(QUESTIONS, COMPLETIONS, strict=True)):
        expected = reference(model, question, completion, latent)
        assert values[row, : len(completion)].tolist() == pytest.approx(expected, abs=1e-4)


def test_rows_that_share_a_prompt_equal_rows_scored_one_by_one(model: LanguageModel) -> None:
    latent = latent_of()
    values, _ = model.log_probabilities(QUESTIONS, COMPLETIONS, latent)
    for row in range(4):
        alone, _ = model.log_probabilities(QUESTIONS[row : row + 1], COMPLETIONS[row : row + 1], latent)
        torch.testing.assert_close(values[row, : alone.shape[1]], alone[0], atol=1e-4, rtol=0)


def test_the_gradient_through_a_shared_prompt_is_that_of_separate_rows(model: LanguageModel) -> None:
    shared, separate = latent_of().requires_grad_(), latent_of().requires_grad_()
    model.log_probabilities(QUESTIONS, COMPLETIONS, shared)[0].sum().backward()
    for row in range(4):
        values, _ = model.log_probabilities(QUESTIONS[row : row + 1], COMPLETIONS[row : row + 1], separate)
        values.sum().backward()
    assert shared.grad is not None and separate.grad is not None
    torch.testing.assert_close(shared.grad, separate.grad, atol=1e-4, rtol=1e-4)


def test_a_prompt_that_several_rows_share_is_read_once() -> None:
    model = wrapped("llama")
    prompt, counts = model.prompt_ids(QUESTIONS[0]), tokens_read(model._engine.model)
    model.log_probabilities(QUESTIONS[:1] * 8, [(20, 21, 2)] * 8, latent_of())
    assert counts == [len(prompt) - 1 + 3, 8 * 3]


@pytest.mark.parametrize("questions", [QUESTIONS, QUESTIONS[:2]], ids=["shared prompts", "separate prompts"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_gradient_equals_finite_differences(architecture: str, questions: list[str]) -> None:
    model = wrapped(architecture, torch.float64)
    latent = latent_of(dtype=torch.float64).requires_grad_()

    def objective(tensor: torch.Tensor) -> torch.Tensor:
        values, mask = model.log_probabilities(questions, COMPLETIONS[: len(questions)], tensor)
        assert values.dtype == torch.float64
        return (values / mask.sum(1, keepdim=True)).sum()

    [gradient] = torch.autograd.grad(objective(latent), latent)
    # transformers computes the norms and rotary positions of all but GPT-2 in float32, whatever the model's format.
    step, tolerance = (1e-5, 1e-6) if architecture == "gpt2" else (2e-3, 2e-3)
    generator = torch.Generator().manual_seed(3)
    for _ in range(4):
        direction = torch.randn(latent.shape, generator=generator, dtype=torch.float64)
        with torch.no_grad():
            slope = (objective(latent + step * direction) - objective(latent - step * direction)) / (2 * step)
        assert float((gradient * direction).sum()) == pytest.approx(float(slope), rel=tolerance, abs=tolerance)


def test_learning_touches_no_weight_no_flag_and_no_gradient_of_the_callers() -> None:
    model = tiny_model("llama").train()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    latent = latent_of().requires_grad_()
    values, _ = LanguageModel.wrap(model, tiny_tokenizer()).log_probabilities(QUESTIONS, COMPLETIONS, latent)
    assert model.training and all(weight.requires_grad for weight in model.parameters())
    values.sum().backward()
    assert latent.grad is not None and latent.grad.abs().sum() > 0
    assert all(weight.grad is None for weight in model.parameters())
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


def test_the_likelihood_of_a_greedy_completion_is_the_highest_at_its_first_token(model: LanguageModel) -> None:
    [[rollout]] = model.sample(QUESTIONS[:1], [latent_of()], 1, SamplingConfig(temperature=0, max_new_tokens=4), 0)
    tokens = [(token,) for token in range(320)]
    values, _ = model.log_probabilities(QUESTIONS[:1] * 320, tokens, latent_of())
    assert int(values[:, 0].argmax()) == rollout.token_ids[0]
    assert float(values.exp().sum()) == pytest.approx(1, abs=1e-4)


def test_a_bfloat16_model_gives_float32_values_and_a_float32_gradient() -> None:
    model, latent = wrapped("qwen3", torch.bfloat16), latent_of().requires_grad_()
    values, _ = model.log_probabilities(QUESTIONS, COMPLETIONS, latent)
    values.sum().backward()
    assert values.dtype == torch.float32
    assert latent.grad is not None and latent.grad.dtype == torch.float32 and latent.grad.isfinite().all()


def test_requests_that_cannot_be_meant_are_refused() -> None:
    model = wrapped("llama")
    for questions, completions in ([], []), (["a"], []), (["a"], [()]):
        with pytest.raises(InputError, match="at least one token"):
            model.log_probabilities(questions, completions, None)
    with pytest.raises(WrongModelError):
        model.log_probabilities(["a"], [(2,)], torch.ones(2, 48))
    with pytest.raises(ContextLengthError):
        model.log_probabilities(["a"], [(2,) * 300], None)


def test_a_rollout_from_elsewhere_is_its_text_and_the_end_token() -> None:
    model = wrapped("llama")
    ids = model.completion_ids(Rollout(text="First add the numbers"))
    assert model._tokenizer.decode(list(ids)) == "First add the numbers<end>"
    assert model.completion_ids(Rollout(text="anything", token_ids=(7, 8))) == (7, 8)
