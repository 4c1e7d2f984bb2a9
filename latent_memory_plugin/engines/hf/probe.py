"""A few tokens read in several ways when a model is taken in: an architecture that reads a Latent, a padded batch or a
cache wrongly, or looks ahead, is refused then, instead of giving wrong numbers later."""

from collections.abc import Callable

import torch
from torch import Tensor

from latent_memory_plugin.engines.hf.cache import spread
from latent_memory_plugin.engines.hf.engine import Engine, Inputs
from latent_memory_plugin.engines.hf.prompts import Prompt
from latent_memory_plugin.engines.hf.rows import Row, assemble
from latent_memory_plugin.errors import ModelLoadError

MOST_APART = 0.2
"""Root mean square of a logit's error, in standard deviations of the logits: rounding in bfloat16 stays below 0.1,
another row's logits are at 1.4."""


def check_reading(engine: Engine, name: str) -> None:
    """Raises ModelLoadError where a later token changes an earlier logit, or a row after a Latent, beside a longer one
    and with a cache, is not that row alone."""
    what = f"{type(engine.model).__name__} of {name!r}"
    if _tried(_ahead, engine, what) > MOST_APART:
        raise ModelLoadError(
            f"{what} is no decoder: a later token changes the logits of those before it. Use a causal language model "
            "(of BERT and its like, one with is_decoder=True in its config.json, trained so)."
        )
    if (apart := _tried(_apart, engine, what)) > MOST_APART:
        raise ModelLoadError(
            f"{what} does not read a padded row, or input embeddings, or its cache as it reads token ids alone: the "
            f"logits are {apart:.1f} standard deviations apart. Use another architecture, or another version of "
            "transformers."
        )


def _tried(measure: Callable[[Engine, list[int]], float], engine: Engine, what: str) -> float:
    ids = [1 + (7 + 13 * number) % max(1, len(engine.embedding) - 1) for number in range(9)]
    try:
        with engine.frozen(), torch.inference_mode():
            return measure(engine, ids)
    except ModelLoadError:
        raise
    except Exception as exc:  # whatever a foreign architecture raises, it cannot be used
        raise ModelLoadError(
            f"{what} cannot read a Latent in a batch ({type(exc).__name__}: {str(exc).strip()[:200]}); use a "
            "decoder-only model whose cache is transformers' DynamicCache and which needs nothing but input embeddings."
        ) from exc


def _ahead(engine: Engine, ids: list[int]) -> float:
    """The largest root mean square error of the logits before a last token that is another."""
    read = [assemble(engine, [Row(_prompt([*ids[:4], last]))]) for last in ids[4:6]]
    first, second = (engine.forward(inputs, keep=len(ids[:5])).logits[0, :-1] for inputs in read)  # (4, V) each
    return max(_error(*pair) for pair in zip(second, first, strict=True))


def _apart(engine: Engine, ids: list[int]) -> float:
    """The largest root mean square error of the logits of two rows and two steps; numbers that are not finite are
    left to the methods that name them."""
    latent = engine.embed(torch.tensor([ids[1:3]], device=engine.device))[0]  # (2, H)
    read = [Row(_prompt([ids[0], ids[3]], 1), latent), Row(_prompt(ids[2:8]))]
    whole = [[*ids[:4], ids[8]], ids[2:9]]
    inputs, cache = assemble(engine, read), engine.new_cache()
    first = engine.forward(inputs, cache, keep=1).logits[:, -1]  # (2, V)
    swapped = torch.tensor([1, 0], device=engine.device)
    spread(cache, swapped, 1)
    mask = torch.nn.functional.pad(inputs.mask[swapped], (0, 1), value=1)  # (2, T + 1)
    token = torch.full((2, 1), ids[8], device=engine.device)
    step = Inputs(token, None, mask, inputs.positions[swapped, -1:] + 1)
    second = engine.forward(step, cache, keep=1).logits[:, -1]  # (2, V)
    alone = [engine.forward(assemble(engine, [Row(_prompt(one))]), keep=2).logits[0] for one in whole]
    pairs = [(first[row], alone[row][0]) for row in (0, 1)]  # (V,) each
    pairs += [(second[place], alone[row][1]) for place, row in enumerate((1, 0))]
    return max(_error(found, reference) for found, reference in pairs)


def _error(found: Tensor, reference: Tensor) -> float:
    """Root mean square error of logits (V,) in standard deviations of the reference."""
    apart = float((found - reference).double().square().mean().sqrt() / reference.double().std().clamp(min=1e-9))
    return apart if apart == apart else 0.0


def _prompt(ids: list[int], bos_tokens: int = 0) -> Prompt:
    return Prompt(tuple(ids), bos_tokens, slice(bos_tokens, len(ids)))
