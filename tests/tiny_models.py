"""Small random models and a real tokenizer, built without a download: what the tests of the model door run on."""

from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

SENTENCES = [
    "A train travels 60 kilometres in 45 minutes. What is its speed?",
    "Maria has 12 apples and gives a third of them to her brother. How many does she keep?",
    "First add the numbers, then divide by how many there are. #### 7",
    "A fence is 20 metres long with a post every 4 metres. How many posts are there?",
]
SPECIAL = ["<pad>", "<s>", "<end>", "<user>", "<assistant>", "<system>"]
TEMPLATE = (
    "{% for message in messages %}<{{ message['role'] }}>{{ message['content'] }}<end>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)
BOS_TEMPLATE = "{{ bos_token }}" + TEMPLATE
CONTEXT_TOKENS = 256
ARCHITECTURES = ("llama", "qwen3", "gpt2", "mistral")


def tiny_tokenizer(template: str | None = TEMPLATE, bos: bool = False, pieces: int = 320) -> PreTrainedTokenizerFast:
    """A byte-level BPE of `pieces` tokens; with `bos`, one that puts <s> before plain text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=pieces,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<end>",
        bos_token="<s>" if bos else None,
        additional_special_tokens=["<user>", "<assistant>", "<system>"],
    )
    fast.chat_template = template
    return fast


def tiny_model(architecture: str = "llama", seed: int = 0, dtype: torch.dtype = torch.float32) -> PreTrainedModel:
    """Three layers of width 32 with weights large enough that every token changes the logits by whole units."""
    shared: dict[str, Any] = {
        "vocab_size": 320,
        "initializer_range": 0.2,
        "pad_token_id": 0,
        "bos_token_id": None,
        "eos_token_id": 2,
    }
    sizes: dict[str, Any] = {
        **shared,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": CONTEXT_TOKENS,
    }
    state = torch.get_rng_state()
    torch.manual_seed(seed)
    model: Any
    if architecture == "llama":
        model = LlamaForCausalLM(LlamaConfig(**sizes))
    elif architecture == "qwen3":
        model = Qwen3ForCausalLM(Qwen3Config(**sizes, tie_word_embeddings=True))
    elif architecture == "mistral":
        model = MistralForCausalLM(MistralConfig(**sizes, sliding_window=12))
    else:
        model = GPT2LMHeadModel(GPT2Config(**shared, n_embd=32, n_layer=3, n_head=4, n_positions=CONTEXT_TOKENS))
    torch.set_rng_state(state)
    return model.to(dtype).eval()


def tokens_read(model: PreTrainedModel) -> list[int]:
    """A list that gets the number of tokens (rows times columns) of each forward pass from now on."""
    counts: list[int] = []

    def count(_: torch.nn.Module, __: Any, output: torch.Tensor) -> None:
        counts.append(output.shape[0] * output.shape[1])

    model.get_input_embeddings().register_forward_hook(count)
    return counts
