"""Prompts: what the tokenizer's template writes, one beginning-of-sequence token, plain text without a template."""

import warnings
from typing import Any

import pytest
from tiny_models import BOS_TEMPLATE, TEMPLATE, tiny_model, tiny_tokenizer

from latent_memory_plugin.errors import InputError
from latent_memory_plugin.model import LanguageModel
from latent_memory_plugin.model.prompts import Prompts

MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "First."},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": "How many posts?"},
]


def prompts(template: str | None = TEMPLATE, bos: bool = False) -> Prompts:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Prompts(tiny_tokenizer(template, bos), "tiny")


@pytest.mark.parametrize("template", [TEMPLATE, BOS_TEMPLATE])
@pytest.mark.parametrize("bos", [False, True])
@pytest.mark.parametrize("conversation", ["How many posts?", MESSAGES])
def test_ids_are_those_of_the_tokenizers_own_chat_template(template: str, bos: bool, conversation: Any) -> None:
    reader = prompts(template, bos)
    messages = [{"role": "user", "content": conversation}] if isinstance(conversation, str) else conversation
    expected = reader.tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    prompt = reader.read(conversation)
    assert list(prompt.ids) == expected
    assert prompt.bos_tokens == (bos and template == BOS_TEMPLATE)
    assert prompt.ids.count(1) == prompt.bos_tokens


@pytest.mark.parametrize("bos", [False, True])
def test_plain_text_gets_the_one_bos_that_the_tokenizer_adds(bos: bool) -> None:
    reader = prompts(None, bos)
    prompt = reader.read("How many posts?")
    assert list(prompt.ids) == reader.tokenizer("How many posts?")["input_ids"]
    assert prompt.bos_tokens == bos
    written = reader.read("<s>How many posts?") if bos else prompt
    assert written.ids == prompt.ids


def test_a_model_without_a_chat_template_says_so_once_and_reads_plain_text() -> None:
    with pytest.warns(UserWarning, match="'nameless' has no chat template") as caught:
        model = LanguageModel.wrap(tiny_model(), tiny_tokenizer(None), "nameless")
        model.prompt_ids("How many posts?")
    assert len(caught) == 1 and not model.has_chat_template
    text = model._tokenizer.decode(list(model.prompt_ids(MESSAGES)))
    assert text == "system: Be brief.\n\nuser: First.\n\nassistant: Yes.\n\nuser: How many posts?\n\nassistant:"


def test_a_model_with_a_chat_template_gives_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert LanguageModel.wrap(tiny_model(), tiny_tokenizer(), "tiny").has_chat_template


@pytest.mark.parametrize("template", [TEMPLATE, BOS_TEMPLATE, None])
@pytest.mark.parametrize(
    "question", ["How many posts?", "  spaced out \n", "é 漢字 🙂", "<user> tokens inside", "a", "assistant"]
)
def test_the_question_is_found_in_its_prompt(template: str | None, question: str) -> None:
    reader = prompts(template, bos=True)
    prompt = reader.read(question)
    assert str(reader.tokenizer.decode(list(prompt.ids[prompt.question]))).strip() == question.strip()


def test_the_question_of_a_conversation_is_its_last_user_message() -> None:
    reader = prompts()
    prompt = reader.read([*MESSAGES, {"role": "assistant", "content": "Six"}])
    assert reader.tokenizer.decode(list(prompt.ids[prompt.question])) == "How many posts?"


def test_content_parts_are_read_as_their_text() -> None:
    reader = prompts()
    parts = [{"role": "user", "content": [{"type": "text", "text": "How many "}, "posts?"]}]
    assert reader.read(parts) == reader.read("How many posts?")


def test_a_lone_surrogate_is_replaced_and_not_fatal() -> None:
    reader = prompts()
    assert reader.read("a\ud800b").ids == reader.read("a\ufffdb").ids


@pytest.mark.parametrize(
    "conversation",
    [
        "",
        "  ",
        [],
        ["text"],
        [{"content": "no role"}],
        [{"role": "user", "content": 3}],
        [{"role": "user", "content": [{"type": "image", "url": "x"}]}],
    ],
)
def test_conversations_that_hold_no_text_are_refused(conversation: Any) -> None:
    with pytest.raises(InputError):
        prompts().read(conversation)


def test_a_refusal_of_the_template_names_the_roles() -> None:
    refusing = "{{ raise_exception('only users') }}"
    with pytest.raises(InputError, match=r"\['system', 'user'\].*only users"):
        prompts(refusing).read([{"role": "system", "content": "x"}, {"role": "user", "content": "y"}])
