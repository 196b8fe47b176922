"""Runs tasks in processes that the caller watches and may kill.

A process that dies or takes too long loses the task that it was running, and is replaced. Whatever code a process runs, it
cannot raise an exception in the caller, end it, print on its terminal or keep it waiting: answers are bytes, which are
read when they arrive and never unpickled.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

from antivenom.core.errors import PluginError
from antivenom.core.processes import die_with_parent, start_server

Answer = Callable[[Any, Mapping[str, bytes]], bytes]
LARGEST = 64 * 2**20  # bytes; a process that answers more is killed
_START_LIMIT = 120.0  # seconds until a new process must have begun; a fork takes milliseconds
_STARTS = 3  # processes in a row that may end before they begin


@dataclass(frozen=True)
class Task:
    """What a process is asked to do.

    Fields:
        content: is pickled and given to the process's `answer`.
        parcels: named bytes that the task needs; each process receives each of them once.
        alone: the process runs nothing else afterwards, so that no later task can notice anything of this one.
    """

    content: Any
    parcels: Mapping[str, bytes] = field(default_factory=dict)
    alone: bool = False


@dataclass(frozen=True)
class Lost:
    """A task without an answer.

    Fields:
        why: what became of the process, such as "died (SIGSEGV)", or None if it was killed because it took too long.
        seconds: how long the task ran.
    """

    why: str | None
    seconds: float


def death(code: int) -> str:
    """What became of a process that ended with this code, which is negative for a signal."""
    if code == -signal.SIGKILL:
        return "died (SIGKILL): it was killed from outside or ran out of memory"
    return f"died (exit code {code})" if code >= 0 else f"died ({signal.Signals(-code).name})"


class _Worker:
    """A process and the caller's end of the connection to it."""

    def __init__(self, method: str, answer: Answer, memory: int | None) -> None:
        context: Any = multiprocessing.get_context(method)
        self.connection, theirs = context.Pipe()
        self.held: set[str] = set()  # names of the parcels it has received
        self.task: Task | None = None
        self.began = False
        self.since = time.monotonic()
        self._read = bytearray()
        self.process = context.Process(target=_work, args=(theirs, answer, memory))
        try:
            self.process.start()
        except BaseException:  # also Ctrl-C
            self.connection.close()
            if self.process.pid is not None:
                self.process.kill()
            raise
        finally:
            theirs.close()

    def give(self, task: Task) -> None:
        """Send a task. If the process has died, `ended` will say so."""
        self.task, self.since = task, time.monotonic()
        new = {name: parcel for name, parcel in task.parcels.items() if name not in self.held}
        self.held |= new.keys()
        with contextlib.suppress(OSError):
            self.connection.send((task.content, new))

    def answers(self) -> Iterator[bytes]:
        """The complete lines that have arrived."""
        while wait([self.connection], 0) and (chunk := self._chunk()):
            self._read += chunk
        while (end := self._read.find(b"\n")) >= 0:
            line = bytes(self._read[:end])
            del self._read[: end + 1]
            if self.began:
                yield line
            else:  # the first line is empty and says that the process has begun
                self.began, self.since = True, time.monotonic()

    def _chunk(self) -> bytes:
        try:
            return b"" if len(self._read) > LARGEST else os.read(self.connection.fileno(), 1 << 20)
        except OSError:
            return b""

    def ended(self) -> str | None:
        """What became of the process, or None while it runs and keeps its connection open."""
        if len(self._read) > LARGEST:
            return f"answered with more than {LARGEST >> 20} MiB"
        if not wait([self.connection, self.process.sentinel], 0):
            return None
        self.process.join(1.0)
        code = self.process.exitcode
        return "closed its connection" if code is None else death(code)

    def late(self, limit_s: float | None) -> bool:
        """Whether the process takes longer to begin than `_START_LIMIT`, or its task longer than `limit_s`."""
        limit = limit_s if self.began else _START_LIMIT
        return self.task is not None and limit is not None and time.monotonic() - self.since > limit

    def kill(self) -> None:
        """End the process and all that it started. Nothing in it can prevent that."""
        with contextlib.suppress(OSError, ValueError):
            self.process.kill()
        with contextlib.suppress(OSError):
            os.killpg(self.process.pid, signal.SIGKILL)  # it leads a group, unless it ended before it could form one
        self.process.join(5.0)
        with contextlib.suppress(ValueError):
            self.process.close()
        self.connection.close()


