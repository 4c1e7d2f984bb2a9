"""`Occasion`: however many hooks see an agent's end, its episode is recorded once, and never breaks the agent."""

import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from memory_world import ANSWERS, SUMS, fake, fake_memory, pending

from latent_memory_plugin import LatentMemory, Occasion, Reference
from latent_memory_plugin.errors import StoreError
from latent_memory_plugin.records import Episode, Outcome

SUM = SUMS[0]
READ, NONE = Reference(ids=("a" * 32,), hash="0" * 16), Reference()


def occasion(memory: LatentMemory, **changes: Any) -> Occasion:
    given: dict[str, Any] = {"question": SUM, "reference": NONE, "when": "manual", "answer": "It is 2.", **changes}
    return Occasion(memory, **given)


def recorded(memory: LatentMemory) -> Episode:
    [episode] = memory.episodes()
    return episode


def test_an_answer_of_the_plain_model_votes(tmp_path: Path) -> None:
    with fake_memory(tmp_path) as memory:
        outcome = occasion(memory).end()
        assert outcome is not None and outcome.status == "waiting"
        episode = recorded(memory)
        assert (episode.id, episode.question, episode.state) == (outcome.episode_id, SUM, "pending")
        [rollout] = episode.rollouts
        assert (rollout.text, rollout.answer, rollout.finished) == ("It is 2.", "2", False)


@pytest.mark.parametrize(("reference", "answer"), [(READ, "It is 2."), (NONE, "")])
def test_an_answer_read_with_a_latent_does_not_vote_and_neither_does_an_empty_one(
    tmp_path: Path, reference: Reference, answer: str
) -> None:
    with fake_memory(tmp_path) as memory:
        outcome = occasion(memory, reference=reference, answer=answer).end()
        assert outcome is not None and recorded(memory).rollouts == () and pending(memory) == [SUM]


@pytest.mark.parametrize("reference", [READ, NONE])
@pytest.mark.parametrize(
    ("error", "told"), [(ValueError("no such tool"), "ValueError: no such tool"), ("It gave up.", "It gave up.")]
)
def test_an_error_is_recorded_as_a_failed_episode_with_its_reason(
    tmp_path: Path, reference: Reference, error: Any, told: str
) -> None:
    with fake_memory(tmp_path) as memory:
        outcome = occasion(memory, reference=reference, answer=None, when="now").end(error)
        assert outcome is not None and outcome.status == "failed"
        episode = recorded(memory)
        assert (episode.state, episode.reason, episode.rollouts) == ("failed", f"The agent broke off. {told}", ())
        assert outcome.reason == episode.reason and pending(memory) == []


def test_an_error_for_a_question_longer_than_the_context_is_recorded_too(tmp_path: Path) -> None:
    long = "How many apples are there? " * 2000
    with LatentMemory(tmp_path) as memory:
        outcome = occasion(memory, question=long).end(RuntimeError("too long"))
        assert outcome is not None and outcome.status == "failed"
        assert (recorded(memory).state, recorded(memory).question) == ("failed", long.strip())
        # It is near to nothing that is learnt later.
        key = memory.opened.encoder.keys(["How many apples are there?"])[0]
        [near] = memory.opened.store.neighbours(key, -1.0)
        assert abs(near.similarity) < 1e-6


@pytest.mark.parametrize("when", ["now", "background", "manual"])
def test_it_is_learnt_from_when_the_caller_says(tmp_path: Path, when: str) -> None:
    with fake_memory(tmp_path) as memory:
        outcome = occasion(memory, when=when).end()
        assert outcome is not None
        if when == "manual":
            assert pending(memory) == [SUM] and "consolidate()" in outcome.reason
            return
        assert (outcome.vote is not None) == (when == "now")
        memory.consolidate()
        assert recorded(memory).vote is not None


@pytest.mark.parametrize("error", [None, "It gave up."])
def test_of_many_threads_that_see_its_end_one_records_it(tmp_path: Path, error: str | None) -> None:
    start = threading.Barrier(16)

    with fake_memory(tmp_path) as memory:
        one = occasion(memory)

        def end(_: int) -> Outcome | None:
            start.wait(timeout=30)
            return one.end(error)

        with ThreadPoolExecutor(16) as pool:
            outcomes = list(pool.map(end, range(16)))
        assert sum(outcome is not None for outcome in outcomes) == 1
        assert len(list(memory.episodes())) == 1 and one.end() is one.end("late") is None


def test_without_an_answer_or_an_error_it_has_not_ended(tmp_path: Path) -> None:
    with fake_memory(tmp_path) as memory:
        one = occasion(memory, answer=None)
        assert one.end() is None and list(memory.episodes()) == []
        one.answer = "2"
        outcome = one.end()
        assert outcome is not None and recorded(memory).id == outcome.episode_id


@pytest.mark.parametrize("changes", [{"when": None}, {"question": ""}, {"question": " \n"}])
@pytest.mark.parametrize("error", [None, "It gave up."])
def test_with_learning_off_or_nothing_asked_nothing_is_recorded(
    tmp_path: Path, changes: dict[str, Any], error: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    with fake_memory(tmp_path) as memory:
        assert occasion(memory, **changes).end(error) is None
        assert list(memory.episodes()) == [] and caplog.records == []


@pytest.mark.parametrize(
    ("question", "error"), [("x" * 100_000, None), ("x" * 100_000, "It gave up."), ("\ud800", None)]
)
def test_a_question_that_memory_cannot_use_is_logged_and_does_not_break_the_agent(
    tmp_path: Path, question: str, error: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    with fake_memory(tmp_path) as memory, caplog.at_level(logging.WARNING):
        assert occasion(memory, question=question).end(error) is None
        assert list(memory.episodes()) == []
    [record] = caplog.records
    assert "Nothing is learnt from" in record.getMessage() and len(record.getMessage()) < 500


def test_a_question_that_leaves_no_room_to_learn_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    # A question is one token per word here, and a Latent and a completion need more than five.
    with fake_memory(tmp_path, model=fake(context_tokens=5)) as memory, caplog.at_level(logging.WARNING):
        assert occasion(memory).end() is None and list(memory.episodes()) == []
    assert "leaves room for" in caplog.text


def test_a_reason_that_cannot_be_written_as_it_is_is_written_all_the_same(tmp_path: Path) -> None:
    # Names of files that are no UTF-8 come with half surrogate pairs.
    with fake_memory(tmp_path) as memory:
        outcome = occasion(memory).end(OSError("no file a\udcffb"))
        assert outcome is not None and recorded(memory).reason == "The agent broke off. OSError: no file a?b"


@pytest.mark.parametrize("error", [None, "It gave up."])
def test_an_error_of_the_disk_is_raised(tmp_path: Path, error: str | None) -> None:
    root = tmp_path / "root"
    root.write_text("a file where the store should be")
    with fake_memory(root) as memory, pytest.raises(StoreError, match="root"):
        occasion(memory).end(error)


def test_a_failed_episode_teaches_nothing_and_is_no_witness(tmp_path: Path) -> None:
    with fake_memory(tmp_path) as memory:
        for question in SUMS[:8]:
            occasion(memory, question=question, answer=ANSWERS[question][0]).end("It gave up.")
        assert memory.consolidate() == [] and list(memory.latents()) == []
        assert {episode.state for episode in memory.episodes()} == {"failed"}
