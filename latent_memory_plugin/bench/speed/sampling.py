"""Rows of rollouts and answers: ours beside `generate` of transformers, beside separate calls, beside no Latent."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from latent_memory_plugin.bench.speed.pairs import Row, Wanted, compare
from latent_memory_plugin.bench.speed.share import model_share
from latent_memory_plugin.bench.speed.subject import Subject
from latent_memory_plugin.config import SamplingConfig

ROLLOUTS = Row(
    "32 rollouts of one problem, each of 64 tokens",
    "transformers generate(inputs_embeds, num_return_sequences=32)",
    "tokens/s",
    Wanted(2.0, "at least"),
)
TO_THE_END = Row(
    "32 rollouts of each of 4 problems up to their own ends, at most 256 tokens",
    "transformers generate(inputs_embeds, num_return_sequences=32)",
    "tokens/s",
    Wanted(2.0, "at least"),
)
LONG_PROMPT = Row(
    "8 rollouts of 64 tokens after a prompt of 512",
    "transformers generate(inputs_embeds, num_return_sequences=8)",
    "tokens/s",
    Wanted(1.3, "at least"),
)
PROBLEMS = Row("16 problems at once with 16 Latents, 64 tokens each", "16 calls", "tokens/s", Wanted(4.0, "at least"))
LATENT = Row("an answer of 256 tokens with a Latent", "without", "seconds", Wanted(1.1, "at most"))

PROMPT_TOKENS, NEW_TOKENS, ANSWER_TOKENS, MOST_TOKENS = 512, 64, 256, 256
COPIED_BYTES = 2**28


def rollouts(subject: Subject, pairs: int) -> dict[str, Any]:
    """Rollouts of equal lengths."""
    return _beside_generate(ROLLOUTS, subject, subject.questions[0], 32, pairs)


def to_the_end(subject: Subject, pairs: int) -> dict[str, Any]:
    """Rollouts as a user gets them: `generate` goes on until the last of them has ended."""
    questions, sampling = subject.questions[:4], SamplingConfig(max_new_tokens=MOST_TOKENS)
    asked = [(question, subject.latent(question)) for question in questions]
    end_ids = subject.model._end_ids  # pyright: ignore[reportPrivateUsage]

    def ours() -> int:
        drawn = [subject.model.sample([question], [latent], 32, sampling, 0) for question, latent in asked]
        return sum(len(rollout.token_ids) for [group] in drawn for rollout in group)

    def theirs() -> int:
        drawn = [generate(subject, question, latent, 32, MOST_TOKENS, end_ids) for question, latent in asked]
        return sum(_until_end(tokens, end_ids) for tokens in drawn)

    return compare(TO_THE_END, _rate(subject, ours), _rate(subject, theirs), pairs, _share(subject, ours))


def long_prompt(subject: Subject, pairs: int) -> dict[str, Any]:
    """Rollouts that share a long prompt."""
    question = subject.long(PROMPT_TOKENS)
    tokens = len(subject.model.prompt_ids(question))
    return _beside_generate(LONG_PROMPT, subject, question, 8, pairs) | {"prompt_tokens": tokens}


def problems(subject: Subject, pairs: int) -> dict[str, Any]:
    """Many problems at once."""
    questions, sampling = subject.questions[:16], SamplingConfig(max_new_tokens=NEW_TOKENS)
    latents = [subject.latent(question) for question in questions]

    def together() -> int:
        subject.endless.sample(questions, latents, 1, sampling, 0)
        return len(questions) * NEW_TOKENS

    def apart() -> int:
        for question, latent in zip(questions, latents, strict=True):
            subject.endless.sample([question], [latent], 1, sampling, 0)
        return len(questions) * NEW_TOKENS

    rates = _rate(subject, together), _rate(subject, apart)
    return compare(PROBLEMS, *rates, pairs, _share(subject, together))


def with_latent(subject: Subject, pairs: int) -> dict[str, Any]:
    """What a Latent costs whoever asks; and the answer's speed beside what memory bandwidth allows."""
    question, sampling = subject.questions[0], SamplingConfig(max_new_tokens=ANSWER_TOKENS)
    latent = subject.latent(question)

    def seconds(read: Tensor | None) -> float:
        began = time.perf_counter()
        subject.endless.sample([question], [read], 1, sampling, 0)
        return time.perf_counter() - began

    warm_up = _share(subject, lambda: seconds(latent))
    report = compare(LATENT, lambda: seconds(latent), lambda: seconds(None), pairs, warm_up)
    limit = bandwidth(subject.device) / _bytes_read(subject)
    speed = ANSWER_TOKENS / report["ours"]
    return report | {
        "tokens_per_second": speed,
        "bandwidth_limit_tokens_per_second": limit,
        "share_of_bandwidth_limit": speed / limit,
    }  # fmt: skip


