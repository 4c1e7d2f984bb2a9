"""What cannot be used is refused by `LatentMemory` with an error that names the value, and nothing is lost."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from memory_world import AGES, SUMS, fake, fake_memory
from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM

from latent_memory_plugin import (
    Config,
    ConfigError,
    ContextLengthError,
    InputError,
    LatentMemory,
    ModelLoadError,
    NotFoundError,
    StoreWriteError,
    WrongModelError,
)
from latent_memory_plugin.keys import Embedding
from latent_memory_plugin.sandbox.train import WEIGHTS


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("", "''"),
        (" \n\t", "empty"),
        ("x" * 100_000, "100,000 characters"),
        (None, "None"),
        (5, "5"),
        ({"question": "sum"}, "neither a question nor a list"),
        ([SUMS[0], ""], "empty"),
        ([SUMS[0], None], "None"),
    ],
)
def test_a_question_that_is_none_is_refused_by_value_and_nothing_is_asked_or_learnt(
    tmp_path: Path, question: Any, words: str
) -> None:
    with fake_memory(tmp_path) as memory:
        for call in (memory.ask, memory.learn):
            with pytest.raises(InputError, match=words) as refused:
                call(question)
            assert len(str(refused.value)) < 1000
        assert list(memory.episodes()) == []


@pytest.mark.parametrize("n", [0, -1, 1.5, "3", None])
def test_a_count_below_one_or_not_whole_is_refused(tmp_path: Path, n: Any) -> None:
    with fake_memory(tmp_path) as memory, pytest.raises(InputError, match=f"n={n!r}"):
        memory.ask(SUMS[0], n=n)


@pytest.mark.parametrize("seed", ["a", 1.5])
def test_a_seed_that_is_no_whole_number_is_refused(tmp_path: Path, seed: Any) -> None:
    with fake_memory(tmp_path) as memory, pytest.raises(InputError, match=f"seed={seed!r}"):
        memory.ask(SUMS[0], seed=seed)


@pytest.mark.parametrize("correct", [None, 1, "yes"])
def test_feedback_that_is_neither_true_nor_false_is_refused(tmp_path: Path, correct: Any) -> None:
    with fake_memory(tmp_path) as memory, pytest.raises(InputError, match=f"correct={correct!r}"):
        memory.feedback(memory.ask(SUMS[0]), correct=correct)


def test_a_latent_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with fake_memory(tmp_path) as memory:
        for call in (memory.latent, memory.standing, memory.roll_back, memory.forget):
            with pytest.raises(NotFoundError, match="0" * 32):
                call("0" * 32)


@pytest.mark.parametrize("worth", [2.0, None, "good"])
def test_a_reward_that_is_no_use_fails_its_episode_by_value_and_the_memory_goes_on(tmp_path: Path, worth: Any) -> None:
    with fake_memory(tmp_path, reward=lambda question, text: worth) as memory:
        outcome = memory.learn(SUMS[0])
        assert outcome.status == "failed" and "The reward" in outcome.reason and "from 0 to 1" in outcome.reason
        assert memory.ask(SUMS[0]).text
        assert [episode.state for episode in memory.episodes()] == ["failed"]


def test_an_embedding_that_would_not_be_used_is_refused_and_the_model_given_back(tmp_path: Path) -> None:
    embed = Embedding("letters", lambda texts: [[1.0]] * len(texts))
    with fake_memory(tmp_path, embed=embed) as memory, pytest.raises(ConfigError, match="key='input'"):
        memory.ask(SUMS[0])
    with fake_memory(tmp_path) as memory:
        assert memory.ask(SUMS[0]).text


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("temperature", -1),
        ("temperature", "hot"),
        ("top_p", 0),
        ("top_p", 1.1),
        ("max_new_tokens", 0),
        ("max_new_tokens", -5),
        ("stop", "###"),
        ("tempature", 1),
    ],
)
def test_a_sampling_setting_that_is_wrong_or_unknown_is_named_with_those_that_exist(
    tmp_path: Path, setting: str, value: Any
) -> None:
    with fake_memory(tmp_path) as memory, pytest.raises(ConfigError) as refused:
        memory.ask(SUMS[0], **{setting: value})
    assert f"{setting}={value!r}" in str(refused.value)
    assert "temperature, top_p, max_new_tokens, stop" in str(refused.value)


def test_what_does_not_fit_the_context_is_refused_and_the_next_question_answered(tmp_path: Path) -> None:
    long = "How many apples are there? " * 2000
    with LatentMemory(tmp_path) as memory:
        for call in (memory.ask, memory.learn):
            with pytest.raises(ContextLengthError, match="embedded"):
                call(long)
        with pytest.raises(ContextLengthError):
            memory.ask("How many?", max_new_tokens=5000)
        assert list(memory.episodes()) == []
        assert memory.ask("How many?", max_new_tokens=2).usage.completion_tokens <= 2


@pytest.mark.parametrize("named", [{"config": {"seed": 1}}, {"config": Config}, {"model": 5}, {"model": object()}])
def test_a_config_or_model_of_the_wrong_kind_is_refused_at_once(tmp_path: Path, named: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(named))):
        LatentMemory(tmp_path, **named)


@pytest.mark.parametrize("named", [{"root": 5}, {"namespace": None}, {"namespace": 5}])
def test_a_root_or_namespace_that_is_no_text_is_refused_at_once(tmp_path: Path, named: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"root": tmp_path, **named}
    with pytest.raises(InputError, match=next(iter(named))):
        LatentMemory(**arguments)


def test_an_empty_namespace_is_refused(tmp_path: Path) -> None:
    with fake_memory(tmp_path, "") as memory, pytest.raises(InputError, match="''"):
        memory.ask(SUMS[0])


@pytest.mark.parametrize("named", [str, Path])
def test_an_unknown_model_path_is_named(tmp_path: Path, named: Any) -> None:
    path = tmp_path / "no such model"
    with LatentMemory(tmp_path / "root", named(path)) as memory, pytest.raises(ModelLoadError, match="no such model"):
        memory.ask(SUMS[0])
    with LatentMemory(tmp_path / "root") as memory:
        assert list(memory.episodes()) == []


def test_a_root_that_is_a_file_is_named_and_left_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("mine")
    with fake_memory(file) as memory, pytest.raises(StoreWriteError, match=r"notes\.txt"):
        memory.ask(SUMS[0])
    assert file.read_text() == "mine"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_root_that_may_not_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with fake_memory(tmp_path / "root") as memory, pytest.raises(StoreWriteError, match="root"):
            memory.ask(SUMS[0])
    finally:
        tmp_path.chmod(0o700)


def test_a_root_made_by_another_model_is_refused_with_both_names_and_nothing_is_lost(tmp_path: Path) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    tokenizer = AutoTokenizer.from_pretrained(WEIGHTS)
    torch.manual_seed(0)
    sizes: dict[str, Any] = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
    }
    config = Qwen3Config(vocab_size=len(tokenizer), eos_token_id=2, **sizes)
    Qwen3ForCausalLM(config).save_pretrained(other)
    tokenizer.save_pretrained(other)
    with LatentMemory(root) as memory:
        memory.observe(AGES[0], when="manual")
    with LatentMemory(root, other) as memory, pytest.raises(WrongModelError) as refused:
        memory.ask(AGES[0])
    assert "'embedded'" in str(refused.value) and repr(str(other)) in str(refused.value)
    with LatentMemory(root) as memory:
        assert [episode.question for episode in memory.episodes("pending")] == [AGES[0]]


def test_two_models_may_not_share_a_root_while_it_is_open(tmp_path: Path) -> None:
    stranger = fake(name="stranger", fingerprint="0" * 64)
    with fake_memory(tmp_path) as memory, fake_memory(tmp_path, model=stranger) as other:
        memory.ask(SUMS[0])
        with pytest.raises(WrongModelError, match=r"'fake'.*'stranger'"):
            other.ask(SUMS[0])
        assert memory.ask(SUMS[0]).text
