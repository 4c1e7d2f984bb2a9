"""Life after the trial: uses judged by later votes and by feedback, and Latents that lose taken back."""

import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from latent_memory_plugin.answers.judge import Judge
from latent_memory_plugin.config import LifeConfig
from latent_memory_plugin.errors import NotFoundError
from latent_memory_plugin.records import NOT_KEPT, USABLE, Episode, Latent, Standing, Use, of_look
from latent_memory_plugin.store.base import AnyStore

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Lifecycle:
    """Keeps the standings of one namespace's Latents."""

    store: AnyStore
    """The namespace's store."""
    config: LifeConfig
    """When a Latent is taken back."""

    def witness(self, episode: Episode, judge: Judge) -> list[Standing]:
        """Judges the answers given to an episode's question by its vote, which must be one that is believed: the share
        of a doubtful winner is not the plain model's chance. The standings that changed; what feedback has judged stays
        as it is. Raises RewardError."""
        if episode.vote is None or episode.vote.answer is None:
            return []
        asked = self.store.uses(problem_hash=episode.problem.hash)
        open_uses = [use for use in asked if use.source is None and NOT_KEPT not in (use.answer, use.text)]
        verdicts = [judge.verdict(episode, use) for use in open_uses]  # a reward may take long, and is not waited for
        judged = [
            use.model_copy(update={"correct": right, "expected": expected, "source": "vote"})
            for use, (right, expected) in zip(open_uses, verdicts, strict=True)
        ]
        with self.store.exclusive():
            return self._judged(judged)

    def feedback(self, answer_id: str, correct: bool) -> list[Standing]:
        """Judges the answer of that id as its user does; the standings that changed.

        It says nothing of a Latent whose answer was not the one given.
        """
        with self.store.exclusive():
            given = [use for use in self.store.uses(answer_id=answer_id) if use.returned]
            return self._judged([use.model_copy(update={"correct": correct, "source": "feedback"}) for use in given])

    def roll_back(self, latent_id: str, reason: str) -> Standing:
        """Takes a Latent back: its last version that passed a trial lives again and it is retired; where there is none
        it is suspended, and its neighbourhood learns anew. One that is not read is left as it is: another may live in
        its place. The standing of the Latent afterwards. Raises NotFoundError."""
        with self.store.exclusive():
            return self._rolled_back(latent_id, reason)

    def _rolled_back(self, latent_id: str, reason: str) -> Standing:
        standing = self.store.standing(latent_id)
        if standing.state not in USABLE:
            return standing
        earlier = next((one for one in self._versions(latent_id) if one.trial.passed), None)
        if earlier is None:
            return self._stand(latent_id, "suspended", f"{reason} No earlier version passed a trial.")
        self._stand(earlier.id, "live", f"Lives again in place of {latent_id}. {reason}")
        return self._stand(latent_id, "retired", f"{reason} Version {earlier.id} lives again.")

    def _judged(self, uses: Sequence[Use]) -> list[Standing]:
        self.store.record_uses(uses)
        fresh = {use.answer_id for use in uses}
        changed = (self._reckon(latent_id, fresh) for latent_id in sorted({use.latent_id for use in uses}))
        return [standing for standing in changed if standing is not None]

    def _reckon(self, latent_id: str, fresh: set[str]) -> Standing | None:
        """Takes a Latent back where it lost; one that was forgotten meanwhile has no standing to lose."""
        try:
            standing, latent = self.store.standing(latent_id), self.store.latent(latent_id)
        except NotFoundError:
            return None
        if standing.state not in USABLE:
            return None
        uses = [use for use in self.store.uses(latent_id=latent_id) if use.created >= standing.since]
        judged = [use for use in uses if use.correct is not None]
        look = looks(len(judged), self.config)
        if look == looks(sum(use.answer_id not in fresh for use in judged), self.config):
            return None
        reason = loss(judged, latent.trial.agreement_before, of_look(self.config.confidence, look))
        return self.roll_back(latent_id, reason) if reason else None

    def _versions(self, latent_id: str) -> Iterator[Latent]:
        """The earlier versions of a Latent that were superseded, the latest first."""
        previous = self.store.latent(latent_id).previous
        while previous is not None:
            try:
                earlier = self.store.latent(previous)
            except NotFoundError:  # forgotten by its owner
                return
            if self.store.standing(previous).state == "superseded":
                yield earlier
            previous = earlier.previous

    def _stand(self, latent_id: str, state: str, reason: str) -> Standing:
        known = self.store.standing(latent_id).known
        standing = Standing.model_validate({"latent_id": latent_id, "state": state, "reason": reason, "known": known})
        self.store.stand(standing)
        log.info("Latent %s is %s. %s", latent_id, state, reason)
        return standing


def looks(judged: int, config: LifeConfig) -> int:
    """How often the uses were looked at when so many are judged: at `min_uses`, and whenever they have doubled."""
    return (judged // config.min_uses).bit_length()


def loss(uses: Sequence[Use], usual: float, confidence: float) -> str:
    """How judged uses show that a Latent answers worse than the plain model; empty where they do not.

    A one-sided z-test: of n answers the plain model gets each right with its expected chance e (where nothing is
    known of an answer, the `usual` one), so right answers have mean sum(e) and variance sum(e (1 - e)).
    """
    chances = [min(max(usual if use.expected is None else use.expected, 0.01), 0.99) for use in uses]
    right, expected = sum(bool(use.correct) for use in uses), sum(chances)
    deviation = math.sqrt(sum(chance * (1 - chance) for chance in chances))
    if right - expected >= -NormalDist().inv_cdf(min(max(confidence, 0.5), 0.999999)) * deviation:
        return ""
    return f"It lost: {right} of {len(uses)} judged answers were right, {expected:.1f} were to be expected without it."
