"""Where things were before: import paths of public names that have moved, each with a DeprecationWarning.

`latent_memory_plugin/__init__.py` adds this folder to the package's path, so that `latent_memory_plugin.vote` is still
found. A file here names the new place and no more.
"""

import warnings
from collections.abc import Callable
from importlib import import_module
from typing import Any


def forward(old: str, new: str, *names: str) -> Callable[[str], Any]:
    """The `__getattr__` of a module that has moved, or of which these names have: they are found in the new one, which
    `warnings` says."""

    def find(name: str) -> Any:
        if name.startswith("__") or (names and name not in names):
            raise AttributeError(f"module {old!r} has no attribute {name!r}")
        value = getattr(import_module(new), name)
        warnings.warn(f"{old}.{name} has moved; import it from {new}.", DeprecationWarning, stacklevel=2)
        return value

    return find
