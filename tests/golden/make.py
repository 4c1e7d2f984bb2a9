"""Writes a golden root with the version of the library that is on the path, and beside it what it holds, as JSON.

    git archive <commit> latent_memory_plugin | tar x -C /tmp/old
    PYTHONPATH=/tmp/old python tests/golden/make.py tests/golden/root-2

A golden root is never written again: it is what the stores of its time are. `root-1`, `root-2` and `root-3` hold
journals of schema 1 (commit 1408dcd), 2 (commit 479be96) and 3 (commit 8003ac1), all with Latent files and a store.json
of schema 1. The index is left out.
"""

import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np

from latent_memory_plugin import records
from latent_memory_plugin.store import Store

MODEL = ("golden", "9" * 64)
ENCODER = "golden keys"
NAMESPACES = ("default", "../élan")
QUESTIONS = ("How many posts does a fence of 10 m need?", "Wie weit ist es von Köln nach Århus? 🚲", "1 + 1")


def known(kind: Any, **fields: Any) -> Any:
    """A record with those of the fields that this version has."""
    return kind(**{name: value for name, value in fields.items() if name in kind.model_fields})


def episode(number: int) -> records.Episode:
    rollouts = (
        known(records.Rollout, text="So it is\n#### 12", answer="12", token_ids=(5, 2**31, 0), reward=0.25),
        known(records.Rollout, text="I do not know \\ \" ' \u2028", finished=False),
    )
    counts = (("12", 1), (None, 1))
    vote = known(records.Vote, answer="12", share=0.5, entropy=math.log(2), counts=counts, tied=True, confirmed=True)
    learnt: dict[str, Any] = {"rollouts": rollouts, "vote": vote, "state": "learnt", "reason": "3 of 4 agree."}
    problem = records.Problem(question=QUESTIONS[number])
    return records.Episode(
        id=f"episode {number}", problem=problem, created=1e9 + number / 3, **(learnt if number else {})
    )


def latent(number: int, namespace: str) -> records.Latent:
    trial = known(
        records.Trial,
        **{
            "episode_ids": ("episode 2",),
            "agreement_before": 0.1,
            "agreement_after": 1 / 3,
            "answers": 24,
            "passed": True,
        },
        **{"reason": "0.1 → 0.3", "least_gain": 0.05, "nearby_ids": ("episode 0",), "nearby_change": -0.125},
    )
    return known(
        records.Latent,
        **{"id": f"{number:032x}", "namespace": namespace, "shape": (2, 4), "shapes": {"latent": (2, 4)}},
        **{"model": MODEL[0], "fingerprint": MODEL[1]},
        **{"encoder": ENCODER, "problem_hash": "ab" * 32, "vote": episode(1).vote, "trial": trial},
        **{"parents": ("episode 1", "episode 2"), "objective": "imitate", "seed": 2**40, "version": "0.1.0"},
        **{"previous": f"{1:032x}" if number == 2 else None, "created": 1e9 + number / 7},
    )


def key(number: int) -> np.ndarray:
    return np.array([math.cos(number), math.sin(number), 0.0, 1e-40], np.float32)


def fill(store: Any, namespace: str) -> dict[str, Any]:
    """Writes two Latents, three episodes and, where there are any yet, standings and uses; what was written."""
    written: dict[str, Any] = {"episodes": [], "latents": [], "standings": [], "uses": []}
    for number in range(len(QUESTIONS)):
        one = episode(number)
        store.commit(known(records.Episode, id=one.id, problem=one.problem, created=one.created), key(number))
        store.update(one)
        written["episodes"].append({"record": one.model_dump(mode="json"), "key": key(number).tobytes().hex()})
    for number in (1, 2):
        one, vector = latent(number, namespace), key(number)
        tensor = np.random.default_rng(number).normal(size=(2, 4)).astype(np.float32)
        store.put(one, tensor, vector)
        parts = {"tensor": tensor.tobytes().hex(), "key": vector.tobytes().hex()}
        written["latents"].append({"record": one.model_dump(mode="json"), **parts})
    if hasattr(store, "stand"):
        standing = records.Standing(latent_id=f"{1:032x}", state="superseded", reason="Worse.", known=3, since=1.5e9)
        fields: dict[str, Any] = {"problem_hash": "cd" * 32, "answer": None, "returned": False, "correct": False}
        use = records.Use(answer_id="a", latent_id=f"{2:032x}", expected=0.75, source="vote", created=1.5e9, **fields)
        store.stand(standing)
        store.record_uses([use])
        written |= {"standings": [standing.model_dump(mode="json")], "uses": [use.model_dump(mode="json")]}
    return written


def main(root: Path) -> None:
    """Writes `<root>` and `<root>.json`."""
    expected: dict[str, Any] = {}
    for namespace in NAMESPACES:
        with Store.open(root, namespace, MODEL, ENCODER) as store:
            expected[namespace] = fill(store, namespace)
    shutil.rmtree(root / "chroma", ignore_errors=True)
    (root / "lock").unlink(missing_ok=True)
    root.with_suffix(".json").write_text(json.dumps(expected, indent=1, ensure_ascii=False), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
