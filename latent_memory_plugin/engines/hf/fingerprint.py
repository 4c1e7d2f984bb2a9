"""What makes a model this model and no other: architecture, sizes, base vocabulary, weights and active adapters.

Of every tensor at most `RUNS` runs of `RUN` numbers are hashed, evenly spread, however large it is: a model of 8
billion parameters has some 300 tensors, which take a fraction of a second. What changes all of a matrix, as training
and merged adapters do, is seen; what changes nothing but numbers between the runs is not.
"""

import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from operator import attrgetter
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from latent_memory_plugin.engines.hf.engine import Engine, held

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

RUNS, RUN = 64, 64

_HASHED_ROWS = 8192


def fingerprint(engine: Engine, tokenizer: "PreTrainedTokenizerBase") -> str:
    """SHA-256, 64 hexadecimal digits.

    Numbers are rounded to bfloat16 first, so that one checkpoint has one fingerprint whether it is loaded as float32 or
    as bfloat16. A token that was added beside the base vocabulary, with its rows in the embedding matrices, is left
    out, and so is the chat template: neither makes another model. Weights are told apart by layer and shape, not by
    their names, which change between versions of transformers.
    """
    model: Any = engine.model
    vocabulary = _base_vocabulary(tokenizer)
    rows = max(vocabulary.values(), default=-1) + 1
    idle, scales = _adapters(model)
    ends = [module for module in (model.get_input_embeddings(), model.get_output_embeddings()) if module is not None]
    of_tokens = {id(weight) for module in ends for weight in module.parameters()}
    hashed: set[str] = set()  # what is tied counts once, also where it is held twice
    for name, weight in _weights(engine):
        layer = [part for part in name.split(".") if part.isdigit()]
        for part in _parts(weight) if id(weight) not in idle else ():
            kept = part[:rows] if id(weight) in of_tokens and part.ndim and len(part) >= rows else part
            hashed.add(json.dumps([layer, list(kept.shape), sha256(_bytes(_sampled(kept))).hexdigest()]))
    facts = _facts(engine) | {"width": engine.hidden_size, "adapters": scales, "weights": sorted(hashed)}
    return _digest(facts, vocabulary).hexdigest()


def former_fingerprint(engine: Engine, tokenizer: "PreTrainedTokenizerBase") -> str:
    """The fingerprint that older versions stored: architecture, sizes, whole vocabulary, embedding matrix."""
    matrix = engine.embedding
    digest = _digest(_facts(engine) | {"shape": list(matrix.shape)}, tokenizer.get_vocab())
    for start in range(0, len(matrix), _HASHED_ROWS):
        digest.update(_bytes(matrix[start : start + _HASHED_ROWS]))
    return digest.hexdigest()


def _digest(facts: Mapping[str, Any], vocabulary: Mapping[str, int]) -> Any:
    whole = {**facts, "vocabulary": sorted(vocabulary.items())}
    return sha256(json.dumps(whole, sort_keys=True, ensure_ascii=True).encode())


def _facts(engine: Engine) -> dict[str, Any]:
    config = engine.config
    return {
        "architecture": config.model_type,
        "layers": engine.layers,
        "heads": getattr(config, "num_attention_heads", None),
        "key_value_heads": getattr(config, "num_key_value_heads", None),
    }


def _base_vocabulary(tokenizer: "PreTrainedTokenizerBase") -> dict[str, int]:
    """Token → id of what the tokenizer was trained to, without what was added beside it."""
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        return backend.get_vocab(with_added_tokens=False)
    added = cast(Any, tokenizer).get_added_vocab()
    return {token: one for token, one in tokenizer.get_vocab().items() if token not in added}


def _weights(engine: Engine) -> Iterator[tuple[str, Tensor]]:
    """Each weight once. Packed ones are buffers in some formats."""
    model: Any = engine.model
    packed = bool(getattr(model, "is_quantized", False))
    for name, weight in model.state_dict(keep_vars=True).items() if packed else model.named_parameters():
        owner, _, leaf = name.rpartition(".")
        yield name, held(model.get_submodule(owner), leaf) if weight.device.type == "meta" else weight


def _adapters(model: Any) -> tuple[set[int], list[float]]:
    """The weights of PEFT's adapters that are not active, or are merged already, and the scales of those that are."""
    idle: set[int] = set()
    scales: list[float] = []
    for module in model.modules():
        if not hasattr(module, "adapter_layer_names"):
            continue
        off = module.disable_adapters or module.merged_adapters
        active = () if off else module.active_adapters
        scaling = getattr(module, "scaling", {})
        scales += [float(scaling[name]) for name in active if name in scaling]
        for place in module.adapter_layer_names:
            named: Any = attrgetter(place)(module)
            for name, one in named.items() if hasattr(named, "items") else ():
                if name not in active:
                    idle |= {id(one)} if isinstance(one, Tensor) else set(map(id, one.parameters()))
    return idle, scales


def _parts(tensor: Any) -> Iterator[Tensor]:
    """The plain tensors that a tensor is made of: a quantised one has scales beside its numbers."""
    if not hasattr(tensor, "__tensor_flatten__"):
        yield tensor.detach()
        return
    for name in tensor.__tensor_flatten__()[0]:
        yield from _parts(getattr(tensor, name))


def _sampled(tensor: Tensor) -> Tensor:
    """All of a small tensor, or `RUNS` runs of a large one, flat."""
    flat = tensor.reshape(-1)
    flat = flat.view(torch.uint8) if flat.element_size() == 1 else flat
    if flat.numel() <= RUNS * RUN:
        return flat
    starts = torch.linspace(0, flat.numel() - RUN, RUNS, dtype=torch.float64, device="cpu").long()
    return flat[(starts[:, None] + torch.arange(RUN)).reshape(-1).to(flat.device)]  # (RUNS * RUN,)


def _bytes(tensor: Tensor) -> Any:
    """Numbers as bfloat16, everything else as it is."""
    plain = tensor.to("cpu", torch.bfloat16) if tensor.is_floating_point() else tensor.cpu()
    return plain.contiguous().view(torch.uint8).numpy().data
