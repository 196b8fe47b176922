"""Federations in step give the records that they give one by one, and can be stopped and gone on with."""

from __future__ import annotations

import multiprocessing
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from antivenom.auditing.executors import concurrent, executor, processes, runner, serial
from antivenom.auditing.plan import plan_of, read_plan
from antivenom.auditing.records import Store
from antivenom.auditing.run import audit, missing
from antivenom.auditing.trial import run_trial
from antivenom.auditing.workers import PRELOAD
from antivenom.core.processes import start_server
from antivenom.core.registry import load_file
from antivenom.fast import available
from antivenom.federated import clients
from antivenom.federated.batched import together as stacked

# A client's numbers do not depend on who else trains if it is compiled; stacked they do, and one of 200 test rows is 5e-3.
ROUNDING = 0.0 if available() else 2e-2
# Attackers that train once and several times; a rule that trains; rounds that differ in number and shards in size.
TEXT = """
version: 1
seeds: 2
scenarios:
  - kind: federated
    goal: availability
    test_rows: 200
    model: {name: MLP, hidden: [8], dropout: 0.2}
    federation:
      num_agents: 6
      rounds: [1, 2]
      partition: {name: Dirichlet, beta: 0.5}
      training: {epochs: 1, batch_size: 50}
    attacks: [SignFlip, ALIE]
    defences: [FLTrust]
  - kind: central
    model: {name: Logistic}
    goal: backdoor
    training: {epochs: 1}
"""

PLUGINS = '''
import time
import torch
from antivenom.core.registry import agent

@agent(goal="availability", cite="none")
class Slow:
    """Takes its time."""
    def __call__(self, view):
        time.sleep(1.5)
        return view.all_honest()

@agent(goal="availability", cite="none")
class Crashes:
    """Raises after it has trained."""
    def __call__(self, view):
        view.all_honest()
        raise RuntimeError("boom")
'''


@pytest.fixture
def rogues(tmp_path: Path, plugins: None) -> None:
    path = tmp_path / f"rogues_of_{tmp_path.name}.py"
    path.write_text(PLUGINS)
    load_file(path)


def specs_of(text: str) -> list[Any]:
    return [trial.spec for trial in plan_of(text, "x.yaml").trials()]


@pytest.fixture(scope="module")
def alone() -> dict[str, dict[str, Any]]:
    """The records of one by one."""
    return {record["key"]: record for record in serial(run_trial, specs_of(TEXT))}


def same(one: dict[str, Any], other: dict[str, Any], tolerance: float) -> None:
    for part in ("key", "spec", "status", "error", "notes", "device"):
        assert one[part] == other[part], part
    assert one["metrics"].keys() == other["metrics"].keys()
    for name, value in one["metrics"].items():
        assert other["metrics"][name] == pytest.approx(value, abs=tolerance), name
    for name, curve in one["curves"].items():
        assert other["curves"][name] == pytest.approx(curve, abs=tolerance), name


@pytest.mark.parametrize("seats", [1, 5, 64])
def test_records_are_those_of_one_by_one(seats: int, alone: dict[str, dict[str, Any]]) -> None:
    step = list(concurrent(seats)(run_trial, specs_of(TEXT)))
    assert len(step) == len(alone) == 26
    assert {record["key"] for record in step} == alone.keys()
    for record in step:
        same(record, alone[record["key"]], ROUNDING)
    assert {record["status"] for record in step} == {"ok"}


def test_stacked_as_on_an_accelerator_they_are_the_same_to_rounding(
    monkeypatch: pytest.MonkeyPatch, device: str, alone: dict[str, dict[str, Any]]
) -> None:
    specs = [spec for spec in specs_of(TEXT) if spec["scenario"]["kind"] == "federated"]
    run = runner(device, None)
    if device != "cpu":
        alone = {record["key"]: record for record in serial(run, specs)}
    sizes = []

    def counted(some: Any) -> Any:
        sizes.append(len(some))
        return stacked(some)

    monkeypatch.setattr(clients, "_way", lambda client: counted)
    for record in concurrent(len(specs))(run, specs):
        same(record, alone[record["key"]], 2e-2)
    assert max(sizes) == 16 * 5 + 8 * 6  # the honest agents of 16 attacked federations and 8 others


