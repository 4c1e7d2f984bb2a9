"""Sizes of a language model, from its config alone: no weight is read."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from latent_memory_plugin.errors import ModelLoadError

PUBLISHED: dict[str, dict[str, Any]] = {
    "Qwen/Qwen2.5-0.5B-Instruct": {
        "model_type": "qwen2",
        "hidden_size": 896,
        "intermediate_size": 4864,
        "num_hidden_layers": 24,
        "num_attention_heads": 14,
        "num_key_value_heads": 2,
        "vocab_size": 151_936,
        "max_position_embeddings": 32_768,
        "tie_word_embeddings": True,
    },
    "Qwen/Qwen3-1.7B": {
        "model_type": "qwen3",
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151_936,
        "max_position_embeddings": 40_960,
        "tie_word_embeddings": True,
    },
    "Qwen/Qwen2.5-Math-7B": {
        "model_type": "qwen2",
        "hidden_size": 3584,
        "intermediate_size": 18_944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152_064,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": False,
    },
    "meta-llama/Llama-3.1-8B-Instruct": {
        "model_type": "llama",
        "hidden_size": 4096,
        "intermediate_size": 14_336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128_256,
        "max_position_embeddings": 131_072,
        "tie_word_embeddings": False,
    },
    "Qwen/Qwen3-14B": {
        "model_type": "qwen3",
        "hidden_size": 5120,
        "intermediate_size": 17_408,
        "num_hidden_layers": 40,
        "num_attention_heads": 40,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151_936,
        "max_position_embeddings": 40_960,
        "tie_word_embeddings": False,
    },
    "Qwen/Qwen3-32B": {
        "model_type": "qwen3",
        "hidden_size": 5120,
        "intermediate_size": 25_600,
        "num_hidden_layers": 64,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": 151_936,
        "max_position_embeddings": 40_960,
        "tie_word_embeddings": False,
    },
    "meta-llama/Llama-3.1-70B-Instruct": {
        "model_type": "llama",
        "hidden_size": 8192,
        "intermediate_size": 28_672,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "vocab_size": 128_256,
        "max_position_embeddings": 131_072,
        "tie_word_embeddings": False,
    },
}
"""What the configs of some models on the hub say, for those that cannot be reached."""


@dataclass(frozen=True)
class Shape:
    """The sizes that memory and time depend on."""

    name: str
    """Folder or hub id."""
    parameters: int
    """Numbers in the weights, N; a matrix that input and output share counts once."""
    decoder_parameters: int
    """Those in the matrices of the decoder layers, which quantisation makes smaller."""
    hidden: int
    """Width of an embedding, H."""
    layers: int
    """Decoder layers, L."""
    query: int
    """Attention heads times their width, Q."""
    key_value: int
    """Key-value heads times their width, K."""
    intermediate: int
    """Width of the feed-forward part, F; of all experts that read one token together."""
    vocabulary: int
    """Tokens in the vocabulary, V."""
    context_tokens: int
    """Tokens a row may have."""
    bits: int = 16
    """Bits of a number in the matrices of the decoder layers, where the checkpoint is stored quantised."""


def shape_of(name: str, revision: str | None = None, trust_remote_code: bool = False) -> Shape:
    """The sizes of the model in a folder, in the local cache of the hub, or in `PUBLISHED`; the network is not asked.

    Raises ModelLoadError where none of them knows it.
    """
    from transformers import AutoConfig

    if not Path(name).expanduser().is_dir() and name in PUBLISHED:
        fields = dict(PUBLISHED[name])
        return measure(name, cast(Any, AutoConfig).for_model(fields.pop("model_type"), **fields))
    try:
        source = str(Path(name).expanduser()) if Path(name).expanduser().is_dir() else name
        config = cast(Any, AutoConfig).from_pretrained(
            source, revision=revision or "main", trust_remote_code=trust_remote_code, local_files_only=True
        )
        return measure(name, config)
    except (OSError, ValueError) as exc:
        raise ModelLoadError(
            f"The sizes of {name!r} are not known: it is no folder with a config.json, not in the local cache of the "
            f"hub, and none of {', '.join(map(repr, PUBLISHED))}. Check the spelling, or pass a folder."
        ) from exc


def measure(name: str, config: Any) -> Shape:
    """The sizes of the model that a transformers config describes; its modules are made without memory for weights."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model: Any = cast(Any, AutoModelForCausalLM).from_config(config)
    text: Any = config.get_text_config(decoder=True)
    head = model.get_output_embeddings()
    matrices = {
        id(module.weight): module.weight.numel()
        for module in model.modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    }
    heads = int(text.num_attention_heads)
    width = int(getattr(text, "head_dim", None) or text.hidden_size // heads)
    return Shape(
        name=name,
        parameters=int(model.num_parameters()),
        decoder_parameters=sum(matrices.values()),
        hidden=int(text.hidden_size),
        layers=int(text.num_hidden_layers),
        query=heads * width,
        key_value=int(getattr(text, "num_key_value_heads", None) or heads) * width,
        intermediate=_intermediate(text),
        vocabulary=int(text.vocab_size),
        context_tokens=int(getattr(text, "max_position_embeddings", 0) or 2**31 - 1),
        bits=_bits(config),
    )


def _bits(config: Any) -> int:
    """Of the checkpoint's own quantisation; 16 where it has none that is known."""
    stored: Any = getattr(config, "quantization_config", None) or {}
    fields = cast(Mapping[str, Any], stored if isinstance(stored, dict) else stored.to_dict())
    if fields.get("load_in_4bit") or fields.get("bits") == 4:
        return 4
    return 8 if fields.get("load_in_8bit") or fields.get("bits") == 8 else 16


def _intermediate(text: Any) -> int:
    """Width of the feed-forward part; GPT-2's is four times the hidden size where it says nothing."""
    each: Mapping[str, Any] = text.to_dict()
    if each.get("num_experts_per_tok") and each.get("moe_intermediate_size"):
        return int(each["num_experts_per_tok"]) * int(each["moe_intermediate_size"])
    return int(each.get("intermediate_size") or each.get("n_inner") or each.get("ffn_dim") or 4 * text.hidden_size)
