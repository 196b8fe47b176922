"""The catalogue that is kept as a file: it says what the registry says, and spares the commands that train nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from antivenom.auditing import catalogue
from antivenom.auditing.grid import label
from antivenom.auditing.plan import read_plan
from antivenom.cli import run
from antivenom.core.errors import PluginError
from antivenom.core.registry import entries

ROOT = Path(__file__).parents[2]
FILES = [None, *(str(path) for folder in ("examples", "benchmarks/claims") for path in (ROOT / folder).rglob("*.yaml"))]
HEAVY = ("torch", "sklearn", "scipy.stats", "numba", "pandas", "matplotlib")

LIGHT = """
import json, sys
from antivenom.auditing import catalogue
from antivenom.auditing.grid import label
from antivenom.auditing.plan import read_plan
with catalogue.known() as full:
    assert not full
    pages = {name: catalogue.page(name) for name in json.loads(sys.argv[1])}
    plans = {}
    for path in json.loads(sys.argv[2]):
        plan = read_plan(path)
        cells = [(c.group, c.level, label(c.attack), label(c.defence), c.deployed) for c in plan.cells]
        plans[str(path)] = [plan.size, cells]
json.dump([pages, catalogue.rows(), plans], sys.stdout)
"""


def test_the_file_is_what_the_registry_says() -> None:
    assert catalogue.stored() == json.loads(json.dumps(catalogue.current())), "make catalogue writes it again"


def test_stand_ins_have_the_same_pages_and_give_the_same_plans() -> None:
    names = [entry.name for entry in entries() if entry.origin == "antivenom"]
    arguments = [sys.executable, "-c", LIGHT, json.dumps(names), json.dumps(FILES)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    pages, rows, plans = json.loads(done.stdout)
    assert pages == {name: catalogue.page(name) for name in names}
    assert rows == [row for row in catalogue.rows() if row.get("origin", "antivenom") == "antivenom"]
    for path in FILES:
        plan = read_plan(path)
        cells = [[c.group, c.level, label(c.attack), label(c.defence), c.deployed] for c in plan.cells]
        assert plans[str(path)] == [plan.size, cells]
        assert plan.size == len(list(plan.trials()))


COMMANDS = """
import sys
from antivenom.cli import run
folder = sys.argv[1]
for command in ["init {}/new.yaml", "list", "show Krum", "show digits", "audit --dry-run --out {}/none",
                "audit {}/new.yaml --dry-run --out {}/none", "list --kind aggregator", "recommend --agents 12 --malicious 3 --json"]:
    assert run([part.replace("{}", folder) for part in command.split()]) == 0, command
    heavy = {name for name in %r if name in sys.modules}
    assert not heavy, (command, heavy)
for wrong, told in (("Krumm", "did you mean 'Krum'?"), ("Krum, f: much", "Krum.f")):
    with open(folder + "/wrong.yaml", "w") as file:
        file.write("scenarios: [{kind: federated, defences: [{name: " + wrong + "}]}]")
    assert run(["audit", folder + "/wrong.yaml", "--dry-run", "--out", folder + "/none"]) == 4
"""


def test_commands_that_train_nothing_import_nothing_heavy(tmp_path: Path) -> None:
    code = COMMANDS % (HEAVY,)
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, second = done.stderr.splitlines()
    assert "did you mean 'Krum'?" in first
    assert "Krum.f" in second
    assert "line 1" in second
    assert "ranges of values are checked when the audit starts" in done.stdout


def test_a_plugin_file_is_imported_and_listed(
    tmp_path: Path, plugins: None, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / f"mine_of_{tmp_path.name}.py"
    file.write_text(
        "from antivenom import trigger\n@trigger(cite='none')\nclass Mine:\n    '''Does nothing.'''\n"
        "    def __call__(self, x):\n        return x\n"
    )
    assert run(["list", "--kind", "trigger", "--plugin", str(file)]) == 0
    assert "Mine" in capsys.readouterr().out


def test_a_stand_in_computes_nothing() -> None:
    code = (
        "from antivenom.auditing import catalogue\nfrom antivenom.core.registry import build\n"
        "with catalogue.known():\n    build('Krum')(None)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "got its stand-in" in done.stderr
    with pytest.raises(PluginError, match="Krum"):
        catalogue.page("Krumm")
