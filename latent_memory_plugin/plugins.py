"""Plug points: what is found by a name, from this package, from a caller's own code, or from another distribution.

    forms, objectives, engines, keys, executors

Each of these rooms has one `PlugPoint`. What the package brings is imported on first use. A plug-in is added by
`register(name, thing)`, or found by an entry point of the group `latent_memory_plugin.<kind>`. `docs/extending.md` has
a complete example of each kind.
"""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Generic, TypeVar

from latent_memory_plugin.errors import ConfigError, LatentMemoryError, PluginError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from latent_memory_plugin.engines import Load
    from latent_memory_plugin.executors import MakeExecutor
    from latent_memory_plugin.forms import Form
    from latent_memory_plugin.keys import Make
    from latent_memory_plugin.objectives import Objective

Thing = TypeVar("Thing")


class PlugPoint(Generic[Thing]):
    """The plug-ins of one kind, by name."""

    def __init__(self, kind: str, built_in: Mapping[str, str]) -> None:
        """`built_in`: name → `module:attribute`, imported on first use; a module is relative to this package."""
        self.kind = kind
        """In the singular, for messages."""
        self.group = f"latent_memory_plugin.{kind}s"
        """The entry points that name plug-ins of this kind."""
        self._built_in = dict(built_in)
        self._things: dict[str, Thing] = {}
        self._found: dict[str, EntryPoint] | None = None

    def register(self, name: str, thing: Thing) -> None:
        """Adds a plug-in. Raises ConfigError where the name is taken, by whomever."""
        if not name or not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(f"The {self.kind} {thing!r:.80} has the name {name!r}; pass a text that is not empty.")
        known = self._things.get(name)
        if name in self._built_in or (known is not None and known is not thing):
            raise ConfigError(f"There is another {self.kind} {name!r} already; register yours under another name.")
        self._things[name] = thing

    def get(self, name: str) -> Thing:
        """The plug-in of that name. Raises ConfigError that names the known ones, PluginError where it cannot be
        imported."""
        if name not in self._things:
            if name in self._built_in:
                module, _, attribute = self._built_in[name].partition(":")
                self._things[name] = attrgetter(attribute)(import_module(f"latent_memory_plugin.{module}"))
            elif name in self._entry_points():
                self._things[name] = self._load(name)
            else:
                raise ConfigError(
                    f"There is no {self.kind} {name!r:.80}; known are {', '.join(map(repr, self.names()))}. Another is "
                    f"added by `latent_memory_plugin.{self.kind}s.register(name, ...)`, or by an entry point of the "
                    f"group {self.group!r}."
                )
        return self._things[name]

    def check(self, name: str) -> str:
        """The name, where there is such a plug-in; nothing is imported. Raises ConfigError."""
        if name not in self._built_in and name not in self._things and name not in self._entry_points():
            self.get(name)
        return name

    def names(self) -> list[str]:
        """All names, in order."""
        return sorted({*self._built_in, *self._things, *self._entry_points()})

    def _entry_points(self) -> "Mapping[str, EntryPoint]":
        if self._found is None:
            from importlib.metadata import entry_points

            found: dict[str, EntryPoint] = {}
            for point in entry_points(group=self.group):
                if point.name in self._built_in or point.name in found:
                    raise ConfigError(
                        f"The entry point {point.value!r} names a {self.kind} {point.name!r}, and there is one "
                        "already; uninstall one of the two distributions."
                    )
                found[point.name] = point
            self._found = found
        return self._found

    def _load(self, name: str) -> Thing:
        point = self._entry_points()[name]
        try:
            return point.load()
        except Exception as exc:
            owner = "unknown" if point.dist is None else point.dist.name
            raise PluginError(
                f"The {self.kind} {name!r}, {point.value!r} of the distribution {owner!r}, cannot be imported: "
                f"{type(exc).__name__}: {exc}."
            ) from exc


@contextmanager
def blamed(kind: str, name: str) -> Generator[None, None, None]:
    """What a plug-in raises becomes a PluginError that names it; errors of this library go through."""
    try:
        yield
    except LatentMemoryError:
        raise
    except Exception as exc:
        raise PluginError(f"The {kind} {name!r} raised {type(exc).__name__}: {exc}.") from exc


FORMS: "PlugPoint[Form]" = PlugPoint("form", {"soft_prompt": "forms.soft_prompt:SOFT_PROMPT"})
OBJECTIVES: "PlugPoint[Objective]" = PlugPoint(
    "objective",
    {
        "imitate": "objectives.imitate:IMITATE",
        "grpo": "objectives.grpo:GRPO",
        "imitate_then_grpo": "objectives.imitate_then_grpo:IMITATE_THEN_GRPO",
    },
)
ENGINES: "PlugPoint[Load]" = PlugPoint("engine", {"hf": "engines.hf:LanguageModel.load"})
KEYS: "PlugPoint[Make]" = PlugPoint("key", {"kv": "keys.kv:make", "input": "keys.input:make"})
EXECUTORS: "PlugPoint[MakeExecutor]" = PlugPoint(
    "executor", {"thread": "executors.thread:ThreadExecutor", "process": "executors.process:ProcessExecutor"}
)
