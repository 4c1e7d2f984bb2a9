"""Chroma on a server: several processes share it. It may be down, slow or restarted; the truth is on our own disk."""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from latent_memory_plugin.errors import IndexUnavailableError
from latent_memory_plugin.store.chroma import Chroma

if TYPE_CHECKING:
    from chromadb.api.client import Client
    from chromadb.api.models.Collection import Collection

Result = TypeVar("Result")
_log = logging.getLogger(__name__)

RETRY_SECONDS = 10.0
"""How long a server that does not answer is tried again, before a call gives up."""

REQUEST_SECONDS = 20.0
"""How long one request may take."""

_FIRST_DELAY_SECONDS = 0.1


class ServedChroma(Chroma):
    """The client of one root for a Chroma server, started when it is first needed.

    The names of its collections begin with the identity of the root, so that several roots may share one server.
    """

    page = portion = 500
    leaves_note = False

    def __init__(self, url: str, identity: Callable[[], str]) -> None:
        super().__init__(Path())
        self.place = url
        self._identity = identity
        self._down = False

    def collection(self, name: str) -> "Collection":
        """The collection of this name, made where there is none."""
        return super().collection(f"{self._identity()}.{name}")

    def names(self) -> set[str]:
        """The names of this root's collections."""
        if self._client is None:
            self._client = self._start()
        start = f"{self._identity()}."
        return {name.removeprefix(start) for name in super().names() if name.startswith(start)}

    def drop(self, name: str) -> None:
        """Deletes the collection of this name; none is fine."""
        super().drop(f"{self._identity()}.{name}")

    def wipe(self) -> None:
        """Closes the client. What is on the server may belong to others and stays."""
        self.close(in_order=False)

    def reaching(self, action: Callable[[], Result]) -> Result:
        """The result of the action, tried again while the server does not answer; a server that has not answered
        before is tried once. Raises IndexUnavailableError."""
        deadline, delay = time.monotonic() + (0.0 if self._down else RETRY_SECONDS), _FIRST_DELAY_SECONDS
        while True:
            try:
                result = action()
            except Exception as exc:
                if not _is_of_transport(exc):
                    raise
                self._down = time.monotonic() + delay > deadline
                if self._down:
                    raise self._unavailable(exc) from exc
                _log.warning("the Chroma server at %s does not answer (%s), trying again", self.place, exc)
                time.sleep(delay)
                delay *= 2
            else:
                self._down = False
                return result

    def _start(self) -> "Client":
        from chromadb import HttpClient
        from chromadb.config import Settings

        self._greet()
        parts = urlsplit(self.place)
        settings = Settings(anonymized_telemetry=False)
        client = HttpClient(str(parts.hostname), parts.port or 0, parts.scheme == "https", settings=settings)
        # The client itself waits without end.
        client._server._session.timeout = REQUEST_SECONDS  # type: ignore
        return client  # pyright: ignore[reportReturnType]

    def _greet(self) -> None:
        """Asks for a sign of life: the client would wait for one without end."""
        import httpx

        httpx.get(f"{self.place}/api/v2/heartbeat", timeout=REQUEST_SECONDS).raise_for_status()

    def _unavailable(self, cause: Exception) -> IndexUnavailableError:
        return IndexUnavailableError(
            f"The Chroma server at {self.place!r} does not answer ({type(cause).__name__}: {cause}); start it with "
            "`chroma run`, or check the address. Latents and episodes are whole on the disk, and the index is brought "
            "up to date by the next use that reaches it."
        )


def _is_of_transport(error: Exception) -> bool:
    """Whether no Chroma server was reached, or it did not answer in time. What one answers is another matter."""
    import httpx

    return isinstance(error, httpx.HTTPError) or isinstance(error.__context__, httpx.HTTPError)
