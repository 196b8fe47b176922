"""Coalesces equal calls of concurrent trials into one batched call.

To its caller, `jointly(function, items, alike)` is `function(items)`. While `in_step` runs many tasks, it collects their
calls and merges those with the same `function` and `alike` into one call over the items of all. One task alone often
leaves an accelerator idle; a merged batch fills it.

Each task has a thread of its own, so that `jointly` can block anywhere inside it. Only one thread runs at a time: either
one task, or `in_step` computing a batch.
"""

from __future__ import annotations

import itertools
import threading
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from queue import SimpleQueue
from time import perf_counter
from typing import Any, TypeVar

Result = TypeVar("Result")
Joint = Callable[[Sequence[Any]], Any]


class Abandoned(BaseException):
    """Raised inside a task to end it when `in_step` stops early and will not answer its call."""


class _Task:
    """A task in a thread of its own. The constructor and `answer` return when it has made its next call, or ended."""

    def __init__(self, run: Callable[[], object]) -> None:
        self.call: tuple[Joint, Hashable] | None = None  # the call it waits for; None when it has ended
        self.items: Sequence[object] = ()
        self.result: object = None  # what it returned, or raised
        self.waited = 0.0  # seconds spent on other tasks' work
        self.limit: tuple[float, Callable[[], None]] | None = None
        self._stopped: SimpleQueue[None] = SimpleQueue()
        self._answers: SimpleQueue[tuple[object, float]] = SimpleQueue()
        threading.Thread(target=self._run, args=(run,), daemon=True).start()
        self._stopped.get()

    def _run(self, run: Callable[[], object]) -> None:
        _current.set(self)
        try:
            self.result = run()
        except BaseException as error:  # `in_step` raises it again in the thread of its caller
            self.result = error
        self.call = None
        self._stopped.put(None)

    def ask(self, function: Joint, items: Sequence[object], alike: Hashable) -> object:
        """Called inside the task: post the call and wait for its answer."""
        self.call, self.items, begun = (function, alike), items, perf_counter()
        self._stopped.put(None)
        answer, share = self._answers.get()
        self.waited += perf_counter() - begun - share
        if isinstance(answer, BaseException):
            raise answer
        if self.limit is not None and seconds() > self.limit[0]:
            self.limit[1]()
        return answer

    def answer(self, answer: object, share: float = 0.0) -> None:
        """Called by `in_step`: deliver the answer and wait for the task's next call or its end.

        Args:
            answer: one result per item, or an exception that `jointly` raises in the task.
            share: this task's share of the seconds that the batch took.
        """
        self._answers.put((answer, share))
        self._stopped.get()


_current: ContextVar[_Task | None] = ContextVar("task", default=None)


def jointly(function: Joint, items: Sequence[object], alike: Hashable) -> Any:
    """Return `function(items)`, possibly computed together with the items of other tasks.

    If a merged call raises, the tasks are divided into halves and each half is tried alone, down to single tasks. So an
    error reaches only the task that causes it, and a batch that exceeds the memory is divided until it fits.

    Args:
        function: maps a sequence of items to a sequence of results. A result must not depend on the other items.
        items: this task's items; without any, the function is called at once.
        alike: merged are only calls with equal `function` and equal `alike`.
    """
    task = _current.get()
    return function(items) if task is None or not len(items) else task.ask(function, items, alike)


def seconds() -> float:
    """A clock in seconds that stops while this task waits for others; a merged call counts in equal shares."""
    task = _current.get()
    return perf_counter() - (0.0 if task is None else task.waited)


def limited(limit_s: float, expire: Callable[[], None]) -> bool:
    """Limit the time of the current task: after `limit_s` of its `seconds`, its next answer calls `expire` inside it.

    Returns:
        False, without effect, outside of `in_step`, where the caller must limit the time by other means.
    """
    task = _current.get()
    if task is not None:
        task.limit = (seconds() + limit_s, expire)
    return task is not None


def in_step(runs: Iterable[Callable[[], Result]], seats: int) -> Iterator[Result]:
    """Run the tasks, `seats` of them interleaved, and yield their results as they end.

    Whenever every task waits for an answer, the call that most tasks wait for is computed first; meanwhile further tasks
    may come to wait for one of the others.

    Raises:
        BaseException: whatever a task raised; the other tasks are abandoned.
    """
    left, waiting = iter(runs), list[_Task]()
    try:
        while True:
            for run in itertools.islice(left, seats - len(waiting)):
                yield from _ended(_Task(run), waiting)
            if not waiting:
                return
            calls = defaultdict(list)
            for task in waiting:
                calls[task.call].append(task)
            (function, _), asking = max(calls.items(), key=lambda call: len(call[1]))  # type: ignore[misc]
            for task, answer, share in list(_answers(function, asking)):
                waiting.remove(task)
                task.answer(answer, share)
                yield from _ended(task, waiting)
    finally:
        for task in waiting:
            task.answer(Abandoned())


def _ended(task: _Task, waiting: list[_Task]) -> Iterator[Any]:
    """Yield the result of a task that has ended; add a task that has made a call to `waiting`."""
    if task.call is not None:
        waiting.append(task)
    elif isinstance(task.result, BaseException):
        raise task.result
    else:
        yield task.result


def _answers(function: Joint, tasks: list[_Task]) -> Iterator[tuple[_Task, object, float]]:
    """Compute one merged call: each task with its answer, or an exception, and its share of the seconds."""
    begun = perf_counter()
    try:
        answers = function([item for task in tasks for item in task.items])
    except Exception as error:
        if len(tasks) == 1:
            yield tasks[0], error, perf_counter() - begun
            return
        half = len(tasks) // 2
        yield from _answers(function, tasks[:half])
        yield from _answers(function, tasks[half:])
        return
    took, at = (perf_counter() - begun) / len(tasks), 0
    for task in tasks:
        yield task, answers[at : at + len(task.items)], took
        at += len(task.items)
