"""Every pass of a model asks whether it is cancelled, whatever it is a pass of, and lets answers go first."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny_models import tiny_model, tiny_tokenizer
from transformers import LlamaConfig, LlamaForSequenceClassification

from latent_memory_plugin.config import SamplingConfig
from latent_memory_plugin.engines import cancellation
from latent_memory_plugin.engines.cancellation import Cancellation, Cancelled, answering, cancellable
from latent_memory_plugin.engines.hf import LanguageModel, RewardModel
from latent_memory_plugin.testing import FakeModel

QUESTION = "How many posts are there?"
LONG = SamplingConfig(max_new_tokens=40)
LATENT = torch.ones(2, 32)


@pytest.fixture(scope="module")
def model() -> LanguageModel:
    return LanguageModel.wrap(tiny_model(), tiny_tokenizer(), "tiny")


def reward() -> RewardModel:
    sizes: dict[str, Any] = {"vocab_size": 320, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
    sizes |= {"num_attention_heads": 4, "num_labels": 1, "pad_token_id": 0}
    config = LlamaConfig(**sizes)
    return RewardModel(LlamaForSequenceClassification(config).eval(), tiny_tokenizer(), "reward")


WORK: dict[str, Callable[[LanguageModel], Any]] = {
    "sample": lambda model: model.sample([QUESTION], [LATENT], 3, LONG, 0),
    "stream": lambda model: list(model.stream(QUESTION, LATENT, LONG, 0)),
    "log_probabilities": lambda model: model.log_probabilities([QUESTION] * 2, [(5, 6), (7,)], LATENT),
    "keys": lambda model: model.keys([QUESTION]),
    "graph_tokens": lambda model: LanguageModel.wrap(tiny_model(), tiny_tokenizer(), "tiny").graph_tokens(),
    "reward": lambda model: reward()("How?", "So."),
    "fake sample": lambda model: FakeModel({"a": ("1", "2")}).sample(["a"], [None], 1, LONG, 0),
    "fake log_probabilities": lambda model: FakeModel({"a": ("1", "2")}).log_probabilities(["a"], [(1,)], None),
    "fake keys": lambda model: FakeModel({}).keys(["a"]),
}


@pytest.mark.parametrize("name", WORK)
def test_what_is_cancelled_ends_at_the_next_pass(name: str, model: LanguageModel) -> None:
    cancelled = Cancellation()
    cancelled.cancel()
    with cancellable(cancelled), pytest.raises(Cancelled):
        WORK[name](model)
    WORK[name](model)


def test_sampling_and_streaming_ask_once_for_each_token(model: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[None] = []
    monkeypatch.setattr(cancellation, "check", lambda: asked.append(None))
    [[rollout]] = model.sample([QUESTION], [LATENT], 1, LONG, 0)
    assert len(asked) == len(rollout.token_ids)
    asked.clear()
    model.log_probabilities([QUESTION], [(5, 6)], LATENT)
    assert len(asked) == 1


def test_after_a_cancelled_run_the_model_is_the_callers_and_answers_as_before(model: LanguageModel) -> None:
    torch_model: Any = model._engine.model
    torch_model.train()
    expected = model.sample([QUESTION], [None], 2, LONG, 0)
    wish, seen = Cancellation(), 0

    def count(*_: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == 5:
            wish.cancel()

    hook = torch_model.register_forward_hook(count)
    with cancellable(wish), pytest.raises(Cancelled):
        model.sample([QUESTION], [None], 2, LONG, 0)
    hook.remove()
    assert seen == 5 and torch_model.training and all(weight.requires_grad for weight in torch_model.parameters())
    assert model.sample([QUESTION], [None], 2, LONG, 0) == expected


def test_learning_lets_an_answer_go_first_and_goes_on_after_it(model: LanguageModel) -> None:
    began, done = threading.Event(), threading.Event()

    def learn() -> None:
        with cancellable(Cancellation()):
            began.set()
            model.keys([QUESTION])
            done.set()

    with answering():
        thread = threading.Thread(target=learn)
        thread.start()
        began.wait(5)
        model.keys([QUESTION])
        time.sleep(0.05)
        assert not done.is_set()
    thread.join(5)
    assert done.is_set()
