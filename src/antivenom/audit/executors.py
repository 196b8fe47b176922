"""Ways to run trials. An executor works like `map`: specifications in, records out, in any order."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, as_completed
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from pebble import ProcessExpired

from antivenom.audit.sending import packed, unpack
from antivenom.audit.trial import Record, blank, overran, run_trial, scenario_entry
from antivenom.audit.workers import PRELOAD, processes_for, threads_each
from antivenom.core.errors import PluginError
from antivenom.core.lockstep import in_step
from antivenom.core.processes import worker_pool

Spec = Mapping[str, Any]
Executor = Callable[[Callable[[Spec], Record], Iterable[Spec]], Iterator[Record]]
GRACE = 10.0  # seconds after the time limit in which a trial can still end by itself
_DIED = "expected a record, got a worker process that died: it was killed from outside or ran out of memory"
IN_STEP = 32  # trials that are interleaved on an accelerator


def serial(run: Callable[[Spec], Record], specs: Iterable[Spec]) -> Iterator[Record]:
    """Run the trials one after another in this process."""
    yield from map(run, specs)


def concurrent(seats: int) -> Executor:
    """An executor that interleaves up to `seats` trials in this process and trains their clients in joint batches.

    It does so for scenarios that allow it (`Traits.in_step`) and runs other trials one by one. It is meant for an
    accelerator, which one small federation leaves mostly idle. If the process is killed, the trials under way are lost.
    """

    def execute(run: Callable[[Spec], Record], specs: Iterable[Spec]) -> Iterator[Record]:
        for may_share, some in itertools.groupby(specs, _in_step):
            tasks = (functools.partial(run, spec) for spec in some)
            yield from in_step(tasks, seats) if may_share else (task() for task in tasks)

    return execute


def _in_step(spec: Spec) -> bool:
    """Whether trials of this kind of scenario may be interleaved in one process."""
    traits = scenario_entry(spec["scenario"]["kind"]).traits
    return traits is not None and traits.in_step


def processes(jobs: int, plugins: Sequence[str] = (), timeout: float | None = None) -> Executor:
    """An executor with `jobs` worker processes that share the cores.

    A process that dies (killed, out of memory) loses the trial that it was running, which becomes an error record. Time
    limits work by a signal, which long-running native code does not notice; a trial that is still running GRACE seconds
    after its timeout is therefore killed with its process. Models and rows in memory are sent to the processes; trials
    with a value that cannot be sent run in this process, at the end.

    Args:
        jobs: number of processes.
        plugins: plugin files, which each process loads.
        timeout: seconds per trial, or None.
    """

    threads = threads_each(jobs)
    limit = None if timeout is None else timeout + GRACE

    def execute(run: Callable[[Spec], Record], specs: Iterable[Spec]) -> Iterator[Record]:
        values, left, unsent = packed(specs)
        while left:
            finished = 0
            with worker_pool(jobs, PRELOAD, _prepare, tuple(plugins), threads, values, threads=threads) as pool:
                pending: dict[Future[Record], Spec] = {
                    pool.schedule(run, (spec,), timeout=limit): spec for spec in left
                }
                left = []
                for future in as_completed(pending):
                    try:
                        record = future.result()
                    except BrokenProcessPool:  # the whole pool died before this trial began: try it again
                        left.append(pending[future])
                        continue
                    except ProcessExpired:
                        record = _failed(pending[future], "error", _DIED)
                    except TimeoutError:
                        record = _failed(pending[future], "timeout", str(overran(timeout or 0.0)))
                    finished += 1
                    yield record
            if left and not finished:
                raise PluginError("worker processes that start", "processes that died at once", "--jobs 1 shows why")
        yield from serial(run, unsent)

    return execute


def _prepare(plugins: tuple[str, ...], threads: int, values: Sequence[bytes]) -> None:
    """Runs first in each worker: limit its threads, load the plugins, and unpack the values in memory."""
    import torch

    from antivenom.core.registry import load_builtin, load_file

    torch.set_num_threads(threads)
    load_builtin()
    for path in plugins:
        load_file(path)
    unpack(values)


def _failed(spec: Spec, status: str, error: str) -> Record:
    """The record of a trial whose process could not return one."""
    return blank(spec) | {"status": status, "error": error}


def executor(jobs: int, plugins: Sequence[str] = (), device: str = "cpu", timeout: float | None = None) -> Executor:
    """The executor for that many jobs; `processes_for` says what 0 means."""
    jobs = processes_for(jobs, device)
    if jobs > 1:
        return processes(jobs, plugins, timeout)
    return serial if device == "cpu" else concurrent(IN_STEP)


def runner(device: str, timeout: float | None) -> Callable[[Spec], Record]:
    """`run_trial` with its options, as a function that can be pickled for another process."""
    return functools.partial(run_trial, device=device, timeout=timeout)
