"""Every architecture of the conformance suite, built small from its config class with random weights."""

from collections.abc import Callable
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

VOCABULARY = 320
CONTEXT_TOKENS = 256
WINDOW_TOKENS = 12
"""Sliding windows are shorter than the prompts of the suite."""

SLOWER = 4.0
"""Taken off the logarithms of the decay of states: those of a random Mamba forget a Latent before the prompt ends."""

SHARED: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "initializer_range": 0.2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
SIZES: dict[str, Any] = {
    **SHARED,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": CONTEXT_TOKENS,
}
EXPERTS: dict[str, Any] = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
STATES: dict[str, Any] = {
    "mamba_d_state": 8,
    "mamba_d_conv": 4,
    "mamba_expand": 2,
    "mamba_n_heads": 8,
    "mamba_chunk_size": 16,
}

SETTINGS: dict[str, dict[str, Any]] = {
    "GPT2": {**SHARED, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": CONTEXT_TOKENS},
    "GPTNeoX": SIZES,
    "OPT": {
        **SHARED,
        "hidden_size": 32,
        "ffn_dim": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "word_embed_proj_dim": 24,
        "do_layer_norm_before": False,
        "init_std": 0.2,
        "max_position_embeddings": CONTEXT_TOKENS,
    },
    "Bloom": {**SHARED, "hidden_size": 32, "n_layer": 2, "n_head": 4},
    "Llama": SIZES,
    "Mistral": {**SIZES, "sliding_window": WINDOW_TOKENS},
    "Mixtral": {**SIZES, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": None},
    "Qwen2": {**SIZES, "tie_word_embeddings": True},
    "Qwen3": {**SIZES, "tie_word_embeddings": True},
    "Qwen3Moe": {**SIZES, **EXPERTS, "norm_topk_prob": True},
    "Gemma2": {**SIZES, "sliding_window": WINDOW_TOKENS, "query_pre_attn_scalar": 8},
    "Gemma3Text": {
        **SIZES,
        "sliding_window": WINDOW_TOKENS,
        "query_pre_attn_scalar": 8,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "Phi3": SIZES,
    "Falcon": {**SHARED, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "alibi": False},
    "Starcoder2": {**SIZES, "sliding_window": WINDOW_TOKENS},
    "SmolLM3": {**SIZES, "no_rope_layers": [1, 0]},
    "Olmo2": SIZES,
    "GptOss": {
        **SIZES,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "sliding_window": WINDOW_TOKENS,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "DeepseekV3": {
        **SIZES,
        "num_key_value_heads": 4,
        "moe_intermediate_size": 24,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "n_group": 1,
        "topk_group": 1,
        "first_k_dense_replace": 1,
        "q_lora_rank": 16,
        "kv_lora_rank": 16,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 8,
        "v_head_dim": 8,
    },
    "Jamba": {
        **SIZES,
        "num_hidden_layers": 4,
        "attn_layer_period": 2,
        "attn_layer_offset": 1,
        "expert_layer_period": 2,
        "expert_layer_offset": 1,
        "num_experts": 4,
        "mamba_d_state": 8,
        "mamba_dt_rank": 4,
        "use_mamba_kernels": False,
    },
    "Bamba": {**SIZES, **STATES, "mamba_d_head": 8, "mamba_n_groups": 1, "attn_layer_indices": [1]},
    "FalconH1": {**SIZES, **STATES, "mamba_d_head": 8, "mamba_n_groups": 1, "mamba_d_ssm": 64},
    "Mamba2": {
        **SHARED,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_heads": 8,
        "head_dim": 8,
        "state_size": 8,
        "n_groups": 1,
        "chunk_size": 16,
    },
    "Mamba": {**SHARED, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 8},
    "Lfm2": {**SIZES, "layer_types": ["conv", "full_attention"]},
    "Qwen3Next": {
        **SIZES,
        **EXPERTS,
        "layer_types": ["linear_attention", "full_attention"],
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "shared_expert_intermediate_size": 24,
    },
}


def build(name: str, seed: int = 0, **changes: Any) -> PreTrainedModel:
    """The model of a config class, two layers of width 32, in float32 and evaluation mode."""
    config = config_class(name)(**{**SETTINGS[name], **changes})
    model_class: Callable[[Any], Any] = (
        getattr(transformers, f"{name}ForCausalLM", None)
        or getattr(transformers, f"{name.removesuffix('Text')}ForCausalLM", None)
        or getattr(transformers, f"{name}LMHeadModel")
    )
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    config._experts_implementation = "eager"
    model = model_class(config)
    torch.set_rng_state(state)
    for weight_name, weight in model.named_parameters():
        if weight_name.endswith("A_log"):
            weight.data -= SLOWER
    return model.float().eval()


def config_class(name: str) -> Any:
    return getattr(transformers, f"{name}Config")
