"""Answers → Vote: equal answers merged before counting. Pure Python."""

import math
import warnings
from collections import Counter
from collections.abc import Hashable, Sequence

from latent_memory_plugin.answers.equality import SECONDS, EqualAnswers, key
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
    Takes `equality.SECONDS` of this thread's processor time at most: what is not computed by then counts as different.

    Raises InputError where there are no rollouts at all. Warns where the answers are of a kind that has no equality
    (`without_equality`) and nothing else judges them.

    >>> vote(["0.5", "7", "1/2", None]).counts
    (('0.5', 2), ('7', 1), (None, 1))
    """
    if isinstance(answers, str):
        raise InputError(f"The answers {answers!r:.80} are one text; pass a list with one answer per rollout.")
    if not answers:
        raise InputError(f"The answers {answers!r} are empty; a vote needs at least one rollout.")
    with within(SECONDS):
        counts = merged(answers, equal)
        reason = "" if confirmed or equal is not equal_answers else without_equality(answers)
    if reason:
        warnings.warn(reason, stacklevel=2)
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
    """Why a vote on these answers would count strings only, and what to do; empty where it would not.

    That is so where at least half of them are prose or code and no two of these are the same text.
    """
    named = [answer for answer in answers if answer is not None]
    strings = [answer for answer in named if not KINDS[read(answer).kind].compared]
    if len(strings) < 2 or 2 * len(strings) < len(named) or len(set(strings)) < len(strings):
        return ""
    kinds = " and ".join(sorted({read(answer).kind for answer in strings}))
    return (
        f"{len(strings)} of {len(named)} answers are {kinds}, such as {strings[0]!r:.60}, and two of these are the "
        "same only letter by letter, so their vote means nothing. Pass extract= (the short answer in a completion), "
        "equal= (when two answers are the same) or reward= (what judges one)."
    )


def merged(answers: Sequence[str | None], equal: EqualAnswers = equal_answers) -> list[tuple[str | None, int]]:
    """Each distinct answer in its most frequent spelling and its rollouts, most first, then first seen."""
    spellings = Counter(answers)
    classes: list[list[str | None]] = []
    homes: dict[Hashable, list[str | None]] = {}  # of classes whose members share a key
    others: list[list[str | None]] = []
    for spelling in spellings:
        own = key(read(spelling)) if spelling is not None and equal is equal_answers else None
        rivals = classes if own is None else [homes[own]] if own in homes else others
        home = next((members for members in rivals if _belongs(spelling, members, equal)), None)
        if home is None:
            home = homes[own] = []
            classes.append(home)
        home.append(spelling)
        if own is None and all(home is not other for other in others):
            others.append(home)
    count = spellings.__getitem__
    found = [(max(members, key=count), sum(map(count, members))) for members in classes]
    return sorted(found, key=lambda entry: -entry[1])


def _belongs(spelling: str | None, members: list[str | None], equal: EqualAnswers) -> bool:
    # Equality is not transitive (50% is 0.5 and is 50), so an answer joins only where it equals every member.
    return spelling is not None and all(member is not None and equal(member, spelling) for member in members)


def _entropy(counts: list[int]) -> float:
    """Shannon entropy in nats."""
    total = sum(counts)
    return max(0.0, -sum(count / total * math.log(count / total) for count in counts))
