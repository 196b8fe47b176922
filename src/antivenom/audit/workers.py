"""How many processes run the trials, and the server that they are forked from. Importing this module costs little."""

from __future__ import annotations

import os

from antivenom.core.processes import start_server

PRELOAD = ("antivenom.audit.preload",)  # what the server imports, so that no worker does


def processes_for(jobs: int, device: str) -> int:
    """How many processes `--jobs` means; 0 is one per core or, on an accelerator, one for all trials."""
    return jobs or (1 if device != "cpu" else os.cpu_count() or 1)


def threads_each(jobs: int) -> int:
    """Threads of each of so many processes, so that together they have one per core."""
    return max(1, (os.cpu_count() or 1) // jobs)


def start_early(jobs: int, device: str) -> None:
    """Let the server import while this process still imports for itself, if an audit with these options has one."""
    jobs = processes_for(jobs, device)
    if jobs > 1:
        start_server(PRELOAD, threads_each(jobs))
