"""The number of worker processes, and an early start of the server from which they are forked.

The command line imports this module before the heavy ones, so it imports only what is cheap.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from antivenom.core.processes import start_server

PRELOAD = ("antivenom.auditing.preload",)  # imported once, in the server from which the workers are forked


def processes_for(jobs: int, device: str) -> int:
    """The number of processes for `--jobs`; 0 means one per core or, on an accelerator, one for all trials."""
    return jobs or (1 if device != "cpu" else os.cpu_count() or 1)


def threads_each(jobs: int) -> int:
    """The number of threads for each of `jobs` processes, so that together they have about one per core."""
    return max(1, (os.cpu_count() or 1) // jobs)


def start_early(jobs: int, device: str) -> None:
    """Start the server's imports in parallel with this process's own, if an audit with these options uses workers."""
    jobs = processes_for(jobs, device)
    if jobs > 1 or device == "cpu":
        start_server(PRELOAD, threads_each(jobs))


def memory_each(jobs: int) -> int | None:
    """Bytes of memory for each of `jobs` processes, so that together they cannot have more than there is.

    It is an equal part of the machine's memory or of the container's limit, or None where neither is known. Without it,
    the system would choose which process to kill when the memory runs out, and might choose the audit.
    """
    found = []
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        with contextlib.suppress(OSError, ValueError):  # ValueError: "max", which is no limit
            found.append(int(Path(name).read_text()))
    with contextlib.suppress(OSError, ValueError, AttributeError):
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    return min(found) // jobs if found else None
