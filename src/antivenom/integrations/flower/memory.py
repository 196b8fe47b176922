"""A bound on the memory that a block of code may take."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def at_most(size: float | None) -> Iterator[None]:
    """Let the process's data grow by this many bytes at most in the block; more raises MemoryError there.

    Linux counts the pages that a process may write, and refuses more than its limit allows. On other systems, and without a
    size, nothing is bounded. The limit holds for all threads.
    """
    if size is None or sys.platform != "linux":
        yield
        return
    import resource

    now = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    bound = int(now + size) if soft == resource.RLIM_INFINITY else min(int(now + size), soft)
    resource.setrlimit(resource.RLIMIT_DATA, (bound, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
