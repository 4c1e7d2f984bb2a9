"""Is everything under a root what was written? `check` reads all of it, says what is not, and repairs it where asked.

findings   what is wrong, and what is done about it
whole      the root: `store.json`, its namespaces, files that belong to nobody
latents    the Latent files of a namespace
journal    the journal of a namespace
keys       the index, compared with both
"""

from latent_memory_plugin.store.check.findings import Finding, Report
from latent_memory_plugin.store.check.whole import check

__all__ = ["Finding", "Report", "check"]
