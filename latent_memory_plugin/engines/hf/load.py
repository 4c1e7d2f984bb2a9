"""Loading a model and its tokenizer: what goes wrong, or would be filled with random numbers, becomes a ModelLoadError
that says what to do."""

from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, cast

import torch

from latent_memory_plugin.config import ModelConfig
from latent_memory_plugin.engines.hf.engine import Engine
from latent_memory_plugin.errors import ModelLoadError

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Kind = Literal["AutoModelForCausalLM", "AutoModelForSequenceClassification"]
"""transformers' class that reads the model."""

EMBEDDED_NAME = "embedded"
EMBEDDED_FOLDER = Path(__file__).parents[2] / "sandbox" / "weights"
EMBEDDED_PARTS = {EMBEDDED_NAME: "", "embedded-hard": "hard"}
"""Where in `EMBEDDED_FOLDER` the model of each name is."""
GGUF = ".gguf"
SETTINGS = ("device_map", "max_memory", "attn_implementation", "quantization_config")
"""Settings of ModelConfig that go to transformers as they are."""


def read(
    config: ModelConfig, embedded: Path = EMBEDDED_FOLDER, kind: Kind = "AutoModelForCausalLM"
) -> tuple["PreTrainedModel", "PreTrainedTokenizerBase", str]:
    """The model in evaluation mode with frozen weights on its device, its tokenizer, and its name.

    A hub id whose files are in the local cache is read from there without asking the network.
    """
    source, device = _source(config, embedded), _device(config.device)
    with _quiet(source):
        try:
            model, tokenizer = _read(source, config, kind, local=True)
        except ModelLoadError as exc:
            if isinstance(source, Path) or not isinstance(exc.__cause__, OSError):
                raise
            _ask_hub(source, config.revision)
            model, tokenizer = _read(source, config, kind, local=False)
    if config.device_map is None and not getattr(model, "is_quantized", False):
        model.to(device)
    if config.generation_config == "ends":
        from transformers import GenerationConfig

        ends = getattr(model.generation_config, "eos_token_id", None)
        model.generation_config = GenerationConfig(eos_token_id=ends)
    return model.requires_grad_(False).eval(), tokenizer, config.name or EMBEDDED_NAME


def _source(config: ModelConfig, embedded: Path) -> Path | str:
    """The folder or GGUF file, or the hub id as text."""
    if config.name is None or config.name in EMBEDDED_PARTS:
        folder = embedded / EMBEDDED_PARTS[config.name or EMBEDDED_NAME]
        if not (folder / "config.json").is_file():
            raise ModelLoadError(
                f"The embedded model is missing from {str(folder)!r}; run `make sandbox-model` (for 'embedded-hard' "
                "with ARGS='--world hard') to train it, or name another model."
            )
        return folder
    path = Path(config.name).expanduser()
    packed = sorted(path.glob(f"*{GGUF}")) if path.is_dir() and not (path / "config.json").exists() else []
    if len(packed) > 1:
        raise ModelLoadError(
            f"The folder {config.name!r} holds {[one.name for one in packed]!r:.200}; name one of these files."
        )
    if packed or path.is_dir() or (path.suffix == GGUF and path.is_file()):
        return packed[0] if packed else path
    rooted = path.is_file() or path.is_absolute() or config.name.startswith((".", "~"))
    if rooted or path.suffix == GGUF or config.name.count("/") > 1:
        raise ModelLoadError(
            f"There is no model folder {config.name!r}; pass a folder with config.json and safetensors, a {GGUF} file, "
            "or a hub id such as 'Qwen/Qwen3-1.7B'."
        )
    return config.name