def generate(
    subject: Subject, question: str, latent: Tensor, n: int, new_tokens: int, end_ids: Sequence[int]
) -> Tensor:
    """Token ids (n, T) that transformers' own `generate` samples from the same embeddings."""
    from transformers import GenerationConfig

    prompt = subject.model.token_embeddings(subject.model.prompt_ids(question))  # (T, H)
    bos = len(subject.model.prefix_ids)
    rows = torch.cat([prompt[:bos], latent, prompt[bos:]])[None]  # (1, P + T, H)
    rows = rows.to(subject.device, subject.module.dtype)
    settings = GenerationConfig(
        do_sample=True,
        top_k=0,
        max_new_tokens=new_tokens,
        num_return_sequences=n,
        eos_token_id=list(end_ids) or None,
        pad_token_id=0,
    )
    mask = torch.ones(rows.shape[:2], dtype=torch.long, device=subject.device)
    own = subject.module.generation_config.eos_token_id
    # A setting of None is filled from here.
    subject.module.generation_config.eos_token_id = None
    try:
        with torch.inference_mode():
            return subject.module.generate(inputs_embeds=rows, attention_mask=mask, generation_config=settings)
    finally:
        subject.module.generation_config.eos_token_id = own


def bandwidth(device: torch.device) -> float:
    """Bytes per second that the device's memory moves, measured by copying."""
    source = torch.ones(COPIED_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    best = 0.0
    for _ in range(5):
        _synchronised(device)
        began = time.perf_counter()
        target.copy_(source)
        _synchronised(device)
        best = max(best, 2 * COPIED_BYTES / (time.perf_counter() - began))
    return best


def _beside_generate(row: Row, subject: Subject, question: str, n: int, pairs: int) -> dict[str, Any]:
    latent, sampling = subject.latent(question), SamplingConfig(max_new_tokens=NEW_TOKENS)

    def ours() -> int:
        [drawn] = subject.endless.sample([question], [latent], n, sampling, 0)
        return sum(len(rollout.token_ids) for rollout in drawn)

    def theirs() -> int:
        return generate(subject, question, latent, n, NEW_TOKENS, ()).numel()

    return compare(row, _rate(subject, ours), _rate(subject, theirs), pairs, _share(subject, ours))


def _rate(subject: Subject, tokens: Callable[[], int]) -> Callable[[], float]:
    """Tokens per second of what returns how many it made."""

    def measured() -> float:
        began = time.perf_counter()
        made = tokens()
        subject.wait()
        return made / (time.perf_counter() - began)

    return measured


def _share(subject: Subject, action: Callable[[], Any]) -> Callable[[], dict[str, Any]]:
    def measured() -> dict[str, Any]:
        on_gpu = subject.device.type == "cuda"
        if on_gpu:
            torch.cuda.reset_peak_memory_stats(subject.device)
        found: dict[str, Any] = {"model_share": model_share(subject, action), "model": subject.model.name}
        if on_gpu:
            found["gpu_peak_mib"] = torch.cuda.max_memory_allocated(subject.device) / 2**20
        return found

    return measured


def _until_end(tokens: Tensor, end_ids: Sequence[int]) -> int:
    """Tokens of all rows (B, T) up to the first end token of each, that one included."""
    ends = torch.isin(tokens, torch.tensor(list(end_ids), device=tokens.device)).long()  # (B, T)
    return int((ends.cumsum(-1) - ends == 0).sum())


def _bytes_read(subject: Subject) -> int:
    """Bytes of weights that a step reads: all but an input embedding that is not the head as well."""
    weights = {id(one): one.numel() * one.element_size() for one in subject.module.parameters()}
    embedding = subject.module.get_input_embeddings().weight
    head = subject.module.get_output_embeddings().weight
    return sum(weights.values()) - (0 if head is embedding else weights[id(embedding)])


def _synchronised(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
