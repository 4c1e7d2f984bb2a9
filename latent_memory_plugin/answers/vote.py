"""Answers → Vote: equal answers merged before counting. Pure Python."""

import math
from collections import Counter
from collections.abc import Sequence

from latent_memory_plugin.answers import EqualAnswers
from latent_memory_plugin.answers import equal as equal_answers
from latent_memory_plugin.errors import InputError
from latent_memory_plugin.records import Vote


def vote(answers: Sequence[str | None], *, equal: EqualAnswers = equal_answers, confirmed: bool = False) -> Vote:
    """What the answers of one problem's rollouts agree on.

    `answers` has one entry per rollout, None where it holds no answer; the share and the entropy count those too,
    but they never win. Of answers with equally many rollouts the one seen first wins and `tied` is set. `equal`
    decides which spellings are one answer; `confirmed` says that an external reward vouches for whichever wins.
    Raises InputError where there are no rollouts at all.

    >>> vote(["0.5", "7", "1/2", None]).counts
    (('0.5', 2), ('7', 1), (None, 1))
    """
    if isinstance(answers, str):
        raise InputError(f"The answers {answers!r:.80} are one text; pass a list with one answer per rollout.")
    if not answers:
        raise InputError(f"The answers {answers!r} are empty; a vote needs at least one rollout.")
    counts = _merge(Counter(answers), equal)
    named = [(answer, count) for answer, count in counts if answer is not None]
    winner, most = named[0] if named else (None, 0)
    return Vote(
        answer=winner,
        share=most / len(answers),
        entropy=_entropy([count for _, count in counts]),
        counts=tuple(counts),
        tied=sum(count == most for _, count in named) > 1,
        confirmed=confirmed and winner is not None,
    )


def _merge(spellings: Counter[str | None], equal: EqualAnswers) -> list[tuple[str | None, int]]:
    """Each distinct answer in its most frequent spelling and its rollouts, most first, then first seen."""
    classes: list[list[str | None]] = []
    for spelling in spellings:
        home = next((members for members in classes if _belongs(spelling, members, equal)), None)
        if home is None:
            classes.append([spelling])
        else:
            home.append(spelling)
    count = spellings.__getitem__
    merged = [(max(members, key=count), sum(map(count, members))) for members in classes]
    return sorted(merged, key=lambda entry: -entry[1])


def _belongs(spelling: str | None, members: list[str | None], equal: EqualAnswers) -> bool:
    # Equality is not transitive (50% is 0.5 and is 50), so an answer joins only where it equals every member.
    return spelling is not None and all(member is not None and equal(member, spelling) for member in members)


def _entropy(counts: list[int]) -> float:
    """Shannon entropy in nats."""
    total = sum(counts)
    return max(0.0, -sum(count / total * math.log(count / total) for count in counts))
