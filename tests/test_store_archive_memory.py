"""Memory while an archive is written, read and forgotten; `-s` shows the figures of docs/operations.md."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("resource")

ITEMS = 2000
CHILD = """
import json, resource, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import numpy as np
from store_builders import ENCODER, MODEL, VOTE, episode, latent
from latent_memory_plugin.records import Rollout
from latent_memory_plugin.store import Store
from latent_memory_plugin.store.journal import episode_row
from latent_memory_plugin.store.packing import pack

root, count, rng = Path(sys.argv[1]), int(sys.argv[3]), np.random.default_rng(0)
Store.open(root / "from", "default", MODEL, ENCODER).close()
figures = {}

def measure(name, action):
    began, used = time.perf_counter(), time.process_time()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    action()
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    took = {"seconds": time.perf_counter() - began, "processor_seconds": time.process_time() - used}
    figures[name] = {part: round(value, 2) for part, value in (took | {"grown_mib": grown}).items()}

with Store.open(root / "from", "default") as store:
    rollouts = tuple(Rollout(text="x" * 600, answer="12") for _ in range(16))
    with store._journal.transaction():
        for number in range(count):
            one = episode(f"question {number}", vote=VOTE, rollouts=rollouts)
            store._journal.add(episode_row(one), ENCODER, rng.normal(size=128).astype(np.float32))
    for _ in range(count):
        one = latent(shape=(20, 256))
        values, key = (rng.normal(size=size).astype(np.float32) for size in ((20, 256), (128,)))
        content = pack(one, {"latent": values}, key)
        (store._files.folder / f"{one.id}.safetensors").write_bytes(content)
    measure("export", lambda: store.export_to(root / "all.tar"))
with Store.open(root / "to", "default") as store:
    measure("import", lambda: store.import_from(root / "all.tar"))
    first = next(store.episodes()).problem.hash
    measure("forget a question", lambda: store.forget_problem(first))
figures["archive_mib"] = round((root / "all.tar").stat().st_size / 2**20, 1)
print(json.dumps(figures))
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_what_is_moved(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CHILD, str(tmp_path), str(Path(__file__).parent), str(ITEMS)]
    figures = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    sys.stdout.write(f"{ITEMS} Latents, {ITEMS} episodes: {json.dumps(figures)}\n")
    assert figures["archive_mib"] > 50
    assert all(figures[step]["grown_mib"] < 16 for step in ("export", "import", "forget a question"))
