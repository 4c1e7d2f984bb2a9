"""What a store has kept of what its writers were told was kept."""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from latent_memory_plugin.bench.kill import material
from latent_memory_plugin.bench.kill.ledger import Noted
from latent_memory_plugin.errors import LatentMemoryError
from latent_memory_plugin.keys import make_encoder
from latent_memory_plugin.store import Store
from latent_memory_plugin.store.check import check


@dataclass
class Faults:
    """What is wrong, one sentence each; all empty where the store kept its word."""

    lost: list[str] = field(default_factory=list[str])
    """Acknowledged and not there, or removed and there again."""
    half_written: list[str] = field(default_factory=list[str])
    """There, but not as it was written."""
    index_differs: list[str] = field(default_factory=list[str])
    """The index and the files disagree, or a query does not find what is there."""
    other: list[str] = field(default_factory=list[str])
    """Anything else that the check of the store finds, and errors of the writers."""

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.lost) + len(self.half_written) + len(self.index_differs) + len(self.other)


def learnt_encoder() -> str:
    """Name of the key method of the learning rounds."""
    return make_encoder(material.model(), material.CONFIG.retrieve).name  # pyright: ignore[reportArgumentType]


def inspect(root: Path, noted: Mapping[str, Noted], faults: Faults) -> tuple[str, ...]:
    """Opens both namespaces, compares them with what was noted of them, and checks the whole root; adds what is wrong
    to `faults`. What the openings mended."""
    with (
        Store.open(root, material.PLAIN, material.MODEL, material.ENCODER) as plain,
        Store.open(root, material.LEARNT, material.MODEL, learnt_encoder()) as learnt,
    ):
        compare_plain(plain, noted[material.PLAIN], faults)
        _compare_learnt(learnt, noted[material.LEARNT], faults)
        for store in (plain, learnt):
            _compare_queries(store, faults)
        mended = (*plain.mended, *learnt.mended)
        for finding in check(root).findings:
            if finding.part == "index" or finding.kind == "fault":
                chosen = faults.index_differs if finding.part == "index" else faults.other
                chosen.append(f"{finding.path}: {finding.problem}")
    faults.other += [f"a writer failed: {text}" for one in noted.values() for text in one["failed"]]
    faults.other += [f"{path} was left behind" for path in root.rglob("*.tmp")]
    return mended


def _missing(what: str, expected: Set[str], found: Set[str]) -> Iterator[str]:
    return (f"{what} {item_id} was acknowledged and is gone" for item_id in sorted(expected - found))


def compare_plain(store: Store, noted: Noted, faults: Faults) -> None:
    """Adds what the namespace of the plain rounds has lost or half written."""
    episodes = {one.id: one for one in store.episodes()}
    latents = {one.id: one for one in store.latents()}
    faults.lost += _missing("episode", noted["committed"], episodes.keys())
    faults.lost += _missing("Latent", noted["put"] - noted["removing"], latents.keys())
    faults.lost += [f"Latent {item_id} was removed and is back" for item_id in noted["removed"] & latents.keys()]
    for one in episodes.values():
        if one.id in noted["updated"] and one.state == "pending":
            faults.lost.append(f"the update of episode {one.id} was acknowledged and is gone")
        if one not in (one.model_copy(update=_PENDING), material.settled(one)):
            faults.half_written.append(f"episode {one.id} is half updated")
    for one in latents.values():
        try:
            if not np.array_equal(store.tensors(one.id)["latent"], material.tensor(one.seed)):
                faults.half_written.append(f"Latent {one.id} holds another tensor")
        except LatentMemoryError as exc:
            faults.half_written.append(str(exc))
    _compare_standings(store, noted, faults)
    _compare_uses(store, noted, latents.keys(), faults)


_PENDING = {"state": "pending", "reason": "", "vote": None}


def _compare_standings(store: Store, noted: Noted, faults: Faults) -> None:
    for latent_id in noted["stood"] - noted["removing"]:
        state = store.standing(latent_id).state
        allowed = {"probation"} if latent_id not in noted["suspending"] else {"probation", "suspended"}
        if state not in allowed or (latent_id in noted["suspended"] and state != "suspended"):
            faults.lost.append(f"the standing of {latent_id} is {state}")


def _compare_uses(store: Store, noted: Noted, latents: Set[str], faults: Faults) -> None:
    for latent_id in latents | noted["removed"]:
        count = len(store.uses(latent_id=latent_id))
        if count not in (0, 2):
            faults.half_written.append(f"{count} of the two uses of {latent_id} are there")
        if latent_id in noted["used"] & latents and not count:
            faults.lost.append(f"the uses of {latent_id} were acknowledged and are gone")
        if latent_id in noted["removed"] and count:
            faults.lost.append(f"uses of {latent_id} were removed and are back")


def _compare_learnt(store: Store, noted: Noted, faults: Faults) -> None:
    faults.lost += _missing("episode", noted["committed"], {one.id for one in store.episodes()})
    faults.lost += _missing("Latent", noted["put"], {one.id for one in store.latents()})
    for answer_id, latent_id in (text.split() for text in noted["used"]):
        if not store.uses(answer_id=answer_id, latent_id=latent_id):
            faults.lost.append(f"the use of {latent_id} by {answer_id} was acknowledged and is gone")


def _compare_queries(store: Store, faults: Faults) -> None:
    """Every usable Latent and every episode is found by a query for more than there are."""
    usable = {one.id for one in store.latents() if store.standing(one.id).state in ("live", "probation")}
    known = {one.id for one in store.episodes()}
    if not known:
        return
    key = store.episode_key(min(known))
    found = {latent_id for latent_id, _ in store.nearest(key, len(usable) + 1)}
    near = {one.id for one in store.neighbours(key, -1.0)}
    faults.index_differs += [f"a query misses or invents {item_id}" for item_id in (usable ^ found) | (known ^ near)]
