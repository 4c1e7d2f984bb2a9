"""How much memory this process takes."""

import gc
import os
import sys
from pathlib import Path


def resident_mib() -> float:
    """Memory of this process that is in use now, in MiB; where only its peak is known (not on Linux), that."""
    gc.collect()
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
