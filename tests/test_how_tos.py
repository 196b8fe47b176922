"""The how-tos of docs/guide/your-pipeline.md, run as they stand, with fewer trials: in one folder, with the files that they name."""

from __future__ import annotations

import json
import re
import runpy
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from antivenom.cli import run

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / "docs" / "guide" / "your-pipeline.md").read_text(encoding="utf-8")
COMMANDS = dict.fromkeys(re.findall(r"^    (antivenom audit .+)$", GUIDE, re.MULTILINE))
QUICK = ["--trials", "8", "--time", "30m", "--no-search", "--jobs", "1", "--json"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the example's rows under the guide's names, and the modules that the guide shows."""
    data = ROOT / "examples" / "data"
    for name in ("loans.csv", "mails.jsonl"):
        shutil.copy(data / name, tmp_path)
    shutil.copytree(data / "digits", tmp_path / "photos")
    for text in re.findall(r"```py\n(.*?)```", GUIDE, re.DOTALL):
        (tmp_path / text.splitlines()[0].removeprefix("# ")).write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("my_model", "my_training"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def test_the_guide_has_its_how_tos() -> None:
    assert list(re.findall(r"^## (My .*)$", GUIDE, re.MULTILINE)) == [
        *("My CSV", "My images", "My text", "My training function", "My test suite")
    ]
    assert len(COMMANDS) == 6


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command.split()[2:5]))
def test_a_command_of_the_guide_gives_a_verdict(folder: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*shlex.split(command)[1:], *QUICK]) == 0
    found = json.loads(capsys.readouterr().out)
    tried = [level for level in found["levels"] if level["state"] != "NOT MEASURED"]
    assert tried
    assert all(level["state"] in ("BREACHED", "INCONCLUSIVE", "HELD") for level in tried)
    assert found["trials"]["error"] == found["trials"]["missing"] == 0
    assert (folder / "audit-out" / "report.html").stat().st_size > 10_000


def test_the_test_of_the_guide_passes_and_fails_where_it_should(folder: Path) -> None:
    made = runpy.run_path("test_my_model.py")
    made["test_one_row_in_a_hundred_does_not_break_it"]()
    from antivenom import assert_robust
    from antivenom.data import TableFile

    loans = TableFile("loans.csv", "default", ignore=("customer",))
    with pytest.raises(AssertionError, match=r"added rows with a trigger: BadNets.*BREACHED"):
        assert_robust(made["make"], loans, goals=["backdoor"], budget=0.3, trials=12, search=False, jobs=1, quiet=True)
