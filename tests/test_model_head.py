"""The head in chunks: the same values and gradients as from all logits, and never all logits at once."""

from typing import Any

import pytest
import torch
from test_model_score import COMPLETIONS, QUESTIONS, latent_of, wrapped
from tiny_models import ARCHITECTURES

from latent_memory_plugin.engines.hf import LanguageModel, score
from latent_memory_plugin.engines.hf.engine import GRAPH_BYTES


def both(model: LanguageModel, monkeypatch: pytest.MonkeyPatch, tokens: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Values (B, T) and the gradient (P, H) of a weighted sum of them, from whole logits and in chunks."""
    found: list[tuple[torch.Tensor, torch.Tensor]] = []
    dtype = model._engine.embedding.dtype
    for limit in (10_000, tokens):
        monkeypatch.setattr(score, "chunk_tokens", lambda _, limit=limit: limit)
        latent = latent_of(dtype=dtype).requires_grad_()
        values, mask = model.log_probabilities(QUESTIONS, COMPLETIONS, latent)
        weights = torch.linspace(-1, 2, values.numel(), dtype=values.dtype).view_as(values)
        (weights * values).sum().backward()
        assert latent.grad is not None and values[~mask].abs().sum() == 0
        found.append((values.detach(), latent.grad))
    return found


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("tokens", [1, 3, 7])
def test_values_and_gradients_in_chunks_are_those_from_whole_logits(
    architecture: str, tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = wrapped(architecture, torch.float64)
    assert model._engine.head is not None
    whole, cut = both(model, monkeypatch, tokens)
    torch.testing.assert_close(cut[0], whole[0], atol=1e-9, rtol=0)
    torch.testing.assert_close(cut[1], whole[1], atol=1e-8, rtol=1e-8)


def test_without_a_gradient_the_values_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model = wrapped("llama")
    whole, _ = model.log_probabilities(QUESTIONS, COMPLETIONS, None)
    monkeypatch.setattr(score, "chunk_tokens", lambda _: 3)
    with torch.no_grad():
        cut, _ = model.log_probabilities(QUESTIONS, COMPLETIONS, None)
    torch.testing.assert_close(cut, whole, atol=1e-5, rtol=0)


def test_the_head_never_reads_more_tokens_than_a_chunk_has(monkeypatch: pytest.MonkeyPatch) -> None:
    model, read = wrapped("llama"), list[int]()
    monkeypatch.setattr(score, "chunk_tokens", lambda _: 4)
    head: Any = model._engine.head
    head.register_forward_hook(lambda _, given, __: read.append(given[0][..., 0].numel()))
    latent = latent_of().requires_grad_()
    model.log_probabilities(QUESTIONS, COMPLETIONS, latent)[0].sum().backward()
    tokens = sum(map(len, COMPLETIONS))
    assert read[-3:] == [4, 4, tokens - 8]
    assert max(read) == 4


def test_a_model_that_changes_its_logits_behind_the_head_is_scored_from_whole_logits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = wrapped("llama", torch.float64)
    inner: Any = model._engine.model
    plain = inner.forward

    def capped(**fields: Any) -> Any:
        output = plain(**fields)
        output.logits = 3 * torch.tanh(output.logits / 3)
        return output

    monkeypatch.setattr(inner, "forward", capped)
    assert model._engine.head is None
    whole, cut = both(model, monkeypatch, 2)
    assert torch.equal(cut[0], whole[0]) and torch.equal(cut[1], whole[1])


def test_the_bytes_of_a_token_grow_with_the_layers_and_not_with_the_vocabulary() -> None:
    model = wrapped("llama")
    engine, budget = model._engine, model._budget
    least = engine.layers * engine.config.hidden_size * 4
    assert least < budget.graph_token_bytes < 60 * least
    assert budget.graph_tokens() == GRAPH_BYTES // budget.graph_token_bytes
    assert budget.graph_token_bytes == wrapped("llama")._budget.graph_token_bytes