def watched(
    tasks: Iterable[Task],
    jobs: int,
    answer: Answer,
    preload: Sequence[str] = (),
    threads: int = 1,
    limit_s: float | None = None,
    memory: int | None = None,
    method: str = "forkserver",
    until: float | None = None,
) -> Iterator[tuple[Task, bytes | Lost]]:
    """Run the tasks in `jobs` processes and yield each with its answer, or with what became of it, as they end.

    Leaving the loop early, by an error or by Ctrl-C, kills the processes.

    Args:
        tasks: what to run.
        jobs: number of processes at a time.
        answer: runs in a process, with a task's content and the parcels that are new to that process. It returns one
            line; the caller must not trust it.
        preload: modules that the server imports from which the processes are forked.
        threads: threads of the numerical libraries in each process.
        limit_s: seconds after which a task's process is killed, or None.
        memory: bytes of private memory that each process may have, or None.
        method: "forkserver", or "fork" for an `answer` that cannot be pickled.
        until: when to stop, on the clock of `time.monotonic`, or None. Tasks that have not ended by then are given up: their
            processes are killed, and nothing is yielded for them.

    Raises:
        PluginError: processes end before they begin.
    """
    waiting, workers = deque(tasks), list[_Worker]()
    failures = 0
    try:
        while waiting or any(worker.task for worker in workers):
            if until is not None and time.monotonic() >= until:
                return
            for worker in workers:
                if waiting and worker.task is None:
                    worker.give(waiting.popleft())
            while waiting and len(workers) < jobs and failures < _STARTS:
                try:
                    if method == "forkserver":
                        start_server(preload, threads)  # again, because a task may have killed it
                    workers.append(_Worker(method, answer, memory))
                    workers[-1].give(waiting.popleft())
                except (OSError, EOFError):
                    failures += 1
                    time.sleep(0.1)
            if failures >= _STARTS:
                raise PluginError(
                    "worker processes that start",
                    f"{_STARTS} in a row that ended at once",
                    "start a script's work below `if __name__ == '__main__':`",
                )
            _wait(workers, limit_s, until)
            for worker in list(workers):
                found = _outcome(worker, limit_s)
                if found is None:
                    continue
                task, worker.task = worker.task, None
                failures = 0 if worker.began else failures + 1
                if isinstance(found, Lost) or (task is not None and task.alone):
                    workers.remove(worker)
                    worker.kill()
                if task is None:  # it died while it had nothing to do
                    continue
                if not worker.began:
                    waiting.appendleft(task)
                    continue
                if waiting and worker in workers:  # it goes on while the caller handles the answer
                    worker.give(waiting.popleft())
                yield task, found
    finally:
        for worker in workers:
            worker.kill()


def _wait(workers: Sequence[_Worker], limit_s: float | None, until: float | None) -> None:
    """Wait until a process has answered or ended, until one is late, or until the end of the time."""
    now = time.monotonic()
    limits = [(worker.since, limit_s if worker.began else _START_LIMIT) for worker in workers if worker.task]
    left = [since + limit - now for since, limit in limits if limit is not None]
    left += [] if until is None else [until - now]
    ends: list[Any] = [end for worker in workers for end in (worker.connection, worker.process.sentinel)]
    wait(ends, None if not left else max(0.0, min(left)) + 0.01)


def _outcome(worker: _Worker, limit_s: float | None) -> bytes | Lost | None:
    """The worker's answer, or what became of its task, or None while it runs."""
    for line in worker.answers():
        return line
    seconds = time.monotonic() - worker.since
    why = worker.ended()
    if why is not None:
        for line in worker.answers():  # it answered and then ended
            return line
        return Lost(why, seconds)
    return Lost(None, seconds) if worker.late(limit_s) else None


def _work(connection: Connection, answer: Answer, memory: int | None) -> None:
    """Runs in the process: answer one task after another."""
    _settle(memory)
    end = connection.fileno()
    _write(end, b"\n")
    while True:
        try:
            content, parcels = connection.recv()
        except (EOFError, OSError):
            os._exit(0)
        _write(end, answer(content, parcels) + b"\n")
        del content, parcels


def _settle(memory: int | None) -> None:
    """Detach this process from the terminal and its signals, limit its memory, and let it end with its parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent alone
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(null, standard)
    os.close(null)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - multiprocessing has closed it
    os.environ.pop("PYTHONSAFEPATH", None)
    if memory is not None:
        # RLIMIT_DATA counts private memory that may be written, whether it has been or not. RLIMIT_AS would also count
        # the files of libraries and address space that is only reserved, of which an accelerator needs terabytes.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    die_with_parent()


def _write(end: int, data: bytes) -> None:
    while data:
        data = data[os.write(end, data) :]
