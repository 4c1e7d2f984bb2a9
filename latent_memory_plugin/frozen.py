"""The base of records and configs: frozen pydantic models whose refusals are this library's errors."""

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from typing_extensions import Self

from latent_memory_plugin.errors import InputError, LatentMemoryError


def explain(error: ValidationError) -> str:
    """One line that names each refused field, its value and what was expected of it."""
    return "; ".join(
        f"{'.'.join(map(str, item['loc'])) or 'record'}={item.get('input')!r:.120}: {item['msg']}"
        for item in error.errors(include_url=False, include_context=False)
    )


class Frozen(BaseModel):
    """Base of records and configs: frozen, unknown fields refused, wrong values raise `_error`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __init__(self, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as exc:
            raise self._refusal(explain(exc)) from exc

    @classmethod
    def _refusal(cls, reasons: str) -> LatentMemoryError:
        return InputError(f"{cls.__name__} refused {reasons}.")

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The record written by `model_dump_json`. Raises the same error as the constructor."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as exc:
            raise cls._refusal(explain(exc)) from exc
