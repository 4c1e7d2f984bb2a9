"""Calls of tools: what each parser makes of a completion, which one a template gets, how a call is begun."""

from typing import Any

import pytest

from latent_memory_plugin.answering.tools import PARSERS, Parsed, Parser, chosen_parser, opening_of, parser_of
from latent_memory_plugin.errors import InputError
from latent_memory_plugin.records import ToolCall
from latent_memory_plugin.sandbox.tokenizer import CHAT_TEMPLATE

ADD = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {}}}}
SEARCH = {"name": "search", "parameters": {"type": "object", "properties": {}}}
"""As some callers write it, without the wrapping."""

QWEN = (
    '{{- "\\n</tools>\\n\\nFor each function call, return a json object with function name and arguments within '
    '<tool_call></tool_call> XML tags:\\n<tool_call>\\n{\\"name\\": <function-name>, \\"arguments\\": '
    '<args-json-object>}\\n</tool_call><|im_end|>\\n" }}'
)
MISTRAL = '{%- elif message.tool_calls is defined %}{{- "[TOOL_CALLS] [" }}{%- for tool_call in message.tool_calls %}'
LLAMA_3_1 = (
    '{%- if builtin_tools is defined or tools is not none %}{{- "Environment: ipython\\n" }}{%- endif %}'
    '{{- "<|python_tag|>" + tool_call.name + ".call(" }}'
)
LLAMA_3_2 = (
    '{%- if tools is not none %}{{- "Environment: ipython\\n" }}{%- endif %}'
    "{{- '{\"name\": \"' + tool_call.name + '\", ' }}{{- '\"parameters\": ' }}{{- tool_call.arguments | tojson }}"
)
PLAIN = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


def calls(parsed: Parsed) -> list[tuple[str, dict[str, Any]]]:
    return [(call.name, call.arguments) for call in parsed.calls]


def read(way: str, text: str) -> tuple[str, list[tuple[str, dict[str, Any]]], tuple[str, ...]]:
    parsed = PARSERS[way].read(text)
    return parsed.text, calls(parsed), parsed.invalid


# -- what completions call ---------------------------------------------------------------------------------------------

ADDED = '{"name": "add", "arguments": {"a": 1, "b": 2}}'
ONCE = ("add", {"a": 1, "b": 2})
NESTED = '{"name": "put", "arguments": {"row": {"x": [1, {"y": "}]"}], "z": {}}}}'
PUT = ("put", {"row": {"x": [1, {"y": "}]"}], "z": {}}})


@pytest.mark.parametrize(
    ("text", "said", "called", "invalid"),
    [
        ("The answer is 3.", "The answer is 3.", [], ()),
        ("", "", [], ()),
        (f"<tool_call>{ADDED}</tool_call>", "", [ONCE], ()),
        (f"<tool_call>\n{ADDED}\n</tool_call>", "", [ONCE], ()),
        (f"I add them.\n<tool_call>\n{ADDED}\n</tool_call>", "I add them.", [ONCE], ()),
        (f"<tool_call>{ADDED}</tool_call>\n<tool_call>{NESTED}</tool_call>", "", [ONCE, PUT], ()),
        (f"<tool_call>{ADDED}", "", [ONCE], ()),
        (f"<tool_call>{ADDED}\n<tool_call>{NESTED}\n", "", [ONCE, PUT], ()),
        ('<tool_call>{"name": "add", "arguments": "{\\"a\\": 1, \\"b\\": 2}"}</tool_call>', "", [ONCE], ()),
        ('<tool_call>{"name": "now"}</tool_call>', "", [("now", {})], ()),
        (
            '<tool_call>{"name": "find", "arguments": {"word": "né 🙂"}}</tool_call>',
            "",
            [("find", {"word": "né 🙂"})],
            (),
        ),
        ('<tool_call>{"name": "add", "argu', "", [], ('{"name": "add", "argu',)),
        (f"<tool_call>{{'name': 'add'}}</tool_call><tool_call>{ADDED}</tool_call>", "", [ONCE], ("{'name': 'add'}",)),
        ("<tool_call></tool_call>", "", [], ("",)),
        ('<tool_call>{"arguments": {}}</tool_call>', "", [], ('{"arguments": {}}',)),
        ('<tool_call>{"name": 7, "arguments": {}}</tool_call>', "", [], ('{"name": 7, "arguments": {}}',)),
        ('<tool_call>{"name": "add", "arguments": [1]}</tool_call>', "", [], ('{"name": "add", "arguments": [1]}',)),
        ('<tool_call>{"name": "add", "arguments": "1,"}</tool_call>', "", [], ('{"name": "add", "arguments": "1,"}',)),
        ("<tool_call>[]</tool_call>", "", [], ("[]",)),
        ("</tool_call>", "</tool_call>", [], ()),
    ],
)
def test_hermes_calls_are_read_and_what_is_none_is_kept_as_it_was_written(
    text: str, said: str, called: list[Any], invalid: tuple[str, ...]
) -> None:
    assert read("hermes", text) == (said, called, invalid)


