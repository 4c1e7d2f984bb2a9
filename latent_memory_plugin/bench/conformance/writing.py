"""Checks of what the model writes, against transformers' `generate`, with its generation config."""

import copy
import inspect
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from latent_memory_plugin.bench.conformance.caching import NEW_TOKENS
from latent_memory_plugin.bench.conformance.reading import LATENT_TOKENS, UNIT
from latent_memory_plugin.bench.conformance.result import CheckResult, holds, measured, skipped
from latent_memory_plugin.bench.conformance.subject import QUESTIONS, Form, Subject, form
from latent_memory_plugin.config import SamplingConfig
from latent_memory_plugin.engines.hf.endings import end_token_ids
from latent_memory_plugin.engines.hf.processors import HONOURED, settings

GREEDY = SamplingConfig(temperature=0, max_new_tokens=NEW_TOKENS)
SAMPLING_OF_ITS_OWN = ("temperature", "top_p", "top_k")
CERTAIN = 1e4
"""Added to a logit, it decides."""


def writing(subject: Subject) -> Iterator[CheckResult]:
    """Greedy completions are those of `generate`, with every setting that is honoured, and end where they should."""
    yield completions_equal_generate(subject)
    yield completions_with_a_latent_equal_generate(subject)
    yield settings_are_carried_out_as_generate_does(subject)
    yield every_end_token_ends(subject)


def completions_equal_generate(subject: Subject) -> CheckResult:
    """Greedy completions without a Latent, asked together, with the generation config as it is."""
    held = subject.precise
    own = settings(held.engine.model, HONOURED)
    not_taken = settings(held.engine.model, SAMPLING_OF_ITS_OWN)
    note = held.format + (f"; honours {own!r:.120}" if own else "")
    note += f"; SamplingConfig replaces {not_taken!r:.120}" if not_taken else ""
    return measured("completions equal those of generate", _gap(held, QUESTIONS), held.logit_limit, UNIT, note)


def completions_with_a_latent_equal_generate(subject: Subject) -> CheckResult:
    """The same behind a Latent, against `generate` from the same embeddings."""
    held, name = subject.precise, "completions with a Latent equal those of generate"
    own = settings(held.engine.model, HONOURED)
    if own:
        return skipped(name, f"from embeddings, generate does not apply {own!r:.120} to the prompt")
    plain: Any = held.engine.model
    if "inputs_embeds" not in inspect.signature(plain.prepare_inputs_for_generation).parameters:
        return skipped(name, f"generate of {type(plain).__name__} takes no embeddings")
    worst = 0.0
    latents = [held.latent(LATENT_TOKENS, 1), held.latent(2, 2)]
    groups = held.model.sample(QUESTIONS[:2], latents, 1, GREEDY, 0)
    for question, latent, [rollout] in zip(QUESTIONS, latents, groups, strict=False):
        row = subject.prompts.read(question)
        vectors = held.model.token_embeddings(row.ids)  # (T, H)
        places = (vectors[: row.bos_tokens], latent, vectors[row.bos_tokens :])
        embeddings = torch.cat(places).to(held.engine.embedding)[None]  # (1, T, H)
        worst = max(worst, _first_gap(held, rollout.token_ids, inputs_embeds=embeddings))
    return measured(name, worst, held.logit_limit, UNIT, held.format)


def settings_are_carried_out_as_generate_does(subject: Subject) -> CheckResult:
    """Every honoured setting at once, put into the generation config for the time of the check."""
    held = subject.precise
    free = held.model.sample(QUESTIONS[:1], [None], 1, GREEDY, 0)[0][0].token_ids
    wanted: dict[str, Any] = {
        "repetition_penalty": 1.3,
        "no_repeat_ngram_size": 2,
        "bad_words_ids": [[free[0]], list(subject.words(2))],
        "suppress_tokens": [free[-1]],
        "begin_suppress_tokens": list(subject.words(3)),
        "sequence_bias": [[[subject.words(1)[0]], 2.0]],
        "min_new_tokens": 3,
    }
    with _changed(held, wanted):
        worst = _gap(form(held.engine.model, subject.tokenizer, held.model.name), QUESTIONS[:2])
    note = f"{held.format}; {', '.join(wanted)}"
    return measured("settings of generate are carried out as it does", worst, held.logit_limit, UNIT, note)


def every_end_token_ends(subject: Subject) -> CheckResult:
    """Each end token, made certain by a bias, ends a completion at once."""
    held = subject.precise
    ends = end_token_ids(held.engine.model, subject.tokenizer)
    ended: list[bool] = []
    for end in ends:
        with _changed(held, {"sequence_bias": [[[end], CERTAIN]]}):
            biased = form(held.engine.model, subject.tokenizer, held.model.name)
            [[rollout]] = biased.model.sample(QUESTIONS[:1], [None], 1, GREEDY, 0)
        ended.append(rollout.finished and rollout.token_ids == (end,))
    return holds("every end token ends", all(ended), f"token ids {list(ends)!r}")


@contextmanager
def _changed(held: Form, wanted: dict[str, Any]) -> Generator[None]:
    """The generation config with other settings; as before at the end."""
    plain: Any = held.engine.model
    before = plain.generation_config
    plain.generation_config = copy.deepcopy(before)
    plain.generation_config.update(**wanted)
    try:
        yield
    finally:
        plain.generation_config = before


def _gap(held: Form, questions: Sequence[str]) -> float:
    """How far below the best the first different token is, of greedy completions asked together."""
    groups = held.model.sample(questions, [None] * len(questions), 1, GREEDY, 0)
    worst = 0.0
    for question, [rollout] in zip(questions, groups, strict=True):
        ids = torch.tensor([held.model.prompt_ids(question)], device=held.engine.device)  # (1, T)
        worst = max(worst, _first_gap(held, rollout.token_ids, input_ids=ids))
    return worst


def _first_gap(held: Form, tokens: Sequence[int], **prompt: Tensor) -> float:
    """0 where `generate` writes the same tokens; else by how much it prefers its own at the first other one."""
    plain: Any = held.engine.model
    first = next(iter(prompt.values()))
    mask = torch.ones(first.shape[:2], dtype=torch.long, device=first.device)
    with held.engine.frozen():
        made = plain.generate(
            **prompt, attention_mask=mask, do_sample=False, max_new_tokens=NEW_TOKENS,
            return_dict_in_generate=True, output_scores=True,
        )  # fmt: skip
    written: list[int] = made.sequences[0].tolist()[-len(made.scores) :]
    for number, (mine, reference) in enumerate(zip(tokens, written, strict=False)):
        if mine != reference:
            scores = made.scores[number][0].double()  # (V,)
            return float((scores[reference] - scores[mine]) / scores[scores.isfinite()].std())
    return 0.0 if len(tokens) == len(written) else float("inf")
