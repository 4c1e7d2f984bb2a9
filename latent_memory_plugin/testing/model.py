"""A fake of `engines.hf.LanguageModel`, in which learning is real."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from latent_memory_plugin.config import SamplingConfig
from latent_memory_plugin.engines import cancellation
from latent_memory_plugin.engines.base import Conversation, Readable
from latent_memory_plugin.errors import InputError
from latent_memory_plugin.forms import entry
from latent_memory_plugin.records import Dialogue, Rollout

if TYPE_CHECKING:
    from torch import Tensor

FIRST, SECOND = 1, 2
KEY_SIZE = 64


@dataclass(frozen=True)
class FakeModel:
    """A model with two answers per question, whose one parameter a Latent moves.

    With the mean m of what a Latent enters with it gives the first answer with probability 1 / (1 + exp(-bias - 4 m)),
    so learning is real: imitating the first answer raises m, which helps where the first answer wins the vote and harms
    elsewhere. The key of a question is a fixed random direction of its topic, the text before the first colon.
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
    takes: frozenset[str] = frozenset({"vectors"})
    """The fields of `forms.Entry` that it reads."""
    former_fingerprints: tuple[str, ...] = ()
    """What older versions would have stored as its fingerprint."""

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
        latents: Sequence[Readable],
        n: int,
        sampling: SamplingConfig,
        seed: int,
    ) -> list[list[Rollout]]:
        """`n` rollouts per question, at temperature 0 the likelier answer each time."""
        cancellation.check()
        pairs = zip(map(_question, conversations), latents, strict=True)
        return [self._rollouts(question, self._odds(question, latent), n, sampling, seed) for question, latent in pairs]

    def stream(
        self, conversation: Conversation, latent: Readable, sampling: SamplingConfig, seed: int
    ) -> Iterator[Rollout]:
        """One token, and so one step."""
        return iter(self.sample([conversation], [latent], 1, sampling, seed)[0])

    def written(self, rollout: Rollout) -> str:
        """Its text: there are no special tokens."""
        return rollout.text

    def log_probabilities(
        self, conversations: Sequence[Conversation], completions: Sequence[Sequence[int]], latent: Readable
    ) -> "tuple[Tensor, Tensor]":
        """(B, 1) log-probabilities and mask."""
        import torch

        cancellation.check()
        vectors = entry(latent, self, finite=False).vectors
        plain = torch.tensor([[self._odds(_question(one), None)] for one in conversations])  # (B, 1)
        odds = plain if vectors is None else plain + 4 * vectors.mean()  # (B, 1)
        signs = torch.tensor([[1.0 if ids[0] == FIRST else -1.0] for ids in completions])  # (B, 1)
        return torch.nn.functional.logsigmoid(signs * odds), torch.ones(len(completions), 1, dtype=torch.bool)

    def graph_tokens(self) -> int:
        """More than any test has."""
        return 2**20

    def keys(self, conversations: Sequence[Conversation]) -> np.ndarray:
        """(N, D) float32."""
        cancellation.check()
        return np.stack([_direction(_question(one).split(":")[0]) for one in conversations])  # (N, D)

    def _odds(self, question: str, latent: Readable) -> float:
        plain, vectors = float(self.biases.get(question, self.bias)), entry(latent, self).vectors
        return plain if vectors is None else plain + 4 * float(vectors.detach().mean())

    def _rollouts(self, question: str, odds: float, n: int, sampling: SamplingConfig, seed: int) -> list[Rollout]:
        if question not in self.answers:
            raise InputError(f"FakeModel knows no {question!r}; it knows {sorted(self.answers)!r:.200}.")
        rng = random.Random(f"{seed}/{question}")
        likely = 1 / (1 + np.exp(-odds)) if sampling.temperature else float(odds >= 0)
        drawn = [FIRST if rng.random() < likely else SECOND for _ in range(n)]
        return [Rollout(text=f"#### {self.answers[question][one - 1]}", token_ids=(one,)) for one in drawn]


def _question(conversation: Conversation) -> str:
    if isinstance(conversation, str):
        return conversation
    messages = conversation.messages if isinstance(conversation, Dialogue) else conversation
    return str(messages[-1]["content"])


def _direction(topic: str) -> np.ndarray:
    drawn = np.random.default_rng(list(topic.encode())).standard_normal(KEY_SIZE)  # (D,)
    return (drawn / np.linalg.norm(drawn)).astype(np.float32)
