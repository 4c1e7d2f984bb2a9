"""How commands that need no model reach the store."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from latent_memory_plugin.cli.options import Shared

if TYPE_CHECKING:
    from latent_memory_plugin.store import Store

SHORTEST_PREFIX = 4

LatentId = Annotated[str, typer.Argument(metavar="LATENT_ID", help="Its id, or the beginning where that is enough.")]
"""One Latent."""


def root_of(shared: Shared) -> Path:
    """The root that is named, else the default one of the model."""
    from latent_memory_plugin.shared import chosen_root

    return chosen_root(shared.root, shared.model)


@contextmanager
def listed(shared: Shared, read_only: bool = False) -> "Generator[Store | None, None, None]":
    """The namespace open for listing; None where nothing was ever stored there, which looking does not change."""
    from latent_memory_plugin.store.root import folder_name

    root = root_of(shared)
    if not (root / folder_name(shared.namespace)).is_dir():
        yield None
        return
    with _opened(root, shared, read_only) as store:
        yield store


def _opened(root: Path, shared: Shared, read_only: bool) -> "Store":
    """The store; files of an older version are migrated first."""
    from latent_memory_plugin.errors import OutdatedError
    from latent_memory_plugin.store import Store
    from latent_memory_plugin.store.access import Access

    try:
        return Store.open(root, shared.namespace, access=Access(read_only=True) if read_only else shared.access)
    except OutdatedError:
        return Store.open(root, shared.namespace)


def existing(store: "Store | None", shared: Shared) -> "Store":
    """The store. Raises NotFoundError where there is none yet."""
    from latent_memory_plugin.errors import NotFoundError

    if store is None:
        raise NotFoundError(f"Nothing is stored in the namespace {shared.namespace!r} of this root yet.")
    return store


def whole_id(store: "Store", latent_id: str) -> str:
    """The one id that begins so, of a readable or an unreadable Latent."""
    from latent_memory_plugin.errors import InputError

    if len(latent_id) < SHORTEST_PREFIX:
        raise InputError(
            f"{latent_id!r} is too short for the beginning of an id; give at least {SHORTEST_PREFIX} digits."
        )
    found = [one for one in store.latent_ids() if one.startswith(latent_id)]
    if len(found) > 1:
        raise InputError(f"{latent_id!r} is the beginning of {len(found)} ids ({', '.join(found)}); give more digits.")
    return found[0] if found else latent_id
