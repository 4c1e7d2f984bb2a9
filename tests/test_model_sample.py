"""Sampling: with no Latent it is the plain model, and a prompt gets the same rollouts in any company."""

from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import ARCHITECTURES, CONTEXT_TOKENS, tiny_model, tiny_tokenizer, tokens_read

from latent_memory_plugin.config import SamplingConfig
from latent_memory_plugin.engines.hf import LanguageModel
from latent_memory_plugin.engines.hf.cache import GROWTH_TOKENS
from latent_memory_plugin.engines.hf.endings import CHECK_STEPS
from latent_memory_plugin.engines.hf.rows import Row
from latent_memory_plugin.engines.hf.sample import _Sampler, batches, choose, uniforms
from latent_memory_plugin.errors import ContextLengthError, InputError, ModelError, WrongModelError
from latent_memory_plugin.records import Rollout

QUESTIONS = [
    "How many posts are there?",
    "A train travels 60 kilometres in 45 minutes. What is its speed?",
    "What is its speed?",
]
GREEDY = SamplingConfig(temperature=0, max_new_tokens=24)
WARM = SamplingConfig(max_new_tokens=16)


@pytest.fixture(params=ARCHITECTURES)
def model(request: pytest.FixtureRequest) -> LanguageModel:
    return LanguageModel.wrap(tiny_model(request.param), tiny_tokenizer(), f"tiny {request.param}")


@pytest.fixture
def llama() -> LanguageModel:
    return LanguageModel.wrap(tiny_model("llama"), tiny_tokenizer(), "tiny")


