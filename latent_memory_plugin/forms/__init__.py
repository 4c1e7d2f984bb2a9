"""The forms of a Latent, one file each, by name."""

from latent_memory_plugin.forms.base import Entry, Form, Loaded, Tensors
from latent_memory_plugin.plugins import PlugPoint

__all__ = ["FORMS", "Entry", "Form", "Loaded", "Tensors", "register"]

FORMS: PlugPoint[Form] = PlugPoint("form", {"soft_prompt": "forms.soft_prompt:SOFT_PROMPT"})
"""Every form by its name."""

register = FORMS.register
