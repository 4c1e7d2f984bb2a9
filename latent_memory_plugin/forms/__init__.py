"""The forms of a Latent, one file each, by name."""

from latent_memory_plugin.forms.base import Entry, Form, Loaded, Tensors
from latent_memory_plugin.plugins import FORMS

__all__ = ["FORMS", "Entry", "Form", "Loaded", "Tensors", "register"]

register = FORMS.register
