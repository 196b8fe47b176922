"""Tasks in step: calls that are alike are made once, and who fails fails alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from antivenom.core import lockstep
from antivenom.core.lockstep import in_step, jointly, limited, seconds

calls: list[list[int]]


@pytest.fixture(autouse=True)
def no_calls() -> None:
    global calls
    calls = []


def double(items: Sequence[int]) -> list[int]:
    calls.append(list(items))
    if 13 in items:
        raise ValueError("unlucky")
    return [2 * item for item in items]


def triple(items: Sequence[int]) -> list[int]:
    return [3 * item for item in items]


def asking(*items: int, alike: object = None) -> Callable[[], Any]:
    return lambda: list(jointly(double, items, alike))


def test_outside_of_a_step_a_call_is_a_call() -> None:
    assert asking(1, 2)() == [2, 4]
    assert not limited(1.0, pytest.fail)
    assert abs(seconds() - time.perf_counter()) < 1.0


def test_calls_that_are_alike_become_one() -> None:
    assert sorted(in_step([asking(1, 2), asking(3), asking(4, 5, 6)], 3)) == [[2, 4], [6], [8, 10, 12]]
    assert calls == [[1, 2, 3, 4, 5, 6]]


def test_others_are_made_apart() -> None:
    found = list(in_step([asking(1), asking(2, alike="x"), lambda: jointly(triple, [1], None)], 3))
    assert sorted(map(list, found)) == [[2], [3], [4]]
    assert sorted(calls) == [[1], [2]]


def test_a_call_without_items_waits_for_nobody() -> None:
    assert list(in_step([asking()], 1)) == [[]]


def test_the_most_wanted_call_is_made_first_so_that_others_catch_up() -> None:
    """Two tasks train once, one twice: the two wait at the second step until the third is there, too."""

    def steps(number: int) -> Callable[[], Any]:
        return lambda: [jointly(double, [1], None) for _ in range(number)] + [jointly(double, [2], "end")]

    def late() -> Any:
        return [jointly(double, [1], None), jointly(double, [3], None), jointly(double, [2], "end")]

    assert len(list(in_step([steps(1), late, steps(1), late, late], 5))) == 5
    assert calls == [[1] * 5, [3] * 3, [2] * 5]


def test_so_many_are_under_way() -> None:
    under_way: list[int] = []
    most = []

    def task() -> None:
        under_way.append(1)
        most.append(len(under_way))
        jointly(double, [1], None)
        under_way.pop()

    assert list(in_step([task] * 7, 3)) == [None] * 7
    assert max(most) == 3
    assert list(map(len, calls)) == [3, 3, 1]


def test_no_two_compute_at_the_same_time() -> None:
    busy = threading.Lock()

    def task() -> None:
        for _ in range(5):
            assert busy.acquire(blocking=False)
            time.sleep(0.001)
            busy.release()
            jointly(double, [1], None)

    assert list(in_step([task] * 8, 8)) == [None] * 8


def test_who_fails_fails_alone() -> None:
    def caught(item: int) -> Callable[[], Any]:
        def task() -> Any:
            try:
                return list(jointly(double, [item], None))
            except ValueError as error:
                return str(error)

        return task

    found = list(in_step([caught(item) for item in (10, 11, 13, 12, 14)], 5))
    assert sorted(map(str, found)) == ["[20]", "[22]", "[24]", "[28]", "unlucky"]
    assert calls == [[10, 11, 13, 12, 14], [10, 11], [13, 12, 14], [13], [12, 14]]


def test_an_error_ends_the_step_and_the_tasks_in_it() -> None:
    ended = []

    def waits() -> None:
        try:
            jointly(double, [1], None)
        finally:
            ended.append(True)

    def breaks() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        list(in_step([waits, waits, breaks], 3))
    assert ended == [True, True]
    assert calls == []


def test_whoever_looks_away_ends_the_tasks() -> None:
    before = threading.active_count()
    results = in_step([asking(1), asking(2), lambda: [jointly(double, [n], n) for n in range(9)]], 3)
    assert next(results) == [2]
    results.close()
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before


@pytest.fixture
def spend(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the clock on: no two tasks compute at one time, so it counts exactly what was spent."""
    now = [0.0]
    monkeypatch.setattr(lockstep, "perf_counter", lambda: now[0])

    def move(seconds: float) -> None:
        now[0] += seconds

    return move


def test_a_task_pays_for_its_own_time_and_its_share(spend: Callable[[float], None]) -> None:
    def slow(items: Sequence[int]) -> Sequence[int]:
        spend(0.25)
        return items

    def task(own: float) -> Callable[[], float]:
        def timed() -> float:
            begun = seconds()
            spend(own)
            jointly(slow, [1], None)
            return seconds() - begun

        return timed

    assert sorted(in_step([task(0.0), task(0.0), task(0.0), task(0.5)], 4)) == [0.0625, 0.0625, 0.0625, 0.5625]


def test_a_limit_counts_that_time(spend: Callable[[float], None]) -> None:
    class Expired(Exception):
        pass

    def expire() -> None:
        raise Expired

    def task(own: float) -> Callable[[], str]:
        def timed() -> str:
            assert limited(0.3, expire)
            try:
                for _ in range(4):
                    spend(own)
                    jointly(double, [1], None)
            except Expired:
                return "expired"
            return "done"

        return timed

    assert sorted(in_step([task(0.01), task(0.01), task(0.2)], 3)) == ["done", "done", "expired"]
