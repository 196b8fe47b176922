"""Models and rows in memory reach the worker processes of an audit, or their trials run in the parent."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier
from torch import nn

from antivenom import Central, Dataset
from antivenom.auditing.executors import processes
from antivenom.auditing.sending import packed, unpack
from antivenom.auditing.trial import Trial, run_trial
from antivenom.core import fingerprint
from antivenom.core.registry import describe, keep, kept, named_in
from antivenom.data import source_of
from antivenom.models.own import maker_of
from antivenom.models.training import Training

rng = np.random.default_rng(0)
X = rng.random((120, 4), dtype=np.float32)
Y = (X[:, 0] > 0.5).astype(np.int64)
ROWS = Dataset.from_arrays(X, Y, name="half")


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 2)
        self.register_buffer("factor", nn.init.constant_(self.head.bias.new_empty(1), 2.0))

    def forward(self, x: Any) -> Any:
        return self.head(x.flatten(1)) * self.factor


class Locked(LogisticRegression):
    """It holds what no pickle can hold."""

    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        return {}


def scenario(model: Any) -> Central:
    return Central(
        data=(X, Y), model=model, training=Training(epochs=2), goal="availability", access="data-manipulation",
        clean_rows=10,
    )  # fmt: skip


def test_values_in_memory_are_known_to_two_workers() -> None:
    """Each value has a trial in a worker, which gives the number that it gives here."""
    depth = 2
    models = {
        "a module": Net(),
        "a lambda": lambda seed: DecisionTreeClassifier(max_depth=depth, random_state=seed),
        "an estimator": LogisticRegression(C=0.5),
        "a lock": Locked(),
    }
    trials = [Trial(scenario(model), None, None, 0) for model in models.values()]
    here = [run_trial(trial.spec)["metrics"]["clean_accuracy"] for trial in trials]
    assert len({*here}) > 1
    found = {record["key"]: record for record in processes(2)(run_trial, [trial.spec for trial in trials])}
    assert len(found) == len(trials)
    for trial, accuracy in zip(trials, here, strict=True):
        record = found[trial.key]
        assert record["status"] == "ok", record["error"]
        assert record["metrics"]["clean_accuracy"] == pytest.approx(accuracy, abs=1e-6)


def test_only_a_value_that_cannot_be_pickled_stays_here() -> None:
    trials = [Trial(scenario(model), None, None, 0) for model in (Net(), Locked())]
    specs = [trial.spec for trial in trials]
    values, sent, unsent = packed(specs)
    assert sent == specs[:1]
    assert unsent == specs[1:]
    assert len(values) == 2  # the network and the rows, which both trials name


def test_a_trial_without_values_in_memory_sends_nothing() -> None:
    spec = Trial(Central(), None, None, 0).spec
    assert packed([spec]) == ({}, [spec], [])


def test_what_is_unpacked_is_found_and_has_the_code_of_its_maker(monkeypatch: pytest.MonkeyPatch) -> None:
    made = maker_of(lambda seed: DecisionTreeClassifier(random_state=seed))
    spec = {"model": describe(made)}
    values, _, _ = packed([spec])
    planned = fingerprint.code_of(made.make)
    monkeypatch.setattr("antivenom.core.registry.memory._KEPT", {})
    monkeypatch.setattr(fingerprint, "_RECEIVED", {})
    assert kept(spec["model"]) is None
    unpack(values.values())
    there = kept(spec["model"])
    assert there is not made
    assert there(3).random_state == 3
    assert fingerprint.code_of(there.make) == planned
    assert there.make in fingerprint._RECEIVED


def test_a_function_that_was_looked_up_keeps_its_own_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprint, "_RECEIVED", {})
    fingerprint.received(scenario, "of another file")
    assert fingerprint.code_of(scenario) != "of another file"


def test_rows_are_held_while_somebody_holds_them() -> None:
    source = source_of((X + 1, Y))
    spec = {"scenario": {"data": describe(source), "seeds": [0, {"name": "Memory"}]}}
    assert [value for _, value in named_in(spec)] == [source]
    del source
    assert named_in(spec) == []


def test_a_value_is_named_by_its_whole_mapping() -> None:
    keep({"fingerprint": "0", "architecture": "a:b"}, "one")
    assert kept({"architecture": "a:b", "fingerprint": "0"}) == "one"
    assert kept({"fingerprint": "0"}) is None


SCRIPT = """
import numpy as np
from sklearn.tree import DecisionTreeClassifier
from torch import nn
from antivenom import Central
from antivenom.auditing.executors import processes
from antivenom.auditing.trial import Trial, run_trial

class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 2)
    def forward(self, x):
        return self.head(x.flatten(1))

def main():
    x = np.random.default_rng(0).random((80, 4))
    models = (Own(), Own, lambda seed: DecisionTreeClassifier(random_state=seed))
    scenarios = [Central(data=(x, x[:, 0] > 0.5), model=m, goal="availability", clean_rows=10) for m in models]
    for record in processes(2)(run_trial, [Trial(each, None, None, 0).spec for each in scenarios]):
        print(record["status"], record["error"])

if __name__ == "__main__":
    main()
"""


def test_what_a_shell_defines_is_sent_too(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SCRIPT]  # of which no file is left that a worker could import
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["ok None"] * 3, done.stderr
