"""A copy of the files is a back-up: opened elsewhere it holds everything, also where a process writes meanwhile."""

import re
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from store_builders import ENCODER, MODEL, episode, key, latent, near, tensor, use

from latent_memory_plugin.bench.kill import material
from latent_memory_plugin.bench.kill.inspection import Faults, compare_plain
from latent_memory_plugin.bench.kill.ledger import noted
from latent_memory_plugin.bench.kill.rounds import started
from latent_memory_plugin.bench.kill.writer import Order
from latent_memory_plugin.records import Standing
from latent_memory_plugin.store import Store
from latent_memory_plugin.store.check import check

PAGE = Path(__file__).parents[1] / "docs" / "operations.md"


def documented() -> Any:
    """The function `back_up` as the documentation has it."""
    [code] = re.findall(r"^```python\n(.*?def back_up.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    return names["back_up"]


def test_a_copy_of_the_namespace_folders_holds_everything(tmp_path: Path) -> None:
    root, copy, other = tmp_path / "root", tmp_path / "copy", "Агент 7/../x"
    kept = {name: latent(namespace=name) for name in ("default", other)}
    suspended = latent()
    for name, one in kept.items():
        with Store.open(root, name, MODEL, ENCODER) as store:
            store.commit(episode(f"asked in {name}"), key(0.2))
            store.put(one, tensor(3), key())
            store.record_uses([use("a", one.id)])
            if name == "default":
                store.put(suspended, tensor(), key(1.0))
                store.stand(Standing(latent_id=suspended.id, state="suspended"))
            assert len(store.nearest(key(), 9)) == len(near(store, key())) == 1
    left_out = shutil.ignore_patterns("chroma", "lock", "owner.json")
    shutil.copytree(root, copy, ignore=left_out)
    shutil.rmtree(root)
    for name, one in kept.items():
        with Store.open(copy, name, MODEL, ENCODER) as store:
            assert store.nearest(key(), 9) == [(one.id, pytest.approx(1.0))]
            assert [found.question for found, _ in near(store, key(0.2), 9)] == [f"asked in {name}"]
            np.testing.assert_array_equal(store.tensors(one.id)["latent"], tensor(3))
            assert [found.answer_id for found in store.uses(latent_id=one.id)] == ["a"]
            assert any("lacked" in sentence for sentence in store.mended)
            assert name != "default" or store.standing(suspended.id).state == "suspended"
    assert check(copy).findings == ()


def test_the_documented_copy_beside_a_writer_holds_all_that_was_acknowledged_before_it(tmp_path: Path) -> None:
    root, copy, ledger = tmp_path / "root", tmp_path / "copy", tmp_path / "ledger"
    writer = started(Order(root, ledger, "plain", 1, 0))
    try:
        deadline = time.monotonic() + 300
        while len(noted(ledger)["removed"]) < 2:
            assert time.monotonic() < deadline and not noted(ledger)["failed"] and writer.is_alive()
            time.sleep(0.05)
        before = noted(ledger)
        documented()(root, copy)
        after = noted(ledger)
        assert writer.is_alive()
    finally:
        writer.kill()
        writer.join()
    assert len(after["committed"]) >= len(before["committed"])
    # What began to be removed or suspended while the copy was made may be either way.
    expected = before.copy()
    expected["removing"], expected["suspending"] = after["removing"], after["suspending"]
    faults = Faults()
    with Store.open(copy, material.PLAIN, material.MODEL, material.ENCODER) as store:
        compare_plain(store, expected, faults)
        assert {one.id for one in store.latents()} <= after["stood"]
    assert (faults, [one for one in check(copy).findings if one.kind != "leftover"]) == (Faults(), [])