def test_a_failure_is_its_own_trials(rogues: None) -> None:
    text = TEXT.replace("[SignFlip, ALIE]", "[Crashes, SignFlip]")
    records = list(concurrent(8)(run_trial, specs_of(text)))
    for record in records:
        crashes = (record["spec"]["attack"] or {}).get("name") == "Crashes"
        assert record["status"] == ("error" if crashes else "ok"), record["error"]
        assert record["error"] == ("expected Crashes to work, got RuntimeError: boom" if crashes else None)


def test_what_fails_in_the_common_training_is_divided(
    monkeypatch: pytest.MonkeyPatch, alone: dict[str, dict[str, Any]]
) -> None:
    """As a stack is that an accelerator has no room for."""
    specs = specs_of(TEXT)[:8]
    way, failed = clients._way, []

    def cramped(some: Any) -> Any:
        if len(some) > 12:
            failed.append(len(some))
            raise RuntimeError("out of memory")
        return way(some[0])(some)

    monkeypatch.setattr(clients, "_way", lambda client: cramped)
    for record in concurrent(8)(run_trial, specs):
        same(record, alone[record["key"]], ROUNDING)
    assert failed


def test_a_timeout_counts_the_trials_own_seconds(rogues: None) -> None:
    text = (
        TEXT.replace("[SignFlip, ALIE]", "[Slow, SignFlip]")
        .replace("rounds: [1, 2]", "rounds: 2")
        .replace("seeds: 2", "seeds: 1")
    )
    run_trial(specs_of(text)[0])  # what is compiled once counts for nobody
    for record in concurrent(16)(runner("cpu", 2.5), specs_of(text)):
        slow = (record["spec"]["attack"] or {}).get("name") == "Slow"
        assert record["status"] == ("timeout" if slow else "ok"), record["seconds"]
        if slow:
            assert "expected an end within 2.5 s" in record["error"]


def test_seconds_add_up_to_the_time_that_it_took() -> None:
    begun = time.perf_counter()
    records = list(concurrent(16)(run_trial, specs_of(TEXT)))
    took = time.perf_counter() - begun
    assert 0.8 * took < sum(record["seconds"] for record in records) <= 1.01 * took


def test_an_accelerator_is_shared_by_default() -> None:
    assert executor(0, device="cuda").__qualname__ == concurrent(1).__qualname__
    assert executor(1, device="cuda").__qualname__ == concurrent(1).__qualname__
    assert executor(2, device="cuda").__qualname__ == processes(2).__qualname__
    assert executor(1).__qualname__ == processes(1).__qualname__


def audited_by_four(scenario: Path, out: Path) -> None:
    with Store(out, write=True) as store:
        list(audit(read_plan(scenario), store, concurrent(4), run_trial, "command"))


def test_killed_and_started_again_the_records_are_the_same(tmp_path: Path, alone: dict[str, dict[str, Any]]) -> None:
    scenario, out = tmp_path / "x.yaml", tmp_path / "out"
    scenario.write_text(TEXT)
    start_server(PRELOAD)
    process = multiprocessing.get_context("forkserver").Process(target=audited_by_four, args=(scenario, out))
    process.start()
    records = out / "records.jsonl"
    deadline = time.monotonic() + 120
    while (not records.exists() or records.read_bytes().count(b'"type":"trial"') < 5) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    plan = plan_of(TEXT, "x.yaml")
    left = len(missing(plan, Store(out)))
    assert 0 < left <= 21
    with Store(out, write=True) as store:
        assert len(list(audit(plan, store, concurrent(4), run_trial, "command"))) == left
        whole = store.trials()
    for key, record in alone.items():
        same(record, whole[key], max(ROUNDING, 1e-4))  # two processes may round differently
