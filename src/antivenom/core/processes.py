"""A pool of worker processes that are forked from one preloaded server and end with their parent.

A worker that crashes or hangs is replaced (by pebble) and does not affect the others.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import forkserver
from multiprocessing.synchronize import Semaphore

from pebble import ProcessPool

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
_PR_SET_PDEATHSIG = 1  # from linux/prctl.h
_START_LIMIT = 5.0  # seconds; a fork takes milliseconds, but on a busy machine a worker may be scheduled late


def start_server(preload: Sequence[str], threads: int = 1) -> None:
    """Start the fork server, unless it runs, and return at once, while it imports the modules `preload` in the background.

    A worker then costs a fork and no imports. The numerical libraries in the server, and so in the workers, may use
    `threads` threads. With one thread, no library starts a thread pool before the fork; threads do not survive a fork,
    and a library that waits for them in a worker hangs.
    """
    multiprocessing.get_context("forkserver").set_forkserver_preload([*preload])
    # The server is started with `python -c`, which puts the current folder first on the import path. PYTHONSAFEPATH
    # prevents that: the folder may hold untrusted files that are about to be scanned, and none of them may be imported.
    environment = {**dict.fromkeys(_THREADS, str(threads)), "PYTHONSAFEPATH": "1"}
    with _environment(environment), _interrupts_blocked():
        forkserver.ensure_running()


@contextlib.contextmanager
def worker_pool(
    jobs: int, preload: Sequence[str], setup: Callable[..., None] | None = None, *arguments: object, threads: int = 1
) -> Iterator[ProcessPool]:
    """A pool of `jobs` processes, each of which first calls `setup(*arguments)`.

    Leaving the block by an error or by Ctrl-C kills the workers, also those that are still computing.
    """
    start_server(preload, threads)
    context = multiprocessing.get_context("forkserver")
    begun = context.Semaphore(0)
    pool = ProcessPool(jobs, initializer=_begin, initargs=(begun, setup, arguments), context=context)
    try:
        yield pool
        for _ in range(jobs):  # wait until each has started, because one killed during its start prints a traceback
            begun.acquire(timeout=_START_LIMIT)
    finally:
        pool.stop()
        pool.join()


def _begin(begun: Semaphore, setup: Callable[..., None] | None, arguments: Sequence[object]) -> None:
    """Runs first in each new worker. Pebble has made it ignore Ctrl-C already, so that only the parent reacts."""
    begun.release()
    threading.Thread(target=end_with_parent, daemon=True).start()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    os.environ.pop("PYTHONSAFEPATH", None)
    if setup is not None:
        setup(*arguments)


def die_with_parent() -> None:
    """Let this process end as soon as its parent has ended, also while a library computes outside Python."""
    if sys.platform == "linux":  # code in C that keeps Python's lock does not let the thread below run
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=end_with_parent, daemon=True).start()


def end_with_parent() -> None:
    """Wait until the parent has ended, however that happened, and end this worker at once."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextlib.contextmanager
def while_parent_lives(interval: float = 0.1) -> Iterator[None]:
    """End this process during the block within `interval` seconds of its parent's end.

    It is for the imports of the fork server, which looks for its parent only after them. A command that ends early,
    because its scenario is refused for example, would otherwise leave a server that keeps the command's output open.
    """
    parent = os.getppid()

    def look(*_: object) -> None:
        if os.getppid() != parent:
            os._exit(1)

    before = signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, interval, interval)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set environment variables inside the block, except those that the user has set already."""
    absent = [name for name in values if name not in os.environ]
    os.environ.update({name: values[name] for name in absent})
    try:
        yield
    finally:
        for name in absent:
            os.environ.pop(name, None)


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Block SIGINT inside the block. Processes started there inherit the mask, so Ctrl-C cannot hit them as they start."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
