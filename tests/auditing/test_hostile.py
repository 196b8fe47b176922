"""Hostile plugins: each costs its own trial at most, with one short line, and the next trial is as if alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from antivenom.auditing.executors import processes, runner
from antivenom.auditing.plan import plan_of
from antivenom.auditing.records import Store
from antivenom.auditing.run import audit
from antivenom.auditing.trial import TRACEBACK, Trial
from antivenom.core.errors import LINE
from antivenom.core.registry import load_file

TEXT = """
version: 1
name: hostile
seeds: 1
scenarios:
  - kind: federated
    federation: {num_agents: 3, rounds: 1, training: {epochs: 1, batch_size: 50}}
    model: {name: MLP, hidden: [8]}
    attacks: [%s]
    defences: []
"""

ROGUES = '''
import ctypes, os, random, resource, signal, sys, threading, time
import numpy as np
import torch
from antivenom.core.registry import agent

hostile = agent(goal="targeted", cite="none")

def own(view):
    return torch.zeros(len(view.shards), view.network.dimension)

@hostile
class SysExit:
    """Ends without an error code."""
    def __call__(self, view):
        sys.exit(0)

@hostile
class SysExitText:
    """Ends with a text."""
    def __call__(self, view):
        sys.exit("bye")

@hostile
class HardExit:
    """Ends its process."""
    def __call__(self, view):
        os._exit(0)

@hostile
class Generator:
    """Raises what generators raise."""
    def __call__(self, view):
        raise GeneratorExit

@hostile
class Interrupts:
    """Raises what Ctrl-C raises."""
    def __call__(self, view):
        raise KeyboardInterrupt

@hostile
class Segfault:
    """Reads address 0."""
    def __call__(self, view):
        ctypes.string_at(0)

class Mute(Exception):
    def __str__(self):
        raise ValueError("no text")

@hostile
class Speechless:
    """Its error has no text."""
    def __call__(self, view):
        raise Mute

@hostile
class Speechless2:
    """Its error is no Exception and has no text."""
    def __call__(self, view):
        class Mute(BaseException):
            def __str__(self):
                raise SystemExit(0)
        raise Mute

@hostile
class Opens:
    """Uses all file descriptors up."""
    def __call__(self, view):
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))
        self.__class__.files = []
        while True:
            self.files.append(open("/dev/null"))

@hostile
class Swallows:
    """Catches every exception."""
    def __call__(self, view):
        while True:
            try:
                while True:
                    time.sleep(0.01)
            except BaseException:
                pass

@hostile
class LoopsInC:
    """Never returns to Python, and holds its lock."""
    def __call__(self, view):
        signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
        ctypes.PyDLL(None).pause()

@hostile
class Eats:
    """Eats memory."""
    def __call__(self, view):
        eaten = []
        while True:
            eaten.append(bytearray(2**26))

@hostile
class EatsTensors:
    """Eats memory through torch."""
    def __call__(self, view):
        eaten = []
        while True:
            eaten.append(torch.empty(2**24))

@hostile
class Talks:
    """Its error has 50 MB."""
    def __call__(self, view):
        raise RuntimeError("x" * 50_000_000)

@hostile
class Forges:
    """Writes into the records."""
    def __call__(self, view):
        with open("RECORDS", "a") as file:
            file.write('{"schema": 1, "type": "trial", "nonsense": 1}\\n{"torn')
        return own(view)

@hostile
class Meddles:
    """Prints and changes all that a process has."""
    def __call__(self, view):
        print("noise" * 1000)
        os.write(1, b"noise"), os.write(2, b"noise")
        os.chdir("/")
        os.umask(0o777)
        for number in (signal.SIGTERM, signal.SIGALRM, signal.SIGCHLD):
            signal.signal(number, signal.SIG_IGN)
        os.environ.clear()
        torch.set_num_threads(7)
        torch.set_default_dtype(torch.float64)
        random.seed(1), np.random.seed(1), torch.manual_seed(1)
        np.sum = torch.sum = sum
        sys.setrecursionlimit(200)
        threading.Thread(target=time.sleep, args=(60,)).start()
        return own(view)

@hostile
class Witness:
    """Says what it finds."""
    def __call__(self, view):
        state = [
            os.getcwd(), os.umask(0), sorted(os.environ), torch.get_num_threads(), torch.get_default_dtype(),
            [str(signal.getsignal(number)) for number in range(1, 65)], threading.active_count(), np.sum.__module__,
            sys.getrecursionlimit(), len(os.listdir("/proc/self/fd")), resource.getrlimit(resource.RLIMIT_NOFILE),
        ]
        raise RuntimeError(str(state))

@hostile
class Draws:
    """Draws from the global generators."""
    def __call__(self, view):
        return own(view) + random.random() + np.random.random() + torch.rand(1)
'''

FOLLOWERS = ("Witness", "Draws", "ExplicitBoosting")
DIED = "expected a record, got a worker process that died "
LINES = {
    "SysExit": "SystemExit: 0",
    "SysExitText": "SystemExit: bye",
    "HardExit": DIED + "(exit code 0)",
    "Generator": "GeneratorExit: no message",
    "Interrupts": "KeyboardInterrupt: no message",
    "Segfault": DIED + "(SIGSEGV)",
    "Speechless": "ValueError: no text",
    "Speechless2": "Mute: no message, because its str raises SystemExit",
    "Opens": "Too many open files",
    "Eats": "MemoryError",
    "EatsTensors": "t allocate memory",
    "Talks": "expected Talks to work, got RuntimeError: xxx",
}
HANGS = ("Swallows", "LoopsInC", "ExplicitBoosting")


@pytest.fixture(scope="module")
def rogues(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from antivenom.core.registry import entry

    entry.load_builtin()
    before = dict(entry._ENTRIES)
    folder = tmp_path_factory.mktemp("hostile")
    path = folder / "hostile_rogues.py"
    path.write_text(ROGUES.replace("RECORDS", str(folder / "records.jsonl")))
    load_file(path)
    yield path
    entry._ENTRIES.clear()
    entry._ENTRIES.update(before)


def trials(*attacks: str) -> list[Trial]:
    return [trial for trial in plan_of(TEXT % ", ".join(attacks), "x").trials() if trial.attack is not None]


def results(records: Any) -> dict[str, dict[str, Any]]:
    return {record["spec"]["attack"]["name"]: record for record in records if record["spec"]["attack"]}


def run(rogues: Path, *attacks: str, jobs: int = 1, timeout: float = 60.0) -> dict[str, dict[str, Any]]:
    execute = processes(jobs, [str(rogues)], timeout, memory=2 * 2**30)
    return results(execute(runner("cpu", timeout), [trial.spec for trial in trials(*attacks)]))


def stable(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in ("started", "seconds", "traceback", "run")}


@pytest.fixture(scope="module")
def alone(rogues: Path) -> dict[str, dict[str, Any]]:
    """The records of trials that share nothing."""
    return {name: stable(run(rogues, name)[name]) for name in FOLLOWERS}


@pytest.fixture(scope="module")
def one_audit(rogues: Path) -> tuple[dict[str, dict[str, Any]], Path]:
    """All that do not hang, in one audit with one process, and then the three whose records are compared."""
    folder = rogues.parent
    with Store(folder, write=True) as store:
        plan = plan_of(TEXT % ", ".join([*LINES, "Forges", "Meddles", *FOLLOWERS]), "x")
        execute = processes(1, [str(rogues)], 60.0, memory=2 * 2**30)
        records = results(step.record for step in audit(plan, store, execute, runner("cpu", 60.0), "antivenom audit"))
    return records, folder


@pytest.mark.parametrize("name", LINES)
def test_a_hostile_plugin_costs_its_own_trial(name: str, one_audit: Any) -> None:
    record = one_audit[0][name]
    assert record["status"] == "error"
    assert LINES[name] in record["error"]
    assert "\n" not in record["error"]
    assert len(record["error"]) <= LINE + 10
    assert len(record.get("traceback", "")) <= TRACEBACK + 10


@pytest.mark.parametrize("name", ["Forges", "Meddles"])
def test_a_plugin_that_meddles_has_its_result(name: str, one_audit: Any) -> None:
    assert one_audit[0][name]["status"] == "ok", one_audit[0][name]["error"]


@pytest.mark.parametrize("name", FOLLOWERS)
def test_the_next_trial_is_as_if_alone(
    name: str, one_audit: Any, alone: dict[str, Any], same_to_rounding: Callable[[Any, Any], None]
) -> None:
    same_to_rounding(stable(one_audit[0][name]), alone[name])


def test_followers_say_what_they_should(alone: dict[str, Any]) -> None:
    """So that equal records mean something."""
    assert alone["Witness"]["status"] == "error"
    assert "RuntimeError: [" in alone["Witness"]["error"]
    assert {alone[name]["status"] for name in ("Draws", "ExplicitBoosting")} == {"ok"}


def test_what_hangs_is_killed_while_the_others_go_on(rogues: Path, alone: dict[str, Any]) -> None:
    records = run(rogues, *HANGS, jobs=2, timeout=3.0)
    for name in HANGS[:-1]:
        assert records[name]["status"] == "timeout"
        assert records[name]["error"].startswith("expected an end within 3 s (timeout), got a trial still running")
        assert 3.0 <= records[name]["seconds"] < 6.0
    assert records["ExplicitBoosting"]["metrics"] == pytest.approx(alone["ExplicitBoosting"]["metrics"], abs=1e-5)


def test_nobody_else_writes_into_the_records(one_audit: Any) -> None:
    records, folder = one_audit
    lines = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    assert len(lines) == 1 + 1 + len(records)  # the plan and the clean twin too
    assert all("key" in line for line in lines[1:])
