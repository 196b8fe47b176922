"""Running an audit: failures are records, only what is missing runs, a killed audit goes on to the same table."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from antivenom.auditing.executors import executor, processes, serial
from antivenom.auditing.plan import plan_of
from antivenom.auditing.records import Store
from antivenom.auditing.results import State
from antivenom.auditing.run import audit, missing
from antivenom.auditing.summary import summarise
from antivenom.auditing.trial import run_trial
from antivenom.cli import run
from antivenom.core.registry import load_file

TEXT = """
version: 1
name: resume
seeds: 2
scenarios:
  - kind: federated
    federation: {num_agents: 5, rounds: 2, training: {epochs: 1, batch_size: 50}}
    model: {name: MLP, hidden: [8]}
    attacks: [ExplicitBoosting]
    defences: [Krum]
"""

# Plugins that misbehave, in a file as a third party would write them.
ROGUES = '''
import os, signal, time
import torch
from antivenom.core.registry import agent

def own(view):
    return torch.zeros(len(view.shards), view.network.dimension)

@agent(goal="targeted", cite="none")
class Crashes:
    """Raises."""
    def __call__(self, view):
        raise RuntimeError("boom\\nwith a second line")

@agent(goal="targeted", cite="none")
class Sleeps:
    """Never ends."""
    def __call__(self, view):
        time.sleep(60)

@agent(goal="targeted", cite="none")
class Dies:
    """Takes its process along."""
    def __call__(self, view):
        os.kill(os.getpid(), signal.SIGKILL)

@agent(goal="targeted", cite="none")
class SendsNaN:
    """Sends NaN."""
    def __call__(self, view):
        return own(view) * float("nan")
'''


@pytest.fixture
def rogues(tmp_path: Path, plugins: None) -> Path:
    path = tmp_path / f"rogues_of_{tmp_path.name}.py"
    path.write_text(ROGUES)
    load_file(path)
    return path


def run_all(text: str, folder: Path, jobs: int = 1, plugins: tuple[str, ...] = ()) -> dict[str, dict]:  # type: ignore[type-arg]
    with Store(folder, write=True) as store:
        plan = plan_of(text, "x.yaml")
        for _ in audit(plan, store, executor(jobs, plugins), run_trial, "command"):
            pass
        return {
            record["spec"]["attack"] and record["spec"]["attack"]["name"]: record for record in store.trials().values()
        }


def test_failures_are_records_and_the_audit_goes_on(tmp_path: Path, rogues: Path) -> None:
    text = TEXT.replace("[ExplicitBoosting]", "[Crashes, SendsNaN, ExplicitBoosting]").replace("seeds: 2", "seeds: 1")
    records = run_all(text, tmp_path, plugins=(str(rogues),))
    assert records["Crashes"]["status"] == "error"
    assert records["Crashes"]["error"] == "expected Crashes to work, got RuntimeError: boom"
    assert "boom" in records["Crashes"]["traceback"]
    assert records["SendsNaN"]["status"] == "ok"
    notes = records["SendsNaN"]["notes"]  # of the trial with Krum, whose f needs five updates
    assert "round 1: agent 4 sent NaN or infinity and was left out" in notes
    assert not any("stayed as it was" in note for note in notes)  # the agent left out counts against Krum's f
    assert records["ExplicitBoosting"]["status"] == records[None]["status"] == "ok"


def test_a_timeout_is_a_record(tmp_path: Path, rogues: Path) -> None:
    trial = next(t for t in plan_of(TEXT.replace("ExplicitBoosting", "Sleeps"), "x").trials() if t.attack is not None)
    started = time.monotonic()
    (record,) = processes(1, [str(rogues)], timeout=1.0)(run_trial, [trial.spec])
    assert time.monotonic() - started < 60  # with the start of the first process, on a busy machine
    assert record["status"] == "timeout"
    assert "expected an end within 1 s" in record["error"]


def test_a_dead_process_costs_its_own_trial_only(tmp_path: Path, rogues: Path) -> None:
    text = (
        TEXT.replace("[ExplicitBoosting]", "[Dies, ExplicitBoosting]")
        .replace("seeds: 2", "seeds: 1")
        .replace("[Krum]", "[]")
    )
    records = run_all(text, tmp_path, jobs=2, plugins=(str(rogues),))
    assert records["Dies"]["status"] == "error"
    assert "worker process that died" in records["Dies"]["error"]
    assert records["ExplicitBoosting"]["status"] == records[None]["status"] == "ok"


def hangs(spec: object) -> dict:  # type: ignore[type-arg]
    """Never ends, and no signal that Python handles reaches it, as in a loop in C."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM, signal.SIGTERM])
    time.sleep(600)
    return {}


