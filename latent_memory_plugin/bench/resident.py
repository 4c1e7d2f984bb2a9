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
    return _peak_mib()


def peak_mib() -> float:
    """The most memory this process has taken so far, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # what `resource` says there includes the parent's, from before it became this process
        [line] = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) / 2**10
    return _peak_mib()


def _peak_mib() -> float:
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
