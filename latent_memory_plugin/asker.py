"""Question in, answer out: the using half of `LatentMemory`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from latent_memory_plugin.answers import agree
from latent_memory_plugin.config import RetrieveConfig, SamplingConfig
from latent_memory_plugin.records import Answer, Hit, Problem, Rollout, Usage
from latent_memory_plugin.retrieve import retrieve
from latent_memory_plugin.seams import Model, Store
from latent_memory_plugin.vote import vote

if TYPE_CHECKING:
    from torch import Tensor

NO_MEMORY = Hit(latent_id=None, similarity=None, reason="Memory is off.")


@dataclass(frozen=True)
class Asker:
    """Answers problems with the Latents that apply."""

    model: Model
    """The frozen model."""
    store: Store
    """The namespace's store."""
    config: RetrieveConfig
    """When a Latent applies."""
    extract: Callable[[str], str | None]
    """Completion text → answer."""
    enabled: bool = True
    """False reads no Latent at all."""

    def ask(self, problems: Sequence[Problem], n: int, sampling: SamplingConfig, seed: int) -> list[Answer]:
        """The answer to each problem from `n` completions."""
        hits = self._retrieve(problems)
        latents = [self._tensor(hit) for hit in hits]
        groups = self.model.sample([problem.question for problem in problems], latents, n, sampling, seed)
        rows = zip(problems, hits, groups, strict=True)
        return [self._answer(problem, hit, group, seed) for problem, hit, group in rows]

    def _retrieve(self, problems: Sequence[Problem]) -> list[Hit]:
        if not self.enabled:
            return [NO_MEMORY] * len(problems)
        keys = self.model.keys([problem.question for problem in problems])  # (N, D)
        return [retrieve(self.store, key, self.config) for key in keys]

    def _tensor(self, hit: Hit) -> "Tensor | None":
        if hit.latent_id is None:
            return None
        import torch

        return torch.from_numpy(self.store.tensor(hit.latent_id))  # (P, H)

    def _answer(self, problem: Problem, hit: Hit, group: Sequence[Rollout], seed: int) -> Answer:
        read = tuple(rollout.model_copy(update={"answer": self.extract(rollout.text)}) for rollout in group)
        winner = vote([rollout.answer for rollout in read]).answer
        shown = next((rollout for rollout in read if agree(rollout.answer, winner)), read[0])
        return Answer(
            question=problem.question,
            text=shown.text,
            answer=shown.answer,
            latent_ids=() if hit.latent_id is None else (hit.latent_id,),
            similarity=hit.similarity,
            reason=hit.reason,
            usage=self._usage(problem, hit, read),
            rollouts=read,
            seed=seed,
        )

    def _usage(self, problem: Problem, hit: Hit, read: Sequence[Rollout]) -> Usage:
        latent_tokens = 0 if hit.latent_id is None else self.store.latent(hit.latent_id).shape[0]
        return Usage(
            prompt_tokens=len(self.model.prompt_ids(problem.question)),
            latent_tokens=latent_tokens,
            completion_tokens=sum(len(rollout.token_ids) for rollout in read),
        )
