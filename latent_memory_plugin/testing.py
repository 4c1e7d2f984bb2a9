"""Fakes behind the two seams, for tests of this library, of the adapters and of users: no download, no disk.

    model = FakeModel({"sum: 1+1": ("2", "3")})     # answers "2" or "3", evenly

`FakeModel` stands for `model.LanguageModel`, `InMemoryStore` for `store.Store`.
"""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from latent_memory_plugin.config import SamplingConfig
from latent_memory_plugin.errors import InputError, NotFoundError
from latent_memory_plugin.records import USABLE, Dialogue, Episode, EpisodeState, Latent, Rollout, Standing, Use
from latent_memory_plugin.seams import Conversation

if TYPE_CHECKING:
    from torch import Tensor

Kept = TypeVar("Kept")

FIRST, SECOND = 1, 2
KEY_SIZE = 64


@dataclass(frozen=True)
class FakeModel:
    """A model with two answers per question, whose one parameter a Latent moves.

    With the Latent's mean m it gives the first answer with probability 1 / (1 + exp(-bias - 4 m)), so learning is real:
    imitating the first answer raises m, which helps where the first answer wins the vote and harms elsewhere. The key
    of a question is a fixed random direction of its topic, the text before the first colon.
    """

    answers: Mapping[str, tuple[str, str]]
    """Question → first and second answer."""
    bias: float = 0.0
    """Log-odds of the first answer without a Latent."""
    name: str = "fake"
    """Name in records."""
    fingerprint: str = "f" * 64
    """Fingerprint in records."""
    hidden_size: int = 4
    """H."""
    encoder: str = "fake-topic-v1"
    """Name of the key method."""
    chat_template: str = ""
    """There is none."""
    context_tokens: int = 10_000
    """Tokens that prompt, Latent and completion may have together; only what learning accepts depends on it."""
    biases: Mapping[str, float] = field(default_factory=dict[str, float])
    """Question → its own log-odds, in place of `bias`."""

    def prompt_ids(self, conversation: Conversation) -> tuple[int, ...]:
        """One token per word."""
        return tuple(range(len(_question(conversation).split())))

    def question_ids(self, conversation: Conversation) -> tuple[int, ...]:
        """The same: there is no template."""
        return self.prompt_ids(conversation)

    def token_embeddings(self, token_ids: Sequence[int]) -> "Tensor":
        """(T, H) zeros."""
        import torch

        return torch.zeros(len(token_ids), self.hidden_size)  # (T, H)

    def completion_ids(self, rollout: Rollout) -> tuple[int, ...]:
        """One token: which answer it is."""
        return rollout.token_ids or (FIRST,)

    def sample(
        self,
        conversations: Sequence[Conversation],
        latents: "Sequence[Tensor | None]",
        n: int,
        sampling: SamplingConfig,
        seed: int,
    ) -> list[list[Rollout]]:
        """`n` rollouts per question, at temperature 0 the likelier answer each time."""
        pairs = zip(map(_question, conversations), latents, strict=True)
        return [self._rollouts(question, self._odds(question, latent), n, sampling, seed) for question, latent in pairs]

    def stream(
        self, conversation: Conversation, latent: "Tensor | None", sampling: SamplingConfig, seed: int
    ) -> Iterator[Rollout]:
        """One token, and so one step."""
        return iter(self.sample([conversation], [latent], 1, sampling, seed)[0])

    def written(self, rollout: Rollout) -> str:
        """Its text: there are no special tokens."""
        return rollout.text

    def log_probabilities(
        self, conversations: Sequence[Conversation], completions: Sequence[Sequence[int]], latent: "Tensor | None"
    ) -> "tuple[Tensor, Tensor]":
        """(B, 1) log-probabilities and mask."""
        import torch

        plain = torch.tensor([[self._odds(_question(one), None)] for one in conversations])  # (B, 1)
        odds = plain if latent is None else plain + 4 * latent.mean()  # (B, 1)
        signs = torch.tensor([[1.0 if ids[0] == FIRST else -1.0] for ids in completions])  # (B, 1)
        return torch.nn.functional.logsigmoid(signs * odds), torch.ones(len(completions), 1, dtype=torch.bool)

    def keys(self, conversations: Sequence[Conversation]) -> np.ndarray:
        """(N, D) float32."""
        return np.stack([_direction(_question(one).split(":")[0]) for one in conversations])  # (N, D)

    def _odds(self, question: str, latent: "Tensor | None") -> float:
        plain = float(self.biases.get(question, self.bias))
        return plain if latent is None else plain + 4 * float(latent.mean())

    def _rollouts(self, question: str, odds: float, n: int, sampling: SamplingConfig, seed: int) -> list[Rollout]:
        if question not in self.answers:
            raise InputError(f"FakeModel knows no {question!r}; it knows {sorted(self.answers)!r:.200}.")
        rng = random.Random(f"{seed}/{question}")
        likely = 1 / (1 + np.exp(-odds)) if sampling.temperature else float(odds >= 0)
        drawn = [FIRST if rng.random() < likely else SECOND for _ in range(n)]
        return [Rollout(text=f"#### {self.answers[question][one - 1]}", token_ids=(one,)) for one in drawn]


