"""`module:name` in a scenario file names a module that lies beside the file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from antivenom.auditing.plan import read_plan
from antivenom.cli import run
from antivenom.core.errors import ScenarioError

SCENARIO = """
seeds: 2
scenarios:
  - kind: central
    data: beside_rows:load
    model: beside_net:make
    goal: availability
    access: data-manipulation
    clean_rows: 10
    training: {epochs: 2}
"""
ROWS = """
import os
import numpy as np
with open("imported.txt", "a") as file:
    file.write(f"{os.getpid()} ")
def load():
    x = np.random.default_rng(0).random((60, 4))
    return x, (x[:, 0] > .5).astype(int)
"""
NET = """
from torch import nn
import beside_helper
def make(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(beside_helper.WIDTH, classes))
"""


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """The folder of the scenario file and its modules, and the folder where the command runs."""
    mine, elsewhere = tmp_path / "mine", tmp_path / "elsewhere"
    for folder in (mine, elsewhere):
        folder.mkdir()
    for name, text in (("s.yaml", SCENARIO), ("beside_rows.py", ROWS), ("beside_net.py", NET)):
        (mine / name).write_text(text)
    (mine / "beside_helper.py").write_text("WIDTH = 4\n")
    monkeypatch.chdir(elsewhere)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("beside_rows", "beside_net", "beside_helper"):  # from the folder of another test
        monkeypatch.delitem(sys.modules, name, raising=False)
    return mine, elsewhere


def antivenom(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "antivenom", *arguments], capture_output=True, text=True, check=False, env=os.environ
    )


def test_an_audit_from_another_folder_finds_them_in_every_process(folders: tuple[Path, Path]) -> None:
    assert run(["audit", str(folders[0] / "s.yaml"), "--jobs", "2", "--json"]) == 0
    trials = [json.loads(line) for line in (folders[1] / "audit-out" / "records.jsonl").read_text().splitlines()]
    assert [trial["status"] for trial in trials if trial["type"] == "trial"] == ["ok", "ok"]
    assert len(set((folders[1] / "imported.txt").read_text().split())) > 1


def test_looking_at_the_file_runs_no_code_beside_it(folders: tuple[Path, Path]) -> None:
    for arguments in (["audit", "--dry-run", str(folders[0] / "s.yaml")], ["scan", str(folders[0])]):
        done = antivenom(*arguments)
        assert "Traceback" not in done.stderr
        assert not (folders[1] / "imported.txt").exists()


def test_a_plan_of_a_file_may_import_from_its_folder_last(folders: tuple[Path, Path]) -> None:
    (cell,) = read_plan(folders[0] / "s.yaml").cells
    assert cell.scenario.model.path == "beside_net:make"
    assert sys.path[-1] == str(folders[0])
    read_plan(folders[0] / "s.yaml")
    assert sys.path.count(str(folders[0])) == 1


def test_an_absent_module_is_named_with_the_places_for_it(folders: tuple[Path, Path]) -> None:
    (folders[0] / "s.yaml").write_text(SCENARIO.replace("beside_net", "not_beside"))
    with pytest.raises(
        ScenarioError, match=r"not_beside.*put it beside the scenario file, or its folder on PYTHONPATH"
    ):
        read_plan(folders[0] / "s.yaml")
