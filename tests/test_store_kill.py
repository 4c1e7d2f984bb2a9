"""A process that dies at any instant loses nothing it has acknowledged."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from latent_memory_plugin.bench.kill import material, run
from latent_memory_plugin.bench.kill.inspection import Faults, inspect
from latent_memory_plugin.bench.kill.ledger import Noted
from latent_memory_plugin.store import Store


def assert_nothing_is_lost(report: dict[str, Any]) -> None:
    assert report["faults"] == []
    assert [report[name] for name in ("lost", "half_written", "index_differs", "other")] == [0, 0, 0, 0]
    assert report["looked_at"] > 0 and sum(report["killed"].values()) == report["rounds"]


def test_a_few_kills() -> None:
    assert_nothing_is_lost(run(4, seed=1))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_hundred_kills() -> None:
    report = run(200, seed=2)
    assert_nothing_is_lost(report)
    assert all(report["acknowledged"].values()) and report["mended_openings"] > 0
    assert set(report["killed"]) == {"at a write", "while it wrote", "while it opened"}


def test_what_is_lost_half_written_or_not_found_is_reported(tmp_path: Path) -> None:
    """Else the tests above could not fail."""
    learnt = material.latent(1)
    with Store.open(tmp_path, material.PLAIN, material.MODEL, material.ENCODER) as store:
        store.commit(one := material.episode(1), material.key(1))
        store.update(one.model_copy(update={"state": "learnt", "reason": "half"}))
        store.put(learnt, material.tensor(2), material.key(1))
        store.record_uses(material.uses(learnt.id)[:1])
        store.neighbours(material.key(0), 1.0)
        searches: Any = store._searches
        searches["episodes"]._collection.update(ids=[one.id], embeddings=[material.key(2)])
        known: Noted = defaultdict(set)
        known["committed"], known["updated"] = {one.id, "another"}, {one.id}
        known["put"], known["used"], known["stood"] = {learnt.id, "e" * 32}, {learnt.id}, {learnt.id}
        faults = Faults()
        inspect(tmp_path, {material.PLAIN: known, material.LEARNT: defaultdict(set)}, faults)
    assert [text.split()[0] for text in faults.lost] == ["episode", "Latent", "the"]
    assert len(faults.half_written) == 3 and len(faults.index_differs) == 1
