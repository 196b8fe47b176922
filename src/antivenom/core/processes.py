"""A pool of worker processes that share one import, end with their parent, and can die or hang without harm to others."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import forkserver
from multiprocessing.synchronize import Semaphore

from pebble import ProcessPool

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
_START = 5.0  # seconds in which a worker can be forked, even on a machine that others use


def start_server(preload: Sequence[str], threads: int = 1) -> None:
    """Start the process that workers are forked from, if it does not run yet, and return while it imports `preload`.

    Later workers cost a fork and no import. The libraries in it may use `threads` threads; with one, none of them starts
    a thread before the fork, which would be lost in the workers.
    """
    multiprocessing.get_context("forkserver").set_forkserver_preload([*preload])
    # `python -c` puts the current folder first on the path. Files there are what a scan examines, so none may be imported.
    environment = {**dict.fromkeys(_THREADS, str(threads)), "PYTHONSAFEPATH": "1"}
    with _environment(environment), _interrupts_blocked():
        forkserver.ensure_running()


@contextlib.contextmanager
def worker_pool(
    jobs: int, preload: Sequence[str], setup: Callable[..., None] | None = None, *arguments: object, threads: int = 1
) -> Iterator[ProcessPool]:
    """A pool of `jobs` processes, each of which first calls `setup(*arguments)`.

    Leaving the block before every result is there, by an error or by Ctrl-C, kills the workers.
    """
    start_server(preload, threads)
    context = multiprocessing.get_context("forkserver")
    begun = context.Semaphore(0)
    pool = ProcessPool(jobs, initializer=_begin, initargs=(begun, setup, arguments), context=context)
    try:
        yield pool
        for _ in range(jobs):  # a worker that is stopped before it has begun complains on stderr
            begun.acquire(timeout=_START)
    finally:
        pool.stop()
        pool.join()


def _begin(begun: Semaphore, setup: Callable[..., None] | None, arguments: Sequence[object]) -> None:
    """In each new worker. Pebble leaves Ctrl-C to the parent already."""
    begun.release()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    os.environ.pop("PYTHONSAFEPATH", None)
    if setup is not None:
        setup(*arguments)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Environment variables for processes that are started in the block. What the user set is kept."""
    absent = [name for name in values if name not in os.environ]
    os.environ.update({name: values[name] for name in absent})
    try:
        yield
    finally:
        for name in absent:
            os.environ.pop(name, None)


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Processes started in the block do not see Ctrl-C, even before they can say so themselves."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
