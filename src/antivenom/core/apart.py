"""Runs a command in a process of its own, which this one watches, since code of the user runs there too.

Whatever that code does (it exits, crashes, hangs or prints), the command ends with a code of its own choice, and never with
the code 0 of somebody else's `sys.exit()`.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

from antivenom.core.processes import die_with_parent
from antivenom.core.watched import death

_HANDLED = (signal.SIGINT, signal.SIGTERM, signal.SIGALRM, signal.SIGCHLD, signal.SIGPIPE)
LATE = "did not end in time"
_LAST_S = 10.0  # that a process may take to end after it has said its code; threads of the user may keep it
_end: Connection | None = None  # to the process that watches this one


@dataclass(frozen=True)
class Ended:
    """How a watched command ended.

    Fields:
        code: the exit code that it chose, or None if it did not come to that.
        doing: what it was doing as its last, such as "the import of my_model"; empty if that is not known.
        why: what became of it, such as "died (SIGSEGV)", if it chose no code.
        signal: the signal that ended it and that was sent to this process, or None.
    """

    code: int | None
    doing: str = ""
    why: str = ""
    signal: int | None = None


def apart(work: Callable[[], int]) -> Ended:
    """Run `work` in a copy of this process and say how that ended.

    Signals that end a command are passed on. A second Ctrl-C kills the copy, whose code may have blocked the first one.
    """
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(theirs, work))
    process.start()
    theirs.close()
    with contextlib.suppress(OSError):
        os.setpgid(process.pid or 0, 0)  # the copy does so too; whoever comes first
    try:
        with _passed_on(process) as sent:
            return _watch(process, ours, sent)
    finally:
        with contextlib.suppress(OSError):
            os.killpg(process.pid or 0, signal.SIGKILL)
        process.join()
        ours.close()


def _watch(process: Any, ours: Connection, sent: list[int]) -> Ended:
    """Read what the process says until it has said its code, has died, or has taken too long for something."""
    doing, until, open_ends = "", None, [ours, process.sentinel]
    while True:
        left = None if until is None else max(0.0, until - time.monotonic())
        ready = wait(open_ends, left)
        if ours in ready:
            try:
                what, value, seconds = json.loads(ours.recv_bytes())
            except (EOFError, OSError, ValueError, TypeError):
                open_ends = [process.sentinel]
                continue
            if what == "code":
                process.join(_LAST_S)
                return Ended(int(value))
            doing, until = str(value), None if seconds is None else time.monotonic() + float(seconds)
        elif process.sentinel in ready:
            process.join()
            code = process.exitcode
            return Ended(None, doing, death(code), -code if -code in sent else None)
        elif not ready:
            return Ended(None, doing, LATE)


@contextlib.contextmanager
def _passed_on(process: Any) -> Iterator[list[int]]:
    """Pass on, inside the block, the signals that end or stop a command; gives the list of those that were."""
    sent: list[int] = []

    def passed(number: int, _: object) -> None:
        again = number == signal.SIGINT and number in sent
        sent.append(signal.SIGKILL if again else number)
        with contextlib.suppress(OSError):
            os.kill(process.pid, sent[-1])

    def stopped(*_: object) -> None:
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGSTOP)
        with contextlib.suppress(OSError):
            os.killpg(process.pid, signal.SIGCONT)

    handlers: dict[int, Any] = {
        signal.SIGINT: passed,
        signal.SIGTERM: passed,
        signal.SIGHUP: passed,
        signal.SIGTSTP: stopped,
    }
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield sent
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _work(end: Connection, work: Callable[[], int]) -> None:
    """Runs in the copy."""
    global _end
    with contextlib.suppress(OSError):
        os.setpgid(0, 0)  # Ctrl-C is for the process that watches, which passes it on once
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)  # who reads from a terminal in the background would be stopped
    os.close(null)
    die_with_parent()
    _end = end
    code = work()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    _tell("code", code)


def _tell(what: str, value: object, seconds: float | None = None) -> None:
    if _end is not None:
        with contextlib.suppress(OSError):
            _end.send_bytes(json.dumps([what, value, seconds]).encode())


@contextlib.contextmanager
def foreign(doing: str, seconds: float | None = None) -> Iterator[None]:
    """A block that runs code of the user in this process.

    What it prints is dropped. The working directory, the environment, the handlers of signals and the standard streams are
    afterwards as before. If this process is watched, it is killed after `seconds`.

    Args:
        doing: what the block does, as a noun for a message: "the import of my_model".
        seconds: how long it may take, or None for any time.
    """
    _tell("doing", doing, seconds)
    folder, environment = os.getcwd(), dict(os.environ)
    main = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in _HANDLED}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    try:
        with _silenced():
            yield
    finally:
        os.chdir(folder)
        if environment != dict(os.environ):
            os.environ.clear()
            os.environ.update(environment)
        if main:
            for number, handler in handlers.items():
                if handler is not None:
                    signal.signal(number, handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        _tell("doing", "")


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Drop what is written to the standard streams inside the block, by Python or by a library."""
    streams = sys.stdout, sys.stderr
    for stream in streams:
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    kept = [os.dup(number) for number in (1, 2)]
    try:
        with open(os.devnull, "w") as null:
            for number in (1, 2):
                os.dup2(null.fileno(), number)
            sys.stdout = sys.stderr = null
            yield
    finally:
        for stream in streams:
            with contextlib.suppress(OSError, ValueError):
                stream.flush()  # what was written to the old object, before its descriptor is back
        for number, its in zip((1, 2), kept, strict=True):
            os.dup2(its, number)
            os.close(its)
        sys.stdout, sys.stderr = streams