def test_a_trial_that_no_signal_reaches_is_killed_with_its_process() -> None:
    spec = next(plan_of(TEXT, "x.yaml").trials()).spec
    (record,) = processes(2, timeout=1.0)(hangs, [spec])
    assert record["status"] == "timeout"
    assert "expected an end within 1 s" in record["error"]


def test_processes_give_the_same_numbers_as_one(tmp_path: Path) -> None:
    specs = [trial.spec for trial in plan_of(TEXT, "x.yaml").trials()]
    alone = {r["key"]: r for r in serial(run_trial, specs)}
    for record in processes(2)(run_trial, specs):
        for name, value in record["metrics"].items():
            assert alone[record["key"]]["metrics"][name] == pytest.approx(value, abs=1e-5, nan_ok=True), name


def test_only_what_is_missing_runs(tmp_path: Path) -> None:
    run_all(TEXT, tmp_path)
    store = Store(tmp_path)
    assert missing(plan_of(TEXT, "x.yaml"), store) == []
    changed = plan_of(
        TEXT.replace("attacks: [ExplicitBoosting]", "attacks: [{name: ExplicitBoosting, steps: 6}]"), "x.yaml"
    )
    again = missing(changed, store)
    assert len(again) == 4  # one attack, two defences, two seeds; the clean twins are there
    assert {spec["attack"]["steps"] for spec in again} == {6}
    assert len(missing(plan_of(TEXT.replace("seeds: 2", "seeds: 3"), "x.yaml"), store)) == 4


def test_failed_trials_are_tried_again(tmp_path: Path, rogues: Path) -> None:
    text = TEXT.replace("ExplicitBoosting", "Crashes")
    run_all(text, tmp_path, plugins=(str(rogues),))
    assert len(missing(plan_of(text, "x.yaml"), Store(tmp_path))) == 4


def command(folder: Path, scenario: Path) -> list[str]:
    return [sys.executable, "-m", "antivenom", "audit", str(scenario), "--out", str(folder), "--jobs", "2", "--json"]


def final_table(folder: Path, scenario: Path, capsys: pytest.CaptureFixture[str]) -> dict:  # type: ignore[type-arg]
    """Of an audit that ends by itself. It runs in this process, which spares the imports."""
    code = run(command(folder, scenario)[3:])
    said = capsys.readouterr()
    assert code == 0, said.err
    table: dict = json.loads(said.out)  # type: ignore[type-arg]
    del table["files"]
    return table


LONG = """
  - kind: federated
    federation: {num_agents: 5, rounds: 2000, training: {epochs: 1, batch_size: 50}}
    model: {name: MLP, hidden: [8]}
"""


