"""The measurement of the embedded world, on fakes whose accuracy is known."""

from typing import Any

import pytest

from latent_memory_plugin.bench.world import measure
from latent_memory_plugin.errors import InputError
from latent_memory_plugin.sandbox.family import World
from latent_memory_plugin.sandbox.world import FAMILIES, families, stream
from latent_memory_plugin.testing import FakeModel

PROBLEMS = 3


def fake(bias: float, seed: int = 0, problems: int = PROBLEMS, world: World = "plain", **changes: Any) -> FakeModel:
    """Knows the right answer and 0 for every problem that will be drawn; log-odds of the right one are `bias`."""
    drawn = [problem for family in families(world=world) for problem in stream([family], problems, seed)]
    return FakeModel({problem.question: (problem.answer, "0") for problem in drawn}, bias=bias, **changes)


def test_a_model_that_is_always_right_has_accuracy_1_everywhere_and_one_that_never_is_has_0() -> None:
    for bias, expected in ((100.0, 1.0), (-100.0, 0.0)):
        report = measure(fake(bias), PROBLEMS)
        for family in (report["mean"], *report["families"].values()):
            assert {family[name] for name in ("one_sample", "majority_16", "greedy")} == {expected}


def test_a_model_right_at_two_of_three_samples_gains_from_the_majority_and_from_greed() -> None:
    mean = measure(fake(0.7, problems=40), 40)["mean"]
    assert mean["one_sample"] == pytest.approx(0.668, abs=0.02)
    assert mean["greedy"] == 1.0
    assert 0.85 < mean["majority_16"] < 1.0


def test_every_family_is_reported_with_its_split_and_the_mean_is_over_families() -> None:
    report = measure(fake(0.5), PROBLEMS, rollouts=4)
    assert {name: family["split"] for name, family in report["families"].items()} == {
        family.name: family.split for family in FAMILIES
    }
    assert {family["problems"] for family in report["families"].values()} == {PROBLEMS}
    for name in ("one_sample", "majority_4", "greedy"):
        families = [family[name] for family in report["families"].values()]
        assert report["mean"][name] == pytest.approx(sum(families) / len(families), abs=1e-4)


def test_the_hard_half_is_reported_by_split_and_by_kind() -> None:
    report = measure(fake(0.3, world="hard"), PROBLEMS, rollouts=4, world="hard")
    assert report["world"] == "hard" and report["splits"].keys() == {"tuning", "held-out"}
    chosen = {family.name: family for family in families(world="hard")}
    assert {name: one["kinds"] for name, one in report["families"].items()} == {
        name: list(family.kinds) for name, family in chosen.items()
    }
    assert report["kinds"].keys() == {"ways", "reworded", "look-alike", "misled"}
    for kind, splits in report["kinds"].items():
        for split, means in splits.items():
            mine = [
                one["one_sample"]
                for one in report["families"].values()
                if kind in one["kinds"] and one["split"] == split
            ]
            assert means["one_sample"] == pytest.approx(sum(mine) / len(mine), abs=1e-4)
    plain = measure(fake(0.3), PROBLEMS, rollouts=4)
    assert plain["kinds"] == {} and plain["world"] == "plain"


def test_the_same_seed_measures_the_same_and_another_one_other_problems() -> None:
    first, again = (measure(fake(0.0, seed=7), PROBLEMS, seed=7) for _ in range(2))
    assert first["families"] == again["families"] and first["seed"] == 7
    with pytest.raises(InputError, match="FakeModel knows no"):
        measure(fake(0.0, seed=7), PROBLEMS, seed=8)


def test_how_many_problems_are_sampled_together_changes_no_number(monkeypatch: pytest.MonkeyPatch) -> None:
    together = measure(fake(0.3), PROBLEMS)
    monkeypatch.setattr("latent_memory_plugin.bench.world.PROBLEMS_AT_ONCE", 1)
    assert measure(fake(0.3), PROBLEMS)["families"] == together["families"]


def test_progress_ends_with_all_families() -> None:
    seen: list[tuple[int, int, str]] = []
    measure(fake(0.0), PROBLEMS, progress=lambda *step: seen.append(step))
    assert seen[-1] == (len(FAMILIES), len(FAMILIES), FAMILIES[-1].name)
    assert [done for done, _, _ in seen] == sorted({done for done, _, _ in seen})


@pytest.mark.parametrize(("problems", "rollouts"), [(0, 16), (-1, 16), (10**6, 16), (1, 0), (1, -2)])
def test_counts_that_cannot_be_measured_are_refused_by_value(problems: int, rollouts: int) -> None:
    with pytest.raises(InputError, match=f"{problems} problems with {rollouts} rollouts"):
        measure(fake(0.0), problems, rollouts)
