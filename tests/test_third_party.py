"""A stranger's attack, from the one file in CONTRIBUTING.md, by --plugin and through an entry point."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from antivenom.cli import run
from antivenom.core.registry import entry

GUIDE = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
PLUGIN, CONTRACT = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
SCENARIO = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)[0].replace("seeds: 3", "seeds: 1")
POINT = re.findall(r'\[project.entry-points."(.*?)"\]\n(.*?)\n```', GUIDE, re.DOTALL)[0]
LABELS = {"none", "LabelSwap", "LabelSwap(first=2, second=4)", "LabelSwap(first=3, second=4)"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "label_swap.py").write_text(PLUGIN)
    (tmp_path / "scenario.yaml").write_text(SCENARIO.replace("    attacks:", "    training: {epochs: 2}\n    attacks:"))
    return tmp_path


@pytest.fixture
def fresh(plugins: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No module `label_swap` yet, and a registry that has not asked for installed plugins, as in a new process."""
    monkeypatch.setattr(entry, "_asked", False)
    monkeypatch.setattr(entry, "_BROKEN", [])
    yield
    sys.modules.pop("label_swap", None)


def antivenom(folder: Path, *arguments: str, path: str = "") -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": path}
    command = [sys.executable, "-m", "antivenom", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def installed(folder: Path) -> str:
    """The plugin as an installer would leave it: its module and its metadata in one folder of the path."""
    site = folder / "site"
    info = site / "label_swap-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "label_swap.py").rename(site / "label_swap.py")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: label-swap\nVersion: 1.0\n")
    group, line = POINT
    (info / "entry_points.txt").write_text(f"[{group}]\n{line.replace(chr(34), '')}\n")
    return str(site)


def audited(done: subprocess.CompletedProcess[str]) -> set[str]:
    """The attacks of an audit's JSON; every trial must have finished."""
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["trials"]["ok"] == document["trials"]["planned"] == 8
    return {cell["attack"] for cell in document["cells"]}


def test_the_file_is_short() -> None:
    lines = [line for line in PLUGIN.splitlines() if line.strip()]
    assert len(lines) <= 15


@pytest.mark.parametrize("jobs", [pytest.param("1", marks=pytest.mark.slow), "2"])
def test_by_plugin(
    folder: Path, jobs: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    entry.load_builtin()
    monkeypatch.setattr(entry, "_ENTRIES", dict(entry._ENTRIES))  # where the plugin's class is registered
    file = (folder / "label_swap.py").rename(f"label_swap_{jobs}.py")  # no two plugin files of a process have one name
    arguments = ["--plugin", str(file), "--out", "out", "--jobs", jobs, "--json"]
    code = run(["audit", "scenario.yaml", *arguments])
    said = capsys.readouterr()
    assert audited(subprocess.CompletedProcess(arguments, code, said.out, said.err)) == LABELS - {"none"}
    assert "LabelSwap" in (folder / "out" / "report.html").read_text()


def test_through_an_entry_point(
    folder: Path, fresh: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(installed(folder))
    arguments = ["audit", "scenario.yaml", "--out", "out", "--jobs", "2", "--json"]
    code = run(arguments)
    said = capsys.readouterr()
    assert audited(subprocess.CompletedProcess(arguments, code, said.out, said.err)) == LABELS - {"none"}
    assert run(["show", "LabelSwap"]) == 0
    assert "Swaps the labels of two classes" in capsys.readouterr().out


def test_the_contract_as_the_guide_runs_it(folder: Path, fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "test_contract.py").write_text(f"from label_swap import LabelSwap\n\n{CONTRACT}")
    monkeypatch.syspath_prepend(folder)
    runpy.run_path(str(folder / "test_contract.py"), run_name="__main__")
    assert "label_swap" in sys.modules


def test_without_it_the_scenario_is_refused_in_one_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert run(["audit", "scenario.yaml", "--out", "out"]) == 4
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "scenarios[0].attacks[0]: expected the name of a data attack" in error
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "no such file"),
        ("def broken(:\n", "SyntaxError"),
        ("x = 1\n", "put one of antivenom's decorators on a class"),
        ("raise RuntimeError('boom')\n", "boom"),
        ("import sys; sys.exit(0)\n", "SystemExit"),
    ],
)
def test_files_that_are_no_plugin(
    tmp_path: Path, text: str | None, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"wrong_{tmp_path.name}.py"
    if text is not None:
        path.write_text(text)
    assert run(["list", "--plugin", str(path)]) == 4
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error


def test_a_broken_installed_plugin_is_named_and_skipped(folder: Path) -> None:
    site = installed(folder)
    (Path(site) / "broken.py").write_text("raise RuntimeError('boom')\n")
    (Path(site) / "broken-1.0.dist-info").mkdir()
    (Path(site) / "broken-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (Path(site) / "broken-1.0.dist-info" / "entry_points.txt").write_text(f"[{POINT[0]}]\nbroken = broken\n")
    done = antivenom(folder, "list", path=site)
    assert done.returncode == 0
    assert "Krum" in done.stdout
    assert "LabelSwap" in done.stdout
    assert "entry point broken" in done.stderr
    assert done.stderr.count("\n") == 1
