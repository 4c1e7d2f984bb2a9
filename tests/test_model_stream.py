"""Streams of the model door: the last rollout is what `sample` gives, and between two of them the model is the
caller's; and `written`, the text with the special tokens that mark calls of tools."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from tiny_models import ARCHITECTURES, CONTEXT_TOKENS, tiny_model, tiny_tokenizer, tokens_read

from latent_memory_plugin.config import SamplingConfig
from latent_memory_plugin.engines.hf import LanguageModel
from latent_memory_plugin.errors import ContextLengthError, InputError, ModelError, WrongModelError
from latent_memory_plugin.records import Rollout

QUESTION, OTHER = "How many posts are there?", "What is its speed?"
WARM = SamplingConfig(max_new_tokens=16)
GREEDY = SamplingConfig(temperature=0, max_new_tokens=24)
END, USER = 2, 3
"""Ids of <end> and <user> in the tiny tokenizer."""


@pytest.fixture(params=ARCHITECTURES)
def model(request: pytest.FixtureRequest) -> LanguageModel:
    return LanguageModel.wrap(tiny_model(request.param), tiny_tokenizer(), f"tiny {request.param}")


@pytest.fixture
def llama() -> LanguageModel:
    return LanguageModel.wrap(tiny_model("llama"), tiny_tokenizer(), "tiny")


def random_latent(tokens: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(tokens, 32, generator=torch.Generator().manual_seed(seed))


def sampled(model: LanguageModel, latent: torch.Tensor | None, sampling: SamplingConfig, seed: int) -> Rollout:
    return model.sample([QUESTION], [latent], 1, sampling, seed)[0][0]


def streamed(model: LanguageModel, latent: torch.Tensor | None, sampling: SamplingConfig, seed: int) -> list[Rollout]:
    return list(model.stream(QUESTION, latent, sampling, seed))


def scripted(text_ids: Sequence[int]) -> LanguageModel:
    """A model that writes these tokens, whatever it reads."""
    torch_model: Any = tiny_model("llama")
    # Before it is scripted: what is no function of what it reads is refused.
    model = LanguageModel.wrap(torch_model, tiny_tokenizer(), "scripted")
    place = 0

    def count(_: torch.nn.Module, __: Any, embedded: torch.Tensor) -> None:
        nonlocal place
        place = 0 if embedded.shape[1] > 1 else place + 1

    def write(_: torch.nn.Module, __: Any, logits: torch.Tensor) -> torch.Tensor:
        only = torch.full_like(logits, -1e4)  # (B, T, V)
        only[..., text_ids[min(place, len(text_ids) - 1)]] = 1e4
        return only

    torch_model.get_input_embeddings().register_forward_hook(count)
    torch_model.lm_head.register_forward_hook(write)
    return model


def token_ids(text: str) -> list[int]:
    return tiny_tokenizer()(text, add_special_tokens=False)["input_ids"]  # pyright: ignore[reportReturnType]


# -- streams -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sampling", [WARM, GREEDY, SamplingConfig(temperature=0.7, top_p=0.8, max_new_tokens=16)])
def test_the_last_rollout_of_a_stream_is_what_sample_gives_and_each_is_a_token_longer(
    model: LanguageModel, sampling: SamplingConfig
) -> None:
    for latent in (None, random_latent(4)):
        for seed in (0, 1):
            drawn = streamed(model, latent, sampling, seed)
            assert drawn[-1] == sampled(model, latent, sampling, seed)
            whole = drawn[-1].token_ids
            assert [one.token_ids for one in drawn] == [whole[: size + 1] for size in range(len(whole))]
            assert not any(one.finished for one in drawn[:-1])


def test_of_several_rollouts_the_stream_is_the_first(llama: LanguageModel) -> None:
    [group] = llama.sample([QUESTION], [None], 3, WARM, seed=5)
    assert len(set(group)) == 3 and streamed(llama, None, WARM, 5)[-1] == group[0]


def test_a_stream_ends_with_the_end_token_or_with_its_last_token(llama: LanguageModel) -> None:
    ended = 0
    for seed in range(40):
        drawn = streamed(llama, None, WARM, seed)
        assert drawn[-1] == sampled(llama, None, WARM, seed)
        assert drawn[-1].finished == (drawn[-1].token_ids[-1] == END)
        assert drawn[-1].finished or len(drawn) == 16
        ended += drawn[-1].finished
    assert 0 < ended < 40


@pytest.mark.parametrize("length", [1, 2, 5])
def test_a_stream_ends_with_the_token_that_completes_a_stop_string(llama: LanguageModel, length: int) -> None:
    whole = sampled(llama, None, WARM, 4)
    for begin in range(0, len(whole.text) - length, 3):
        stop = whole.text[begin : begin + length]
        sampling = WARM.model_copy(update={"stop": (stop, "not there")})
        drawn = streamed(llama, None, sampling, 4)
        assert drawn[-1] == sampled(llama, None, sampling, 4)
        assert drawn[-1].text == whole.text.partition(stop)[0] and drawn[-1].finished
        assert not any(stop in one.text for one in drawn)


def test_a_stream_reads_the_prompt_once_and_then_a_token_at_a_time_and_none_after_its_end() -> None:
    script = token_ids("12 posts")
    model = scripted([*script, END])
    counts = tokens_read(model._engine.model)
    drawn = streamed(model, random_latent(4), WARM, 0)
    assert drawn[-1].text == "12 posts" and drawn[-1].token_ids == (*script, END)
    assert counts == [len(model.prompt_ids(QUESTION)) + 4, *[1] * len(script)]


def test_half_a_character_is_never_taken_for_a_whole_one() -> None:
    text = "a🙂b漢é"
    # Twelve bytes, each a token of its own: no such character is in the tokenizer's sentences.
    assert len(token_ids(text)) == len(text.encode())
    drawn = streamed(scripted([*token_ids(text), END]), None, WARM, 0)
    assert drawn[-1].text == text
    for one in drawn:
        assert text.startswith(one.text.rstrip("\ufffd"))


def test_nothing_is_read_before_the_first_rollout_is_wanted(llama: LanguageModel) -> None:
    counts = tokens_read(llama._engine.model)
    drawn = llama.stream(QUESTION, None, WARM, 0)
    assert counts == []
    next(drawn)
    # The prompt, and the token that was chosen.
    assert counts == [len(llama.prompt_ids(QUESTION)), 1]


def test_what_cannot_be_streamed_is_refused_by_the_call_itself(llama: LanguageModel) -> None:
    with pytest.raises(ContextLengthError, match=str(CONTEXT_TOKENS)):
        llama.stream(QUESTION, None, SamplingConfig(max_new_tokens=CONTEXT_TOKENS), 0)
    with pytest.raises(InputError, match="empty"):
        llama.stream([], None, WARM, 0)
    with pytest.raises(InputError, match="NaN"):
        llama.stream(QUESTION, torch.full((2, 32), float("nan")), WARM, 0)
    with pytest.raises(WrongModelError, match="48"):
        llama.stream(QUESTION, torch.ones(2, 48), WARM, 0)


def test_logits_that_are_not_finite_are_an_error_and_not_a_stream() -> None:
    model = LanguageModel.wrap(tiny_model("llama", dtype=torch.float16), tiny_tokenizer())
    with pytest.raises(ModelError, match="finite"):
        next(model.stream(QUESTION, torch.full((2, 32), 1e30), WARM, 0))


def test_the_random_numbers_of_torch_stay_where_they_are(llama: LanguageModel) -> None:
    before = torch.get_rng_state()
    streamed(llama, None, WARM, 1)
    assert torch.equal(torch.get_rng_state(), before)


# -- between two tokens ------------------------------------------------------------------------------------------------


def trainable(architecture: str = "llama") -> tuple[Any, LanguageModel, Rollout]:
    """A model with every flag on, its door, and what it samples."""
    torch_model: Any = tiny_model(architecture).train()
    model = LanguageModel.wrap(torch_model, tiny_tokenizer())
    return torch_model, model, sampled(model, None, WARM, 3)


def is_the_callers(torch_model: Any) -> bool:
    weights, modules = list(torch_model.parameters()), list(torch_model.modules())
    flags = [one.requires_grad for one in weights] + [one.training for one in modules]
    return all(flags) and torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_between_two_tokens_the_caller_may_train_the_model(architecture: str) -> None:
    torch_model, model, expected = trainable(architecture)
    drawn: list[Rollout] = []
    for one in model.stream(QUESTION, None, WARM, 3):
        drawn.append(one)
        assert is_the_callers(torch_model)
        torch_model(torch.tensor([[5, 6, 7]])).logits.square().mean().backward()  # no optimiser step: same weights
        assert all(weight.grad is not None for weight in torch_model.parameters())
        torch_model.zero_grad()
    assert drawn[-1] == expected and is_the_callers(torch_model)


@pytest.mark.parametrize("close", [True, False])
def test_a_stream_that_is_abandoned_leaves_the_model_usable_and_the_callers(close: bool) -> None:
    torch_model, model, expected = trainable()
    drawn: Any = model.stream(QUESTION, None, WARM, 3)
    for _ in range(2):
        next(drawn)
    if close:
        drawn.close()
    assert is_the_callers(torch_model)
    assert sampled(model, None, WARM, 3) == expected and streamed(model, None, WARM, 3)[-1] == expected
    assert is_the_callers(torch_model) and (close or len(list(drawn)) == len(expected.token_ids) - 2)


def test_a_stream_may_be_read_without_gradients_around_it(llama: LanguageModel) -> None:
    expected = sampled(llama, None, WARM, 3)
    with torch.no_grad():
        assert streamed(llama, None, WARM, 3)[-1] == expected
    drawn = llama.stream(QUESTION, None, WARM, 3)
    with torch.inference_mode():
        next(drawn)
    assert list(drawn)[-1] == expected


def test_streams_read_in_turns_do_not_disturb_each_other(model: LanguageModel) -> None:
    asked: list[tuple[str, torch.Tensor | None, int]] = [(QUESTION, None, 1), (OTHER, random_latent(5), 2)]
    alone = [list(model.stream(question, latent, WARM, seed)) for question, latent, seed in asked]
    streams: list[Iterator[Rollout]] = [model.stream(question, latent, WARM, seed) for question, latent, seed in asked]
    together: list[list[Rollout]] = [[], []]
    for _ in range(17):
        for drawn, taken in zip(streams, together, strict=True):
            taken += [one for one in [next(drawn, None)] if one is not None]
    assert together == alone


def test_streams_in_threads_do_not_disturb_each_other(model: LanguageModel) -> None:
    alone = [streamed(model, random_latent(4, seed), WARM, seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(lambda seed: streamed(model, random_latent(4, seed), WARM, seed), range(4)))
    assert drawn == alone


# -- what was written --------------------------------------------------------------------------------------------------


def test_a_text_without_special_tokens_is_written_as_it_is(llama: LanguageModel) -> None:
    assert llama.written(Rollout(text="as it came")) == "as it came"
    plain = Rollout(text="12", token_ids=(*token_ids("12"), END))
    assert llama.written(plain) == "12"


def test_special_tokens_are_written_and_the_end_token_is_not() -> None:
    script = [USER, *token_ids("12 , 'm"), USER, *token_ids("x"), END]
    model = scripted(script)
    rollout = sampled(model, None, WARM, 0)
    assert rollout.text == "12 , 'mx" and model.written(rollout) == "<user>12 , 'm<user>x"
    # A tokenizer may be set to clean up, and would write "12, 'm": texts do not.
    tokenizer: Any = model._tokenizer
    tokenizer.clean_up_tokenization_spaces = True
    tokenizer.clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output = True
    assert model.written(rollout) == "<user>12 , 'm<user>x"


def test_a_special_token_that_a_bound_cut_off_at_is_written() -> None:
    model = scripted([*token_ids("12"), USER])
    bound = SamplingConfig(max_new_tokens=len(token_ids("12")) + 1)
    assert model.written(sampled(model, None, bound, 0)) == "12<user>"


def test_no_stop_string_is_written_be_it_text_or_a_special_token() -> None:
    model = scripted([USER, *token_ids("12 posts, 13 posts"), END])
    for stop, written in ((", 1", "<user>12 posts"), ("12", "<user>"), ("<end>", "<user>12 posts, 13 posts")):
        stopped = sampled(model, None, SamplingConfig(max_new_tokens=30, stop=(stop,)), 0)
        assert stopped.finished and model.written(stopped) == written
    model = scripted([USER, *token_ids("12"), 4, *token_ids("13")])
    stopped = sampled(model, None, SamplingConfig(max_new_tokens=30, stop=("<assistant>",)), 0)
    assert stopped.finished and stopped.token_ids[-1] == 4 and model.written(stopped) == "<user>12"
