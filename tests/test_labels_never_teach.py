"""Labels never reach the consolidator: a stream with its labels shuffled leaves bit-identical Latents."""

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from online_world import common

from latent_memory_plugin.bench.online import roster
from latent_memory_plugin.bench.online.memories import Remembering
from latent_memory_plugin.bench.online.stream import Asked, Stream
from latent_memory_plugin.bench.online.walk import right, walk
from latent_memory_plugin.config import Config, DistilConfig, ModelConfig, SamplingConfig, TrialConfig, VoteConfig
from latent_memory_plugin.engines.hf import LanguageModel
from latent_memory_plugin.sandbox.world import families, stream

QUICK = Config(
    sampling=SamplingConfig(max_new_tokens=80),
    vote=VoteConfig(max_rollouts=16, confidence=0.6),
    distil=DistilConfig(steps=4),
    trial=TrialConfig(answers=2, confidence=0.5),
)


def posed(shuffled: bool) -> Stream:
    """Two families of the world, with their own labels or with each other's."""
    chosen = [one for one in families("tuning") if one.name in ("fence posts", "weeks and days")]
    drawn = stream(chosen, 18, seed=3)
    labels = [one.answer for one in drawn]
    if shuffled:
        random.Random(1).shuffle(labels)
    asked = tuple(Asked(one.question, label, one.family.name) for one, label in zip(drawn, labels, strict=True))
    return Stream("labels", 3, asked, {})


def learnt(model: LanguageModel, folder: Path, one: Stream) -> tuple[list[np.ndarray], list[np.ndarray], list[Any]]:
    """Every candidate and every stored Latent of a stream, and which answers are right by its labels."""
    shared = common(folder, model, one)
    method = roster.build("ours", shared, {each.question: each.answer for each in one.asked})
    assert isinstance(method, Remembering)
    quick = replace(method, config=QUICK)
    method.close()
    walked = walk(quick, [each.question for each in one.asked], lambda steps: None)
    scores = [right(given, each) for given, each in zip(walked.given, one.asked, strict=True)]
    live = [quick.loaded(latent.id).tensors["latent"].numpy() for latent in quick.memory.latents()]
    candidates = [candidate.tensor for candidate in quick.candidates]
    quick.close()
    return candidates, live, scores


def test_shuffled_labels_change_the_score_and_not_one_bit_of_a_latent(tmp_path: Path) -> None:
    model = LanguageModel.load(ModelConfig())
    true, false = (learnt(model, tmp_path / name, posed(name == "false")) for name in ("true", "false"))
    assert true[0] and true[1], "the stream must teach something for this to mean anything"
    assert [one.tobytes() for one in true[0]] == [one.tobytes() for one in false[0]]
    assert [one.tobytes() for one in true[1]] == [one.tobytes() for one in false[1]]
    assert true[2] != false[2]
