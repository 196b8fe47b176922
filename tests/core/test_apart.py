"""A command in a process of its own: whatever code of the user does there, the command ends with a code of its own choice."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from antivenom.cli import _code_of
from antivenom.core.apart import LATE, Ended, apart, foreign


def inside(code: Callable[[], object], seconds: float | None = None) -> Callable[[], int]:
    """A command that runs the code as a user's, and then succeeds."""

    def work() -> int:
        with foreign("the test", seconds):
            code()
        return 0

    return work


def loops_in_c() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    ctypes.PyDLL(None).pause()


@pytest.mark.parametrize(
    ("code", "seconds", "ended"),
    [
        (lambda: None, None, Ended(0)),
        (lambda: os._exit(0), None, Ended(None, "the test", "died (exit code 0)")),
        (lambda: ctypes.string_at(0), None, Ended(None, "the test", "died (SIGSEGV)")),
        (lambda: time.sleep(60), 0.3, Ended(None, "the test", LATE)),
        (loops_in_c, 0.3, Ended(None, "the test", LATE)),
    ],
    ids=["ends", "exits", "crashes", "sleeps", "loops in C"],
)
def test_it_says_how_the_command_ended(code: Callable[[], object], seconds: float | None, ended: Ended) -> None:
    assert apart(inside(code, seconds)) == ended


def test_only_the_command_itself_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert _code_of(Ended(0)) == 0
    assert _code_of(Ended(None, "the import of x", "died (exit code 0)")) == 2
    assert _code_of(Ended(None, "the import of x", LATE)) == 2
    assert capsys.readouterr().err.splitlines() == [
        "antivenom: expected a command that ends by itself, got a process that died (exit code 0) during the import of x",
        "antivenom: expected a command that ends by itself, got a process that did not end in time during the import of x: raise --time",
    ]


def test_code_of_the_user_leaves_no_trace(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def meddle() -> None:
        print("noise")
        os.write(1, b"noise"), os.write(2, b"noise")
        sys.stdout.write("noise")
        sys.stdout = sys.stderr = None  # type: ignore[assignment]
        os.chdir("/")
        os.environ.clear()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])

    before = (
        os.getcwd(),
        dict(os.environ),
        signal.getsignal(signal.SIGINT),
        signal.pthread_sigmask(signal.SIG_BLOCK, []),
    )
    with foreign("the test"):
        meddle()
    after = os.getcwd(), dict(os.environ), signal.getsignal(signal.SIGINT), signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert after == before
    print("mine")
    assert capfd.readouterr() == ("mine\n", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_is_passed_on(number: signal.Signals) -> None:
    def work() -> int:
        signal.signal(number, lambda *_: sys.exit(9))
        os.kill(os.getppid(), number)
        time.sleep(30)
        return 0

    assert apart(work) == Ended(None, "", "died (exit code 9)")


def test_a_second_interrupt_ends_what_blocks_the_first() -> None:
    def work() -> int:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for _ in range(100):
            os.kill(os.getppid(), signal.SIGINT)
            time.sleep(0.1)
        return 0

    ended = apart(work)
    assert ended.code is None
    assert ended.signal == signal.SIGKILL


def test_a_thread_of_the_user_keeps_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("antivenom.core.apart._LAST_S", 0.2)
    assert apart(inside(lambda: threading.Thread(target=time.sleep, args=(60,)).start())) == Ended(0)
