"""Ways to run trials. An executor has the shape of map: specs in, records out, in any order."""

from __future__ import annotations

import functools
import itertools
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from antivenom.audit.trial import Record, blank, key_of, run_trial, scenario_entry
from antivenom.core.lockstep import in_step
from antivenom.core.processes import kill, prepare

Spec = Mapping[str, Any]
Executor = Callable[[Callable[[Spec], Record], Iterable[Spec]], Iterator[Record]]
IN_STEP = 32  # trials that share an accelerator


def serial(run: Callable[[Spec], Record], specs: Iterable[Spec]) -> Iterator[Record]:
    """One after another in this process."""
    yield from map(run, specs)


def together(seats: int) -> Executor:
    """So many trials at a time in this process, whose clients are trained together, where the scenario allows it.

    Other trials run one by one. For an accelerator, which one small federation leaves idle. A kill costs the trials under way.
    """

    def execute(run: Callable[[Spec], Record], specs: Iterable[Spec]) -> Iterator[Record]:
        for concurrent, some in itertools.groupby(specs, _in_step):
            tasks = (functools.partial(run, spec) for spec in some)
            yield from in_step(tasks, seats) if concurrent else (task() for task in tasks)

    return execute


def _in_step(spec: Spec) -> bool:
    """Whether trials of this kind of scenario may run concurrently in one process."""
    traits = scenario_entry(spec["scenario"]["kind"]).traits
    return traits is not None and traits.in_step


def processes(jobs: int, plugins: Sequence[str] = ()) -> Executor:
    """In `jobs` processes of one thread each; `plugins` are plugin files that each process loads.

    A process that dies (killed, out of memory) costs the trial it was running, which becomes an error record.
    """

    def execute(run: Callable[[Spec], Record], specs: Iterable[Spec]) -> Iterator[Record]:
        todo = {key_of(spec): spec for spec in specs}
        yield from _drain(run, todo, jobs, plugins)
        while todo:  # the pool broke: find the trial that breaks it, one process at a time
            key = next(iter(todo))
            alone = {key: todo[key]}
            yield from _drain(run, alone, 1, plugins)
            if alone:
                yield _died(alone[key])
            del todo[key]

    return execute


def _drain(run: Callable[[Spec], Record], todo: dict[str, Spec], jobs: int, plugins: Sequence[str]) -> Iterator[Record]:
    """Run what is in `todo` and take each finished trial out of it; stop early if a process dies."""
    context = multiprocessing.get_context("spawn")  # a fork would copy torch's locked thread pools
    threads = max(1, (os.cpu_count() or 1) // jobs)
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_prepare, initargs=(tuple(plugins), threads))
    waiting: dict[Future[Record], str] = {}
    try:
        waiting = {pool.submit(run, spec): key for key, spec in todo.items()}
        while waiting:
            done, _ = wait(waiting, return_when=FIRST_COMPLETED)
            for future in done:
                record = future.result()
                del todo[waiting.pop(future)]
                yield record
    except BrokenProcessPool:
        return
    finally:
        if waiting:
            kill(pool)  # interrupted: a trial under way is worth nothing unfinished
        pool.shutdown(wait=True)


def _prepare(plugins: tuple[str, ...], threads: int) -> None:
    """In each new process: end as `prepare` says, share the cores, know the same plugins."""
    import torch

    from antivenom.core.registry import load_builtin, load_file

    prepare()
    torch.set_num_threads(threads)
    load_builtin()
    for path in plugins:
        load_file(path)


def _died(spec: Spec) -> Record:
    reason = "expected a record, got a dead process: killed from outside or out of memory"
    return blank(spec) | {"status": "error", "error": reason}


def executor(jobs: int, plugins: Sequence[str] = (), device: str = "cpu") -> Executor:
    """The executor for that many jobs; 0 is one per core or, on an accelerator, one process for all trials."""
    accelerated = device != "cpu"
    jobs = jobs or (1 if accelerated else os.cpu_count() or 1)
    if jobs > 1:
        return processes(jobs, plugins)
    return together(IN_STEP) if accelerated else serial


def runner(device: str, timeout: float | None) -> Callable[[Spec], Record]:
    """`run_trial` with its options, in a form that can be sent to another process."""
    return functools.partial(run_trial, device=device, timeout=timeout)