@pytest.mark.parametrize(
    ("text", "said", "called", "invalid"),
    [
        ("The answer is 3.", "The answer is 3.", [], ()),
        (f"[TOOL_CALLS] [{ADDED}]", "", [ONCE], ()),
        (f"[TOOL_CALLS][{ADDED}, {NESTED}]", "", [ONCE, PUT], ()),
        (f"I add them. [TOOL_CALLS] [{ADDED}]", "I add them.", [ONCE], ()),
        (f"[TOOL_CALLS] {ADDED}", "", [ONCE], ()),
        ('[TOOL_CALLS]add[ARGS]{"a": 1, "b": 2}', "", [ONCE], ()),
        ('[TOOL_CALLS]add[CALL_ID]0a1b2c3d4[ARGS]{"a": 1, "b": 2}', "", [ONCE], ()),
        ('[TOOL_CALLS]add[ARGS]{"a": 1, "b": 2}[TOOL_CALLS]now[ARGS]', "", [ONCE, ("now", {})], ()),
        (f"[TOOL_CALLS] [{ADDED}, 5]", "", [ONCE], ("5",)),
        (f"[TOOL_CALLS] [{ADDED}, ", "", [], (f"[{ADDED},",)),
        ("[TOOL_CALLS] add them", "", [], ("add them",)),
        ("[TOOL_CALLS][]", "", [], ()),
    ],
)
def test_mistral_calls_are_read_in_both_ways(text: str, said: str, called: list[Any], invalid: tuple[str, ...]) -> None:
    assert read("mistral", text) == (said, called, invalid)


def test_a_mistral_call_with_broken_arguments_is_invalid_and_names_them() -> None:
    said, called, [broken] = read("mistral", '[TOOL_CALLS]add[ARGS]{"a": ')
    assert (said, called) == ("", []) and '"add"' in broken and '{"a":' in broken


ADD_LLAMA = '{"name": "add", "parameters": {"a": 1, "b": 2}}'
PUT_LLAMA = NESTED.replace("arguments", "parameters")


@pytest.mark.parametrize(
    ("text", "said", "called", "invalid"),
    [
        ("The answer is 3.", "The answer is 3.", [], ()),
        (ADD_LLAMA, "", [ONCE], ()),
        (f"  {ADD_LLAMA}\n", "", [ONCE], ()),
        (f"<|python_tag|>{ADD_LLAMA}<|eom_id|>", "", [ONCE], ()),
        (f"{ADD_LLAMA}; {PUT_LLAMA}", "", [ONCE, PUT], ()),
        (f"<|python_tag|>{PUT_LLAMA};{ADD_LLAMA}", "", [PUT, ONCE], ()),
        (f"{ADD_LLAMA}; {{", "", [ONCE], ("{",)),
        ('{"name": "add", "parameters": {"a"', "", [], ('{"name": "add", "parameters": {"a"',)),
        (f"I call {ADD_LLAMA}", f"I call {ADD_LLAMA}", [], ()),
        ('{"total": 3}', '{"total": 3}', [], ()),
    ],
)
def test_llama_calls_are_the_whole_completion(
    text: str, said: str, called: list[Any], invalid: tuple[str, ...]
) -> None:
    assert read("llama", text) == (said, called, invalid)


@pytest.mark.parametrize(("way", "mark"), [("hermes", "<tool_call>"), ("mistral", "[TOOL_CALLS]")])
def test_a_model_that_repeats_a_bracket_for_ever_breaks_no_parser(way: str, mark: str) -> None:
    # json refuses so many with a RecursionError, which is no ValueError.
    endless = "[" * 100_000
    assert read(way, mark + endless) == ("", [], (endless,))


