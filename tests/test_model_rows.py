"""Rows: a Latent of real token embeddings is those tokens, and a row in a batch is the row alone."""

import pytest
import torch
from tiny_models import ARCHITECTURES, tiny_model, tiny_tokenizer

from latent_memory_plugin.engines.hf import LanguageModel
from latent_memory_plugin.engines.hf.engine import Engine, Inputs
from latent_memory_plugin.engines.hf.prompts import Prompt
from latent_memory_plugin.engines.hf.rows import Row, assemble, positions_of

TOLERANCE = 1e-4


def prompt(ids: list[int], bos_tokens: int = 0) -> Prompt:
    return Prompt(tuple(ids), bos_tokens, slice(bos_tokens, len(ids)))


def last_logits(engine: Engine, rows: list[Row]) -> torch.Tensor:
    with engine.frozen(), torch.no_grad():
        return engine.forward(assemble(engine, rows), keep=1).logits[:, -1]


@pytest.fixture(params=ARCHITECTURES)
def engine(request: pytest.FixtureRequest) -> Engine:
    return Engine(tiny_model(request.param))


@pytest.mark.parametrize("bos_tokens", [0, 1])
def test_a_latent_of_token_embeddings_equals_these_tokens_after_the_bos(engine: Engine, bos_tokens: int) -> None:
    latent_ids, ids = [40, 50, 60], [1, 7, 8, 9]
    latent = engine.embed(torch.tensor(latent_ids)).detach()
    joined = [*ids[:bos_tokens], *latent_ids, *ids[bos_tokens:]]
    with torch.no_grad():
        reference = engine.model(input_ids=torch.tensor([joined])).logits[:, -1]
    torch.testing.assert_close(
        last_logits(engine, [Row(prompt(ids, bos_tokens), latent)]), reference, atol=TOLERANCE, rtol=0
    )


def test_a_row_in_a_batch_equals_the_row_alone_with_different_latents_and_with_none(engine: Engine) -> None:
    generator = torch.Generator().manual_seed(1)
    rows = [
        Row(prompt([3, 70, 71]), torch.randn(5, engine.hidden_size, generator=generator)),
        Row(prompt([3, 80, 81, 82, 83, 84, 85, 86]), torch.randn(2, engine.hidden_size, generator=generator)),
        Row(prompt([3, 90, 91, 92, 93, 94]), None),
        Row(prompt(list(range(100, 120))), None),
    ]
    alone = torch.cat([last_logits(engine, [row]) for row in rows])
    torch.testing.assert_close(last_logits(engine, rows), alone, atol=TOLERANCE, rtol=0)


def test_the_latent_changes_the_logits_by_more_than_any_tolerance(engine: Engine) -> None:
    latent = torch.randn(3, engine.hidden_size)
    with_latent, without = last_logits(engine, [Row(prompt([3, 70, 71]), latent), Row(prompt([3, 70, 71]), None)])
    assert (with_latent - without).abs().max() > 0.1


def test_positions_count_the_tokens_that_are_there() -> None:
    mask = torch.tensor([[0, 0, 1, 1, 1], [1, 1, 1, 1, 1], [0, 1, 1, 0, 0]])
    assert positions_of(mask).tolist() == [[0, 0, 0, 1, 2], [0, 1, 2, 3, 4], [0, 0, 1, 1, 1]]


def test_a_batch_lies_as_padding_bos_latent_prompt_completion_padding() -> None:
    engine = Engine(tiny_model())
    latent = torch.arange(2 * 32).reshape(2, 32).float()
    rows = [Row(prompt([1, 8, 9], 1), latent), Row(prompt([1, 5], 1), latent)]
    inputs = assemble(engine, rows, [[20], [30, 31]])
    assert inputs.ids is None and inputs.embeddings is not None
    assert inputs.mask.tolist() == [[1, 1, 1, 1, 1, 1, 0], [0, 1, 1, 1, 1, 1, 1]]
    table = engine.embedding
    expected = torch.stack([table[1], latent[0], latent[1], table[5], table[30], table[31]])
    torch.testing.assert_close(inputs.embeddings[1, 1:], expected)


def test_without_latents_a_batch_holds_plain_ids() -> None:
    inputs = assemble(Engine(tiny_model()), [Row(prompt([3, 4]), None), Row(prompt([3, 4, 5]), None)])
    assert inputs.embeddings is None and inputs.ids is not None
    assert inputs.ids.tolist() == [[0, 3, 4], [3, 4, 5]]


def test_a_latent_in_float32_enters_a_model_in_bfloat16() -> None:
    engine = Engine(tiny_model(dtype=torch.bfloat16))
    inputs = assemble(engine, [Row(prompt([3, 4]), torch.ones(2, 32))])
    assert inputs.embeddings is not None and inputs.embeddings.dtype == torch.bfloat16


def test_cached_equals_uncached_token_by_token(engine: Engine) -> None:
    latent = torch.randn(4, engine.hidden_size, generator=torch.Generator().manual_seed(2))
    rows = [Row(prompt([3, 70, 71]), latent), Row(prompt([3, 80, 81, 82, 83]), None)]
    tails = [[100, 101, 102], [110, 111, 112]]
    with torch.no_grad():
        whole = engine.forward(assemble(engine, rows, tails), keep=4).logits
        inputs, cache = assemble(engine, rows), engine.new_cache()
        steps = [engine.forward(inputs, cache, keep=1).logits[:, -1]]
        mask = inputs.mask
        for column in range(3):
            mask = torch.cat([mask, torch.ones(2, 1, dtype=torch.long)], dim=1)
            ids = torch.tensor(tails)[:, column : column + 1]
            step = Inputs(ids, None, mask, positions_of(mask)[:, -1:])
            steps.append(engine.forward(step, cache, keep=1).logits[:, -1])
    torch.testing.assert_close(torch.stack(steps, dim=1), whole, atol=TOLERANCE, rtol=0)


def test_hidden_size_is_the_width_of_an_embedding(engine: Engine) -> None:
    assert engine.hidden_size == 32
    assert LanguageModel.wrap(engine.model, tiny_tokenizer()).hidden_size == 32
