"""The forms of a Latent, one file each, by name."""

from typing import TYPE_CHECKING

from latent_memory_plugin.errors import ConfigError
from latent_memory_plugin.forms.base import Entry, Form, Loaded, Tensors
from latent_memory_plugin.plugins import FORMS, blamed

if TYPE_CHECKING:
    from latent_memory_plugin.engines.base import Engine, Readable

__all__ = ["FORMS", "Entry", "Form", "Loaded", "Tensors", "entry", "loaded", "readable", "register"]

register = FORMS.register


def readable(name: str, engine: "Engine") -> Form:
    """The form of that name. Raises ConfigError where there is none, or this engine cannot take what it enters with."""
    form = FORMS.get(name)
    if missing := form.needs - engine.takes:
        raise ConfigError(
            f"The form {name!r} enters a pass with {sorted(missing)!r}, and the engine of {engine.name!r} takes "
            f"{sorted(engine.takes)!r} alone; choose another form, or a model on another engine."
        )
    return form


def loaded(latent: "Readable") -> Loaded | None:
    """A bare tensor is the vectors of a soft prompt."""
    return latent if latent is None or isinstance(latent, Loaded) else Loaded("soft_prompt", {"latent": latent})


def entry(latent: "Readable", engine: "Engine", *, finite: bool = True) -> Entry:
    """How a Latent enters a pass of this engine, checked; nothing enters for None. Gradient flows to its tensors.

    Raises what `readable` and the form's `check` raise, and PluginError where a form from elsewhere fails.
    """
    read = loaded(latent)
    if read is None:
        return Entry()
    form = readable(read.form, engine)
    with blamed("form", read.form):
        form.check(read.tensors, engine, finite=finite)
        return form.enter(read.tensors)
