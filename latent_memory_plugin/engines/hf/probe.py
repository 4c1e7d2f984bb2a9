"""A few tokens read in two ways when a model is taken in: an architecture that reads a Latent, a padded batch or a
cache wrongly is refused then, instead of giving wrong numbers later."""

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
    """Raises ModelLoadError where a row after a Latent, beside a longer one and with a cache, is not that row alone."""
    try:
        apart = _apart(engine)
    except ModelLoadError:
        raise
    except Exception as exc:  # whatever a foreign architecture raises, it cannot be used
        raise ModelLoadError(
            f"{type(engine.model).__name__} of {name!r} cannot read a Latent in a batch ({type(exc).__name__}: "
            f"{str(exc).strip()[:200]}); use a decoder-only model whose cache is transformers' DynamicCache and which "
            "needs nothing but input embeddings."
        ) from exc
    if apart > MOST_APART:
        raise ModelLoadError(
            f"{type(engine.model).__name__} of {name!r} does not read a padded row, or input embeddings, or its cache "
            f"as it reads token ids alone: the logits are {apart:.1f} standard deviations apart. Use another "
            "architecture, or another version of transformers."
        )


def _apart(engine: Engine) -> float:
    """The largest root mean square error of the logits of two rows and two steps; numbers that are not finite are
    left to the methods that name them."""
    rows = len(engine.embedding)
    ids = [1 + (7 + 13 * number) % max(1, rows - 1) for number in range(9)]
    with engine.frozen(), torch.inference_mode():
        latent = engine.embed(torch.tensor([ids[1:3]], device=engine.device))[0]  # (2, H)
        read = [Row(_prompt([ids[0], ids[3]], 1), latent), Row(_prompt(ids[2:8]), None)]
        whole = [[*ids[:4], ids[8]], ids[2:9]]
        inputs, cache = assemble(engine, read), engine.new_cache()
        first = engine.forward(inputs, cache, keep=1).logits[:, -1]  # (2, V)
        swapped = torch.tensor([1, 0], device=engine.device)
        spread(cache, swapped, 1)
        mask = torch.nn.functional.pad(inputs.mask[swapped], (0, 1), value=1)  # (2, T + 1)
        token = torch.full((2, 1), ids[8], device=engine.device)
        step = Inputs(token, None, mask, inputs.positions[swapped, -1:] + 1)
        second = engine.forward(step, cache, keep=1).logits[:, -1]  # (2, V)
        alone = [engine.forward(assemble(engine, [Row(_prompt(one), None)]), keep=2).logits[0] for one in whole]
    pairs = [(first[row], alone[row][0]) for row in (0, 1)]  # (V,) each
    pairs += [(second[place], alone[row][1]) for place, row in enumerate((1, 0))]
    return max(_error(found, reference) for found, reference in pairs)


def _error(found: Tensor, reference: Tensor) -> float:
    """Root mean square error of logits (V,) in standard deviations of the reference."""
    apart = float((found - reference).double().square().mean().sqrt() / reference.double().std().clamp(min=1e-9))
    return apart if apart == apart else 0.0


def _prompt(ids: list[int], bos_tokens: int = 0) -> Prompt:
    return Prompt(tuple(ids), bos_tokens, slice(bos_tokens, len(ids)))
