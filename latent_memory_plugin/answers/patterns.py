"""Regular expressions that are compiled on first use, so that importing the package compiles none of them."""

import re
from typing import Any, cast

_METHODS = ("match", "fullmatch", "search", "finditer", "findall", "split", "sub", "pattern")


class _Lazy:
    """A pattern that becomes itself when first asked for a method."""

    def __init__(self, text: str, flags: int) -> None:
        self._text, self._flags = text, flags

    def __getattr__(self, name: str) -> Any:
        if name not in _METHODS:
            raise AttributeError(name)
        compiled = re.compile(self._text, self._flags)
        for method in _METHODS:
            setattr(self, method, getattr(compiled, method))
        return getattr(compiled, name)


def lazy(text: str, flags: int = 0) -> re.Pattern[str]:
    """`re.compile`, later."""
    return cast("re.Pattern[str]", _Lazy(text, flags))


def one_line(text: str) -> frozenset[str]:
    """The words of a text, for tables that read better on one line."""
    return frozenset(text.split())