def test_killed_it_leaves_no_worker_and_started_again_the_table_is_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], same_to_rounding: Callable[[Any, Any], None]
) -> None:
    scenario, with_long = tmp_path / "scenario.yaml", tmp_path / "with_long.yaml"
    scenario.write_text(TEXT)
    # One worker takes the long trial of the first seed, the other the four short ones and then the long one of the second.
    with_long.write_text(TEXT.replace("scenarios:", f"scenarios:{LONG}"))
    undisturbed = final_table(tmp_path / "whole", scenario, capsys)
    folder = tmp_path / "killed"
    process = subprocess.Popen(command(folder, with_long), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and lines(folder) < 4:
        time.sleep(0.01)
    time.sleep(1.0)
    children = below(process.pid)
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert len(children) >= 4  # resource tracker, fork server, its two workers
    deadline = time.monotonic() + 20
    while any(alive(pid) for pid in children) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [pid for pid in children if alive(pid)]
    cut_off(folder)
    resumed = final_table(folder, scenario, capsys)
    history = [{name: table["trials"].pop(name) for name in ("reused", "run")} for table in (undisturbed, resumed)]
    assert history == [{"reused": 0, "run": 8}, {"reused": 4, "run": 4}]
    same_to_rounding(resumed, undisturbed)


@pytest.mark.slow
def test_killed_at_any_moment_and_started_again_the_table_is_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], same_to_rounding: Callable[[Any, Any], None]
) -> None:
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text(TEXT)
    undisturbed = final_table(tmp_path / "whole", scenario, capsys)
    total = undisturbed["trials"]["planned"]
    folder = tmp_path / "killed"
    kills = 0
    for written in (0, 1, 3, 5, 8):  # as many records are on disk; the last is during the report
        process = subprocess.Popen(command(folder, scenario), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and lines(folder) <= written:
            time.sleep(0.01)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
        cut_off(folder)
    assert kills >= 3
    resumed = final_table(folder, scenario, capsys)
    history = [{name: table["trials"].pop(name) for name in ("reused", "run")} for table in (undisturbed, resumed)]
    assert history[0] == {"reused": 0, "run": total}
    assert history[1]["reused"] >= 8
    assert history[1]["reused"] + history[1]["run"] == total
    same_to_rounding(resumed, undisturbed)


def lines(folder: Path) -> int:
    """Trials on disk."""
    try:
        return (folder / "records.jsonl").read_bytes().count(b'"type":"trial"')
    except FileNotFoundError:
        return -1


def cut_off(folder: Path) -> None:
    """Write what a kill in the middle of a write leaves."""
    with open(folder / "records.jsonl", "ab") as file:
        file.write(b'{"schema": 1, "type": "tri')


def below(pid: int) -> list[int]:
    """Its child processes, and theirs."""
    listing = Path(f"/proc/{pid}/task/{pid}/children")
    own = [int(child) for child in listing.read_text().split()] if listing.exists() else []
    return own + [grandchild for child in own for grandchild in below(child)]


def alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] != "Z"


def interrupted(code: int, out: str, err: str, folder: Path) -> None:
    """An audit that a signal has ended says so, and its finished trials are kept and reported."""
    assert code == 130, err
    assert "interrupted: finished trials are kept" in err
    assert "trials (interrupted)" in out
    assert (folder / "report.html").exists()
    store = Store(folder)
    summary = summarise(store.plan(), store.trials())
    assert summary.trials["missing"] > 0
    assert State.NOT_MEASURED in {c.state for c in summary.cells} or summary.trials["ok"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_keeps_what_is_finished_and_exits_130(tmp_path: Path, number: signal.Signals) -> None:
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text(TEXT.replace("seeds: 2", "seeds: 50"))
    folder = tmp_path / "out"
    process = subprocess.Popen(
        command(folder, scenario)[:-1],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # a runner in the background of a shell ignores Ctrl-C, and its children with it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while lines(folder) < 3:
        time.sleep(0.02)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # a terminal sends it to the whole group
    else:
        process.terminate()
    out, err = process.communicate(timeout=60)
    interrupted(process.returncode, out, err, folder)


def test_sigterm_keeps_what_is_finished_and_exits_130(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In this process, which spares the imports of a command and of its server."""
    scenario, folder = tmp_path / "scenario.yaml", tmp_path / "out"
    scenario.write_text(TEXT.replace("seeds: 2", "seeds: 50"))

    def terminate() -> None:
        while lines(folder) < 3 and not ended.wait(0.02):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    ended, thread = threading.Event(), threading.Thread(target=terminate)
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # an audit that does not see it runs to its end
    try:
        thread.start()
        code = run(command(folder, scenario)[3:-1])
    finally:
        ended.set()
        thread.join()
        signal.signal(signal.SIGTERM, before)
    interrupted(code, *capsys.readouterr(), folder)
