"""Loading a causal language model and its tokenizer; what goes wrong becomes a ModelLoadError that says what to do."""

import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from latent_memory_plugin.config import ModelConfig
from latent_memory_plugin.engines.hf.engine import Engine
from latent_memory_plugin.errors import ModelLoadError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

ReadFiles = Callable[[Path | str, ModelConfig, bool], tuple["PreTrainedModel", "PreTrainedTokenizerBase"]]
"""(folder or hub id, config, local files only) → a model and its tokenizer."""

EMBEDDED_NAME = "embedded"
EMBEDDED_FOLDER = Path(__file__).parents[2] / "sandbox" / "weights"
EMBEDDED_PARTS = {EMBEDDED_NAME: "", "embedded-hard": "hard"}
"""Where in `EMBEDDED_FOLDER` the model of each name is."""

_HASHED_ROWS = 8192


def read(
    config: ModelConfig, embedded: Path = EMBEDDED_FOLDER
) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase", str]:
    """The model in evaluation mode with frozen weights on its device, its tokenizer, and its name.

    A hub id whose files are in the local cache is read from there without asking the network.
    """
    name = EMBEDDED_NAME if config.name is None else config.name
    return *loaded(config, _read, embedded), name


def loaded(
    config: ModelConfig, read_files: ReadFiles, embedded: Path = EMBEDDED_FOLDER
) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    """What `read_files` reads, in evaluation mode with frozen weights on its device, and its tokenizer."""
    source, device = _source(config, embedded), _device(config.device)
    with _quiet():
        if isinstance(source, str):
            model, tokenizer = _read_hub_id(source, config, read_files)
        else:
            model, tokenizer = read_files(source, config, True)
    if not getattr(model, "is_quantized", False):
        model.to(device)  # type: ignore[arg-type]
    if config.generation_config == "ends":
        _keep_ends(model)
    return model.requires_grad_(False).eval(), tokenizer


def _keep_ends(model: "PreTrainedModel") -> None:
    from transformers import GenerationConfig

    model.generation_config = GenerationConfig(eos_token_id=getattr(model.generation_config, "eos_token_id", None))


def _source(config: ModelConfig, embedded: Path) -> Path | str:
    """The folder, or the hub id as text."""
    if config.name is None or config.name in EMBEDDED_PARTS:
        folder = embedded / EMBEDDED_PARTS[config.name or EMBEDDED_NAME]
        if not (folder / "config.json").is_file():
            raise ModelLoadError(
                f"The embedded model is missing from {str(folder)!r}; run `make sandbox-model` (for 'embedded-hard' "
                "with ARGS='--world hard') to train it, or name another model."
            )
        return folder
    path = Path(config.name).expanduser()
    if path.is_dir():
        return path
    if path.is_file() or path.is_absolute() or config.name.startswith((".", "~")) or config.name.count("/") > 1:
        raise ModelLoadError(
            f"There is no model folder {config.name!r}; pass a folder with config.json and safetensors, or a hub id "
            "such as 'Qwen/Qwen3-1.7B'."
        )
    return config.name


def _device(name: str) -> torch.device:
    """The device of that name, or the best there is for `auto`. Raises ModelLoadError where it cannot be used."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as exc:
        raise ModelLoadError(
            f"The device {name!r} cannot be used here ({first_line(exc)}); try 'auto' or 'cpu'."
        ) from exc
    return device


def _read_hub_id(
    name: str, config: ModelConfig, read_files: ReadFiles
) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    try:
        return read_files(name, config, True)
    except ModelLoadError as exc:
        if not isinstance(exc.__cause__, OSError):
            raise
    _ask_hub(name, config.revision)
    return read_files(name, config, False)


def _ask_hub(name: str, revision: str | None) -> None:
    """Raises at once where a hub id cannot be had; transformers would retry for half a minute."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    try:
        HfApi().model_info(name, revision=revision, timeout=10)
    except (OSError, ValueError, cast(type[Exception], HTTPError)) as exc:
        raise ModelLoadError(
            f"The model {name!r} is neither a folder nor in the local cache, and the hub did not give it "
            f"({first_line(exc)}); check the spelling, the network and your access, or pass a folder."
        ) from exc


def _read(source: Path | str, config: ModelConfig, local: bool) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase"]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    common: dict[str, Any] = {"trust_remote_code": config.trust_remote_code, "local_files_only": local}
    if isinstance(source, str):
        common["revision"] = config.revision or "main"
    dtype = "auto" if config.dtype == "auto" else getattr(torch, config.dtype)
    try:
        tokenizer = cast(Any, AutoTokenizer).from_pretrained(source, **common)
        # Weights in pickle files could run code.
        model = cast(Any, AutoModelForCausalLM).from_pretrained(source, dtype=dtype, use_safetensors=True, **common)
    except ImportError as exc:
        raise ModelLoadError(
            f"The model {str(source)!r} needs a package that is missing or does not work here ({first_line(exc)}); "
            "install it, or use a checkpoint of another format."
        ) from exc
    except Exception as exc:  # the tokenizers library raises Exception itself
        raise ModelLoadError(
            f"The model {str(source)!r} could not be loaded ({first_line(exc)}); it must be a causal language model "
            "with config.json, safetensors weights and a tokenizer."
        ) from exc
    return model, tokenizer


def first_line(error: BaseException) -> str:
    """What a foreign error says first, at most 300 characters."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]


@contextmanager
def _quiet() -> Generator[None]:
    """No bar and no chatter while weights are read; bars of a download stay."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    hook = logging.set_tqdm_hook(lambda bar, args, kwargs: bar(*args, **{**kwargs, "disable": True}))
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        logging.set_tqdm_hook(hook)


def check_vocabulary(engine: Engine, tokenizer: "PreTrainedTokenizerBase", name: str) -> None:
    """Raises ModelLoadError where the tokenizer writes ids that the model has no embedding for."""
    largest, rows = max(tokenizer.get_vocab().values(), default=-1), len(engine.embedding)
    if largest >= rows:
        raise ModelLoadError(
            f"The tokenizer of {name!r} has token ids up to {largest}, its model only {rows} embeddings; use the "
            "tokenizer that belongs to the model, or model.resize_token_embeddings()."
        )


def fingerprint(engine: Engine, tokenizer: "PreTrainedTokenizerBase") -> str:
    """SHA-256 of architecture, sizes, vocabulary and embedding matrix, 64 hexadecimal digits.

    The matrix is rounded to bfloat16 first, so that one checkpoint has one fingerprint whether it is loaded as float32
    or as bfloat16. The chat template is left out: it may be corrected without making another model.
    """
    config = engine.config
    matrix = engine.embedding
    facts = {
        "architecture": config.model_type,
        "layers": engine.layers,
        "shape": list(matrix.shape),
        "heads": getattr(config, "num_attention_heads", None),
        "key_value_heads": getattr(config, "num_key_value_heads", None),
        "vocabulary": sorted(tokenizer.get_vocab().items()),
    }
    digest = sha256(json.dumps(facts, sort_keys=True, ensure_ascii=True).encode())
    for start in range(0, len(matrix), _HASHED_ROWS):
        part = matrix[start : start + _HASHED_ROWS].to("cpu", torch.bfloat16).contiguous()
        digest.update(part.view(torch.uint8).numpy().data)
    return digest.hexdigest()
