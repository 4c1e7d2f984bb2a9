"""Question in, answer out: the using half of `LatentMemory`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from latent_memory_plugin.answers import agree
from latent_memory_plugin.config import RetrieveConfig, SamplingConfig
from latent_memory_plugin.errors import NotFoundError
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
        found = [self._read(hit) for hit in self._retrieve(problems)]
        hits, latents = [hit for hit, _ in found], [latent for _, latent in found]
        groups = self.model.sample([problem.question for problem in problems], latents, n, sampling, seed)
        usages = [
            self._usage(problem, latent, group)
            for problem, latent, group in zip(problems, latents, groups, strict=True)
        ]
        rows = zip(problems, hits, groups, usages, strict=True)
        return [self._answer(problem, hit, group, usage, seed) for problem, hit, group, usage in rows]

    def _retrieve(self, problems: Sequence[Problem]) -> list[Hit]:
        if not self.enabled:
            return [NO_MEMORY] * len(problems)
        keys = self.model.keys([problem.question for problem in problems])  # (N, D)
        return [retrieve(self.store, key, self.config) for key in keys]

    def _read(self, hit: Hit) -> "tuple[Hit, Tensor | None]":
        """The hit with its tensor (P, H); without one where another thread has forgotten the Latent meanwhile."""
        if hit.latent_id is None:
            return hit, None
        import torch

        try:
            return hit, torch.from_numpy(self.store.tensor(hit.latent_id))  # (P, H)
        except NotFoundError:
            reason = f"Latent {hit.latent_id} has just been forgotten."
            return Hit(latent_id=None, similarity=hit.similarity, reason=reason), None

    def _answer(self, problem: Problem, hit: Hit, group: Sequence[Rollout], usage: Usage, seed: int) -> Answer:
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
            usage=usage,
            rollouts=read,
            seed=seed,
        )

    def _usage(self, problem: Problem, latent: "Tensor | None", group: Sequence[Rollout]) -> Usage:
        return Usage(
            prompt_tokens=len(self.model.prompt_ids(problem.question)),
            latent_tokens=0 if latent is None else len(latent),
            completion_tokens=sum(len(rollout.token_ids) for rollout in group),
        )
