"""The base of records and configs: frozen pydantic models whose refusals are this library's errors."""

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Annotated, Any, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from typing_extensions import Self

from latent_memory_plugin.errors import ConfigError, InputError, LatentMemoryError

Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Rate = Annotated[float, Field(gt=0.0)]

MAX_SHOWN = 160
"""Characters of a text that a record's repr shows."""
MAX_ITEMS = 12
"""Items of a tuple that it shows."""
MAX_NAMED = 100
"""Refused values that a message names one by one."""


def explain(error: ValidationError) -> str:
    """One line that names each refused field, its value and what was expected of it."""
    return "; ".join(
        f"{'.'.join(map(str, item['loc'])) or 'record'}={item.get('input')!r:.120}: {item['msg']}"
        for item in error.errors(include_url=False, include_context=False)
    )


def encodable(text: str) -> str:
    """The text, where it can be written as UTF-8; else raises InputError."""
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise InputError(f"The text {text!r:.80} holds half a surrogate pair and cannot be stored; repair it.") from exc
    return text


class Frozen(BaseModel):
    """Base of records and configs: frozen, unknown fields refused, wrong values raise this library's errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __init__(self, /, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as exc:
            raise self._translated(exc) from exc

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Long texts are cut and many records counted: what is read at a prompt fits it."""
        return ((name, _short(value)) for name, value in super().__repr_args__())

    def _repr_html_(self) -> str:
        """A table, as notebooks show it."""
        from html import escape

        told = self.__repr_args__()
        rows = (f"<tr><th>{escape(str(name))}</th><td>{escape(repr(value))}</td></tr>" for name, value in told)
        return f"<table><caption>{type(self).__name__}</caption>{''.join(rows)}</table>"

    @classmethod
    def _translated(cls, error: ValidationError) -> LatentMemoryError:
        """An error of this library that a validator raised, as it is; else a refusal that names the fields."""
        if error.error_count() > MAX_NAMED:  # naming each of a million takes a minute
            return cls._refusal(f"{error.error_count():,} values; what came is hardly a {cls.__name__}")
        causes = (item.get("ctx", {}).get("error") for item in error.errors(include_url=False))
        raised = next((cause for cause in causes if isinstance(cause, LatentMemoryError)), None)
        return raised or cls._refusal(explain(error))

    @classmethod
    def _refusal(cls, reasons: str) -> LatentMemoryError:
        return InputError(f"{cls.__name__} refused {reasons}.")

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """The record written by `model_dump_json`. Raises the same error as the constructor."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as exc:
            raise cls._translated(exc) from exc


class _Told(str):
    """A text that is its own repr."""

    def __repr__(self) -> str:
        return str(self)


def _short(value: Any) -> Any:
    """The value, or what stands for it where its repr is long."""
    if isinstance(value, str) and len(value) > MAX_SHOWN:
        return _Told(f"{value[:MAX_SHOWN]!r}… ({len(value):,} characters)")
    items = cast("tuple[Any, ...]", value) if isinstance(value, tuple) else ()
    if len(items) > 1 and all(isinstance(one, Frozen) for one in items):
        return _Told(f"<{len(items)} {type(items[0]).__name__}s>")
    if len(items) > MAX_ITEMS:
        return _Told(f"({', '.join(map(repr, items[:MAX_ITEMS]))}, … {len(items):,} in all)")
    return cast("Any", value)


class FrozenConfig(Frozen):
    """Base of configs: a refusal names the settings there are."""

    @classmethod
    def _refusal(cls, reasons: str) -> LatentMemoryError:
        name = reasons.partition("=")[0]
        near = [] if name in cls.model_fields else get_close_matches(name, cls.model_fields, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return ConfigError(f"{cls.__name__} refused {reasons}.{hint} Its settings are: {', '.join(cls.model_fields)}.")


Settings = TypeVar("Settings", bound=FrozenConfig)


def ordered(config: Settings, least: str, most: str) -> Settings:
    """The config. Raises ConfigError where one setting exceeds the other."""
    low, high = getattr(config, least), getattr(config, most)
    if low > high:
        raise ConfigError(
            f"{type(config).__name__} has {least}={low!r} above {most}={high!r}; lower the one or raise the other."
        )
    return config
