"""Each check fails for a model that is wrong in the way it looks for, and passes for the same model left alone."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from architectures import build
from tiny_models import BOS_TEMPLATE, tiny_tokenizer

import latent_memory_plugin.engines.hf as door
from latent_memory_plugin.bench.conformance import (
    CheckResult,
    Subject,
    caching,
    formats,
    learning,
    prompting,
    reading,
    writing,
)
from latent_memory_plugin.bench.conformance import subject as subjects
from latent_memory_plugin.engines.hf.cache import spread
from latent_memory_plugin.engines.hf.engine import Engine, Inputs
from latent_memory_plugin.engines.hf.prompts import Prompt, Prompts
from latent_memory_plugin.engines.hf.rows import Row, assemble
from latent_memory_plugin.forms import Tensors

THINKING = "{% if enable_thinking %}{% endif %}"


class Unmasked(Engine):
    """Reads padding as if it were tokens."""

    def forward(self, inputs: Inputs, *args: Any, **kwargs: Any) -> Any:
        return super().forward(inputs._replace(mask=torch.ones_like(inputs.mask)), *args, **kwargs)


class Columns(Engine):
    """Takes columns of the batch for positions."""

    def forward(self, inputs: Inputs, *args: Any, **kwargs: Any) -> Any:
        columns = torch.arange(inputs.mask.shape[1])[-inputs.positions.shape[1] :]
        return super().forward(inputs._replace(positions=columns.expand_as(inputs.positions)), *args, **kwargs)


class Late(Engine):
    """A position too far in every cached step."""

    def forward(self, inputs: Inputs, *args: Any, **kwargs: Any) -> Any:
        one = inputs.positions.shape[1] == 1
        return super().forward(inputs._replace(positions=inputs.positions + int(one)), *args, **kwargs)


class Scaled(Engine):
    """Embeds a little too large."""

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        return super().embed(ids) * 1.05


class Mixing(Engine):
    """Lets the rows of a batch see one another."""

    def forward(self, inputs: Inputs, *args: Any, **kwargs: Any) -> Any:
        output = super().forward(inputs, *args, **kwargs)
        output.logits = output.logits + output.logits.mean(0, keepdim=True) * (len(output.logits) - 1)
        if output.hidden_states:
            output.hidden_states = [states + 0.01 * len(states) for states in output.hidden_states]
        return output


class Steep(Engine):
    """The right values with half of a gradient too much."""

    def forward(self, inputs: Inputs, *args: Any, **kwargs: Any) -> Any:
        if inputs.embeddings is not None:
            excess = 0.5 * (inputs.embeddings - inputs.embeddings.detach())
            inputs = inputs._replace(embeddings=inputs.embeddings + excess)
        return super().forward(inputs, *args, **kwargs)


class Broken(NamedTuple):
    check: Callable[[Subject], CheckResult]
    engine: type[Engine] = Engine
    patch: Callable[[pytest.MonkeyPatch], None] | None = None


def subject(engine: type[Engine] = Engine, template: str = BOS_TEMPLATE) -> Subject:
    """A tiny GPT-2, whose learned positions forgive nothing, read through an engine."""
    made = Subject.of(build("GPT2"), tiny_tokenizer(template, bos=True), "tiny")
    for form in (made.loaded, made.precise, made.exact):
        assert form is not None
        form.engine.__class__ = engine
        form.model._engine.__class__ = engine
    return made


def deaf(patch: pytest.MonkeyPatch) -> None:
    def without_latents(engine: Engine, rows: list[Row]) -> Inputs:
        return assemble(engine, [Row(row.prompt, None) for row in rows])

    patch.setattr(reading, "assemble", without_latents)


def unlimited(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(door.LanguageModel, "sample", lambda *_, **__: [])


def rolled(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(caching, "spread", lambda cache, rows, room: spread(cache, rows.roll(1), room))


def without_settings(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(door, "honoured", lambda *_: {})


def one_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(writing, "end_token_ids", lambda *_: (2, 9))


def objective(train: Callable[[Any, Tensors], Tensors]) -> SimpleNamespace:
    """The registry of objectives, in which each trains as told."""
    return SimpleNamespace(get=lambda kind: SimpleNamespace(train=train))


def careless(patch: pytest.MonkeyPatch) -> None:
    def learn(attempt: Any, start: Tensors) -> Tensors:
        next(iter(attempt.model._engine.model.parameters())).data[0, 0] += 1e-3
        return {name: part + 1 for name, part in start.items()}

    patch.setattr(learning, "OBJECTIVES", objective(learn))


def idle(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(learning, "OBJECTIVES", objective(lambda attempt, start: start))


def coarse(patch: pytest.MonkeyPatch) -> None:
    def rough(source: subjects.Form, tokenizer: Any, dtype: torch.dtype) -> subjects.Form | None:
        made = subjects.copied(source, tokenizer, dtype)
        assert made is not None
        head: Any = made.engine.model.get_output_embeddings()
        head.weight.data *= 1.5
        return made

    patch.setattr(formats, "copied", rough)


def second_bos(patch: pytest.MonkeyPatch) -> None:
    read = Prompts._read

    def twice(self: Prompts, conversation: Any) -> Prompt:
        prompt = read(self, conversation)
        return prompt._replace(ids=(prompt.ids[0], *prompt.ids))

    patch.setattr(Prompts, "_read", twice)


def without_system(patch: pytest.MonkeyPatch) -> None:
    read = Prompts._read
    patch.setattr(Prompts, "_read", lambda self, one: read(self, one if isinstance(one, str) else one[1:]))


def in_formats(subject: Subject) -> CheckResult:
    return next(row for row in formats.formats(subject) if row.name == "works in bfloat16")


BROKEN = {
    "embeddings scaled": Broken(reading.latent_equals_tokens, Scaled),
    "Latent not read": Broken(reading.latent_is_read, patch=deaf),
    "mask ignored": Broken(reading.row_in_a_batch_equals_row_alone, Unmasked),
    "columns as positions": Broken(reading.row_in_a_batch_equals_row_alone, Columns),
    "rows see one another": Broken(reading.company_changes_nothing, Mixing),
    "keys depend on the batch": Broken(reading.keys_together_equal_keys_alone, Mixing),
    "no limit": Broken(reading.too_long_is_refused_with_the_numbers, patch=unlimited),
    "cached positions shifted": Broken(caching.cached_equals_uncached, Late),
    "cache in the wrong order": Broken(caching.shared_prefill_equals_separate, patch=rolled),
    "rollouts see one another": Broken(caching.rollouts_together_equal_rollouts_alone, Mixing),
    "completions shifted": Broken(writing.completions_equal_generate, Late),
    "completions with a Latent shifted": Broken(writing.completions_with_a_latent_equal_generate, Late),
    "settings dropped": Broken(writing.settings_are_carried_out_as_generate_does, patch=without_settings),
    "end token forgotten": Broken(writing.every_end_token_ends, patch=one_end),
    "log-probabilities shifted": Broken(learning.log_probabilities_equal_the_softmax, Columns),
    "log-probabilities unmasked": Broken(learning.log_probabilities_equal_the_softmax, Unmasked),
    "gradient too large": Broken(learning.gradient_equals_finite_differences, Steep),
    "a weight moved": Broken(learning.weights_stay_as_they_are, patch=careless),
    "nothing learnt": Broken(learning.weights_stay_as_they_are, patch=idle),
    "a format is off": Broken(in_formats, patch=coarse),
    "template changed": Broken(prompting.prompts_are_the_tokenizers_own, patch=second_bos),
    "second BOS": Broken(prompting.bos_stands_once, patch=second_bos),
    "system message dropped": Broken(prompting.system_role, patch=without_system),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_check_fails_where_something_is_wrong(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = BROKEN[name]
    if broken.patch is not None:
        broken.patch(monkeypatch)
    assert broken.check(subject(broken.engine)).outcome == "failed"


@pytest.mark.parametrize("check", {broken.check for broken in BROKEN.values()}, ids=lambda check: check.__name__)
def test_the_same_check_passes_where_nothing_is(check: Callable[[Subject], CheckResult]) -> None:
    assert check(subject()).outcome == "passed"


def test_a_template_whose_thinking_does_nothing_fails() -> None:
    assert prompting.thinking(subject(template=BOS_TEMPLATE + THINKING)).outcome == "failed"
    switched = BOS_TEMPLATE + "{% if not enable_thinking %}none{% endif %}"
    assert prompting.thinking(subject(template=switched)).outcome == "passed"
