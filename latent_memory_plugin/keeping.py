"""What a memory keeps, and what its owner may do with it: the half of `LatentMemory` that needs no model to be run."""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from latent_memory_plugin import __version__
from latent_memory_plugin.config import Config
from latent_memory_plugin.errors import InputError, NotFoundError
from latent_memory_plugin.learning.eviction import SECONDS_PER_DAY, Budget
from latent_memory_plugin.learning.lifecycle import Life
from latent_memory_plugin.learning.trial import untried
from latent_memory_plugin.records import USABLE, Evicted, Latent, Problem, Standing, Vote
from latent_memory_plugin.shared import Opened

if TYPE_CHECKING:
    from latent_memory_plugin.store.archive import Manifest
    from latent_memory_plugin.store.forgetting import Forgotten
    from latent_memory_plugin.store.importing import Imported


class Keeping(ABC):
    """The stored Latents of one namespace."""

    config: Config
    """All settings."""

    @property
    @abstractmethod
    def opened(self) -> Opened:
        """The loaded model and the open store, for extensions of this library."""

    def latents(self) -> Iterator[Latent]:
        """The Latents that are read, live or on probation, oldest first; `standing` tells which."""
        store = self.opened.store
        return (latent for latent in store.latents() if store.standing(latent.id).state in USABLE)

    def standing(self, latent_id: str) -> Standing:
        """What a Latent may do now, and why. Raises `NotFoundError`."""
        return self.opened.store.standing(latent_id)

    def roll_back(self, latent_id: str) -> Standing:
        """Takes a Latent back in favour of its last version that passed a trial. Raises `NotFoundError`."""
        opened = self.opened
        with opened.learning:
            return Life(opened.store, self.config.life).roll_back(latent_id, "Taken back by hand.")

    def latent(self, latent_id: str) -> Latent:
        """One Latent's record. Raises `NotFoundError`."""
        return self.opened.store.latent(latent_id)

    def forget(
        self,
        latent_id: str | None = None,
        *,
        versions: bool = False,
        question: str | None = None,
        older_than_days: float | None = None,
        everything: bool = False,
    ) -> "Forgotten":
        """Deletes what one of the arguments names, texts and all; how much that was.

        Args:
            latent_id: a Latent with its standing and its uses.
            versions: with a Latent, its earlier versions too.
            question: every episode of this question, the Latents learnt from one of them, the answers given to it.
            older_than_days: Latents, episodes and uses made before so many days.
            everything: the whole namespace.

        An episode under way is finished first. Raises `InputError` where not one thing is named, `NotFoundError` where
        there is no such Latent, `StoreWriteError`.
        """
        asked = [latent_id is not None, question is not None, older_than_days is not None, everything]
        if sum(asked) != 1:
            raise InputError(
                f"{sum(asked)} of latent_id=, question=, older_than_days= and everything=True are given; pass one."
            )
        opened = self.opened
        with opened.learning:
            if latent_id is not None:
                return opened.store.forget_latents([latent_id, *(self._earlier(latent_id) if versions else ())])
            if question is not None:
                return opened.store.forget_problem(Problem(question=question).hash)
            if older_than_days is not None:
                return opened.store.forget_older(time.time() - checked_days(older_than_days) * SECONDS_PER_DAY)
            return opened.store.forget_everything()

    def evict(self, dry_run: bool = False) -> list[Evicted]:
        """Deletes the least useful Latents until the namespace is within `config.store`, and says which and why; with
        `dry_run` nothing is changed. Without any bound there, nothing goes.

        The same happens whenever a Latent is learnt. Raises `StoreError`.
        """
        opened = self.opened
        with opened.learning:
            budget = Budget(opened.store, self.config)
            return budget.plan() if dry_run else budget.keep()

    def evictions(self) -> Iterator[Evicted]:
        """What has been evicted so far, oldest first."""
        return self.opened.store.evictions()

    def export_to(self, path: str | Path, latent_ids: Sequence[str] | None = None) -> "Manifest":
        """Writes the namespace, texts and all, as one tar file, or the named Latents alone, without any text; what it
        holds. A file that is there is replaced. Raises `InputError`, `NotFoundError`, `StoreError`."""
        return self.opened.store.export_to(Path(path), latent_ids)

    def import_from(self, path: str | Path) -> "Imported":
        """Takes in what `export_to` wrote, from whatever namespace, all of it or nothing; what was new.

        Raises `WrongModelError` for an archive of another model, `InputError` where an id is taken by something else,
        `StoreError`.
        """
        opened = self.opened
        with opened.learning:
            return opened.store.import_from(Path(path))

    def export_peft(self, latent_id: str, folder: str | Path) -> int:
        """Writes a Latent as a PEFT prompt-tuning adapter; the number of its virtual tokens. `interchange` says how
        that reads it. Raises `NotFoundError`, `InputError` where the folder is not empty, `StoreError`."""
        from latent_memory_plugin.forms.peft import export_adapter

        opened = self.opened
        return export_adapter(opened.model, latent_id, opened.store.tensor(latent_id), Path(folder))

    def import_peft(self, folder: str | Path, question: str, state: Literal["probation", "live"] = "probation") -> str:
        """Stores a PEFT prompt-tuning adapter as a Latent that is read for questions like this one; its id.

        No trial was held: on probation it is read with care until one is possible. Raises `InputError`,
        `WrongModelError`, `ContextLengthError`, `StoreError`.
        """
        from latent_memory_plugin.forms.peft import read_adapter

        opened, problem = self.opened, Problem(question=question)
        if state not in USABLE:
            raise InputError(f"state={state!r} is not one to begin with; choose 'probation' or 'live'.")
        tensor = read_adapter(opened.model, Path(folder))  # (P, H)
        [key] = opened.encoder.keys([problem.question])  # (D,)
        reason = f"Imported from the PEFT adapter {Path(folder).name!r:.80}; no trial was held."
        latent = Latent(
            namespace=opened.store.namespace,
            shape=(tensor.shape[0], tensor.shape[1]),
            model=opened.model.name,
            fingerprint=opened.model.fingerprint,
            encoder=opened.encoder.name,
            problem_hash=problem.hash,
            vote=Vote(answer=None, share=0.0, entropy=0.0, counts=()),
            trial=untried(reason),
            parents=(),
            objective="peft",
            seed=0,
            version=__version__,
        )
        with opened.learning:
            opened.store.stand(Standing(latent_id=latent.id, state=state, reason=reason))
            opened.store.put(latent, tensor, key)
        return latent.id

    def _earlier(self, latent_id: str) -> list[str]:
        """Ids of the earlier versions of a Latent that are still there."""
        found: list[str] = []
        while (previous := self.latent(latent_id).previous) and previous not in found:
            try:
                self.latent(previous)
            except NotFoundError:
                break
            found.append(previous)
            latent_id = previous
        return found


def checked_days(days: float) -> float:
    """Raises `InputError` where it is no number of days."""
    if not (math.isfinite(days) and days >= 0):
        raise InputError(f"older_than_days={days!r} is no number of days; pass 0 or more.")
    return days
