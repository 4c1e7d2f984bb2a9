"""Plug-ins of others: one is installed as a distribution of its own and found by its entry point alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "latent-memory-half"
version = "1.0"

[project.entry-points."latent_memory_plugin.forms"]
half = "latent_memory_half:HALF"
broken = "latent_memory_half:missing"

[tool.hatch.build.targets.wheel]
include = ["latent_memory_half.py"]
"""
MODULE = '''
"""A soft prompt of which half is stored and half is zero."""

import torch

from latent_memory_plugin.forms import Entry


class Half:
    needs = frozenset({"vectors"})

    def start(self, reader, problem, latent_tokens):
        ids = reader.question_ids(problem.question)
        found = reader.token_embeddings([ids[number % len(ids)] for number in range(latent_tokens // 2)])
        return {"stored": found.detach().clone()}

    def check(self, tensors, engine, *, finite=True):
        assert list(tensors) == ["stored"]

    def enter(self, tensors):
        return Entry(vectors=torch.cat([tensors["stored"], torch.zeros_like(tensors["stored"])]))

    def latent_tokens(self, tensors):
        return 2 * len(tensors["stored"])


HALF = Half()
'''
USE = """
import sys, tempfile
sys.path.insert(0, sys.argv[1])
from memory_world import CONFIG, SUMS, fake_memory
from latent_memory_plugin.forms import FORMS

assert "latent_memory_half" not in sys.modules
with fake_memory(tempfile.mkdtemp(), config=CONFIG.model_copy(update={"form": "half"})) as memory:
    memory.learn(SUMS[:8])
    [latent] = memory.latents()
    print(latent.form, dict(latent.shapes), memory.ask(SUMS[20], seed=1).latent_ids == (latent.id,))
print(sorted(FORMS.names()))
try:
    FORMS.get("broken")
except Exception as exc:
    print(type(exc).__name__, exc)
"""


@pytest.mark.slow
def test_a_form_of_another_distribution_is_found_learnt_stored_and_read(tmp_path: Path) -> None:
    source, site = tmp_path / "source", tmp_path / "site"
    source.mkdir()
    (source / "pyproject.toml").write_text(PROJECT)
    (source / "latent_memory_half.py").write_text(MODULE)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*install, "--target", str(site), str(source)], check=True, timeout=300)
    environment = os.environ | {"PYTHONPATH": str(site)}
    done = subprocess.run(
        [sys.executable, "-c", USE, str(Path(__file__).parent)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    learnt, names, broken = done.stdout.strip().splitlines()
    assert learnt == "half {'stored': (10, 4)} True"
    assert names == "['broken', 'half', 'soft_prompt']"
    assert broken.startswith("PluginError") and "latent-memory-half" in broken and "missing" in broken