@dataclass
class InMemoryStore:
    """A store that forgets everything with the process."""

    _episodes: dict[str, Episode] = field(default_factory=dict[str, Episode])
    _episode_keys: dict[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])
    _latents: dict[str, Latent] = field(default_factory=dict[str, Latent])
    _tensors: dict[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])
    _latent_keys: dict[str, np.ndarray] = field(default_factory=dict[str, np.ndarray])
    _standings: dict[str, Standing] = field(default_factory=dict[str, Standing])
    _uses: dict[tuple[str, str], Use] = field(default_factory=dict[tuple[str, str], Use])

    def commit(self, episode: Episode, key: np.ndarray) -> None:
        """Keeps a new episode."""
        self._episodes[episode.id], self._episode_keys[episode.id] = episode, key

    def update(self, episode: Episode) -> None:
        """Replaces an episode."""
        self.episode(episode.id)
        self._episodes[episode.id] = episode

    def episode(self, episode_id: str) -> Episode:
        """The episode of that id."""
        return _get(self._episodes, episode_id)

    def episodes(self, state: EpisodeState | None = None) -> Iterator[Episode]:
        """Oldest first."""
        return iter([one for one in self._episodes.values() if state in (None, one.state)])

    def episode_key(self, episode_id: str) -> np.ndarray:
        """(D,)."""
        return _get(self._episode_keys, episode_id)

    def near_episodes(self, key: np.ndarray, limit: int) -> list[tuple[Episode, float]]:
        """Nearest first."""
        return [(self._episodes[one], similarity) for one, similarity in _nearest(self._episode_keys, key, limit)]

    def put(self, latent: Latent, tensor: np.ndarray, key: np.ndarray) -> None:
        """Keeps a Latent."""
        self._latents[latent.id], self._tensors[latent.id], self._latent_keys[latent.id] = latent, tensor, key

    def latent(self, latent_id: str) -> Latent:
        """The record of that id."""
        return _get(self._latents, latent_id)

    def tensor(self, latent_id: str) -> np.ndarray:
        """(P, H)."""
        return _get(self._tensors, latent_id)

    def latents(self) -> Iterator[Latent]:
        """Oldest first."""
        return iter(sorted(self._latents.values(), key=lambda one: one.created))

    def latent_key(self, latent_id: str) -> np.ndarray:
        """(D,)."""
        return _get(self._latent_keys, latent_id)

    def nearest(self, key: np.ndarray, limit: int = 1) -> list[tuple[str, float]]:
        """Nearest first, usable ones alone."""
        keys = {one: other for one, other in self._latent_keys.items() if self.standing(one).state in USABLE}
        return _nearest(keys, key, limit)

    def stand(self, standing: Standing) -> None:
        """Keeps what a Latent may do now."""
        self._standings[standing.latent_id] = standing

    def standing(self, latent_id: str) -> Standing:
        """What a Latent may do now."""
        kept = self._standings.get(latent_id)
        return kept or Standing(latent_id=latent_id, since=self.latent(latent_id).created)

    def record_uses(self, uses: Sequence[Use]) -> None:
        """Keeps or replaces uses."""
        self._uses.update({(use.answer_id, use.latent_id): use for use in uses})

    def uses(
        self, *, latent_id: str | None = None, answer_id: str | None = None, problem_hash: str | None = None
    ) -> list[Use]:
        """Oldest first."""
        wanted = {"latent_id": latent_id, "answer_id": answer_id, "problem_hash": problem_hash}
        given = {name: value for name, value in wanted.items() if value is not None}
        return [use for use in self._uses.values() if all(getattr(use, name) == given[name] for name in given)]

    def remove(self, latent_id: str) -> None:
        """Forgets a Latent, its standing and its uses."""
        if latent_id not in self._standings and not self.uses(latent_id=latent_id):
            self.latent(latent_id)
        for kept in (self._latents, self._tensors, self._latent_keys, self._standings):
            kept.pop(latent_id, None)
        self._uses = {pair: use for pair, use in self._uses.items() if use.latent_id != latent_id}

    def close(self) -> None:
        """Nothing to release."""


def _question(conversation: Conversation) -> str:
    if isinstance(conversation, str):
        return conversation
    messages = conversation.messages if isinstance(conversation, Dialogue) else conversation
    return str(messages[-1]["content"])


def _direction(topic: str) -> np.ndarray:
    drawn = np.random.default_rng(list(topic.encode())).standard_normal(KEY_SIZE)  # (D,)
    return (drawn / np.linalg.norm(drawn)).astype(np.float32)


def _get(kept: Mapping[str, Kept], wanted: str) -> Kept:
    if wanted not in kept:
        raise NotFoundError(f"Nothing has the id {wanted!r}.")
    return kept[wanted]


def _nearest(keys: Mapping[str, np.ndarray], key: np.ndarray, limit: int) -> list[tuple[str, float]]:
    ranked = sorted(((name, float(key @ other)) for name, other in keys.items()), key=lambda pair: -pair[1])
    return ranked[:limit]
