"""Worker processes that end when they should: with their parent, and at once when nobody waits for them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from typing import Any


def prepare() -> None:
    """In each new process: leave Ctrl-C to the parent, and do not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def kill(pool: ProcessPoolExecutor) -> None:
    """End a pool's processes at once, whatever they are at, and the pool."""
    for process in list((pool._processes or {}).values()):
        process.kill()
    results: Any = getattr(pool, "_result_queue", None)
    if results is not None:  # one that died while it sent a result has left half of it: nobody will send the rest
        results._writer.close()
    pool.shutdown(wait=True, cancel_futures=True)