def _device(name: str) -> torch.device:
    """The device of that name, or the best there is for `auto`. Raises ModelLoadError where it cannot be used."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError, NotImplementedError) as exc:
        raise ModelLoadError(
            f"The device {name!r} cannot be used here ({first_line(exc)}); try 'auto' or 'cpu'."
        ) from exc


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


def _read(source: Path | str, config: ModelConfig, kind: Kind, local: bool) -> tuple[Any, Any]:
    import transformers

    given = {name: value for name in SETTINGS if (value := getattr(config, name)) is not None}
    folder, both, options = _place(source, config)
    both |= {"trust_remote_code": config.trust_remote_code, "local_files_only": local}
    options |= {"dtype": "auto" if config.dtype == "auto" else getattr(torch, config.dtype), **given}
    # Weights of other shapes are refused below, by name.
    options |= {"output_loading_info": True, "ignore_mismatched_sizes": True}
    try:
        tokenizer = cast(Any, transformers.AutoTokenizer).from_pretrained(folder, **both)
        model, told = getattr(transformers, kind).from_pretrained(folder, **options, **both)
    except ImportError as exc:
        raise ModelLoadError(
            f"The model {str(source)!r} needs a package that is missing or does not work here ({first_line(exc)}); "
            "install it, or use a checkpoint of another format."
        ) from exc
    except Exception as exc:  # the tokenizers library raises Exception itself
        asked = f", which can be loaded with {given!r:.200}" if given else ""
        wanted = "causal language model" if kind == "AutoModelForCausalLM" else "model for sequence classification"
        raise ModelLoadError(
            f"The model {str(source)!r} could not be loaded ({first_line(exc)}); it must be a {wanted} with "
            f"config.json, safetensors weights and a tokenizer{asked}."
        ) from exc
    _check_whole(model, told, str(source))
    return model, tokenizer


def _place(source: Path | str, config: ModelConfig) -> tuple[Path | str, dict[str, Any], dict[str, Any]]:
    """Folder or hub id; what model and tokenizer are both read with; what the model alone is."""
    if isinstance(source, str):
        return source, {"revision": config.revision or "main"}, {"use_safetensors": True}
    if source.is_dir():
        return source, {}, {"use_safetensors": True}  # weights in pickle files could run code
    if missing := [package for package in ("gguf", "accelerate") if find_spec(package) is None]:
        raise ModelLoadError(
            f"{str(source)!r} is read with the packages {missing!r}; run pip install 'latent-memory-plugin[gguf]'."
        )
    from transformers import GgufConfig

    return source.parent, {"gguf_file": str(source.resolve())}, {"quantization_config": GgufConfig(dequantize=True)}


def _check_whole(model: Any, told: dict[str, Any], source: str) -> None:
    """Raises ModelLoadError where a weight was not in the checkpoint, or its packed form is not understood:
    transformers fills both with random numbers. What is tied to another weight was not looked for, and a buffer makes
    itself."""
    packed: Any = getattr(model.config, "quantization_config", None)
    if packed is not None and getattr(model, "hf_quantizer", None) is None:
        raise ModelLoadError(
            f"The weights of {source!r} are quantised by {packed.get('quant_method')!r:.80}, which this version of "
            "transformers does not know; update it, or use a checkpoint of another format."
        )
    missing = sorted(set(told["missing_keys"]) - {name for name, _ in model.named_buffers()})
    shapes = [f"{name}: {tuple(came)} for {tuple(wanted)}" for name, came, wanted in sorted(told["mismatched_keys"])]
    if missing or shapes:
        wrong = [f"it lacks the weights {_some(missing)}"] if missing else []
        wrong += [f"it has other shapes, {_some(shapes)}"] if shapes else []
        wrong += [f"it holds {_some(found)} without a place"] if (found := sorted(told["unexpected_keys"])) else []
        raise ModelLoadError(
            f"The checkpoint {source!r} is no whole {type(model).__name__}: {', '.join(wrong)}. Random numbers would "
            "stand there; use one that was saved from this architecture, with its own config.json."
        )


def _some(names: list[str]) -> str:
    """The first of them, and how many there are."""
    return repr(names) if len(names) < 4 else f"{names[:3]!r} and {len(names) - 3} more"


def first_line(error: BaseException) -> str:
    """What a foreign error says first, at most 300 characters."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)[:300]