def test_calls_have_ids_of_their_own_that_every_template_takes_and_are_written_as_templates_read_them() -> None:
    first, second = PARSERS["hermes"].read(f"<tool_call>{ADDED}</tool_call>" * 2).calls
    # Mistral's templates refuse ids of any other length than nine.
    assert first.id != second.id and len(first.id) == 9 and first.id.isalnum()
    wrapped = {"id": first.id, "type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 2}}}
    assert first.templated() == wrapped
    assert ToolCall(name="find", arguments={"word": "né"}).as_json() == '{"word": "né"}'


# -- which parser ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("template", "way"),
    [
        (QWEN, "hermes"),
        (CHAT_TEMPLATE, "hermes"),
        (MISTRAL, "mistral"),
        (LLAMA_3_1, "llama"),
        (LLAMA_3_2, "llama"),
        (PLAIN, None),
        ("", None),
    ],
)
def test_a_template_says_which_way_it_teaches(template: str, way: str | None) -> None:
    assert parser_of(template) is chosen_parser(None, template) is (None if way is None else PARSERS[way])


def test_a_callers_parser_is_taken_by_name_as_a_function_or_as_it_is() -> None:
    own = Parser("", lambda text: Parsed(text.upper()), "CALL ")
    assert chosen_parser(own, QWEN) is own
    assert chosen_parser("llama", QWEN) is PARSERS["llama"]
    function = chosen_parser(lambda text: Parsed(text.upper()), QWEN)
    assert function is not None and function.read("a") == Parsed("A") and function.opening == ""


@pytest.mark.parametrize("unknown", ["qwen", "", 5])
def test_an_unknown_parser_is_named_with_those_that_exist(unknown: Any) -> None:
    with pytest.raises(InputError, match=f"parser={unknown!r}.*mistral, hermes, llama"):
        chosen_parser(unknown, QWEN)


# -- how a call is begun -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("way", "tools", "choice", "opening"),
    [
        ("hermes", [ADD, SEARCH], None, ""),
        ("hermes", [ADD, SEARCH], "auto", ""),
        ("hermes", [ADD, SEARCH], "none", ""),
        ("mistral", [ADD], "auto", ""),
        ("hermes", [ADD, SEARCH], "any", '<tool_call>{"name": "'),
        ("hermes", [ADD, SEARCH], "required", '<tool_call>{"name": "'),
        ("hermes", [ADD], "any", '<tool_call>{"name": "add",'),
        ("hermes", [ADD, SEARCH], "search", '<tool_call>{"name": "search",'),
        ("llama", [ADD, SEARCH], "add", '{"name": "add",'),
        ("llama", [ADD, SEARCH], "any", '{"name": "'),
    ],
)
def test_the_opening_begins_a_call_of_the_tool_that_was_chosen(
    way: str, tools: list[Any], choice: str | None, opening: str
) -> None:
    assert opening_of(PARSERS[way], tools, choice) == opening


@pytest.mark.parametrize("way", ["hermes", "llama"])
def test_what_a_model_adds_to_its_opening_is_a_call_that_its_parser_reads(way: str) -> None:
    opening = opening_of(PARSERS[way], [ADD, SEARCH], "add")
    word = "arguments" if way == "hermes" else "parameters"
    assert read(way, f'{opening} "{word}": {{"a": 1, "b": 2}}}}') == ("", [ONCE], ())


def test_a_tool_that_is_not_given_cannot_be_chosen() -> None:
    with pytest.raises(InputError, match=r"tool_choice='divide'.*\['add', 'search'\]"):
        opening_of(PARSERS["hermes"], [ADD, SEARCH], "divide")
    with pytest.raises(InputError, match=r"tool_choice='add' is none of the tools given, \[\]"):
        opening_of(None, [], "add")


@pytest.mark.parametrize("parser", [None, PARSERS["mistral"], Parser("", Parsed)])
def test_no_tool_can_be_forced_where_a_call_cannot_be_begun(parser: Parser | None) -> None:
    for choice in ("any", "add"):
        with pytest.raises(InputError, match=f"tool_choice={choice!r} cannot be granted"):
            opening_of(parser, [ADD], choice)
