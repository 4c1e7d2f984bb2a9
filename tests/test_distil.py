"""Distilling: the loop, every objective, and their gradients against finite differences."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from latent_memory_plugin.answers import extract
from latent_memory_plugin.answers.judge import Judge, Reward
from latent_memory_plugin.answers.vote import vote
from latent_memory_plugin.config import DistilConfig, SamplingConfig
from latent_memory_plugin.errors import DistilError, RewardError
from latent_memory_plugin.forms import Tensors
from latent_memory_plugin.objectives import OBJECTIVES, Attempt, Lesson, Step, lessons
from latent_memory_plugin.objectives.batches import split, token_mean
from latent_memory_plugin.objectives.descent import descend
from latent_memory_plugin.objectives.grpo import Sampled, Scored, _judge, advantages, policy_loss
from latent_memory_plugin.objectives.imitate import examples, imitate
from latent_memory_plugin.records import Episode, Problem, Rollout
from latent_memory_plugin.testing import FakeModel

QUESTION = "sum: 1+1"
MODEL = FakeModel({QUESTION: ("2", "3")})
START = torch.zeros(3, 4)


def rollouts(*answers: str) -> tuple[Rollout, ...]:
    ids = {"2": (1,), "3": (2,)}
    return tuple(Rollout(text=f"#### {one}", answer=one, token_ids=ids[one]) for one in answers)


def attempt(answer: str = "2", watch: Callable[[Step], None] | None = None, **settings: Any) -> Attempt:
    lesson = Lesson(Problem(question=QUESTION), answer, rollouts("2", "2", "3", "2"), trust=0.75)
    chosen: dict[str, Any] = {"steps": 20, "learning_rate": 0.05, **settings}
    config = DistilConfig(**chosen)
    return Attempt(MODEL, "soft_prompt", (lesson,), config, SamplingConfig(), Judge(extract).score, seed=0, watch=watch)


def distil(attempt: Attempt, start: Tensor) -> Tensor:
    """The trained vectors of a soft prompt that starts from these."""
    return OBJECTIVES.get(attempt.config.objective.kind).train(attempt, {"latent": start})["latent"]


def rewarded(reward: Reward, **settings: Any) -> Attempt:
    """The same, scored by an external reward in place of the vote."""
    return replace(attempt(**settings), score=Judge(extract, reward).score)


def likelihood(latent: Tensor, completion: tuple[int, ...] = (1,)) -> float:
    return MODEL.log_probabilities([QUESTION], [completion], latent)[0].exp().item()


@pytest.mark.parametrize("objective", ["imitate", "grpo", "imitate_then_grpo"])
@pytest.mark.parametrize(("answer", "completion"), [("2", (1,)), ("3", (2,))])
def test_every_objective_makes_the_voted_answer_likelier(
    objective: str, answer: str, completion: tuple[int, ...]
) -> None:
    latent = distil(attempt(answer, objective=objective, rollouts=16), START)
    assert latent.shape == START.shape
    assert likelihood(latent, completion) > 0.6


@pytest.mark.parametrize("objective", ["imitate", "grpo", "imitate_then_grpo"])
def test_the_same_seed_distils_the_same_tensor(objective: str) -> None:
    first, second = (distil(attempt(objective=objective), START) for _ in range(2))
    assert torch.equal(first, second)


def test_the_start_tensor_is_not_changed() -> None:
    distil(attempt(), START)
    assert not START.any()


def test_imitation_weighs_lessons_by_trust_and_completions_by_count() -> None:
    other = Lesson(Problem(question="sum: 2+2"), "2", rollouts("2"), trust=0.25)
    first = attempt()
    made = examples(replace(first, lessons=(*first.lessons, other)))
    assert [(one.question, one.completion, one.weight) for one in made] == [
        (QUESTION, (1,), pytest.approx(0.75)),
        ("sum: 2+2", (1,), pytest.approx(0.25)),
    ]


def test_a_weight_is_shared_among_the_commonest_completions_of_its_lesson() -> None:
    made = examples(rewarded(lambda question, text: 1.0))
    assert [(one.completion, one.weight) for one in made] == [
        ((1,), pytest.approx(3 / 4)),
        ((2,), pytest.approx(1 / 4)),
    ]
    assert [one.completion for one in examples(rewarded(lambda question, text: 1.0, rollouts=1))] == [(1,)]


@pytest.mark.parametrize(("worth", "imitated"), [(0.5, 2), (0.49, 1)])
def test_what_an_external_reward_gives_half_or_more_is_imitated(worth: float, imitated: int) -> None:
    assert len(examples(rewarded(lambda question, text: worth if text.endswith("3") else 1.0))) == imitated


def test_where_every_completion_is_rejected_there_is_nothing_to_imitate() -> None:
    with pytest.raises(DistilError, match="nothing to imitate"):
        imitate(rewarded(lambda question, text: 0.0), {"latent": START})


@pytest.mark.parametrize("objective", ["imitate", "grpo", "imitate_then_grpo"])
def test_an_external_reward_outvotes_the_vote(objective: str) -> None:
    latent = distil(rewarded(lambda question, text: float(text.endswith("3")), objective=objective), START)
    assert likelihood(latent, (2,)) > 0.6


@pytest.mark.parametrize("objective", ["imitate", "grpo", "imitate_then_grpo"])
def test_a_reward_that_fails_ends_the_attempt(objective: str) -> None:
    with pytest.raises(RewardError, match="must be from 0 to 1"):
        distil(rewarded(lambda question, text: 2.0, objective=objective), START)


def test_lessons_are_the_episodes_with_an_answer_weighted_by_the_trust_of_their_votes() -> None:
    votes = [vote(["2"] * 7 + ["3"]), vote(["2", "3"]), vote([None, None]), None]
    episodes = [Episode(problem=Problem(question=QUESTION), rollouts=rollouts("2", "3"), vote=one) for one in votes]
    made = lessons(episodes)
    assert [(one.answer, one.rollouts) for one in made] == [("2", rollouts("2", "3"))] * 2
    assert votes[0] is not None and made[0].trust == votes[0].trust > 0.9
    assert 0 < made[1].trust < 0.01


def test_an_unfinished_rollout_is_not_imitated() -> None:
    cut = tuple(one.model_copy(update={"finished": False}) for one in rollouts("2", "2"))
    lesson = replace(attempt().lessons[0], rollouts=cut)
    with pytest.raises(DistilError, match="nothing to imitate"):
        imitate(replace(attempt(), lessons=(lesson,)), {"latent": START})


def test_the_gradient_of_imitation_equals_finite_differences() -> None:
    latent = torch.full((3, 4), 0.1, requires_grad=True)

    def loss(values: Tensor) -> Tensor:
        log_probabilities, mask = MODEL.log_probabilities([QUESTION], [(1,)], values)
        return -token_mean(log_probabilities, mask).sum()

    loss(latent).backward()
    step = 1e-2
    numeric = torch.zeros(3, 4)
    for row in range(3):
        for column in range(4):
            shifted = torch.zeros(3, 4)
            shifted[row, column] = step
            numeric[row, column] = (loss(latent.detach() + shifted) - loss(latent.detach() - shifted)) / (2 * step)
    assert latent.grad is not None and torch.allclose(latent.grad, numeric, atol=1e-4)


def test_advantages_have_zero_mean_and_unit_deviation_and_vanish_where_all_agree() -> None:
    mixed, equal = advantages(torch.tensor([[1.0, 0.0, 0.0, 1.0, 0.0], [1.0] * 5]))
    assert mixed.mean().item() == pytest.approx(0, abs=1e-6)
    assert mixed.std(correction=0).item() == pytest.approx(1, abs=1e-5)
    assert not equal.any()


def test_what_an_advantage_is_divided_by_is_a_setting() -> None:
    rewards = torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0]])
    apart = rewards - rewards.mean(dim=1, keepdim=True)
    assert torch.equal(advantages(rewards, "none"), apart)
    assert torch.allclose(advantages(rewards, "batch"), apart / rewards.std(correction=0))
    assert torch.allclose(advantages(rewards, "group").std(dim=1, correction=0), torch.ones(2))
    assert not advantages(torch.ones(2, 4), "batch").any()


def sampled(advantage: float) -> Sampled:
    return Sampled(QUESTION, (1,), reward=1.0, advantage=advantage)


def test_on_fresh_rollouts_the_policy_gradient_is_the_advantage_times_the_score() -> None:
    new = torch.tensor([[-1.0, -2.0]], requires_grad=True)
    mask = torch.tensor([[True, True]])
    policy_loss(new, Scored([sampled(1.5)], None, None), mask, clip=0.2, kl=0.0).sum().backward()
    assert new.grad is not None and torch.allclose(new.grad, torch.tensor([[-0.75, -0.75]]))


def test_a_ratio_beyond_the_clip_has_no_gradient_in_the_direction_of_its_advantage() -> None:
    new = torch.tensor([[0.5]], requires_grad=True)
    mask = torch.tensor([[True]])
    policy_loss(new, Scored([sampled(1.0)], torch.zeros(1, 1), None), mask, clip=0.2, kl=0.0).sum().backward()
    assert new.grad is not None and not new.grad.any()


def test_the_divergence_term_is_zero_at_the_plain_model_and_positive_elsewhere() -> None:
    mask = torch.tensor([[True]])
    at, off = (
        policy_loss(torch.tensor([[value]]), Scored([sampled(0.0)], None, torch.tensor([[-1.0]])), mask, 0.2, kl=1.0)
        for value in (-1.0, -1.5)
    )
    assert at.item() == 0
    assert off.item() > 0


def test_the_divergence_holds_the_latent_nearer_to_the_plain_model() -> None:
    free, held = (distil(attempt(objective="grpo", rollouts=32, kl=kl), START) for kl in (0.0, 5.0))
    assert likelihood(held) < likelihood(free)


def test_the_advantage_of_a_lesson_is_weighed_by_its_trust() -> None:
    one = attempt(objective="grpo")
    group = list(rollouts("2", "3", "3", "3"))
    full, tenth = (
        _judge(replace(one, lessons=(replace(one.lessons[0], trust=trust),)), [group]) for trust in (1.0, 0.1)
    )
    assert [sampled.reward for sampled in full] == [sampled.reward for sampled in tenth] == [1, 0, 0, 0]
    expected = advantages(torch.tensor([[1.0, 0, 0, 0]]))[0].tolist()
    assert [sampled.advantage for sampled in full] == pytest.approx(expected)
    assert [10 * sampled.advantage for sampled in tenth] == pytest.approx([sampled.advantage for sampled in full])


def test_refining_goes_on_from_where_imitation_ended() -> None:
    steps: list[Step] = []
    both = distil(attempt(objective="imitate_then_grpo", steps=5, refine_steps=3, watch=steps.append), START)
    imitated = distil(attempt(steps=5), START)
    kinds = [step.reward is None for step in steps]
    assert kinds == sorted(kinds, reverse=True) and kinds.count(True) == 6 and 1 <= kinds.count(False) <= 4
    assert likelihood(both) > 0.9 * likelihood(imitated)


def test_reward_and_entropy_are_reported_for_every_step() -> None:
    steps: list[Step] = []
    distil(attempt(objective="grpo", steps=4, watch=steps.append), START)
    assert [step.number for step in steps][:2] == [1, 2]
    assert all(0 <= step.reward <= 1 and step.entropy >= 0 for step in steps if step.reward is not None)
    assert steps[0].reward is not None


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_ends_the_attempt_and_says_so(bad: float) -> None:
    def objective(tensors: Tensors, number: int) -> Step:
        (tensors["latent"] * bad).sum().backward()
        return Step(number, loss=bad, reward=None, entropy=0.0)

    with pytest.raises(DistilError, match="not finite; nothing was stored"):
        descend({"latent": START}, objective, attempt())


def test_descent_stops_early_and_returns_the_best_tensor_not_the_last() -> None:
    seen: list[Tensor] = []

    def objective(tensors: Tensors, number: int) -> Step:
        seen.append(tensors["latent"].detach().clone())
        tensors["latent"].sum().backward()
        return Step(number, loss=0.0 if number == 3 else 1.0, reward=None, entropy=0.0)

    best = descend({"latent": START}, objective, attempt(steps=50, patience=4))
    assert torch.equal(best["latent"], seen[2])
    assert len(seen) == 7


def test_a_batch_of_fresh_completions_without_a_gradient_does_not_end_the_attempt() -> None:
    """Input L10: success 0.12, ten steps; two in three runs had a batch that all failed, and ended there."""
    steps: list[Step] = []

    def objective(tensors: Tensors, number: int) -> Step:
        (tensors["latent"].sum() * (number not in (1, 2))).backward()
        return Step(number, loss=0.0, reward=0.05 * number * (number not in (1, 2)), entropy=0.0)

    best = descend({"latent": START}, objective, attempt(steps=10, patience=15, watch=steps.append))
    assert [step.number for step in steps] == list(range(1, 12)) and bool(best["latent"].any())


def test_where_all_fresh_completions_are_right_there_is_nothing_left_to_learn() -> None:
    steps: list[Step] = []

    def objective(tensors: Tensors, number: int) -> Step:
        return Step(number, loss=0.0, reward=1.0, entropy=0.0)

    descend({"latent": START}, objective, attempt(steps=10, watch=steps.append))
    assert len(steps) == 1


def test_batches_fit_the_budget_and_lose_nothing() -> None:
    lengths = [5, 9, 2, 7, 30, 1]
    batches = split(lengths, 16, lambda length: length)
    assert sorted(length for batch in batches for length in batch) == sorted(lengths)
    assert all(len(batch) == 1 or len(batch) * max(batch) <= 16 for batch in batches)


@pytest.mark.parametrize("budget", [1, 16_384])
def test_small_batches_give_the_same_tensor_as_large_ones(budget: int) -> None:
    latent = distil(attempt(max_batch_tokens=budget), START)
    assert torch.allclose(latent, distil(attempt(), START), atol=1e-6)
