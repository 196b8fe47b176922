"""Lines of records.jsonl beside plans and trials: read into the summary, or named and ignored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from antivenom.auditing.plan import plan_of
from antivenom.auditing.records import Store
from antivenom.auditing.summary import summary_of

EMPTY = "version: 1\nseeds: 1\nscenarios:\n  - {kind: central, model: {name: MLP, hidden: [4]}, attacks: []}\n"
SUSPECT = {"row": 4, "score": 0.9, "why": "its class has a probability of 2 %", "label": "no", "suggested": "yes"}
LINES: dict[str, dict[str, Any]] = {
    "given": {
        "data": {
            "name": "loans.csv",
            "form": "table",
            "rows": 90,
            "test_rows": 30,
            "columns": [{"name": "age", "kind": "whole", "editable": True}],
            "classes": [{"name": "no", "rows": 60}, {"name": "yes", "rows": 30}],
            "duplicates": 2,
            "missing": 0,
        },
        "model": {"name": "RandomForestClassifier", "chosen": True, "why": "tables of numbers and words"},
        "fit_seconds": 0.2,
        "accuracy": 0.8,
        "chance": 0.67,
        "tried": [{"level": "data-injection", "goal": "backdoor", "attacks": ["BadNets"], "defences": ["none"]}],
        "untried": [{"what": "federation", "why": "one model is trained"}],
    },
    "search": {
        "group": "added rows",
        "level": "data-injection",
        "goal": "backdoor",
        "defence": "none",
        "trials": 20,
        "worst": {"attack": "BadNets()", "harm": 0.9, "confirmed": None, "low": 0.5, "high": 1.0},
        "attempts": [
            {"attack": "BadNets()", "share": 0.1, "rows": 9, "harm": None, "seed": 0, "stage": "explore"},
        ],
        "smallest": None,
        "curve": [{"share": 0.1, "rows": 9, "harm": 0.9, "low": 0.5, "high": 1.0, "seeds": 4}],
    },
    "suspects": {
        "method": "ConfidentLearning",
        "rows": 90,
        "flagged": 1,
        "expected_false_alarms": 0.9,
        "warning": "",
        "sample": [SUSPECT | {"cells": {"age": "31"}}],
    },
}


def line(kind: str, **changes: object) -> dict[str, Any]:
    return {"schema": 1, "type": kind} | LINES[kind] | changes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with Store(tmp_path, write=True) as store:
        store.append(plan_of(EMPTY, "s.yaml").record("antivenom audit s.yaml"))
    return tmp_path


def written(folder: Path, *lines: dict[str, Any]) -> None:
    with Store(folder, write=True) as store:
        for each in lines:
            store.append(each)


def test_the_last_line_of_a_type_counts_and_of_searches_that_of_a_group(folder: Path) -> None:
    written(
        folder,
        line("given", fit_seconds=1.0),
        line("search", trials=1),
        line("search", group="changed rows", trials=2),
        line("search", trials=3),
        line("suspects"),
        line("given", fit_seconds=2.0),
    )
    summary = summary_of(Store(folder))
    assert summary.given is not None
    assert summary.given["fit_seconds"] == 2.0
    assert [(each["group"], each["trials"]) for each in summary.searches] == [("added rows", 3), ("changed rows", 2)]
    assert summary.suspects is not None
    assert summary.suspects["sample"][0]["cells"] == {"age": "31"}


def test_an_audit_of_a_scenario_file_has_none(folder: Path) -> None:
    summary = summary_of(Store(folder))
    assert (summary.given, summary.searches, summary.suspects) == (None, (), None)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (line("given", fit_seconds="fast"), "fit_seconds"),
        (line("given", data={"name": "x"}), "data.form"),
        (line("search", worst={"attack": "a"}), "worst.harm"),
        (line("suspects", sample=[{"row": 1}]), "sample.0.score"),
        (line("suspects", sample=[SUSPECT | {"cells": {}}] * 21), "more than 20 sample rows"),
    ],
    ids=["a number that is a word", "columns missing", "a harm missing", "a score missing", "too many rows"],
)
def test_a_line_that_is_wrong_is_named_and_ignored(folder: Path, bad: dict[str, Any], said: str) -> None:
    with (folder / "records.jsonl").open("a") as file:
        file.write(json.dumps(bad) + "\n")
    summary = summary_of(Store(folder))
    assert (summary.given, summary.searches, summary.suspects) == (None, (), None)
    assert len(summary.bad_lines) == 1
    assert said in summary.bad_lines[0]
