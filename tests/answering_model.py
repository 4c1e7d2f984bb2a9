"""A random model that answers: what it writes are a few digits and an end, so that its completions hold votes."""

from pathlib import Path
from typing import Any

import torch
from tiny_models import tiny_model, tiny_tokenizer
from transformers import PreTrainedModel

CONTEXT_TOKENS = 2048
SAID = {"3": 8.0, "7": 6.0, "<end>": 10.0}
"""Token → what its logits are raised by, in units of the shared number."""


def answering_model() -> PreTrainedModel:
    """A random Llama whose first hidden number is the same everywhere and speaks for a few tokens."""
    model: Any = tiny_model("llama")
    model.config.max_position_embeddings = CONTEXT_TOKENS
    said = tiny_tokenizer().convert_tokens_to_ids(list(SAID))
    with torch.no_grad():
        model.get_input_embeddings().weight[:, 0] = 2.0
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight[0] = 0.0
            layer.mlp.down_proj.weight[0] = 0.0
        model.lm_head.weight[:, 0] = -6.0
        model.lm_head.weight[said, 0] = torch.tensor([*SAID.values()])
    return model


def saved_answering_model(folder: Path) -> Path:
    """The same with its tokenizer, on the disk."""
    answering_model().save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder
