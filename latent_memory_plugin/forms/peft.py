"""Latents as PEFT prompt-tuning adapters, and such adapters as soft prompts. Whatever form enters a pass by nothing but
vectors can be exported.

PEFT reads its virtual tokens first of all: `[virtual tokens, BOS, prompt]` where a Latent is read as `[BOS, latent,
prompt]`. For a model whose prompts begin with a BOS token, an exported adapter therefore begins with that token's
embedding, and is used with prompts that have none. Legend: P latent tokens, H hidden size.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from latent_memory_plugin.errors import InputError, StoreWriteError, WrongModelError
from latent_memory_plugin.forms import FORMS, Loaded, entry

if TYPE_CHECKING:
    from latent_memory_plugin.engines.hf import LanguageModel

CONFIG, WEIGHTS, README = "adapter_config.json", "adapter_model.safetensors", "README.md"
TENSOR = "prompt_embeddings"
"""Name of PEFT's one tensor (virtual tokens, H)."""

MAX_CONFIG_BYTES, MAX_WEIGHTS_BYTES = 1 << 20, 64 << 20

_PLAIN = "Load it with `PeftModel.from_pretrained(model, folder)`. Rows of a batch must not be padded on the left."
_BOS = (
    "Its first virtual token is the model's beginning-of-sequence token: tokenize prompts without one "
    "(`add_special_tokens=False`, or drop the first id of a templated prompt). With it, answers differ."
)


def export_adapter(
    model: "LanguageModel",
    latent_id: str,
    tensors: Mapping[str, np.ndarray],
    folder: Path,
    form: str = "soft_prompt",
) -> int:
    """Writes a Latent of this model as an adapter folder; the number of its virtual tokens: P, and one more where
    prompts begin with a BOS token. Raises InputError where there is something at the folder's place, or a prompt is not
    all that the form enters with, StoreWriteError."""
    from peft import PromptTuningConfig, TaskType
    from safetensors.torch import save

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"There is something at {str(folder)!r} already; name a folder that is new or empty.")
    if FORMS.get(form).needs != frozenset({"vectors"}):
        raise InputError(f"A Latent of the form {form!r} is no prompt, so there is no adapter for it; keep it here.")
    named = {name: torch.from_numpy(array) for name, array in tensors.items()}
    vectors = cast(Tensor, entry(Loaded(form, named), model).vectors)  # (P, H)
    prefix = model.token_embeddings(model.prefix_ids)  # (0 or 1, H)
    virtual = torch.cat([prefix, vectors.detach().float()]).contiguous()  # (P or P + 1, H)
    config = PromptTuningConfig(
        task_type=TaskType.CAUSAL_LM,
        base_model_name_or_path=model.name,
        num_virtual_tokens=len(virtual),
        token_dim=virtual.shape[1],
        inference_mode=True,
    )
    metadata = {"format": "pt", "latent_id": latent_id, "fingerprint": model.fingerprint}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        config.save_pretrained(str(folder))
        content = save({TENSOR: virtual}, metadata | {"prefix_tokens": str(len(prefix))})
        (folder / WEIGHTS).write_bytes(content)
        notes = [f"Latent {latent_id} of {model.name}.", _PLAIN, *([_BOS] if len(prefix) else [])]
        (folder / README).write_text("\n\n".join(notes) + "\n", encoding="utf-8")
    except OSError as exc:
        raise StoreWriteError(f"{str(folder)!r} cannot be written ({exc}); allow it or pass another folder.") from exc
    return len(virtual)


def read_adapter(model: "LanguageModel", folder: Path) -> dict[str, np.ndarray]:
    """The tensors of the soft prompt, `latent` (P, H) float32, that a prompt-tuning adapter of this model is. Neither
    PEFT nor pickle is used.

    Raises InputError for what is no such adapter, WrongModelError where it names another model or has another width.
    """
    config = _config(folder / CONFIG)
    if config.get("peft_type") != "PROMPT_TUNING" or config.get("task_type") not in ("CAUSAL_LM", None):
        found = f"{config.get('peft_type')!r:.40} for {config.get('task_type')!r:.40}"
        raise InputError(f"{str(folder)!r} is an adapter of the type {found}; only PROMPT_TUNING for CAUSAL_LM fits.")
    tensor, metadata = _weights(folder / WEIGHTS)
    _check_model(model, config.get("base_model_name_or_path"), metadata.get("fingerprint"), folder)
    prefix = model.token_embeddings(model.prefix_ids)  # (0 or 1, H)
    if len(prefix) and tensor.ndim == 2 and torch.equal(tensor[: len(prefix)], prefix):
        tensor = tensor[len(prefix) :]  # (P, H)
    entry(tensor, model)
    return {"latent": tensor.numpy()}


def _config(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_CONFIG_BYTES + 1)
        fields = json.loads(content) if len(content) <= MAX_CONFIG_BYTES else None
    except (OSError, ValueError, RecursionError) as exc:
        raise InputError(f"{str(path)!r} cannot be read ({exc}); pass the folder of a PEFT adapter.") from exc
    if not isinstance(fields, dict):
        raise InputError(f"{str(path)!r} is no configuration of an adapter; pass the folder of a PEFT adapter.")
    return cast("dict[str, Any]", fields)


def _weights(path: Path) -> tuple[Tensor, dict[str, str]]:
    """The one tensor, as float32, and what stands beside it."""
    from safetensors import SafetensorError, safe_open

    try:
        size = path.stat().st_size
        if size > MAX_WEIGHTS_BYTES:
            raise InputError(f"{str(path)!r} has {size:,} bytes, an adapter has at most {MAX_WEIGHTS_BYTES:,}.")
        file: Any
        with cast(Any, safe_open)(path, framework="pt") as file:
            if list(file.keys()) != [TENSOR]:
                raise InputError(f"{str(path)!r} holds {list(file.keys())!r:.200}; expected {TENSOR!r} alone.")
            return file.get_tensor(TENSOR).to(torch.float32), file.metadata() or {}
    except (OSError, SafetensorError) as exc:
        raise InputError(
            f"{str(path)!r} cannot be read ({exc}); adapters are read from safetensors alone, never from a .bin file."
        ) from exc


def _check_model(model: "LanguageModel", name: object, fingerprint: str | None, folder: Path) -> None:
    """By the fingerprint where the adapter has one, else by the last part of the model's name."""
    if fingerprint is not None:
        if fingerprint not in (model.fingerprint, *model.former_fingerprints):
            raise WrongModelError(
                f"The adapter {str(folder)!r} belongs to the model {name!r:.200} (fingerprint {fingerprint[:12]!r}), "
                f"not to {model.name!r} (fingerprint {model.fingerprint[:12]!r})."
            )
    elif isinstance(name, str) and name and Path(name).name != Path(model.name).name:
        raise WrongModelError(
            f"The adapter {str(folder)!r} names the model {name!r:.200}, not {model.name!r}; where they are the same, "
            f"correct base_model_name_or_path in its {CONFIG}."
        )
