"""Ways to run trials. An executor works like `map`: specifications in, records out, in any order."""

from __future__ import annotations

import functools
import itertools
import json
import random
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from antivenom.auditing.sending import names_in, packed, unpack
from antivenom.auditing.trial import Record, blank, failure, identity_in, overran, run_trial, scenario_entry
from antivenom.auditing.workers import PRELOAD, memory_each, processes_for, threads_each
from antivenom.core.errors import AntivenomError
from antivenom.core.lockstep import in_step
from antivenom.core.watched import Lost, Task, watched

Spec = Mapping[str, Any]
Executor = Callable[[Callable[[Spec], Record], Iterable[Spec]], Iterator[Record]]
TIMEOUT = 3600.0  # seconds per trial where the scenario sets no timeout
IN_STEP = 32  # trials that are interleaved on an accelerator
STATUSES = ("ok", "error", "timeout", "not-applicable")
# what a worker decides in a record; the rest follows from the plan
RESULT = (
    "started",
    "device",
    "status",
    "error",
    "traceback",
    "metrics",
    "curves",
    "notes",
    "pictures",
    "samples",
    "versions",
    "seconds",
)


def serial(run: Callable[[Spec], Record], specs: Iterable[Spec]) -> Iterator[Record]:
    """Run the trials one after another in this process, which is meant for debugging: a plugin can end or block it."""
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


def processes(
    jobs: int,
    plugins: Sequence[str] = (),
    timeout: float | None = None,
    memory: int | None = None,
    until: float | None = None,
) -> Executor:
    """An executor with `jobs` worker processes that share the cores, and that this process watches.

    A trial that takes too long is killed with its process, and so is all that it started. A process that dies (it exits,
    crashes or runs out of memory) loses the trial that it was running, which becomes an error record, and is replaced.
    A process that has run code from outside antivenom runs nothing else, so whatever that code changed (the working
    directory, signals, the environment, imported modules) ends with it. Before each trial the global random generators
    are seeded with the trial's seed.

    Models and rows in memory are sent to the processes. Trials with a value that cannot be sent run at the end, in
    copies of this process with one thread each.

    Args:
        jobs: number of processes.
        plugins: plugin files, which each process loads.
        timeout: seconds per trial; None means TIMEOUT.
        memory: bytes of private memory per process; None means an equal part of what the machine has.
        until: when to stop, on the clock of `time.monotonic`; trials that have not ended by then are given up. None for never.
    """
    threads = threads_each(jobs)
    limit = TIMEOUT if timeout is None else timeout
    most = memory_each(jobs) if memory is None else memory

    def execute(run: Callable[[Spec], Record], specs: Iterable[Spec]) -> Iterator[Record]:
        values, can, cannot = packed(specs)
        sent = [Task(spec, {name: values[name] for name in names_in(spec)}, _foreign(spec)) for spec in can]
        answer = _Answer(run, tuple(plugins), threads)
        for task, found in watched(sent, jobs, answer, PRELOAD, threads, limit, most, until=until):
            yield _record(task.content, found, limit)
        unsent = [Task(spec, alone=True) for spec in cannot]
        for task, found in watched(unsent, jobs, _Answer(run, (), 1), (), 1, limit, most, method="fork", until=until):
            yield _record(task.content, found, limit)

    return execute


def _foreign(spec: Spec) -> bool:
    """Whether the trial runs code that is not antivenom's, or cannot even be built."""
    try:
        return bool(identity_in(spec).code)
    except AntivenomError:
        return True


class _Answer:
    """Runs in a worker: makes the record of one trial after another, as a line of JSON."""

    def __init__(self, run: Callable[[Spec], Record], plugins: tuple[str, ...], threads: int) -> None:
        self.run, self.plugins, self.threads = run, plugins, threads
        self.prepared = False

    def __call__(self, spec: Spec, values: Mapping[str, bytes]) -> bytes:
        try:
            if not self.prepared:
                self._prepare()
            unpack(values.values())
            seeded(int(spec["seed"]))
            return json.dumps(self.run(spec), allow_nan=False).encode()
        except BaseException as error:
            traceback.clear_frames(error.__traceback__)  # they may hold all the memory that this process may have
            return json.dumps(blank(spec) | failure(error)).encode()

    def _prepare(self) -> None:
        """Limit the threads and load the plugins."""
        import torch

        from antivenom.core.registry import load_builtin, load_file

        torch.set_num_threads(self.threads)
        load_builtin()
        for path in self.plugins:
            load_file(path)
        self.prepared = True


def seeded(seed: int) -> None:
    """Seed the global generators, so that a plugin that draws from them gives the same result in every process."""
    import numpy as np
    import torch

    seed %= 2**32
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the generator that other people's code draws from
    torch.manual_seed(seed)


def _record(spec: Spec, found: bytes | Lost, limit: float) -> Record:
    """The record that a worker sent, or one that says what became of the worker. Its identity is the plan's."""
    if isinstance(found, bytes):
        try:
            sent = json.loads(found)
            if sent["status"] in STATUSES:
                return blank(spec) | {name: sent[name] for name in RESULT if name in sent}
        except (ValueError, TypeError, KeyError, RecursionError):
            pass
        found = Lost("answered with something else", 0.0)
    took = {"seconds": round(found.seconds, 3)}
    if found.why is None:
        return blank(spec) | took | {"status": "timeout", "error": str(overran(limit))}
    return blank(spec) | took | {"error": f"expected a record, got a worker process that {found.why}"}


def executor(
    jobs: int,
    plugins: Sequence[str] = (),
    device: str = "cpu",
    timeout: float | None = None,
    until: float | None = None,
) -> Executor:
    """The executor for that many jobs; `processes_for` says what 0 means. `until` only stops trials in processes."""
    jobs = processes_for(jobs, device)
    in_processes = jobs > 1 or device == "cpu"
    return processes(jobs, plugins, timeout, until=until) if in_processes else concurrent(IN_STEP)


def runner(device: str, timeout: float | None, progress: str | None = None) -> Callable[[Spec], Record]:
    """`run_trial` with its options, as a function that can be pickled for another process."""
    return functools.partial(run_trial, device=device, timeout=timeout, progress=progress)
