"""After the stream: what became of the Latents, what is forgotten, what carries over, and pass@k."""

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from latent_memory_plugin.bench.online.effect import HARM, HELP, Effects, Subject
from latent_memory_plugin.bench.online.memories import Remembering
from latent_memory_plugin.bench.online.method import Given, Method
from latent_memory_plugin.bench.online.statistics import mean, pass_at_k
from latent_memory_plugin.bench.online.stream import Asked, Stream
from latent_memory_plugin.bench.online.walk import Walked, right
from latent_memory_plugin.forms import Loaded
from latent_memory_plugin.records import Latent, Rollout

LARGEST_K = 16
PASS_PROBLEMS = 80
"""Problems that pass@k is estimated on."""


def after_first_third(problems: int) -> int:
    """How many problems come before those that results are about: the memory is empty at first."""
    return problems // 3


@dataclass(frozen=True)
class Aftermath:
    """What a memory is measured by once the stream is over."""

    memory: Remembering
    """The method."""
    stream: Stream
    """What it went through."""
    walked: Walked
    """What it said."""
    effects: Effects
    """Measures Latents."""

    def report(self) -> dict[str, Any]:
        """Latents that live, candidates that were refused, transfer."""
        live, refused = self._live(), self._refused()
        return {
            "live": sum(one["state"] == "live" for one in live),
            "probation": sum(one["state"] == "probation" for one in live),
            "harmful_live": _beyond(live, lambda change: change < HARM, "live"),
            "harmful_probation": _beyond(live, lambda change: change < HARM, "probation"),
            "candidates": len(self.memory.candidates),
            "refused": len(refused),
            "refused_helpful": _beyond(refused, lambda change: change > HELP),
            "refused_first": sum(one["first"] for one in refused),
            "refused_first_helpful": _beyond([one for one in refused if one["first"]], lambda change: change > HELP),
            "latents": live,
            "refusals": refused,
            "outcomes": dict(Counter(self.walked.became)),
            "transfer": self._transfer(live),
        }

    def _live(self) -> list[dict[str, Any]]:
        memory = self.memory.memory
        usable = list(memory.latents())
        subjects = [self._subject(latent, self.memory.loaded(latent.id), majority=True) for latent in usable]
        measured = zip(usable, subjects, self.effects.of(subjects, HARM), strict=True)
        return [
            {
                "id": latent.id,
                "state": memory.standing(latent.id).state,
                "kind": subject.kind,
                "kinds": dict(Counter(self._kinds(latent))),
                "phrasings": sorted(one for one in subject.seen if one is not None),
                "effect": effect,
            }
            for latent, subject, effect in measured
        ]

    def _refused(self) -> list[dict[str, Any]]:
        """Candidates that did not pass; none where no trial is asked for, for then all of them live."""
        wanted = self.memory.config.trial.required
        refused = [one for one in self.memory.candidates if wanted and not one.latent.trial.passed]
        subjects = [self._subject(one.latent, one.loaded, majority=False) for one in refused]
        return [
            {
                "kind": subject.kind,
                "first": candidate.latent.previous is None,
                "reason": candidate.latent.trial.reason,
                "effect": effect,
            }
            for candidate, subject, effect in zip(refused, subjects, self.effects.of(subjects, HELP), strict=True)
        ]

    def _subject(self, latent: Latent, loaded: Loaded, majority: bool) -> Subject:
        """A live Latent is of the kind most of its parents are, a candidate of its first parent's."""
        questions, kinds = self._parents(latent), self._kinds(latent)
        kind = Counter(kinds).most_common(1)[0][0] if majority else kinds[0]
        phrasings = self.stream.phrasings
        return Subject(loaded, kind, frozenset(phrasings[one] for one in questions if self.stream.kinds[one] == kind))

    def _parents(self, latent: Latent) -> list[str]:
        asked = {episode.id: episode.question for episode in self.memory.memory.episodes()}
        return [asked[parent] for parent in latent.parents]

    def _kinds(self, latent: Latent) -> list[str]:
        return [self.stream.kinds[question] for question in self._parents(latent)]

    def _transfer(self, live: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Fresh problems answered through the memory, by whether a usable Latent's parents had their phrasing; and
        problems of the stream that were answered with another kind's Latent."""
        rows = [row for kind in self.effects.spare for row in self._fresh(kind, live)]
        return {
            "unseen_phrasings": _rates([row for row in rows if row["seen"] is False]),
            "seen_phrasings": _rates([row for row in rows if row["seen"] is True]),
            "kinds_without_latent": _rates([row for row in rows if row["seen"] is None]),
            "other_kinds": self._foreign(),
        }

    def _fresh(self, kind: str, live: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        asked, bare = self.effects.spare[kind], self.effects.bare(kind)
        phrasings = {phrasing for one in live if one["kind"] == kind for phrasing in one["phrasings"]}
        known = any(one["kind"] == kind for one in live)
        seed = self.memory.common.settings.measure_seed + 2
        answers = self.memory.unrecorded([one.question for one in asked], seed) if asked else []
        return [
            {
                "seen": (one.phrasing in phrasings) if known else None,
                "without": without,
                "with": float(right([Given(answer.answer, 0, 0)], one)[0]),
                "read": float(bool(answer.latent_ids)),
            }
            for one, without, answer in zip(asked, bare, answers, strict=True)
        ]

    def _foreign(self) -> dict[str, Any]:
        """What Latents did on problems of other kinds, compared with the plain rollouts of the same problems."""
        rows: list[dict[str, Any]] = []
        kind_of = {latent: self._kind(latent) for latent in _sources(self.walked)}
        for one, given in zip(self.stream.asked, self.walked.given, strict=True):
            foreign = [answer for answer in given if answer.source and kind_of[answer.source] != one.kind]
            pool = self.memory.common.pool[one.question]
            without = mean([float(ok) for ok in right([Given(each.answer, 0, 0) for each in pool], one)])
            rows += [{"without": without, "with": float(ok), "read": 1.0} for ok in right(foreign, one)]
        total = sum(map(len, self.walked.given))
        return _rates(rows) | {"share_of_answers": round(len(rows) / total, 4)}

    def _kind(self, latent_id: str) -> str:
        return Counter(self._kinds(self.memory.memory.latent(latent_id))).most_common(1)[0][0]


def forgetting(method: Method, stream: Stream, walked: Walked) -> dict[str, Any]:
    """The problems of the first third asked again at the end: accuracy then and now, on all and on those that were
    read with something then. What is stored for one problem must not spoil another."""
    first = after_first_third(len(stream.asked))
    asked, before = stream.asked[:first], walked.given[:first]
    again = _again(method, [one.question for one in asked])
    rows = [
        (mean(right(given, one)) or 0.0, mean(right(now, one)) or 0.0, any(answer.source for answer in given))
        for one, given, now in zip(asked, before, again, strict=True)
    ]
    return {
        "problems": len(rows),
        "then": mean([then for then, _, _ in rows]),
        "now": mean([now for _, now, _ in rows]),
        "read_then": sum(read for _, _, read in rows),
        "then_where_read": mean([then for then, _, read in rows if read]),
        "now_where_read": mean([now for _, now, read in rows if read]),
    }


def passes(groups: Sequence[Sequence[Rollout]], asked: Sequence[Asked]) -> dict[str, float]:
    """pass@k for k from 1 to 16, as far as there are rollouts: the mean of the unbiased estimate over problems."""
    counts = [
        (len(group), sum(right([Given(one.answer, 0, 0) for one in group], label)))
        for group, label in zip(groups, asked, strict=True)
    ]
    most = min([LARGEST_K, *(samples for samples, _ in counts)])
    return {
        str(k): mean([pass_at_k(samples, correct, k) for samples, correct in counts]) or 0.0 for k in range(1, most + 1)
    }


def pass_problems(stream: Stream) -> list[Asked]:
    """Some of the problems after the first third, for pass@k."""
    later = stream.asked[after_first_third(len(stream.asked)) :]
    return random.Random(f"pass-{stream.seed}").sample(later, min(PASS_PROBLEMS, len(later)))


def _again(method: Method, questions: list[str]) -> list[list[Given]]:
    if isinstance(method, Remembering):
        return method.answers(questions, recorded=False)
    method.ask(questions)
    return method.collect()


def _sources(walked: Walked) -> set[str]:
    return {answer.source for given in walked.given for answer in given if answer.source}


def _beyond(rows: Sequence[dict[str, Any]], wrong: Callable[[float], bool], state: str | None = None) -> int | None:
    """How many have an effect of that kind; None where none could be measured though there are some."""
    some = [row for row in rows if state in (None, row.get("state"))]
    changes = [row["effect"]["change"] for row in some if row["effect"] is not None]
    return None if some and not changes else sum(wrong(change) for change in changes)


def _rates(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {"answers": len(rows)} | {name: mean([row[name] for row in rows]) for name in ("without", "with", "read")}
