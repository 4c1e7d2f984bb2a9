"""Routes: which problems read a Latent, what becomes of two answers that differ, and what is recorded."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from store_builders import latent as record_of
from typer.testing import CliRunner

from latent_memory_plugin.answering.ask import Asker
from latent_memory_plugin.answering.find import retrieve
from latent_memory_plugin.answers import extract
from latent_memory_plugin.answers.judge import Judge
from latent_memory_plugin.cli import app
from latent_memory_plugin.config import Config, RetrieveConfig, RouteConfig, SamplingConfig
from latent_memory_plugin.engines.hf import LanguageModel
from latent_memory_plugin.errors import RewardError
from latent_memory_plugin.keys import make_encoder
from latent_memory_plugin.records import Answer, LatentState, Problem, Rollout, Standing, Use
from latent_memory_plugin.sandbox.world import families, stream
from latent_memory_plugin.testing import FakeModel, InMemoryStore

Mode = Literal["always", "threshold", "agree"]

SUM, AGE = "sum: 1 and 1", "age: 3"
PLAIN, OTHER = "2", "0"
"""The answers without and with the Latent, where those differ."""
ID = "a" * 32
CHANGES, CONFIRMS = -10.0, 10.0
"""Means of a Latent that turns the answer round, and of one that does not."""
MODES: tuple[Mode, ...] = ("always", "threshold", "agree")


@dataclass(frozen=True)
class Counting(FakeModel):
    """A fake that keeps the number of rows of each call of `sample`."""

    rows: list[int] = field(default_factory=list[int])

    def sample(self, conversations: Sequence[Any], *given: Any, **named: Any) -> list[list[Rollout]]:
        self.rows.append(len(conversations))
        return super().sample(conversations, *given, **named)


class Recording(InMemoryStore):
    """A store that keeps the number of uses of each call of `record_uses`."""

    calls: list[int]

    def record_uses(self, uses: Sequence[Use]) -> None:
        self.calls = [*getattr(self, "calls", []), len(uses)]
        super().record_uses(uses)


def fake() -> Counting:
    """Gives `PLAIN` almost surely."""
    return Counting({SUM: (PLAIN, OTHER), AGE: (PLAIN, OTHER)}, bias=20.0)


def filled(mean: float = CHANGES, state: LatentState = "live", model: Any = None, question: str = SUM) -> Recording:
    """A store with one Latent, under the key of a question."""
    store, owner = Recording(), model or fake()
    tensor = np.full((3, owner.hidden_size), mean, dtype=np.float32)  # (P, H)
    store.put(record_of(id=ID, shape=tensor.shape), {"latent": tensor}, owner.keys([question])[0])
    store.stand(Standing(latent_id=ID, state=state))
    return store


def asker(store: InMemoryStore, mode: Mode = "threshold", model: Any = None, **given: Any) -> Asker:
    chosen = model or fake()
    route = RouteConfig(mode=mode, verifier=given.pop("built_in", "likelihood"))
    read: Any = given.pop("extract", extract)
    return Asker(chosen, store, make_encoder(chosen, RetrieveConfig()), Config(route=route), Judge(read), **given)


def ask(one: Asker, questions: Sequence[str] = (SUM,), n: int = 1, seed: int = 0) -> list[Answer]:
    return one.ask([Problem(question=question) for question in questions], n, SamplingConfig(), seed)


def likes(text: str) -> Any:
    """A verifier that prefers completions holding a text."""

    def liking(question: str, completion: str) -> float:
        return float(text in completion)

    return liking


# -- which problems read a Latent --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", MODES)
def test_only_always_reads_a_latent_however_far_it_is(mode: Mode) -> None:
    store = filled()
    hit = retrieve(store, fake().keys([AGE])[0], RetrieveConfig(), mode)
    assert hit.similarity is not None and hit.similarity < 0.75
    assert hit.latent_id == (ID if mode == "always" else None)
    [answer] = ask(asker(store, mode), [AGE])
    assert (answer.latent_ids, answer.answer) == (((ID,), OTHER) if mode == "always" else ((), PLAIN))
    assert answer.reason == hit.reason and answer.similarity == hit.similarity


@pytest.mark.parametrize("mode", ["always", "threshold"])
def test_a_near_live_latent_gives_the_answer_alone(mode: Mode) -> None:
    model = fake()
    [answer] = ask(asker(filled(), mode, model))
    assert (answer.answer, answer.latent_ids) == (OTHER, (ID,))
    assert answer.reason == f"Latent {ID} with a similarity of 1.00."
    assert model.rows == [1] and answer.usage.completion_tokens == 1 and answer.usage.latent_tokens == 3


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("state", ["suspended", "superseded", "retired"])
def test_a_latent_that_may_not_be_read_is_not_in_any_mode(mode: Mode, state: LatentState) -> None:
    store = filled(state=state)
    [answer] = ask(asker(store, mode))
    assert (answer.answer, answer.latent_ids, store.uses()) == (PLAIN, (), [])


@pytest.mark.parametrize("state", ["retired", None])
def test_a_latent_taken_back_after_it_was_found_is_not_read(state: LatentState | None) -> None:
    class Late(InMemoryStore):
        def nearest(self, key: Any, limit: int = 1) -> list[tuple[str, float]]:
            return [(ID, 0.9)]

    store = Late()
    if state is not None:
        kept = filled(state=state)
        store.put(kept.latent(ID), kept.tensors(ID), kept.latent_key(ID))
        store.stand(kept.standing(ID))
    [answer] = ask(asker(store, "agree"))
    assert (answer.answer, answer.latent_ids, answer.similarity) == (PLAIN, (), 0.9)
    assert answer.reason == f"Latent {ID} has just been {state or 'forgotten'}."
    assert answer.usage.latent_tokens == 0 and store.uses() == []


# -- with and without --------------------------------------------------------------------------------------------------


def test_where_both_answers_agree_the_one_with_the_latent_is_returned_and_both_are_counted() -> None:
    model = fake()
    [answer] = ask(asker(filled(CONFIRMS), "agree", model, verifier=likes("never asked")))
    assert (answer.answer, answer.latent_ids) == (PLAIN, (ID,))
    assert "The plain model gives the same answer." in answer.reason
    assert (answer.usage.completion_tokens, answer.usage.latent_tokens, len(answer.rollouts)) == (2, 3, 1)
    assert model.rows == [2]


@pytest.mark.parametrize(("preferred", "read"), [(PLAIN, ()), (OTHER, (ID,))])
def test_where_they_differ_the_verifier_decides_and_the_reason_says_how(preferred: str, read: tuple[str, ...]) -> None:
    [answer] = ask(asker(filled(), "agree", verifier=likes(preferred)))
    assert (answer.answer, answer.latent_ids, answer.text) == (preferred, read, f"#### {preferred}")
    assert f"Latent {ID} with a similarity of 1.00." in answer.reason
    for word in (f"{PLAIN!r}", f"{OTHER!r}", "the verifier liking prefers", "1.00 to 0.00"):
        assert word in answer.reason
    assert answer.usage.completion_tokens == 2 and answer.usage.latent_tokens == 3


def test_a_verifier_that_cannot_tell_leaves_the_plain_answer() -> None:
    [answer] = ask(asker(filled(), "agree", verifier=likes("")))
    assert (answer.answer, answer.latent_ids) == (PLAIN, ())


@pytest.mark.parametrize("built_in", ["likelihood", "vote"])
def test_the_configs_verifier_decides_and_its_tokens_are_counted(built_in: str) -> None:
    model = fake()
    [answer] = ask(asker(filled(), "agree", model, built_in=built_in))
    assert (answer.answer, answer.latent_ids) == (PLAIN, ()) and f"the verifier {built_in} prefers" in answer.reason
    fresh = 8 if built_in == "vote" else 0
    assert answer.usage.completion_tokens == 2 + fresh and model.rows == ([2, 1] if fresh else [2])


@pytest.mark.parametrize("mode", MODES)
def test_a_latent_on_probation_is_read_only_beside_the_plain_model_whatever_the_mode(mode: Mode) -> None:
    [doubted] = ask(asker(filled(state="probation"), mode))
    assert (doubted.answer, doubted.latent_ids) == (PLAIN, ()) and "It is on probation." in doubted.reason
    [confirmed] = ask(asker(filled(CONFIRMS, "probation"), mode))
    assert (confirmed.answer, confirmed.latent_ids) == (PLAIN, (ID,))
    assert doubted.usage.completion_tokens == confirmed.usage.completion_tokens == 2


@pytest.mark.parametrize(("kept", "read"), [(PLAIN, ()), (OTHER, (ID,))])
def test_an_answer_is_better_than_none_without_asking_a_verifier(kept: str, read: tuple[str, ...]) -> None:
    def unasked(question: str, completion: str) -> float:
        raise AssertionError(completion)

    def only(text: str) -> str | None:
        return kept if kept in text else None

    [answer] = ask(asker(filled(), "agree", extract=only, verifier=unasked))
    assert (answer.answer, answer.latent_ids) == (kept, read) and "gives no answer" in answer.reason


def test_texts_without_answers_are_compared_as_texts() -> None:
    def none(text: str) -> None:
        return None

    [same] = ask(asker(filled(CONFIRMS), "agree", extract=none))
    [preferred] = ask(asker(filled(), "agree", extract=none, verifier=likes(OTHER)))
    assert same.latent_ids == preferred.latent_ids == (ID,) and "same answer" in same.reason


def test_of_several_completions_the_votes_winners_are_compared() -> None:
    model = Counting({SUM: (PLAIN, OTHER)}, bias=1.0)
    store = filled(0.5, model=model)
    [answer] = ask(asker(store, "agree", model), n=9)
    plain, read = (model.sample([SUM], [latent], 9, SamplingConfig(), 0)[0] for latent in (None, store_latent(store)))
    assert [one.text for one in plain] != [one.text for one in read]
    assert (answer.answer, answer.latent_ids) == (PLAIN, (ID,)) and "same answer" in answer.reason
    assert [one.text for one in answer.rollouts] == [one.text for one in read]
    assert answer.usage.completion_tokens == 18


def store_latent(store: InMemoryStore) -> torch.Tensor:
    return torch.from_numpy(store.tensors(ID)["latent"])  # (P, H)


def test_a_list_is_sampled_together_and_each_problem_goes_its_own_route() -> None:
    model = fake()
    one = asker(filled(), "agree", model, built_in="vote")
    answers = ask(one, [AGE, SUM, AGE, SUM])
    assert model.rows == [6, 2]
    assert [answer.usage.completion_tokens for answer in answers] == [1, 10, 1, 10]
    assert [answer.usage.latent_tokens for answer in answers] == [0, 3, 0, 3]


# -- what is recorded --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("preferred", "returned"), [(PLAIN, False), (OTHER, True)])
def test_the_latents_own_answer_is_recorded_whichever_was_returned(preferred: str, returned: bool) -> None:
    store = filled()
    [answer] = ask(asker(store, "agree", verifier=likes(preferred)))
    [use] = store.uses()
    assert (use.answer_id, use.latent_id, use.answer, use.returned) == (answer.id, ID, OTHER, returned)
    assert use.problem_hash == Problem(question=SUM).hash and use.correct is None and use.source is None


def test_the_uses_of_a_list_are_recorded_at_once_and_only_those_that_read_a_latent() -> None:
    store = filled()
    answers = ask(asker(store), [SUM, AGE, SUM])
    assert store.calls == [2]
    assert [use.answer_id for use in store.uses()] == [answers[0].id, answers[2].id]
    ask(asker(store), [AGE])
    assert store.calls == [2]


def test_with_memory_off_nothing_is_read_compared_or_recorded() -> None:
    model, store = fake(), filled(state="probation")
    [answer] = ask(asker(store, "agree", model, enabled=False))
    assert (answer.answer, answer.reason, answer.latent_ids) == (PLAIN, "Memory is off.", ())
    assert model.rows == [1] and store.uses() == []


def test_a_verifier_that_fails_leaves_no_record() -> None:
    store = filled()
    with pytest.raises(RewardError, match="nan"):
        ask(asker(store, "agree", verifier=lambda question, completion: float("nan")))
    assert store.uses() == []


# -- on the embedded model ---------------------------------------------------------------------------------------------

WORLD = [problem.question for problem in stream(families("tuning"), 8, 1)]


@pytest.fixture(scope="module")
def embedded() -> LanguageModel:
    return LanguageModel.load()


@pytest.fixture(scope="module")
def stubborn(embedded: LanguageModel) -> Recording:
    """A store whose one Latent makes the model answer everything as it answers one question."""
    [completion] = embedded.sample(WORLD[1:2], [None], 1, SamplingConfig(), 5)[0]
    tensor = embedded.token_embeddings(embedded.question_ids(WORLD[0])).requires_grad_()  # (P, H)
    descent = torch.optim.Adam([tensor], lr=0.1)
    for _ in range(12):
        values, mask = embedded.log_probabilities(WORLD, [completion.token_ids] * len(WORLD), tensor)  # (B, T) each
        (-values.sum() / mask.sum()).backward()
        descent.step()
        descent.zero_grad()
    store = filled(model=embedded, question=WORLD[0])
    store._tensors[ID] = {"latent": tensor.detach().numpy()}  # (P, H)
    return store


def texts(answers: Sequence[Answer]) -> list[list[tuple[str, tuple[int, ...]]]]:
    return [[(one.text, one.token_ids) for one in answer.rollouts] for answer in answers]


def near(store: InMemoryStore, model: LanguageModel, mode: Mode, **given: Any) -> Asker:
    config = Config(route=RouteConfig(mode=mode), retrieve=RetrieveConfig(threshold=-1.0))
    return Asker(model, store, make_encoder(model, config.retrieve), config, Judge(extract), **given)


def test_what_is_sampled_beside_a_latent_is_exactly_the_plain_models(
    embedded: LanguageModel, stubborn: Recording
) -> None:
    plain = ask(near(stubborn, embedded, "agree", enabled=False), WORLD, n=2, seed=5)
    compared = ask(near(stubborn, embedded, "agree", verifier=likes("")), WORLD, n=2, seed=5)
    kept = [number for number, answer in enumerate(compared) if not answer.latent_ids]
    assert len(kept) >= 3
    assert texts([compared[number] for number in kept]) == texts([plain[number] for number in kept])


def test_the_likelier_of_two_answers_is_chosen_and_a_list_equals_each_alone(
    embedded: LanguageModel, stubborn: Recording
) -> None:
    one = near(stubborn, embedded, "agree")
    together = ask(one, WORLD, seed=5)
    alone = [answer for question in WORLD for answer in ask(one, [question], seed=5)]
    assert texts(together) == texts(alone) and ask(one, []) == []
    assert [answer.reason for answer in together] == [answer.reason for answer in alone]
    assert {answer.latent_ids for answer in together} == {(), (ID,)}
    read = texts(ask(near(stubborn, embedded, "always"), WORLD, seed=5))
    plain = texts(ask(near(stubborn, embedded, "always", enabled=False), WORLD, seed=5))
    for question, answer, first, second in zip(WORLD, together, plain, read, strict=True):
        if "the verifier likelihood prefers" in answer.reason:
            scores = [likelihood(embedded, question, [ids]) for [(_, ids)] in (first, second)]
            assert texts([answer]) == [first if scores[0] >= scores[1] else second]


def likelihood(model: LanguageModel, question: str, completions: list[tuple[int, ...]]) -> float:
    values, mask = model.log_probabilities([question], completions, None)  # (1, T) each
    return float(values.sum() / mask.sum())


# -- on the command line -----------------------------------------------------------------------------------------------


def test_the_route_and_the_verifier_are_options_of_the_command_line(tmp_path: Path) -> None:
    def call(*options: str) -> Any:
        return CliRunner().invoke(app, ["ask", WORLD[0], "--root", str(tmp_path), "--seed", "0", *options])

    done = call("--route", "agree", "--verifier", "vote")
    assert done.exit_code == 0 and "No Latent is stored yet." in done.output
    assert call("--route", "sometimes").exit_code == call("--verifier", "oracle").exit_code == 2