@contextmanager
def _quiet(source: Path | str) -> Generator[None]:
    """No bar and no chatter while weights are read; bars of a download stay."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    hook = logging.set_tqdm_hook(lambda bar, args, kwargs: bar(*args, **{**kwargs, "disable": True}))
    logging.set_verbosity_error()
    unpacking: Any = SimpleNamespace(tqdm=None)
    if Path(source).suffix == GGUF:  # whose bar knows no hook
        unpacking = import_module("transformers.modeling_gguf_pytorch_utils")
    bar = unpacking.tqdm
    unpacking.tqdm = _rows_alone
    try:
        yield
    finally:
        unpacking.tqdm = bar
        logging.set_verbosity(level)
        logging.set_tqdm_hook(hook)


def _rows_alone(rows: Any, **_: Any) -> Any:
    return rows


def check_vocabulary(engine: Engine, tokenizer: "PreTrainedTokenizerBase", name: str) -> None:
    """Raises ModelLoadError where the tokenizer writes ids that the model has no embedding for."""
    largest, rows = max(tokenizer.get_vocab().values(), default=-1), len(engine.embedding)
    if largest >= rows:
        raise ModelLoadError(
            f"The tokenizer of {name!r} has token ids up to {largest}, its model only {rows} embeddings; use the "
            "tokenizer that belongs to the model, or model.resize_token_embeddings()."
        )


def unwrapped(model: Any, tokenizer: Any, name: str | None) -> "PreTrainedModel":
    """The transformers model inside what torch.compile or PEFT made of it, its adapters active as they are. A compiled
    graph is not used: the shapes of sampling change at every step.

    Raises ModelLoadError where it is none, where there is no tokenizer, and where PEFT adds something beside the
    layers, which would be lost.
    """
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    outer, name = model, name or type(model).__name__
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        raise ModelLoadError(
            f"The tokenizer of {name!r} is a {type(tokenizer).__name__}; pass the model's own, as "
            "AutoTokenizer.from_pretrained(...) gives it."
        )
    while not isinstance(model, PreTrainedModel):
        inner = getattr(model, "_modules", {}).get("_orig_mod")
        if inner is None and hasattr(cast(Any, type(model)), "get_base_model"):
            inner = model.get_base_model()
            _check_adapters(model, inner, name)
        if inner is None:
            raise ModelLoadError(
                f"{name!r} is a {type(outer).__name__} around a {type(model).__name__}; pass a PreTrainedModel of "
                "transformers, which LanguageModel.load(ModelConfig(name=...)) finds by a path or hub id."
            )
        model = inner
    return model


def _check_adapters(model: Any, inner: Any, name: str) -> None:
    """A token through PEFT's own model and through the one inside: adapters that sit in the layers act in both."""
    ids = torch.tensor([[1]], device=inner.get_input_embeddings().weight.device)  # (1, T)
    training = [module for module in model.modules() if module.training]
    try:
        for module in training:  # dropout off
            module.training = False
        with torch.no_grad():
            given, own = (one(input_ids=ids).logits[:, -1].float() for one in (model, inner))  # (1, V)
        same, why = torch.allclose(given, own, rtol=0, atol=0.05 * float(own.std())), "its logits are others"
    except Exception as exc:  # noqa: BLE001  whatever a kind of adapter needs that is not there
        same, why = False, first_line(exc)
    finally:
        for module in training:
            module.training = True
    if not same:
        kinds = sorted({str(getattr(one.peft_type, "value", one.peft_type)) for one in model.peft_config.values()})
        raise ModelLoadError(
            f"The adapter of {name!r} ({', '.join(kinds)}) does not act inside the model's layers ({why}), so it would "
            "be lost here. Import a prompt-tuning adapter with LatentMemory.import_peft, or pass "
            "model.get_base_model()."
        )
