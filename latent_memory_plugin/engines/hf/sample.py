"""Sampling: one prefill for each prompt, its cache repeated over the rollouts, finished rows leave the batch; one
uniform number for each row and step becomes a token by the inverse of the distribution."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor

from latent_memory_plugin.config import SamplingConfig
from latent_memory_plugin.engines.cancellation import report
from latent_memory_plugin.engines.hf.cache import spread
from latent_memory_plugin.engines.hf.endings import CHECK_STEPS, Endings
from latent_memory_plugin.engines.hf.engine import Engine, Inputs
from latent_memory_plugin.engines.hf.processors import Processors, left_to_draw
from latent_memory_plugin.engines.hf.rows import Row, assemble
from latent_memory_plugin.errors import ModelError
from latent_memory_plugin.records import Rollout

if TYPE_CHECKING:
    from transformers import Cache

FINISHED_SHARE = 0.25
"""Share of finished rows from which a batch is packed: packing costs about as much as a step."""

Pair = tuple[int, int]
"""A row's number and a rollout's number."""


def sample(
    engine: Engine,
    rows: Sequence[Row],
    rollouts: int,
    sampling: SamplingConfig,
    seed: int,
    endings: Endings,
    max_batch_tokens: int,
) -> list[list[list[int]]]:
    """Token ids of `rollouts` completions for each row, in the order of `rows`. What follows an end is not cut off."""
    drawn: dict[Pair, list[int]] = {}
    with engine.frozen(), torch.inference_mode():
        planned = list(batches([row.length for row in rows], rollouts, sampling.max_new_tokens, max_batch_tokens))
        for number, batch in enumerate(planned):
            sampler, before = _Sampler(engine, rows, batch, sampling, seed, endings), number * sampling.max_new_tokens
            while sampler.advance():
                report(before + sampler.taken, len(planned) * sampling.max_new_tokens)
            report(before + sampling.max_new_tokens, len(planned) * sampling.max_new_tokens)
            tokens = cast(list[list[int]], sampler.tokens.tolist())
            drawn.update(zip(batch, tokens, strict=True))
    return [[drawn[number, rollout] for rollout in range(rollouts)] for number in range(len(rows))]


def stream(engine: Engine, row: Row, sampling: SamplingConfig, seed: int, endings: Endings) -> Iterator[Rollout]:
    """The rollout so far after each token; the last one is the first that `sample` gives."""
    # Between two tokens the caller's code runs, for which nothing may be frozen or without gradients.
    with engine.frozen(), torch.inference_mode():
        sampler = _Sampler(engine, [row], [(0, 0)], sampling, seed, endings)
    going = True
    while going:
        with engine.frozen(), torch.inference_mode():
            going = sampler.advance()
        drawn = cast(list[int], sampler.tokens[0, : sampler.taken].tolist())
        [rollout] = endings.rollouts([drawn])
        yield rollout
        if rollout.finished:
            return


def batches(lengths: Sequence[int], rollouts: int, new_tokens: int, max_batch_tokens: int) -> Iterator[list[Pair]]:
    """All pairs of row and rollout, shortest prompts first so that little is padded, in batches of at most
    `max_batch_tokens` tokens (and at least one pair)."""
    batch: list[Pair] = []
    for number in sorted(range(len(lengths)), key=lambda n: lengths[n]):
        for rollout in range(rollouts):
            if batch and (len(batch) + 1) * (lengths[number] + new_tokens) > max_batch_tokens:
                yield batch
                batch = []
            batch.append((number, rollout))
    if batch:
        yield batch


class _Sampler:
    """The state of one batch of B rows, some of which have left it: `live` holds the numbers of those still there."""

    def __init__(
        self,
        engine: Engine,
        rows: Sequence[Row],
        pairs: Sequence[Pair],
        sampling: SamplingConfig,
        seed: int,
        endings: Endings,
    ) -> None:
        self.engine, self.sampling, self.endings = engine, sampling, endings
        self.steps = sampling.max_new_tokens
        self.uniforms = self._uniforms(rows, pairs, seed)  # (B, steps)
        self.end_ids = torch.tensor(sorted(endings.end_ids), device=engine.device)
        self.tokens = torch.full((len(pairs), self.steps), int(self.end_ids[0]), device=engine.device)  # (B, steps)
        self.taken = 0
        self.live = torch.arange(len(pairs), device=engine.device)
        self.ended = torch.zeros_like(self.live, dtype=torch.bool)
        # Looking at a tensor makes the host wait for a GPU.
        self.look_steps = 1 if engine.device.type == "cpu" else CHECK_STEPS
        self._processors = None
        if engine.wanted:
            prompts = [rows[row].prompt.ids for row, _ in pairs]
            self._processors = Processors(engine.wanted, prompts, sorted(endings.end_ids), sampling, engine.device)
            self.sampling = left_to_draw(engine.wanted, sampling)
        self._prefill(rows, pairs)

    def _uniforms(self, rows: Sequence[Row], pairs: Sequence[Pair], seed: int) -> Tensor:
        if self.sampling.temperature == 0:
            return torch.zeros(len(pairs), self.steps, device=self.engine.device)
        drawn = [uniforms(seed, rows[row].prompt.ids, rollout, self.steps) for row, rollout in pairs]
        numbers = torch.from_numpy(np.stack(drawn))  # (B, steps)
        device = self.engine.device
        return numbers.to(device, torch.float32) if device.type == "mps" else numbers.to(device)

    def _prefill(self, rows: Sequence[Row], pairs: Sequence[Pair]) -> None:
        """Reads each distinct prompt once and repeats what was read over its rollouts."""
        distinct = list(dict.fromkeys(row for row, _ in pairs))
        place = {row: number for number, row in enumerate(distinct)}
        inputs = assemble(self.engine, [rows[row] for row in distinct])
        self.cache: Cache = self.engine.new_cache()
        logits = self.engine.forward(inputs, self.cache, keep=1).logits[:, -1]  # (distinct, V)
        if not bool(torch.isfinite(logits).all()):
            raise ModelError(
                "The model's logits are not finite: a Latent's values are too large for it or its number format is too "
                "narrow. Load it with dtype='float32', or forget the Latent."
            )
        source = torch.tensor([place[row] for row, _ in pairs], device=self.engine.device)  # (B,)
        spread(self.cache, source, self.steps)
        self.logits: Tensor = logits[source]  # (B, V)
        self.mask = inputs.mask[source]  # (B, T)
        self.position = inputs.positions[source, -1]  # (B,)
        self.padded = self.look_steps == 1 or not bool(self.mask.all())

    def advance(self) -> bool:
        """Chooses a token for each row that is there; False once there is nothing more to choose."""
        if self._processors is not None:
            self.logits = self._processors(self.logits, self.live, self.tokens[self.live, : self.taken])
        chosen = choose(self.logits, self.uniforms[self.live, self.taken], self.sampling)  # (live,)
        self.tokens[self.live, self.taken] = chosen
        self.ended |= torch.isin(chosen, self.end_ids)
        self.taken += 1
        if self.taken == self.steps:
            return False
        if self.endings.stop and self.taken % CHECK_STEPS == 0:
            self.ended |= self.endings.stopped(self.tokens[self.live, : self.taken])
        if self.taken % self.look_steps == 0:
            chosen = self._pack(chosen)
            if not len(chosen):
                return False
        self._step(chosen)
        return True

    def _pack(self, chosen: Tensor) -> Tensor:
        """Lets finished rows go once there are enough of them; returns `chosen` (live,) of those that stay."""
        finished = int(self.ended.sum())
        if finished < len(self.live) and finished < FINISHED_SHARE * len(self.live):
            return chosen
        stay = torch.nonzero(~self.ended)[:, 0]  # (live,)
        if len(stay):
            self.cache.reorder_cache(cast(torch.LongTensor, stay))
        self.live, self.mask, self.position = self.live[stay], self.mask[stay], self.position[stay]
        self.ended = self.ended[stay]
        return chosen[stay]

    def _step(self, chosen: Tensor) -> None:
        self.mask = torch.nn.functional.pad(self.mask, (0, 1), value=1)  # (live, T + 1)
        self.position = self.position + 1
        inputs = Inputs(chosen[:, None], None, self.mask, self.position[:, None], self.padded)
        self.logits = self.engine.forward(inputs, self.cache, keep=1).logits[:, -1]  # (live, V)


def uniforms(seed: int, prompt_ids: Sequence[int], rollout: int, count: int) -> "np.ndarray":
    """(count,) float64 in [0, 1) that belong to one rollout of one prompt.

    They depend on these three alone, not on the batch, the Latent or `count`: a prompt gets the same rollouts in any
    company, and the same numbers with and without a Latent, which makes the two easier to compare.
    """
    text = f"{seed}:{rollout}:{','.join(map(str, prompt_ids))}"
    key = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big")
    return np.random.Generator(np.random.Philox(key=key)).random(count)


def choose(logits: Tensor, uniform: Tensor, sampling: SamplingConfig) -> Tensor:
    """Token ids (B,) from logits (B, V) and uniform numbers (B,); temperature 0 takes the likeliest."""
    if sampling.temperature == 0:
        return logits.argmax(-1)  # (B,)
    chances = torch.softmax(logits.float() / sampling.temperature, dim=-1)  # (B, V)
    if sampling.top_p == 1:
        return _invert(chances, uniform)
    ordered, ids = chances.sort(dim=-1, descending=True)  # (B, V)
    before = ordered.cumsum(-1) - ordered  # (B, V)
    ordered = ordered.masked_fill(before >= sampling.top_p, 0.0)
    return ids.gather(-1, _invert(ordered, uniform)[:, None])[:, 0]  # (B,)


def _invert(chances: Tensor, uniform: Tensor) -> Tensor:
    """The first index (B,) at which the running sum of chances (B, V), not necessarily normalised, passes the share
    `uniform` (B,) of their total."""
    # float64 keeps the tail of a large vocabulary reachable; MPS has none.
    precise = torch.float32 if chances.device.type == "mps" else torch.float64
    running = chances.cumsum(-1, dtype=precise)  # (B, V)
    target = uniform.to(precise)[:, None] * running[:, -1:]  # (B, 1)
    index = torch.searchsorted(running, target, right=True)[:, 0]  # (B,)
    return index.clamp(max=chances.shape[-1] - 1)
