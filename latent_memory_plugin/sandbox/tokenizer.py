"""The embedded model's tokenizer: byte-level BPE in which every digit is a token of its own.

Byte level means no text is ever unknown; digits on their own let a tiny model calculate.
"""

from collections.abc import Iterable

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

PAD, BEGIN, END = "<|pad|>", "<|begin|>", "<|end|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|tools|>")
CALL, CALL_END = "<tool_call>", "</tool_call>"
VOCABULARY = 1536

CHAT_TEMPLATE = (
    "<|begin|>"
    "{%- if tools %}<|tools|>{% for tool in tools %}{{ ' ' if not loop.first }}"
    "{{ tool.function.name if tool.function is defined else tool.name }}{% endfor %}<|end|>{% endif %}"
    "{%- for message in messages %}<|{{ message.role }}|>"
    "{{- message.content if message.content else '' }}"
    "{%- for call in message.tool_calls or [] %}"
    "{% set function = call.function if call.function is defined else call %}"
    '<tool_call>{"name": "{{ function.name }}", "arguments": '
    "{{ function.arguments if function.arguments is string else function.arguments | tojson }}}</tool_call>"
    "{%- endfor %}<|end|>{% endfor %}"
    "{%- if add_generation_prompt %}<|assistant|>{% endif %}"
)


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A tokenizer of `VOCABULARY` tokens learnt from plain texts (without role marks)."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 2,
        special_tokens=[PAD, BEGIN, END, *ROLES],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(CALL, special=False), AddedToken(CALL_END, special=False)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BEGIN,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=list(ROLES),
        chat_template=CHAT_TEMPLATE,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=2048,
    )
