"""Tasks in step: what several of them want computed at one time is computed at once.

`jointly(function, items, alike)` is `function(items)` to whoever calls it. While `in_step` runs many tasks, their calls
that are alike become one call over the items of all, which fills a machine that one task leaves idle.
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


class _Abandoned(BaseException):
    """Ends a task whose calls nobody will answer."""


class _Task:
    """A task in a thread of its own, so that it may call from wherever it is. It runs only while somebody waits for it."""

    def __init__(self, run: Callable[[], object]) -> None:
        self.call: tuple[Joint, Hashable] | None = None  # what it waits for; None when it has ended
        self.items: Sequence[object] = ()
        self.result: object = None
        self.waited = 0.0
        self.limit: tuple[float, Callable[[], None]] | None = None
        self._stopped: SimpleQueue[None] = SimpleQueue()
        self._answers: SimpleQueue[tuple[object, float]] = SimpleQueue()
        threading.Thread(target=self._live, args=(run,), daemon=True).start()
        self._stopped.get()

    def _live(self, run: Callable[[], object]) -> None:
        _own.set(self)
        try:
            self.result = run()
        except BaseException as error:  # of the caller of `in_step`
            self.result = error
        self.call = None
        self._stopped.put(None)

    def ask(self, function: Joint, items: Sequence[object], alike: Hashable) -> object:
        """In the task: wait for the answer."""
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
        """From outside: give the answer, which took `share` seconds of work for this task, and wait for what is next."""
        self._answers.put((answer, share))
        self._stopped.get()


_own: ContextVar[_Task | None] = ContextVar("task", default=None)


def jointly(function: Joint, items: Sequence[object], alike: Hashable) -> Any:
    """function(items): one answer for each item, which must not depend on the other items.

    In step with other tasks one call serves all who ask for an equal `function` and `alike`. If it fails, each half of
    them is tried apart: who fails alone fails alone, and what does not fit in memory is divided until it does.
    """
    task = _own.get()
    return function(items) if task is None or not len(items) else task.ask(function, items, alike)


def seconds() -> float:
    """A clock that stops while this task waits for others; of a joint call each has its share."""
    task = _own.get()
    return perf_counter() - (0.0 if task is None else task.waited)


def limited(most: float, expire: Callable[[], None]) -> bool:
    """Have `expire` called in this task by the first answer that it gets after so many seconds. False if it is in no step."""
    task = _own.get()
    if task is not None:
        task.limit = (seconds() + most, expire)
    return task is not None


def in_step(runs: Iterable[Callable[[], Result]], seats: int) -> Iterator[Result]:
    """The results of the tasks as they end. So many are under way at a time, but no two compute at the same time.

    Of the calls that wait, the one that most tasks ask for is done first: others may yet join the rest.

    Raises:
        BaseException: what a task raised; the others are abandoned.
    """
    left, waiting = iter(runs), list[_Task]()
    try:
        while True:
            for run in itertools.islice(left, seats - len(waiting)):
                yield from _heard(_Task(run), waiting)
            if not waiting:
                return
            calls = defaultdict(list)
            for task in waiting:
                calls[task.call].append(task)
            (function, _), asking = max(calls.items(), key=lambda call: len(call[1]))  # type: ignore[misc]
            for task, answer, share in list(_answers(function, asking)):
                waiting.remove(task)
                task.answer(answer, share)
                yield from _heard(task, waiting)
    finally:
        for task in waiting:
            task.answer(_Abandoned())


def _heard(task: _Task, waiting: list[_Task]) -> Iterator[Any]:
    """The result of a task that has ended; nothing of one that asks, which waits with the others."""
    if task.call is not None:
        waiting.append(task)
    elif isinstance(task.result, BaseException):
        raise task.result
    else:
        yield task.result


def _answers(function: Joint, tasks: list[_Task]) -> Iterator[tuple[_Task, object, float]]:
    """Each task's answer, or error, and how many seconds it took."""
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
