"""The bench of single candidates, and settings given on the command line."""

import pytest

from latent_memory_plugin.bench.candidates import Size, Tried, measure, summarise
from latent_memory_plugin.cli.sweeping import changed_config
from latent_memory_plugin.config import Config
from latent_memory_plugin.errors import ConfigError
from latent_memory_plugin.sandbox.world import families

QUICK = changed_config(["distil.steps=4", "vote.max_rollouts=8", "vote.confidence=0.6", "trial.answers=2"])


def tried(effect: float, passed: bool, right: int = 3, after: float = 0.5) -> Tried:
    return Tried("family", 3, right, effect, after, passed, 0.0, 1.0)


def test_settings_change_what_they_name_and_nothing_else() -> None:
    config = changed_config(["distil.objective=grpo", "distil.steps=3", "trial.probation=false"])
    assert (config.distil.objective.kind, config.distil.steps, config.trial.probation) == ("grpo", 3, False)
    assert config.vote == Config().vote and changed_config([]) == Config()


@pytest.mark.parametrize("setting", ["steps=3", "distil.steps", "distil.=3", "distil.stepz=3", "nothing.steps=3"])
def test_a_setting_that_does_not_exist_is_refused_by_name(setting: str) -> None:
    with pytest.raises(ConfigError):
        changed_config([setting])


def test_the_summary_counts_successes_harm_and_the_cost_of_caution() -> None:
    found = summarise([tried(0.3, True), tried(0.3, False), tried(-0.1, True), tried(0.05, False, 2, after=0.95)])
    assert (found["tried"], found["success"], found["right_votes"]) == (4, 0.75, 3)
    assert found["success_of_right_votes"] == pytest.approx(2 / 3, abs=1e-4)
    assert (found["harmful"], found["harmful_passed"], found["passed"]) == (1, 1, 2)
    assert found["helpful_refused"] == pytest.approx(2 / 3, abs=1e-4)
    assert summarise([])["success"] is None


def test_the_same_seed_measures_the_same_candidates() -> None:
    family = [one for one in families("tuning") if one.name == "fence posts"]
    first, second = (measure(QUICK, Size(episodes=7, draws=1), 1, family)["candidates"] for _ in range(2))
    assert first and first[0]["family"] == "fence posts" and first[0]["parents"] >= 3
    assert [one | {"seconds": 0} for one in first] == [one | {"seconds": 0} for one in second]
