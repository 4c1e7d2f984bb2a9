"""A root in which the embedded model has learnt, and the problem that it then knows how to solve."""

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from latent_memory_plugin import LatentMemory as Core
from latent_memory_plugin.sandbox.world import WordProblem, families, stream


class Learnt(NamedTuple):
    root: Path
    question: str
    """A Latent applies."""
    latent_id: str
    seed: int
    """The seed with which the Latent changes the answer."""
    read: str
    """What `LatentMemory.ask` answers with it."""
    plain: str
    """What the plain model answers."""


@pytest.fixture(scope="session")
def learnt_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Learnt]:
    root = tmp_path_factory.mktemp("learnt")
    *studied, asked = stream(families("tuning")[1:2], problems=11, seed=0)
    with Core(root / "plain") as plain:  # open to the end: the embedded model is loaded once
        with Core(root / "root") as core:
            assert [one.status for one in core.learn([one.question for one in studied])].count("live") == 1
            [latent] = core.latents()
            seed, read, bare = next(
                told for told in map(partial(answers, core, plain, asked), range(50)) if differ(told)
            )
        yield Learnt(root / "root", asked.question, latent.id, seed, read, bare)


def answers(core: Core, plain: Core, asked: WordProblem, seed: int) -> tuple[int, str, str]:
    return seed, core.ask(asked.question, seed=seed).text, plain.ask(asked.question, seed=seed).text


def differ(told: tuple[int, str, str]) -> bool:
    return told[1] != told[2]


@pytest.fixture
def learnt(learnt_once: Learnt, tmp_path: Path) -> Learnt:
    """A copy of it, to write to."""
    shutil.copytree(learnt_once.root, tmp_path / "root")
    return learnt_once._replace(root=tmp_path / "root")
