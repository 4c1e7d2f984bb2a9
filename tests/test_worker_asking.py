"""Asking while the background learns, looking at a queue, and the bench that measures both."""

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from memory_world import ANSWERS, SUMS, fake_memory
from worker_world import FIVE, LONG, observe, until, untouched, worker_config

from latent_memory_plugin import ReadOnlyError
from latent_memory_plugin.bench import background
from latent_memory_plugin.engines.hf import LanguageModel
from latent_memory_plugin.testing import FakeModel


@dataclass(frozen=True)
class Pondering(FakeModel):
    """A fake whose distillation goes on only while `gate` is open, and says when it has begun."""

    gate: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)

    def log_probabilities(self, *given: Any, **named: Any) -> Any:
        self.begun.set()
        assert self.gate.wait(LONG)
        return super().log_probabilities(*given, **named)


def test_asking_and_observing_do_not_wait_for_the_episode_under_way(tmp_path: Path) -> None:
    model = Pondering(ANSWERS, bias=1.5)
    with fake_memory(tmp_path, model=model, config=worker_config()) as memory:
        observe(memory, *SUMS[:8])
        try:
            assert model.begun.wait(LONG)
            assert memory.ask(SUMS[20]).answer is not None and not model.gate.is_set()
            assert memory.find(SUMS[20]).reason == "No Latent is stored yet."
            assert memory.observe(SUMS[21], when="manual").status == "waiting"
            assert memory.progress().status == "running" and list(memory.latents()) == []
        finally:
            model.gate.set()
        memory.drain()
        assert len(list(memory.latents())) == 1


def test_a_memory_that_only_reads_tells_what_waits_and_learns_none_of_it(tmp_path: Path) -> None:
    with fake_memory(tmp_path, config=worker_config()) as memory:
        memory.pause()
        observe(memory, *FIVE)
    with fake_memory(tmp_path, config=worker_config(), read_only=True) as looking:
        assert (looking.progress().status, looking.progress().waiting) == ("stopped", 5)
        for learns in (looking.resume, looking.drain):
            with pytest.raises(ReadOnlyError, match="read_only"):
                learns()
        assert untouched(looking) == FIVE


def test_the_memory_bench_learns_every_episode_either_way(tmp_path: Path) -> None:
    learnt = background.grow(str(tmp_path / "worker"), 20, "background")
    alone = background.grow(str(tmp_path / "journal"), 20, "manual")
    assert learnt["latents"] > 0 == alone["latents"] == learnt["failed"]
    assert min(learnt["first_mib"], alone["first_mib"]) > 10


@pytest.mark.slow
def test_the_latency_bench_asks_the_embedded_model_while_it_learns() -> None:
    report = background.latencies(LanguageModel.load(), 4, 0)
    assert report["idle"]["count"] == 4 and 1 <= report["learning"]["count"] <= 4
    assert report["learning"]["max"] < 60
    assert all(calls["count"] for calls in report["calls"].values()) and 0 < report["calls_p99"] < 10


def test_the_queue_is_taken_up_by_whichever_memory_is_left(tmp_path: Path) -> None:
    first, second = (fake_memory(tmp_path, config=worker_config()) for _ in range(2))
    with second:
        with first:
            first.pause()
            observe(first, *FIVE)
            observe(second, SUMS[6])
        second.resume()
        until(lambda: second.progress().waiting == 0)
        assert untouched(second) == []
