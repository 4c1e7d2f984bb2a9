"""What a Latent truly does: accuracy with and without it, on fresh problems and against the labels.

Only the benchmark may do this; the library never sees a label.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from latent_memory_plugin.answers import agree
from latent_memory_plugin.answers.judge import Judge
from latent_memory_plugin.bench.online.common import Common
from latent_memory_plugin.bench.online.statistics import mean, paired
from latent_memory_plugin.bench.online.stream import Asked
from latent_memory_plugin.engines import Readable
from latent_memory_plugin.forms import Loaded
from latent_memory_plugin.records import Rollout

LEAST_SAMPLES = 200
"""Fresh samples of each measurement at least, where the kind has a problem to sample."""
HARM = -0.02
"""A Latent with a smaller effect does harm."""
HELP = 0.02
"""A Latent with a larger effect helps."""
CLOSE = 0.05
"""Effects nearer to the bound in question than this are measured with `FINER` times as many samples."""
FINER = 4


class Subject(NamedTuple):
    """A Latent to be measured on a kind of problems."""

    loaded: Loaded
    """Its tensors."""
    kind: str
    """The kind."""
    seen: frozenset[int | None]
    """Phrasings of that kind that its parents had."""


@dataclass
class Effects:
    """Measures Latents of one run; the plain model's part is sampled once per kind."""

    common: Common
    """Model and seeds."""
    spare: Mapping[str, Sequence[Asked]]
    """Kind → fresh problems."""
    _bare: dict[tuple[str, int], list[float]] = field(default_factory=dict[tuple[str, int], list[float]])

    def bare(self, kind: str, finer: int = 1) -> list[float]:
        """Accuracy of the plain model on each fresh problem of a kind."""
        asked = self.spare[kind]
        if (kind, finer) not in self._bare:
            self._bare[kind, finer] = self._shares(asked, [None], finer)[0] if asked else []
        return self._bare[kind, finer]

    def of(self, subjects: Sequence[Subject], bound: float) -> list[dict[str, Any] | None]:
        """The effect of each on its own kind; None where there is no fresh problem of it. `bound` is what matters."""
        kinds = dict.fromkeys(subject.kind for subject in subjects)
        found: dict[int, dict[str, Any]] = {}
        for kind in (kind for kind in kinds if self.spare.get(kind)):
            some = {number: subject for number, subject in enumerate(subjects) if subject.kind == kind}
            found |= self._of_kind(kind, some, 1)
            close = {number: one for number, one in some.items() if abs(found[number]["change"] - bound) < CLOSE}
            found |= self._of_kind(kind, close, FINER)
        return [found.get(number) for number in range(len(subjects))]

    def _of_kind(self, kind: str, subjects: Mapping[int, Subject], finer: int) -> dict[int, dict[str, Any]]:
        if not subjects:
            return {}
        asked, bare = self.spare[kind], self.bare(kind, finer)
        shares = self._shares(asked, [subject.loaded for subject in subjects.values()], finer)
        rows = zip(subjects.items(), shares, strict=True)
        samples = len(asked) * finer * _rounds(asked)
        return {
            number: _report(asked, bare, share, subject.seen) | {"samples": samples}
            for (number, subject), share in rows
        }

    def _shares(self, asked: Sequence[Asked], loaded: Sequence[Loaded | None], finer: int) -> list[list[float]]:
        """For each Latent the accuracy on each problem, all of it sampled together."""
        latents: list[Readable] = [one for one in loaded for _ in asked]
        questions = [one.question for _ in loaded for one in asked]
        sampling, seed = self.common.sampling, self.common.settings.measure_seed
        groups = iter(self.common.plain.sample(questions, latents, finer * _rounds(asked), sampling, seed))
        return [[_share(next(groups), one) for one in asked] for _ in loaded]


def _rounds(asked: Sequence[Asked]) -> int:
    return -(-LEAST_SAMPLES // len(asked))


def _share(group: Sequence[Rollout], asked: Asked) -> float:
    return sum(agree(Judge().answer(one), asked.answer) for one in group) / len(group)


def _report(
    asked: Sequence[Asked], bare: Sequence[float], with_latent: Sequence[float], seen: frozenset[int | None]
) -> dict[str, Any]:
    change = paired(with_latent, bare)
    unseen = [number for number, one in enumerate(asked) if one.phrasing not in seen]
    return {
        "without": mean(bare),
        "with": mean(with_latent),
        "change": change and change.mean,
        "interval": change and [change.low, change.high],
        "unseen_phrasings": {
            "problems": len(unseen),
            "without": mean([bare[number] for number in unseen]),
            "with": mean([with_latent[number] for number in unseen]),
        },
    }
