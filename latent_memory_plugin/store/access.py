"""How a process opens a root: as its one owner, beside others with a Chroma server, or only to read."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, field_validator, model_validator
from typing_extensions import Self

from latent_memory_plugin.errors import ConfigError, LatentMemoryError
from latent_memory_plugin.frozen import Frozen


class Access(Frozen):
    """How a root is opened."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    lock_timeout: Annotated[float, Field(ge=0.0)] = 0.0
    """Seconds to wait at most for another process to release the root; infinite waits as long as it takes."""
    read_only: bool = False
    """True opens no lock and no index and writes nothing: it reads the files, also beside a process that writes."""
    chroma: str | None = None
    """`http://host:port` of a Chroma server that holds the index, for several processes; None embeds Chroma."""
    keep_text: bool = True
    """As in `StoreConfig`: False writes no question and no completion."""

    @field_validator("chroma")
    @classmethod
    def _is_address(cls, url: str | None) -> str | None:
        if url is None:
            return None
        try:
            parts = urlsplit(url)
            whole = parts.scheme in ("http", "https") and parts.hostname and parts.port
            plain = url == f"{parts.scheme}://{parts.netloc}" and "@" not in parts.netloc
        except ValueError:
            whole = plain = False
        if not (whole and plain):
            raise ConfigError(
                f"chroma={url!r:.120} is not the address of a server; pass one such as 'http://127.0.0.1:8000'."
            )
        return url

    @model_validator(mode="after")
    def _is_one_way(self) -> Self:
        if self.chroma is not None and self.read_only:
            raise ConfigError(f"read_only=True reads the files alone; leave chroma={self.chroma!r} out.")
        return self

    @classmethod
    def _refusal(cls, reasons: str) -> LatentMemoryError:
        return ConfigError(f"A root cannot be opened with {reasons}.")


ALONE = Access()
"""As the one owner, without waiting."""
