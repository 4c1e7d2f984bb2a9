"""Does the library do with a model what it promises? Checks of one model against transformers, one row each."""

from latent_memory_plugin.bench.conformance.result import CheckResult, Group
from latent_memory_plugin.bench.conformance.run import CHECKS, check, measure
from latent_memory_plugin.bench.conformance.subject import Subject

__all__ = ["CHECKS", "CheckResult", "Group", "Subject", "check", "measure"]