def random_latent(tokens: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(tokens, 32, generator=torch.Generator().manual_seed(seed))


def ids(rollouts: list[list[Rollout]]) -> list[list[tuple[int, ...]]]:
    return [[one.token_ids for one in group] for group in rollouts]


def plain_generate(model: LanguageModel, question: str, new_tokens: int) -> tuple[int, ...]:
    prompt = model.prompt_ids(question)
    plain: Any = model._engine.model
    out = plain.generate(torch.tensor([prompt]), do_sample=False, max_new_tokens=new_tokens)
    return tuple(out[0, len(prompt) :].tolist())


def test_without_a_latent_greedy_tokens_are_those_of_plain_generate(model: LanguageModel) -> None:
    drawn = model.sample(QUESTIONS, [None] * 3, 1, GREEDY, seed=0)
    assert ids(drawn) == [[plain_generate(model, question, 24)] for question in QUESTIONS]


def test_with_a_latent_greedy_tokens_are_those_of_generate_from_the_same_embeddings(model: LanguageModel) -> None:
    latent, prompt = random_latent(5), model.prompt_ids(QUESTIONS[0])
    rows = torch.cat([latent, model.token_embeddings(prompt)])[None]
    plain: Any = model._engine.model
    out = plain.generate(
        inputs_embeds=rows, attention_mask=torch.ones(rows.shape[:2]), do_sample=False, max_new_tokens=24
    )
    drawn = model.sample([QUESTIONS[1], QUESTIONS[0]], [None, latent], 1, GREEDY, seed=0)
    assert drawn[1][0].token_ids == tuple(out[0].tolist())


def test_asking_together_equals_asking_alone(model: LanguageModel) -> None:
    latents = [random_latent(4, 1), None, random_latent(9, 2)]
    together = model.sample(QUESTIONS, latents, 3, WARM, seed=5)
    alone = [
        model.sample([question], [latent], 3, WARM, seed=5)[0]
        for question, latent in zip(QUESTIONS, latents, strict=True)
    ]
    assert together == alone


def test_rollouts_that_share_a_prefill_equal_rollouts_read_one_by_one(llama: LanguageModel) -> None:
    latent = random_latent(4)
    shared = llama.sample([QUESTIONS[0]], [latent], 4, WARM, seed=3)
    one_by_one = llama.sample([QUESTIONS[0]], [latent], 4, WARM, seed=3, max_batch_tokens=1)
    assert shared == one_by_one
    assert len(set(ids(shared)[0])) > 1


def test_a_prompt_is_read_once_for_all_its_rollouts_and_finished_rows_are_read_no_more(llama: LanguageModel) -> None:
    counts = tokens_read(llama._engine.model)
    [rollouts] = llama.sample([QUESTIONS[0]], [random_latent(4)], 60, SamplingConfig(max_new_tokens=120), seed=3)
    assert counts[0] == len(llama.prompt_ids(QUESTIONS[0])) + 4
    assert counts[1] == 60
    sampled = sum(len(one.token_ids) for one in rollouts)
    assert min(len(one.token_ids) for one in rollouts) < 60
    assert sum(counts[1:]) < 1.25 * sampled


def test_what_is_spared_on_a_gpu_changes_nothing(model: LanguageModel) -> None:
    """There the host looks for ends at every eighth step, and gives no mask where nothing is padded."""
    engine, sampling = model._engine, SamplingConfig(max_new_tokens=40)
    rows = [Row(model._prompts.read(QUESTIONS[0]), random_latent(4))]
    pairs, endings = [(0, number) for number in range(30)], model._endings(sampling)
    drawn: list[list[Rollout]] = []
    for look_steps, padded in ((1, True), (CHECK_STEPS, False)):
        with engine.frozen(), torch.inference_mode():
            sampler = _Sampler(engine, rows, pairs, sampling, 3, endings)
            assert bool(sampler.mask.all())
            sampler.look_steps, sampler.padded = look_steps, padded
            while sampler.advance():
                pass
            drawn.append(endings.rollouts(sampler.tokens.tolist()))
    assert drawn[0] == drawn[1]
    assert any(one.finished for one in drawn[0]) and len({len(one.token_ids) for one in drawn[0]}) > 1


def test_small_batches_give_the_same_in_the_order_of_the_input(llama: LanguageModel) -> None:
    whole = llama.sample(QUESTIONS, [None] * 3, 4, WARM, seed=1)
    assert llama.sample(QUESTIONS, [None] * 3, 4, WARM, seed=1, max_batch_tokens=150) == whole
    assert llama.sample(QUESTIONS[::-1], [None] * 3, 4, WARM, seed=1)[::-1] == whole


def test_a_seed_repeats_and_another_seed_differs(llama: LanguageModel) -> None:
    first = llama.sample([QUESTIONS[0]], [None], 2, WARM, seed=1)
    assert llama.sample([QUESTIONS[0]], [None], 2, WARM, seed=1) == first
    assert llama.sample([QUESTIONS[0]], [None], 2, WARM, seed=2) != first


def test_more_rollouts_or_tokens_continue_the_fewer(llama: LanguageModel) -> None:
    few = ids(llama.sample([QUESTIONS[0]], [None], 2, WARM, seed=1))[0]
    longer = SamplingConfig(max_new_tokens=20)
    many = ids(llama.sample([QUESTIONS[0]], [None], 3, longer, seed=1))[0]
    assert [one[:16] for one in many[:2]] == few


def test_the_random_numbers_of_torch_stay_where_they_are(llama: LanguageModel) -> None:
    before = torch.get_rng_state()
    llama.sample([QUESTIONS[0]], [None], 2, WARM, seed=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_completions_longer_than_the_cache_has_room_for_equal_plain_generate(llama: LanguageModel) -> None:
    long = 2 * GROWTH_TOKENS + 5
    drawn = llama.sample([QUESTIONS[0]], [None], 2, SamplingConfig(temperature=0, max_new_tokens=long), seed=0)
    assert ids(drawn)[0] == [plain_generate(llama, QUESTIONS[0], long)] * 2


def test_every_end_token_ends_and_the_rest_of_the_batch_goes_on(llama: LanguageModel) -> None:
    greedy = {question: plain_generate(llama, question, 24) for question in QUESTIONS}
    end = greedy[QUESTIONS[1]][10]
    assert end not in greedy[QUESTIONS[1]][:10]
    engine_model = llama._engine.model
    engine_model.generation_config.eos_token_id = [2, end]
    drawn = LanguageModel.wrap(engine_model, tiny_tokenizer()).sample(QUESTIONS, [None] * 3, 2, GREEDY, seed=0)
    for question, group in zip(QUESTIONS, drawn, strict=True):
        tokens = greedy[question]
        cut = tokens[: tokens.index(end) + 1] if end in tokens else tokens
        assert [one.token_ids for one in group] == [cut] * 2
        assert [one.finished for one in group] == [end in tokens] * 2
    assert drawn[1][0].finished and len(drawn[1][0].token_ids) == 11


def test_text_leaves_the_end_token_out(llama: LanguageModel) -> None:
    rollouts = llama.sample(QUESTIONS, [None] * 3, 30, SamplingConfig(max_new_tokens=40), seed=0)
    ended = [one for group in rollouts for one in group if one.finished]
    assert ended and all(one.token_ids[-1] == 2 and "<end>" not in one.text for one in ended)
    assert all(2 not in one.token_ids[:-1] for one in ended)


@pytest.mark.parametrize("length", [1, 3])
def test_a_completion_ends_before_its_first_stop_string(llama: LanguageModel, length: int) -> None:
    free = llama.sample([QUESTIONS[0]], [None], 6, WARM, seed=4)[0]
    stops = tuple(one.text[5 : 5 + length] for one in free[:2])
    stopped = llama.sample([QUESTIONS[0]], [None], 6, WARM.model_copy(update={"stop": (*stops, "not there")}), seed=4)[
        0
    ]
    for one, before in zip(stopped, free, strict=True):
        places = [before.text.find(stop) for stop in stops if stop in before.text]
        assert one.text == (before.text[: min(places)] if places else before.text)
        assert one.finished == (bool(places) or before.finished)
        assert one.token_ids == before.token_ids[: len(one.token_ids)]
        text = llama._tokenizer.decode(list(one.token_ids), skip_special_tokens=True)
        assert not places or any(stop in text for stop in stops)
    assert stopped[0].finished and len(stopped[0].token_ids) < 16


def test_a_special_token_can_be_a_stop_string(llama: LanguageModel) -> None:
    free = llama.sample([QUESTIONS[0]], [None], 40, WARM, seed=4)[0]
    stopped = llama.sample([QUESTIONS[0]], [None], 40, WARM.model_copy(update={"stop": ("<user>",)}), seed=4)[0]
    hit = [number for number, one in enumerate(free) if 3 in one.token_ids]
    assert hit and all(stopped[number].token_ids[-1] == 3 and stopped[number].finished for number in hit)


def test_the_context_length_error_says_the_numbers(llama: LanguageModel) -> None:
    with pytest.raises(ContextLengthError) as caught:
        llama.sample([QUESTIONS[0]], [random_latent(7)], 1, SamplingConfig(max_new_tokens=CONTEXT_TOKENS), seed=0)
    prompt = len(llama.prompt_ids(QUESTIONS[0]))
    for number in (prompt, 7, CONTEXT_TOKENS, prompt + 7 + CONTEXT_TOKENS):
        assert str(number) in str(caught.value)


def test_a_request_that_just_fits_the_context_is_answered(llama: LanguageModel) -> None:
    room = CONTEXT_TOKENS - len(llama.prompt_ids(QUESTIONS[0])) - 7
    [[rollout]] = llama.sample([QUESTIONS[0]], [random_latent(7)], 1, SamplingConfig(max_new_tokens=room), seed=0)
    assert rollout.token_ids


def test_requests_that_cannot_be_meant_are_refused(llama: LanguageModel) -> None:
    with pytest.raises(InputError, match="n=0"):
        llama.sample(QUESTIONS, [None] * 3, 0, WARM, seed=0)
    with pytest.raises(InputError, match="2 Latents"):
        llama.sample(QUESTIONS, [None] * 2, 1, WARM, seed=0)
    with pytest.raises(InputError, match="NaN"):
        llama.sample(QUESTIONS[:1], [torch.full((2, 32), float("nan"))], 1, WARM, seed=0)
    with pytest.raises(WrongModelError, match="48"):
        llama.sample(QUESTIONS[:1], [torch.ones(2, 48)], 1, WARM, seed=0)
    assert llama.sample([], [], 1, WARM, seed=0) == []


def test_logits_that_are_not_finite_are_an_error_and_not_a_text() -> None:
    model = tiny_model("llama", dtype=torch.float16)
    llama = LanguageModel.wrap(model, tiny_tokenizer())
    with pytest.raises(ModelError, match="finite"):
        llama.sample(QUESTIONS[:1], [torch.full((2, 32), 1e30)], 1, WARM, seed=0)


def test_flags_of_a_wrapped_model_come_back_and_dropout_stays_off() -> None:
    model: Any = tiny_model("gpt2").train()
    model.transformer.wte.weight.requires_grad_(False)
    flags = [weight.requires_grad for weight in model.parameters()]
    modes = [module.training for module in model.modules()]
    wrapped = LanguageModel.wrap(model, tiny_tokenizer())
    first = wrapped.sample(QUESTIONS, [None] * 3, 2, WARM, seed=0)
    wrapped.keys(QUESTIONS)
    assert [weight.requires_grad for weight in model.parameters()] == flags
    assert [module.training for module in model.modules()] == modes
    assert LanguageModel.wrap(model.eval(), tiny_tokenizer()).sample(QUESTIONS, [None] * 3, 2, WARM, seed=0) == first


def test_chosen_tokens_follow_the_distribution() -> None:
    logits = torch.tensor([2.0, 1.0, -1.0, 0.5, float("-inf")])
    uniform = torch.from_numpy(uniforms(0, (1, 2), 0, 20_000))
    chosen = choose(logits.expand(20_000, -1), uniform, SamplingConfig(temperature=0.7))
    counts = torch.bincount(chosen, minlength=5) / 20_000
    torch.testing.assert_close(counts, torch.softmax(logits / 0.7, -1), atol=0.015, rtol=0)
    assert counts[4] == 0


def test_a_token_without_probability_is_never_chosen() -> None:
    logits = torch.tensor([[float("-inf"), 0.0, float("-inf")]] * 2)
    uniform = torch.tensor([0.0, 1.0 - 2**-53], dtype=torch.float64)
    assert choose(logits, uniform, SamplingConfig()).tolist() == [1, 1]


@pytest.mark.parametrize("top_p", [0.05, 0.5, 0.85, 0.999])
def test_top_p_keeps_the_smallest_set_that_reaches_it(top_p: float) -> None:
    chances = torch.tensor([0.1, 0.4, 0.2, 0.3])
    uniform = torch.linspace(0, 1, 1001)[:-1]
    sampling = SamplingConfig(top_p=top_p)
    chosen = choose(chances.log().expand(1000, -1), uniform, sampling)
    order, kept = [1, 3, 2, 0], []
    while sum(chances[kept].tolist()) < top_p - 1e-6:
        kept.append(order[len(kept)])
    shares = torch.bincount(chosen, minlength=4) / 1000
    expected = torch.zeros(4)
    expected[kept] = chances[kept] / chances[kept].sum()
    torch.testing.assert_close(shares, expected, atol=0.002, rtol=0)


def test_random_numbers_belong_to_seed_prompt_and_rollout_alone() -> None:
    first = uniforms(1, (5, 6), 0, 8)
    assert np.array_equal(uniforms(1, (5, 6), 0, 20)[:8], first)
    for other in (uniforms(2, (5, 6), 0, 8), uniforms(1, (56,), 0, 8), uniforms(1, (5, 6), 1, 8)):
        assert not np.array_equal(other, first)


def test_batches_hold_every_pair_once_within_the_budget() -> None:
    lengths = [50, 10, 30, 10]
    made = list(batches(lengths, rollouts=5, new_tokens=10, max_batch_tokens=130))
    assert sorted(pair for batch in made for pair in batch) == [(row, k) for row in range(4) for k in range(5)]
    for batch in made:
        assert len(batch) * (max(lengths[row] for row, _ in batch) + 10) <= 130
    assert list(batches([500], 2, 10, 130)) == [[(0, 0)], [(0, 1)]]
