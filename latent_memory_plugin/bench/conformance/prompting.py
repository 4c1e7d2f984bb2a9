"""Checks of prompts: the chat template, its roles and arguments, the beginning-of-sequence token."""

from collections.abc import Iterator
from typing import Any, cast

from latent_memory_plugin.bench.conformance.result import CheckResult, holds, skipped
from latent_memory_plugin.bench.conformance.subject import QUESTIONS, Subject
from latent_memory_plugin.engines.hf.prompts import Prompts
from latent_memory_plugin.errors import InputError

SYSTEM = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTIONS[0]}]
THINKING = "enable_thinking"


def prompting(subject: Subject) -> Iterator[CheckResult]:
    """Prompts are the tokenizer's own, with one beginning-of-sequence token at most."""
    yield prompts_are_the_tokenizers_own(subject)
    yield bos_stands_once(subject)
    yield system_role(subject)
    yield thinking(subject)


def prompts_are_the_tokenizers_own(subject: Subject) -> CheckResult:
    """Token ids against `apply_chat_template`, or against the tokenizer's for plain text."""
    tokenizer = cast(Any, subject.tokenizer)
    same: list[bool] = []
    for question in QUESTIONS:
        if subject.prompts.has_chat_template:
            messages = [{"role": "user", "content": question}]
            expected = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        else:
            expected = tokenizer(question)["input_ids"]
            ends = len(expected) > 1 and expected[-1] == tokenizer.eos_token_id
            expected = expected[:-1] if ends else expected
        same.append(list(subject.prompts.read(question).ids) == list(expected))
    note = "chat template" if subject.prompts.has_chat_template else "no chat template: plain text"
    return holds("prompts are the tokenizer's own", all(same), note)


def bos_stands_once(subject: Subject) -> CheckResult:
    """The beginning-of-sequence token, where there is one, stands at the start and nowhere else; one that begins every
    message is a part of the template, before all of which a Latent stands."""
    name, bos = "BOS is added once", subject.tokenizer.bos_token_id
    prompts = [subject.prompts.read(question) for question in QUESTIONS]
    if bos is None or bos == subject.tokenizer.eos_token_id:
        return skipped(name, "the tokenizer has no BOS of its own")
    if subject.prompts.bos_marks_turns:
        note = f"{subject.tokenizer.bos_token!r} begins every message: a Latent stands before the first"
        return holds(name, not any(prompt.bos_tokens for prompt in prompts), note)
    right = all(prompt.ids.count(cast(int, bos)) == prompt.bos_tokens for prompt in prompts)
    return holds(name, right, f"{prompts[0].bos_tokens} at the start")


def system_role(subject: Subject) -> CheckResult:
    """A system message is read, or refused with the template's own reason."""
    name = "a system message is read or refused by name"
    try:
        with_system = subject.prompts.read(SYSTEM).ids
    except InputError as exc:
        return CheckResult(name, "refused", note=str(exc)[:200])
    return holds(name, with_system != subject.prompts.read(QUESTIONS[0]).ids, "read")


def thinking(subject: Subject) -> CheckResult:
    """`template_arguments` switches a template's thinking."""
    name = "thinking can be switched by template_arguments"
    if THINKING not in subject.prompts.template:
        return skipped(name, f"the template has no {THINKING}")
    on, off = (Prompts(subject.tokenizer, "", {THINKING: way}).read(QUESTIONS[0]).ids for way in (True, False))
    return holds(name, on != off, f"{len(on)} tokens on, {len(off)} off")
