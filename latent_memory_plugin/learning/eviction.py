"""Eviction: which Latents go where a namespace holds more than its budget, the least useful first, and why.

Age first: what was neither stored nor read for too long goes, whatever it was worth. Where there are still too many,
or too many bytes, what is never read any more goes before what is read; of that, what loses before what does not, what
another Latent covers before what has a place of its own; then by judged answers won less lost, and the one that was
used longest ago first.
"""

import logging
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from time import time

from latent_memory_plugin.config import Config, StoreConfig
from latent_memory_plugin.errors import NotFoundError, StoreError, WrongModelError
from latent_memory_plugin.records import USABLE, Evicted, Holding, LatentState
from latent_memory_plugin.store.base import AnyStore

SECONDS_PER_DAY = 86_400

LOOKED_AT = 32
"""Of so many that are next in line, one that another Latent covers goes first. Looking costs a query each."""

COVERING = 4
"""Nearest Latents, itself among them, of which one may cover it."""

_ORDER: tuple[LatentState, ...] = ("retired", "suspended", "superseded", "probation", "live")

_log = logging.getLogger(__name__)

Covering = Callable[[str], Collection[str]]
"""Id of a usable Latent → ids of others that are read for its key."""


@dataclass(frozen=True)
class Budget:
    """Keeps one namespace within what its config allows."""

    store: AnyStore
    """The namespace's store."""
    config: Config
    """All settings; `store` has the bounds."""

    def plan(self, spared: Collection[str] = ()) -> list[Evicted]:
        """What would be evicted now, in order; never one of the spared ids."""
        bounds = self.config.store
        if (bounds.max_latents, bounds.max_bytes, bounds.max_age_days) == (None, None, None):
            return []
        return evictions(self.store.holdings(), bounds, self._covering, time(), spared)

    def keep(self, spared: Collection[str] = ()) -> list[Evicted]:
        """Evicts what is beyond the budget; each with its reason in the journal and in the log."""
        return [one for one in self.plan(spared) if self._evict(one)]

    def _evict(self, evicted: Evicted) -> bool:
        try:
            self.store.evict(evicted)
        except NotFoundError:  # forgotten meanwhile
            return False
        _log.warning("evicted Latent %s: %s", evicted.latent_id, evicted.reason)
        return True

    def _covering(self, latent_id: str) -> list[str]:
        try:
            nearest = self.store.beside(latent_id, COVERING)
        except (StoreError, WrongModelError):  # of another encoder or model, or damaged
            return []
        least = self.config.retrieve.threshold
        return [other for other, similarity in nearest if other != latent_id and similarity >= least]


def evictions(
    holdings: Sequence[Holding], bounds: StoreConfig, covering: Covering, now: float, spared: Collection[str] = ()
) -> list[Evicted]:
    """What goes, in order, with the reasons; `now` is a Unix time in seconds. The spared count, but stay."""
    days = math.inf if bounds.max_age_days is None else bounds.max_age_days
    old = {one.latent_id: one for one in sorted(holdings, key=_last) if _days(one, now) > days}
    gone = [
        Evicted(latent_id=latent_id, reason=f"{_idle(one, now)}; {days:g} days are allowed.")
        for latent_id, one in old.items()
        if latent_id not in spared
    ]
    stays = [one for one in holdings if one.latent_id in spared or one.latent_id not in old]
    return gone + list(_Line(stays, spared, covering).leaving(bounds, now))


class _Line:
    """Those that may go, the least useful first."""

    def __init__(self, stays: Sequence[Holding], spared: Collection[str], covering: Covering) -> None:
        self._total = Counter({"latents": len(stays), "bytes": sum(one.bytes for one in stays)})
        self._usable = {one.latent_id for one in stays if one.state in USABLE}
        self._line = {one.latent_id: one for one in sorted(stays, key=_rank) if one.latent_id not in spared}
        self._covering = covering
        self._known: dict[str, Collection[str]] = {}

    def leaving(self, bounds: StoreConfig, now: float) -> Iterator[Evicted]:
        """As many as must go."""
        while self._line and (excess := self._excess(bounds)):
            one, why = self._next(now)
            del self._line[one.latent_id]
            self._usable.discard(one.latent_id)
            self._total.subtract({"latents": 1, "bytes": one.bytes})
            yield Evicted(latent_id=one.latent_id, reason=f"{excess}; {why}.")

    def _excess(self, bounds: StoreConfig) -> str:
        latents, held = self._total["latents"], self._total["bytes"]
        if bounds.max_latents is not None and latents > bounds.max_latents:
            return f"{latents:,} Latents were held, {bounds.max_latents:,} are allowed"
        if bounds.max_bytes is not None and held > bounds.max_bytes:
            return f"{held:,} bytes were held, {bounds.max_bytes:,} are allowed"
        return ""

    def _next(self, now: float) -> tuple[Holding, str]:
        first = next(iter(self._line.values()))
        if first.state not in USABLE:
            return first, f"this one is {first.state}"
        if first.wins < first.losses:
            return first, f"this one lost {first.losses} of {first.wins + first.losses} judged answers"
        for one in islice(self._line.values(), LOOKED_AT):
            if others := self._covered(one):
                return one, f"{others[0]} is read for the same questions"
        judged = f"won {first.wins} and lost {first.losses} judged answers" if first.wins else "won no judged answer"
        return first, f"this one {judged}, {_idle(first, now).lower()}"

    def _covered(self, one: Holding) -> list[str]:
        """Those that cover it and are not leaving."""
        if one.latent_id not in self._known:
            self._known[one.latent_id] = self._covering(one.latent_id)
        return [other for other in self._known[one.latent_id] if other in self._usable]


def _rank(one: Holding) -> tuple[int, bool, int, float, str]:
    net = one.wins - one.losses
    return (_ORDER.index(one.state), net >= 0, net, _last(one), one.latent_id)


def _last(one: Holding) -> float:
    return one.stored if one.last_use is None else max(one.stored, one.last_use)


def _days(one: Holding, now: float) -> float:
    return (now - _last(one)) / SECONDS_PER_DAY


def _idle(one: Holding, now: float) -> str:
    days = max(0.0, _days(one, now))
    if one.last_use is None or one.last_use < one.stored:
        return f"Not read since it was stored {days:.1f} days ago"
    return f"Last read {days:.1f} days ago"
