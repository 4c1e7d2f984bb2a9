"""A reward model from Hugging Face as a verifier: how good is this completion, by one number?"""

import inspect
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from typing_extensions import Self

from latent_memory_plugin.config import ModelConfig
from latent_memory_plugin.engines import cancellation
from latent_memory_plugin.engines.hf.load import read
from latent_memory_plugin.errors import ContextLengthError, ModelError, ModelLoadError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class RewardModel:
    """A sequence classifier with one output, called with a question and a completion.

    `LatentMemory(verifier=RewardModel.load("folder or hub id"))` lets it decide where answers differ. It reads the two
    as a conversation in its chat template; without a template, as a pair of texts. Each completion is read alone: its
    reward does not depend on what else is asked.

    Process reward models have no common form in transformers: write a function that gives one number for each step
    and pass it through `verify.over_steps(function, "min")`, or "mean", or "last".
    """

    def __init__(self, model: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", name: str) -> None:
        outputs = int(model.config.num_labels or 0)
        if outputs != 1:
            raise ModelLoadError(
                f"{name!r} has {outputs} outputs; a reward model has one. Pass a checkpoint for sequence "
                "classification with num_labels=1, or a function of your own."
            )
        self.name = name
        """Path or hub id."""
        self._model = model
        self._tokenizer = tokenizer

    @classmethod
    def load(cls, model: str | Path | ModelConfig) -> Self:
        """The reward model of a path, hub id or config, in evaluation mode on its device.

        A hub id whose files are in the local cache is read from there without asking the network. Raises
        ModelLoadError where it cannot be had, or is no reward model.
        """
        config = model if isinstance(model, ModelConfig) else ModelConfig(name=str(model))
        if config.name is None:
            raise ModelLoadError(f"{config!r} names no model; there is no embedded reward model, so name one.")
        return cls(*read(config, kind="AutoModelForSequenceClassification"))

    def __call__(self, question: str, completion: str) -> float:
        """The reward of a completion, any finite number, the larger the better.

        Raises ContextLengthError where both together are too long, ModelError where the reward is not finite.
        """
        inputs = self._inputs(question, completion)
        limit = int(getattr(self._model.config.get_text_config(), "max_position_embeddings", 0) or 0)
        tokens = int(inputs["input_ids"].shape[1])
        if limit and tokens > limit:
            raise ContextLengthError(
                f"Question and completion have {tokens} tokens, more than the {limit} that the reward model "
                f"{self.name!r} can read; lower max_new_tokens."
            )
        cancellation.check()
        with torch.inference_mode():
            reward = float(self._model(**inputs).logits[0, 0])
        if not math.isfinite(reward):
            raise ModelError(f"The reward model {self.name!r} gave {reward!r}; load it with dtype='float32'.")
        return reward

    def _inputs(self, question: str, completion: str) -> dict[str, torch.Tensor]:
        """Token ids (1, T), mask (1, T) and what else of the tokenizer's output the model takes."""
        tokenizer = cast(Any, self._tokenizer)
        given: dict[str, Any] = {"return_tensors": "pt", "verbose": False}
        if tokenizer.chat_template:
            messages = [{"role": "user", "content": question}, {"role": "assistant", "content": completion}]
            text = tokenizer.apply_chat_template(messages, tokenize=False)
            inputs = tokenizer(text, add_special_tokens=False, **given)
        else:
            inputs = tokenizer(question, completion, **given)
        taken = inspect.signature(self._model.forward).parameters
        return {name: value.to(self._model.device) for name, value in inputs.items() if name in taken}
