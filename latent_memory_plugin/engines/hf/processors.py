"""What a model's generation config does to the logits, by transformers' own processors, as `generate` applies them.

Log-probabilities know nothing of it: they are the model's own, and so is what learning raises.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from latent_memory_plugin.config import SamplingConfig
from latent_memory_plugin.errors import ModelLoadError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Processor = Callable[[Tensor, Tensor], Tensor]
"""(token ids so far (B, T), logits (B, V)) → logits (B, V)."""

HONOURED = (
    "sequence_bias", "repetition_penalty", "no_repeat_ngram_size", "bad_words_ids", "min_length", "min_new_tokens",
    "suppress_tokens", "begin_suppress_tokens", "min_p",
)  # fmt: skip
"""Settings that processors carry out, in the order in which `generate` does. End tokens and stop strings are not among
them: endings.py reads those."""
REFUSED = (
    "assistant_early_exit", "constraints", "diversity_penalty", "dola_layers", "encoder_no_repeat_ngram_size",
    "encoder_repetition_penalty", "epsilon_cutoff", "eta_cutoff", "exponential_decay_length_penalty", "force_words_ids",
    "forced_bos_token_id", "forced_eos_token_id", "guidance_scale", "max_time", "num_beam_groups", "num_beams",
    "penalty_alpha", "token_healing", "top_h", "typical_p", "watermarking_config",
)  # fmt: skip
"""Settings that change what `generate` writes and cannot be carried out here."""
_NEUTRAL_AT_1 = (
    "encoder_repetition_penalty", "guidance_scale", "num_beam_groups", "num_beams", "repetition_penalty", "typical_p",
)  # fmt: skip
"""Settings that 1 switches off; for the others 0 or nothing does."""


def settings(model: "PreTrainedModel", names: Sequence[str]) -> dict[str, Any]:
    """Those of the named settings that the model's generation config switches on."""
    held = {name: getattr(model.generation_config, name, None) for name in names}
    return {name: value for name, value in held.items() if value and not (value == 1 and name in _NEUTRAL_AT_1)}


def honoured(model: "PreTrainedModel", name: str) -> dict[str, Any]:
    """The settings that every completion of the model is sampled with, each tried on one row. Raises ModelLoadError
    for one that would have to be ignored, or cannot be carried out."""
    instead = "remove it from generation_config.json, or load with ModelConfig(generation_config='ends'), which takes "
    instead += "the end tokens alone."
    if refused := settings(model, REFUSED):
        raise ModelLoadError(
            f"The generation config of {name!r} sets {refused!r}, which this library cannot do as generate() does; "
            f"{instead}"
        )
    wanted, sampling = settings(model, HONOURED), SamplingConfig()
    width = len(model.get_input_embeddings().weight)  # type: ignore[union-attr, arg-type]
    for setting, value in wanted.items():
        try:
            prompt, end = (0,), torch.zeros(1, dtype=torch.long)
            [process] = _chain({setting: value}, len(prompt), end, sampling)
            process(torch.tensor([prompt]), torch.zeros(1, width))
        except Exception as exc:  # whatever transformers' processors raise
            raise ModelLoadError(
                f"The generation config of {name!r} sets {setting}={value!r:.80}, which cannot be carried out ({exc}); "
                f"correct it, {instead}"
            ) from exc
    return wanted


class Processors:
    """The processors of one batch of rows. Each row is processed with its own prompt, whatever its company."""

    def __init__(
        self,
        wanted: Mapping[str, Any],
        prompts: Sequence[tuple[int, ...]],
        end_ids: Sequence[int],
        sampling: SamplingConfig,
        device: torch.device,
    ) -> None:
        distinct = list(dict.fromkeys(prompts))
        self._prompt_of = torch.tensor([distinct.index(prompt) for prompt in prompts], device=device)  # (B,)
        self._prompts = [torch.tensor(prompt, device=device) for prompt in distinct]  # each (T,)
        ends = torch.tensor(sorted(end_ids), device=device)
        self._chains = [_chain(wanted, len(prompt), ends, sampling) for prompt in distinct]

    def __call__(self, logits: Tensor, rows: Tensor, tokens: Tensor) -> Tensor:
        """Logits (B, V) float32 as the processors leave them; `rows` (B,) are the rows' numbers, `tokens` (B, T) what
        each has sampled."""
        shaped = logits.float().clone()  # (B, V)
        prompt_of = self._prompt_of[rows]  # (B,)
        for number, (prompt, chain) in enumerate(zip(self._prompts, self._chains, strict=True)):
            at = torch.nonzero(prompt_of == number)[:, 0]
            ids = torch.cat([prompt.expand(len(at), -1), tokens[at]], dim=1)  # (rows of the prompt, T)
            scores = shaped[at]  # (rows of the prompt, V)
            for process in chain if len(at) else ():
                scores = process(ids, scores)
            shaped[at] = scores
        return shaped


def left_to_draw(wanted: Mapping[str, Any], sampling: SamplingConfig) -> SamplingConfig:
    """What is left to do after the processors: `generate` applies min_p after top_p, so the two go together."""
    return sampling.model_copy(update={"top_p": 1.0}) if "min_p" in wanted else sampling


def _chain(wanted: Mapping[str, Any], prompt_tokens: int, ends: Tensor, sampling: SamplingConfig) -> list[Processor]:
    from transformers.generation import logits_process as own

    device: Any = ends.device
    made: dict[str, Callable[[Any], Any]] = {
        "sequence_bias": own.SequenceBiasLogitsProcessor,
        "repetition_penalty": lambda value: own.RepetitionPenaltyLogitsProcessor(float(value)),
        "no_repeat_ngram_size": own.NoRepeatNGramLogitsProcessor,
        "bad_words_ids": lambda value: own.NoBadWordsLogitsProcessor(value, ends),
        "min_length": lambda value: own.MinLengthLogitsProcessor(value, ends, device),
        "min_new_tokens": lambda value: own.MinNewTokensLengthLogitsProcessor(prompt_tokens, value, ends, device),
        "suppress_tokens": lambda value: own.SuppressTokensLogitsProcessor(value, device),
        "begin_suppress_tokens": lambda value: own.SuppressTokensAtBeginLogitsProcessor(value, prompt_tokens, device),
        "min_p": lambda value: _nucleus(value, sampling),
    }
    return [
        made[name](wanted[name]) for name in HONOURED if name in wanted and (name != "min_p" or sampling.temperature)
    ]


def _nucleus(min_p: float, sampling: SamplingConfig) -> Processor:
    """top_p, then min_p, both of the distribution at the sampling temperature."""
    from transformers.generation.logits_process import MinPLogitsWarper, TopPLogitsWarper

    top_p, least = TopPLogitsWarper(sampling.top_p), MinPLogitsWarper(min_p)

    def process(ids: Tensor, logits: Tensor) -> Tensor:
        scaled: Any = logits / sampling.temperature  # (B, V)
        left = least(ids, top_p(ids, scaled))  # type: ignore[arg-type]
        return logits.masked_fill(left == -torch.inf, -torch.inf)

    return process
