"""Two processes that learn in one neighbourhood: the slower one sees that it was overtaken, and tries again."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from latent_memory_plugin.answering.find import retrieve
from latent_memory_plugin.config import RetrieveConfig
from latent_memory_plugin.records import EpisodeState
from latent_memory_plugin.store.base import AnyStore

ATTEMPTS = 3
"""How often an episode is learnt from anew where others keep overtaking it."""

Result = TypeVar("Result")


class Overtaken(Exception):
    """The neighbourhood's Latent is another one than when the attempt began."""


@dataclass(frozen=True)
class Race:
    """Compares and swaps the Latent of a neighbourhood."""

    store: AnyStore
    """The namespace's store."""
    config: RetrieveConfig
    """When a Latent covers a key."""

    def current(self, episode_id: str) -> str | None:
        """Id of the usable Latent that covers an episode, if there is one."""
        return retrieve(self.store, self.store.episode_key(episode_id), self.config).latent_id

    @contextmanager
    def unchanged(self, episode_id: str, current: str | None) -> Generator[None, None, None]:
        """Held: the Latent that covers an episode is still this one, and nobody changes it. Raises Overtaken."""
        with self.store.exclusive():
            found = self.current(episode_id)
            if found != current:
                raise Overtaken(
                    f"Another process learnt here meanwhile: Latent {found} has taken the place of {current}."
                )
            yield


def settle(store: AnyStore, episode_id: str, state: EpisodeState, reason: str) -> None:
    """Journals what became of an episode, unless another attempt has settled it meanwhile."""
    with store.exclusive():
        episode = store.episode(episode_id)
        if episode.state == "pending":
            store.update(episode.model_copy(update={"state": state, "reason": reason}))


def repeated(attempt: Callable[[], Result]) -> Result:
    """The result of the first attempt that was not overtaken. Raises Overtaken where the last one was."""
    for _ in range(ATTEMPTS - 1):
        try:
            return attempt()
        except Overtaken:
            continue
    return attempt()
