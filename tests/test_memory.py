"""Asking through `LatentMemory` on the embedded model; what objects share; learning once for real; reopening."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from memory_world import SUMS, fake_memory, said
from transformers import AutoModelForCausalLM

from latent_memory_plugin import Answer, Config, LatentMemory, answers
from latent_memory_plugin.answers.vote import vote
from latent_memory_plugin.config import SamplingConfig
from latent_memory_plugin.engines.hf import LanguageModel
from latent_memory_plugin.sandbox.train import WEIGHTS
from latent_memory_plugin.sandbox.world import FAMILIES, stream
from latent_memory_plugin.shared import ROOT_VARIABLE

[FAMILY] = [family for family in FAMILIES if family.name == "fence posts"]
QUESTIONS = [problem.question for problem in stream([FAMILY], 12, seed=0)]
FIRST, SECOND, THIRD = QUESTIONS[:3]


@pytest.fixture(scope="session")
def model() -> LanguageModel:
    return LanguageModel.load()


@pytest.fixture
def memory(tmp_path: Path, model: LanguageModel):
    with LatentMemory(tmp_path, model) as opened:
        yield opened


# -- asking ------------------------------------------------------------------------------------------------------------


def test_an_answer_says_what_was_asked_what_came_and_what_it_took(memory: LatentMemory) -> None:
    answer = memory.ask(FIRST, seed=3)
    assert isinstance(answer, Answer)
    assert (answer.question, answer.seed, answer.latent_ids, answer.similarity) == (FIRST, 3, (), None)
    assert answer.reason == "No Latent is stored yet."
    assert answer.text == answer.rollouts[0].text and answer.answer == answers.extract(answer.text)
    assert answer.usage.prompt_tokens == len(memory.model.prompt_ids(FIRST))
    assert answer.usage.latent_tokens == 0
    assert answer.usage.completion_tokens == len(answer.rollouts[0].token_ids) > 0


def test_a_seed_repeats_an_answer_and_no_seed_draws_a_fresh_one(memory: LatentMemory) -> None:
    twice = [memory.ask(FIRST, seed=1, n=4) for _ in range(2)]
    assert said(twice[0]) == said(twice[1]) and twice[0].id != twice[1].id
    fresh = [memory.ask(FIRST, n=2) for _ in range(2)]
    assert fresh[0].seed != fresh[1].seed
    assert said(memory.ask(FIRST, n=2, seed=fresh[0].seed)) == said(fresh[0])


def test_asking_a_list_equals_asking_each_alone(memory: LatentMemory) -> None:
    together = [said(one) for one in memory.ask([FIRST, SECOND, FIRST], seed=2, n=3)]
    assert together == [said(memory.ask(one, seed=2, n=3)) for one in (FIRST, SECOND, FIRST)]
    assert memory.ask([]) == [] and [said(one) for one in memory.ask([FIRST], seed=2, n=3)] == together[:1]


def test_of_several_completions_the_first_with_the_votes_answer_is_shown(memory: LatentMemory) -> None:
    answer = memory.ask(FIRST, seed=0, n=9)
    assert len(answer.rollouts) == 9
    winner = vote([one.answer for one in answer.rollouts]).answer
    first = next(one for one in answer.rollouts if answers.agree(one.answer, winner))
    assert (answer.text, answer.answer) == (first.text, first.answer)
    assert answer.usage.completion_tokens == sum(len(one.token_ids) for one in answer.rollouts)


def test_a_stop_string_ends_a_completion_before_it(memory: LatentMemory) -> None:
    whole, cut = memory.ask(FIRST, seed=0), memory.ask(FIRST, seed=0, stop=["=", "never"])
    assert "=" in whole.text and cut.text == whole.text.partition("=")[0]


def test_a_bound_of_tokens_is_kept(memory: LatentMemory) -> None:
    answer = memory.ask(FIRST, seed=0, max_new_tokens=4)
    assert answer.usage.completion_tokens == 4 and not answer.rollouts[0].finished


def test_a_callers_own_extraction_is_used(tmp_path: Path, model: LanguageModel) -> None:
    with LatentMemory(tmp_path, model, extract=lambda text: text[:3]) as memory:
        answer = memory.ask(FIRST, seed=0)
    assert answer.answer == answer.text[:3]


def test_surrounding_white_space_does_not_matter(memory: LatentMemory) -> None:
    assert said(memory.ask(f"\n  {FIRST} ", seed=0)) == said(memory.ask(FIRST, seed=0))


def test_with_memory_off_or_empty_every_rollout_is_exactly_the_plain_models(memory: LatentMemory) -> None:
    groups = memory.model.sample([FIRST, SECOND], [None, None], 4, SamplingConfig(), seed=7)
    plain = [[(one.text, one.token_ids, one.finished) for one in group] for group in groups]
    empty = memory.ask([FIRST, SECOND], n=4, seed=7)
    memory.off()
    off = memory.ask([FIRST, SECOND], n=4, seed=7)
    assert {answer.reason for answer in off} == {"Memory is off."}
    for asked in (empty, off):
        assert [[(one.text, one.token_ids, one.finished) for one in each.rollouts] for each in asked] == plain


def test_greedy_without_memory_is_what_transformers_generates(memory: LatentMemory) -> None:
    reference: Any = AutoModelForCausalLM.from_pretrained(WEIGHTS, local_files_only=True)
    for question in (FIRST, SECOND):
        prompt = torch.tensor([memory.model.prompt_ids(question)])  # (1, T)
        with torch.no_grad():
            expected = reference.generate(prompt, do_sample=False, max_new_tokens=256)[0, prompt.shape[1] :]  # (T,)
        answer = memory.ask(question, temperature=0)
        assert answer.rollouts[0].token_ids == tuple(expected.tolist())


# -- learning for real -------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_one_family_learnt_makes_a_latent_that_helps_its_next_question_and_survives_reopening(
    tmp_path: Path, model: LanguageModel
) -> None:
    with LatentMemory(tmp_path, model) as memory:
        outcomes = memory.learn(QUESTIONS[:10])
        live = [outcome for outcome in outcomes if outcome.status == "live"]
        assert live and live[0].trial is not None and live[0].trial.passed
        assert live[0].trial.least_gain is not None and live[0].trial.least_gain > memory.config.trial.min_gain
        [latent] = memory.latents()
        assert latent.id == live[-1].latent_id and memory.standing(latent.id).state == "live"
        before = memory.ask(QUESTIONS[10], seed=0)
        assert before.latent_ids and before.usage.latent_tokens == memory.config.distil.latent_tokens
        memory.off()
        assert memory.ask(QUESTIONS[10], seed=0).usage.latent_tokens == 0
        states = [(one.id, one.state) for one in memory.episodes()]
    with LatentMemory(tmp_path, model) as again:
        assert said(again.ask(QUESTIONS[10], seed=0)) == said(before)
        assert again.standing(latent.id).state == "live"
        assert [(one.id, one.state) for one in again.episodes()] == states


# -- sharing -----------------------------------------------------------------------------------------------------------


def test_memories_of_one_root_namespace_and_model_share_them_and_closing_one_leaves_the_other(tmp_path: Path) -> None:
    first, second = LatentMemory(tmp_path), LatentMemory(str(tmp_path), config=Config(seed=1))
    assert first.model is second.model and first.opened is second.opened
    with LatentMemory(tmp_path, namespace="other") as other:
        assert other.model is first.model and other.opened.store is not first.opened.store
    first.observe(FIRST, when="manual")
    first.close()
    assert [episode.question for episode in second.episodes()] == [FIRST]
    assert second.ask(SECOND, seed=0).text
    second.close()


def test_a_closed_memory_opens_again_at_its_next_use_and_may_be_closed_twice(tmp_path: Path) -> None:
    memory = fake_memory(tmp_path)
    memory.observe(SUMS[0], when="manual")
    memory.close()
    memory.close()
    assert [episode.question for episode in memory.episodes()] == [SUMS[0]]
    memory.close()


def test_a_with_statement_gives_the_root_back_also_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="agent"), fake_memory(tmp_path) as memory:
        memory.ask(SUMS[0])
        raise RuntimeError("agent")
    with FileLock(tmp_path / "lock", timeout=0):
        pass


def test_nothing_is_opened_or_written_before_the_first_use(tmp_path: Path) -> None:
    memory = LatentMemory(tmp_path / "root", "/no/such/model")
    assert repr(memory) == f"LatentMemory(root={str(tmp_path / 'root')!r}, namespace='default', model='/no/such/model')"
    memory.off()
    memory.close()
    assert not (tmp_path / "root").exists()


def test_the_default_root_is_named_by_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / "named"))
    assert LatentMemory().root == tmp_path / "named"
    monkeypatch.delenv(ROOT_VARIABLE)
    assert LatentMemory().root.name == "latent-memory"


def test_threads_that_ask_at_once_get_what_each_would_get_alone(memory: LatentMemory) -> None:
    asked = QUESTIONS[:6]
    alone = [said(memory.ask(question, seed=4, n=2)) for question in asked]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(lambda question: said(memory.ask(question, seed=4, n=2)), asked)) == alone


def test_threads_may_open_ask_and_learn_at_once(tmp_path: Path) -> None:
    memory = fake_memory(tmp_path)
    start = threading.Barrier(4)

    def use(number: int) -> int:
        start.wait(timeout=30)
        mine = SUMS[6 * number : 6 * number + 6]
        memory.learn(mine) if number % 2 else memory.ask(mine)
        return number

    with memory, ThreadPoolExecutor(4) as pool:
        assert list(pool.map(use, range(4))) == [0, 1, 2, 3]
        learnt = {episode.question for episode in memory.episodes()}
        covered = memory.learn([*SUMS[6:12], *SUMS[18:24]])
        assert learnt <= {*SUMS[6:12], *SUMS[18:24]}
        assert {outcome.status for outcome in covered} == {"skipped"}


def test_what_is_shown_at_a_prompt_is_short_and_names_model_and_counts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Input U9."""
    with caplog.at_level("DEBUG", "latent_memory_plugin"), fake_memory(tmp_path) as memory:
        answer = memory.ask(SUMS[0], n=16, seed=1)
        memory.learn(SUMS[:8])
        assert len(repr(answer)) < 1000 and "<16 Rollouts>" in repr(answer) and "<16 Rollouts>" in str(answer)
        assert "model='fake'" in repr(memory) and "8 learnt" in repr(memory) and "1 live" in repr(memory)
        assert answer._repr_html_().startswith("<table") and "&lt;16 Rollouts&gt;" in answer._repr_html_()
        assert "8 learnt" in memory._repr_html_()
    messages = "\n".join(record.getMessage() for record in caplog.records)
    assert f"Answer {answer.id} read no Latent" in messages and "live" in messages
