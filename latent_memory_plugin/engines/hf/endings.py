"""Where a completion ends: end tokens and stop strings, and the text that is left."""

import bisect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from latent_memory_plugin.errors import ModelLoadError
from latent_memory_plugin.records import Rollout

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

CHECK_STEPS = 8
"""Steps between two looks for stop strings: what is sampled beyond one is cut off, so this changes cost and not
results."""


def end_token_ids(model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase") -> tuple[int, ...]:
    """Every id that ends a completion, the one to write first: the tokenizer's, then the generation config's.

    Raises ModelLoadError where there is none, or one is no id.
    """
    listed: Any = getattr(model.generation_config, "eos_token_id", None)
    found: list[Any] = [tokenizer.eos_token_id, *(cast(list[Any], listed) if isinstance(listed, list) else [listed])]
    ids = tuple(dict.fromkeys(one for one in found if one is not None))
    name = str(cast(Any, tokenizer).name_or_path or type(model).__name__)
    for one in ids:
        if not isinstance(one, int):
            raise ModelLoadError(
                f"The generation config of {name!r} has the end token {one!r:.80}, which is no id; write "
                f"{tokenizer.convert_tokens_to_ids(str(one))!r} into eos_token_id of generation_config.json."
            )
    if not ids:
        raise ModelLoadError(
            f"{name!r} has no end token, so completions would never end; set tokenizer.eos_token, or eos_token_id in "
            "generation_config.json."
        )
    return ids


def stop_strings(model: "PreTrainedModel") -> tuple[str, ...]:
    """The stop strings of the generation config."""
    found = getattr(model.generation_config, "stop_strings", None) or ()
    return (found,) if isinstance(found, str) else tuple(found)


class Endings:
    """The end tokens and stop strings of one request."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", end_ids: Sequence[int], stop: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        special = set(tokenizer.all_special_tokens)
        as_token = [text for text in stop if text in special]
        self.end_ids = frozenset(end_ids) | set(cast(list[int], tokenizer.convert_tokens_to_ids(as_token)))
        self._special_ids = frozenset(tokenizer.all_special_ids)
        self.stop = tuple(text for text in stop if text and text not in special)
        # A token is at least one byte of text, special tokens aside.
        self._tail_tokens = CHECK_STEPS + max((len(text.encode()) for text in self.stop), default=0)

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """The texts of token ids, special tokens left out."""
        if not ids:
            return []
        return self._tokenizer.batch_decode(
            cast(Any, ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )

    def stopped(self, tokens: Tensor) -> Tensor:
        """(B,) bool: rows of tokens (B, T) whose last `CHECK_STEPS` tokens complete a stop string."""
        texts = self.decode(cast(list[list[int]], tokens[:, -self._tail_tokens :].tolist()))
        return torch.tensor([self._find(text) >= 0 for text in texts], device=tokens.device)  # (B,)

    def rollouts(self, tokens: Sequence[Sequence[int]]) -> list[Rollout]:
        """One Rollout for each sequence of sampled tokens, cut at its end."""
        cut = [self._cut_at_end_token(ids) for ids in tokens]
        texts = self.decode([ids for ids, _ in cut])
        return [self._rollout(ids, text, ended) for (ids, ended), text in zip(cut, texts, strict=True)]

    def _cut_at_end_token(self, ids: Sequence[int]) -> tuple[list[int], bool]:
        for number, one in enumerate(ids):
            if one in self.end_ids:
                return list(ids[: number + 1]), True
        return list(ids), False

    def _rollout(self, ids: list[int], text: str, ended: bool) -> Rollout:
        if self._find(text) >= 0:
            # The fewest tokens whose text holds a stop string, whatever was sampled after them.
            count = bisect.bisect_left(range(len(ids)), True, key=lambda n: self._find(self.decode([ids[:n]])[0]) >= 0)
            ids, ended = ids[:count], True
            text = self.decode([ids])[0]
            text = text[: self._find(text)]
        elif ended and ids[-1] not in self._special_ids:
            text = self.decode([ids[:-1]])[0]
        return Rollout(text=text, token_ids=tuple(ids), finished=ended)

    def _find(self, text: str) -> int:
        """Where the first stop string begins; -1 where none is."""
        return min((place for stop in self.stop if (place := text.find(stop)) >= 0), default=-1)


def written(rollout: Rollout, tokenizer: "PreTrainedTokenizerBase", end_ids: Sequence[int]) -> str:
    """The text of a rollout with the special tokens in it, its end token and any stop string left out."""
    ids, special = list(rollout.token_ids), set(tokenizer.all_special_ids)
    if rollout.finished and ids and (ids[-1] in special or ids[-1] in end_ids):
        ids.pop()
    if not special.intersection(ids):
        return rollout.text
    plain, whole = (
        cast(str, tokenizer.decode(ids, skip_special_tokens=skip, clean_up_tokenization_spaces=False))
        for skip in (True, False)
    )
    # What `plain` has beyond the rollout's text is the stop string and what was sampled with it.
    return whole[: len(whole) - max(0, len(plain) - len(rollout.text))]
