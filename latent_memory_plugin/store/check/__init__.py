"""Is everything under a root what was written? `check` reads all of it, says what is not, and repairs it where asked.

findings   what is wrong, and what is done about it
whole      the root: `store.json`, its namespaces, files that belong to nobody
space      one namespace: its files, its Latents, its journal
journal    the rows of a journal
keys       the index, compared with all of that
"""

from latent_memory_plugin.store.check.findings import Finding, Report
from latent_memory_plugin.store.check.whole import check

__all__ = ["Finding", "Report", "check"]
