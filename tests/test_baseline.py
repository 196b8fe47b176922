"""`antivenom audit --baseline`: the same verdict at the end of an audit, in its exit code, its JSON document and its page."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from antivenom.auditing.changes import since
from antivenom.auditing.comparing import Comparison, compare, with_baseline
from antivenom.auditing.identity import Identity
from antivenom.auditing.records import Store
from antivenom.cli import run
from antivenom.cli.ending import finish

LEVEL = {"name": "data-injection", "about": "adds rows", "access": ["data-injection"], "add": "kind: central"}


def written(folder: Path, rate: float, seeds: int = 12) -> Path:
    """The folder of an audit of one undefended attack, whose success rate is the same in every seed."""
    scenario = {"kind": "central", "data": "digits", "model": "MLP"}
    cell = {"group": "g", "level": "data-injection", "goal": "backdoor", "scenario": scenario, "defence": "none"}
    cells: list[dict[str, Any]] = []
    with Store(folder, write=True) as store:
        records = []
        for attack, asr in (("none", 0.0), ("A", rate)):
            named = None if attack == "none" else {"name": attack, "rate": rate}
            keys = []
            for seed in range(seeds):
                spec = {"scenario": scenario, "attack": named, "defence": None, "seed": seed}
                key = Identity(spec, {}, {}, "1").key
                metrics = {"clean_accuracy": 0.9, "chance_accuracy": 0.1, "test_rows": 1000, "asr": asr}
                metrics |= {"asr_clean": 0.0, "triggered_rows": 1000, "robust_accuracy": 0.9}
                record = {
                    "schema": 1,
                    "type": "trial",
                    "key": key,
                    "spec": spec,
                    "code": {},
                    "data": {},
                    "version": "1",
                }
                record |= {"status": "ok", "error": None, "metrics": metrics, "curves": {}, "notes": [], "seconds": 1.0}
                records.append(record | {"started": "2030", "device": "cpu", "versions": {"machine": "m"}})
                keys.append(key)
            cells.append(cell | {"attack": attack, "deployed": True, "knowledge": "", "budget": "", "keys": keys})
        plan = {
            "schema": 1,
            "type": "plan",
            "name": folder.name,
            "source": "s.yaml",
            "claim": {},
            "command": "antivenom",
        }
        plan |= {"seeds": list(range(seeds)), "limits": {"backdoor": 0.2}, "fail_if": {}, "levels": [LEVEL]}
        store.append(plan | {"curves": {"central": {"charts": [], "table": []}}, "cells": cells})
        for record in records:
            store.append(record)
    return folder


def test_what_got_worse_is_said_at_the_end_in_every_format(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, after = written(tmp_path / "before", 0.3), written(tmp_path / "after", 0.6)
    assert finish(after, as_json=False, quiet=False) == 0
    assert "What changed since an earlier audit?" in (after / "report.html").read_text()
    assert finish(after, as_json=False, quiet=False, baseline=before) == 1
    out = capsys.readouterr().out
    assert "WORSE: A against no defence (data-injection, backdoor)" in out
    assert "Exit 1: compared with the baseline: 1 of 1 pairs of attack and defence got worse" in out
    page = (after / "report.html").read_text()
    assert "Compared with the audit “before”" in page
    assert "the harm rose in 12 of 12 shared seeds" in page
    assert finish(after, as_json=True, quiet=False, baseline=before / "records.jsonl") == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["exit_code"], document["baseline"]["counts"]["worse"]) == (1, 1)
    assert {entry["id"]: entry["state"] for entry in document["standards"]}["ML02:2023"] == "BREACHED"
    assert finish(before, as_json=False, quiet=True, baseline=after) == 0
    assert capsys.readouterr().out.endswith("exit 0\n")


@pytest.mark.parametrize(
    ("own", "other", "both"), [(0, 0, 0), (0, 1, 1), (0, 2, 2), (1, 2, 1), (2, 1, 1), (3, 0, 3), (3, 1, 1), (3, 2, 3)]
)
def test_the_exit_codes_are_joined(own: int, other: int, both: int, tmp_path: Path) -> None:
    """1 outranks everything; a comparison that is incomplete decides only if nothing else is wrong."""
    folder = written(tmp_path / "a", 0.3, seeds=1)
    summary = replace(compared_summary(folder), exit_code=own)
    comparison = Comparison("a", "b", (), (), other, "because")
    found = with_baseline(summary, comparison)
    assert found.exit_code == both
    assert ("because" in found.exit_reason) == (both != own)


def compared_summary(folder: Path) -> Any:
    from antivenom.auditing.summary import summary_of

    return summary_of(Store(folder))


def test_the_page_lists_what_changed_and_counts_the_rest(tmp_path: Path) -> None:
    before, after = written(tmp_path / "before", 0.3, seeds=6), written(tmp_path / "after", 0.3, seeds=6)
    found = since(compare(before, after))
    assert (found["rows"], found["unchanged"]) == ([], 1)


def test_a_baseline_that_is_none_is_refused_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["audit", "--baseline", str(tmp_path), "--out", str(tmp_path / "out")]) == 4
    assert "expected the folder of an audit as --baseline" in capsys.readouterr().err
    folder = written(tmp_path / "a", 0.3, seeds=1)
    assert run(["audit", "--baseline", str(folder), "--out", str(folder)]) == 4
    assert "expected another folder than --out as --baseline" in capsys.readouterr().err
