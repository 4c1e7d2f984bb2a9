"""Prompts: what the tokenizer's template writes, one beginning-of-sequence token, plain text without a template."""

import warnings
from typing import Any

import pytest
from tiny_models import BOS_TEMPLATE, TEMPLATE, tiny_model, tiny_tokenizer

from latent_memory_plugin.engines.hf import LanguageModel
from latent_memory_plugin.engines.hf.prompts import Prompts
from latent_memory_plugin.errors import InputError
from latent_memory_plugin.records import Dialogue
from latent_memory_plugin.sandbox.tokenizer import CHAT_TEMPLATE

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


# -- tools and openings ------------------------------------------------------------------------------------------------

TOOLS = (
    "{% if tools %}<system>{% for tool in tools %}{{ tool | tojson }}{% endfor %}<end>{% endif %}"
    "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}"
    "{% for call in message.tool_calls or [] %}[{{ call.function.name }} {{ call.function.arguments | tojson }}]"
    "{% endfor %}<end>{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
ADD, COUNT = ({"type": "function", "function": {"name": name, "parameters": {}}} for name in ("add", "count"))
CALL = {"id": "0a1b2c3d4", "type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
WORKED = [
    *MESSAGES,
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "content": "6", "tool_call_id": CALL["id"]},
]


def text_of(reader: Prompts, ids: Any) -> str:
    return str(reader.tokenizer.decode(list(ids)))


@pytest.mark.parametrize("messages", [MESSAGES, WORKED])
def test_tools_are_shown_as_the_template_shows_them(messages: Any) -> None:
    reader = prompts(TOOLS)
    shown = [{**message, "content": message["content"] or ""} for message in messages]
    expected = reader.tokenizer.apply_chat_template(
        shown, tools=[ADD, COUNT], add_generation_prompt=True, return_dict=False
    )
    prompt = reader.read(Dialogue(messages, (ADD, COUNT)))
    assert list(prompt.ids) == expected
    assert '"name": "count"' in text_of(reader, prompt.ids)
    assert text_of(reader, prompt.ids).count('[add {"a": 1}]') == (messages is WORKED)


def test_other_tools_make_another_prompt_and_the_same_ones_the_same() -> None:
    reader = prompts(TOOLS)
    read = [reader.read(Dialogue(MESSAGES, tools)).ids for tools in ((), (ADD,), (COUNT,), (ADD, COUNT), (COUNT, ADD))]
    assert len(set(read)) == 5 and reader.read(Dialogue(MESSAGES, [ADD])).ids == read[1]
    assert read[0] == reader.read(MESSAGES).ids == reader.read(Dialogue(MESSAGES)).ids


@pytest.mark.parametrize("template", [TOOLS, BOS_TEMPLATE, None])
def test_the_opening_stands_where_the_answer_begins(template: str | None) -> None:
    reader = prompts(template, bos=True)
    bare, opened = reader.read(Dialogue(MESSAGES)), reader.read(Dialogue(MESSAGES, (), 'call {"name": "'))
    assert text_of(reader, opened.ids) == text_of(reader, bare.ids) + 'call {"name": "'
    assert opened.question == bare.question and opened.bos_tokens == bare.bos_tokens == (template != TOOLS)


@pytest.mark.parametrize("question", ["How many posts?", "add", "a", "count 6 \n{}", "é 漢字 🙂"])
def test_the_question_is_found_among_tools_calls_and_results(question: str) -> None:
    reader = prompts(TOOLS)
    # Tools, calls, results and the opening hold the same words.
    messages = [*WORKED[:3], {"role": "user", "content": f" {question} "}, *WORKED[4:]]
    prompt = reader.read(Dialogue(messages, (ADD, COUNT), f"call {question}"))
    assert text_of(reader, prompt.ids[prompt.question]).strip() == question.strip()
    before = text_of(reader, prompt.ids[: prompt.question.start])
    assert before.rstrip().endswith("<user>") and before.count("<user>") == 2


def test_a_dialogue_without_a_user_message_is_read_whole() -> None:
    reader = prompts(TOOLS)
    prompt = reader.read(Dialogue([{"role": "assistant", "content": "Six."}], (ADD,)))
    assert prompt.ids and text_of(reader, prompt.ids[prompt.question]) == "Six."


@pytest.mark.parametrize("template", [TEMPLATE, None])
def test_a_template_that_knows_no_tools_refuses_them_by_the_models_name(template: str | None) -> None:
    reader = prompts(template)
    with pytest.raises(InputError, match="'tiny' knows no tools, so the 2 given"):
        reader.read(Dialogue(MESSAGES, (ADD, COUNT)))
    assert reader.read(Dialogue(MESSAGES)).ids


def test_of_several_templates_the_one_for_tools_is_the_models_text() -> None:
    reader = prompts()
    assert reader.template == TEMPLATE and prompts(None).template == ""
    several: Any = {"default": TEMPLATE, "tool_use": TOOLS}
    reader.tokenizer.chat_template = several
    assert reader.template == TOOLS
    assert reader.read(Dialogue(MESSAGES, (ADD,))).ids == prompts(TOOLS).read(Dialogue(MESSAGES, (ADD,))).ids
    reader.tokenizer.chat_template = {"default": TEMPLATE}
    assert reader.template == TEMPLATE


def test_the_embedded_template_writes_a_call_as_its_parser_reads_it() -> None:
    reader = prompts(CHAT_TEMPLATE)
    text = text_of(reader, reader.read(Dialogue(WORKED, (ADD,), "x")).ids)
    assert '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>' in text
    assert text.startswith("<|begin|><|tools|>add<|end|>") and text.endswith("<|tool|>6<|end|><|assistant|>x")


@pytest.mark.parametrize("dialogue", [Dialogue([]), Dialogue([{"role": "user", "content": " "}], (), "opening")])
def test_a_dialogue_that_holds_no_text_is_refused_whatever_its_opening(dialogue: Dialogue) -> None:
    with pytest.raises(InputError):
        prompts(TOOLS).read(dialogue)
