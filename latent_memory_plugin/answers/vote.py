"""Answers → Vote: equal answers merged before counting. Pure Python."""

import math
import warnings
from collections import Counter
from collections.abc import Sequence

from latent_memory_plugin.answers.equality import SECONDS, EqualAnswers
from latent_memory_plugin.answers.equality import equal as equal_answers
from latent_memory_plugin.answers.evaluation import within
from latent_memory_plugin.answers.kinds import KINDS
from latent_memory_plugin.answers.reading import read
from latent_memory_plugin.errors import InputError
from latent_memory_plugin.records import Vote


def vote(answers: Sequence[str | None], *, equal: EqualAnswers = equal_answers, confirmed: bool = False) -> Vote:
    """What the answers of one problem's rollouts agree on.

    `answers` has one entry per rollout, None where it holds no answer; the share and the entropy count those too,
    but they never win. Of answers with equally many rollouts the one seen first wins and `tied` is set. `equal`
    decides which spellings are one answer; `confirmed` says that an external reward vouches for whichever wins.
    Bounded by `equality.SECONDS` of this thread's processor time in all: what takes more counts as different.

    Raises InputError where there are no rollouts at all. Warns where most answers are of a kind that has no equality
    (`without_equality`) and nothing else judges them.

    >>> vote(["0.5", "7", "1/2", None]).counts
    (('0.5', 2), ('7', 1), (None, 1))
    """
    if isinstance(answers, str):
        raise InputError(f"The answers {answers!r:.80} are one text; pass a list with one answer per rollout.")
    if not answers:
        raise InputError(f"The answers {answers!r} are empty; a vote needs at least one rollout.")
    if equal is equal_answers and not confirmed and (reason := without_equality(answers)):
        warnings.warn(reason, stacklevel=2)
    with within(SECONDS):
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


def without_equality(answers: Sequence[str | None]) -> str:
    """Why the votes of these answers count strings only, and what to do; empty where they can be compared.

    That is so where at least half of the answers are prose or code and no two of these are the same text.
    """
    named = [answer for answer in answers if answer is not None]
    strings = [answer for answer in named if not KINDS[read(answer).kind].compared]
    if 2 * len(strings) < max(len(named), 1) or len(strings) < 2 or len(set(strings)) < len(strings):
        return ""
    kinds = " and ".join(sorted({read(answer).kind for answer in strings}))
    return (
        f"{len(strings)} of {len(named)} answers are {kinds}, such as {strings[0]!r:.60}; two of these are the same only "
        "letter by letter, so this vote means nothing. Pass extract= (the short answer in a completion), equal= (when two "
        "are the same) or reward= (what judges one)."
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
