"""A result is reused only for an equal specification, code, data and version; the audit says how many were."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from antivenom.auditing import identity, terminal
from antivenom.auditing.executors import serial
from antivenom.auditing.plan import Plan, plan_of
from antivenom.auditing.records import Store
from antivenom.auditing.report import render
from antivenom.auditing.results import State, Summary
from antivenom.auditing.run import audit
from antivenom.auditing.summary import summary_of
from antivenom.auditing.trial import Trial, job_of, run_trial
from antivenom.core.fingerprint import code_of
from antivenom.core.registry import load_file

# A scenario that trains nothing: the attack says what share of the tosses it turns.
PLUGINS = '''
from antivenom import Goal, Outcome, ThreatModel, logic_attack, scenario

@scenario(name="coin", arrows=("logic attack",), levels=("logic-corruption",), cite="none")
class Coin:
    """Tosses a coin. Fields: tosses: how often."""
    tosses: int = 500
    goal: Goal = Goal.BACKDOOR
    level = "logic-corruption"

    @property
    def threat(self):
        return ThreatModel("logic-corruption", self.goal)

    def run(self, attack, defence, seed, device="cpu"):
        turned = 0.0 if attack is None else attack(None, None)
        return Outcome({"asr": turned + seed / 100, "clean_accuracy": 0.9, "test_rows": self.tosses})

@logic_attack(goal="backdoor", cite="none")
class Turns:
    """Turns some. Weakness: seen by whoever looks."""
    def __call__(self, loss, context):
        return SHARE
'''
TEXT = """
version: 1
name: coins
seeds: 3
scenarios:
  - kind: coin
    attacks: [Turns]
"""


@pytest.fixture
def plugin(tmp_path: Path, plugins: None) -> Any:
    """Writes the plugin file with a share, and loads it."""
    path = tmp_path / f"coins_of_{tmp_path.name}.py"

    def write(share: float) -> str:
        path.write_text(PLUGINS.replace("SHARE", str(share)))
        load_file(path)
        return path.stem

    return write


def run(folder: Path, plan: Plan) -> Summary:
    with Store(folder, write=True) as store:
        for _ in audit(plan, store, serial, run_trial, "antivenom audit"):
            pass
    return summary_of(Store(folder))


def state_of(summary: Summary) -> State:
    return next(cell.state for cell in summary.attacks if cell.attack == "Turns")


def test_an_edited_plugin_runs_again(tmp_path: Path, plugin: Any, capsys: pytest.CaptureFixture[str]) -> None:
    plugin(0.0)
    first = run(tmp_path / "out", plan_of(TEXT, "x"))
    assert (first.trials["reused"], first.trials["run"], state_of(first)) == (0, 6, State.INCONCLUSIVE)
    again = run(tmp_path / "out", plan_of(TEXT, "x"))
    assert (again.trials["reused"], again.trials["run"]) == (6, 0)
    plugin(0.9)
    edited = run(tmp_path / "out", plan_of(TEXT, "x"))
    # The scenario stands in the same file, so its clean twins are not what they were either.
    assert (edited.trials["reused"], edited.trials["run"], state_of(edited)) == (0, 6, State.BREACHED)
    plugin(0.0)
    back = run(tmp_path / "out", plan_of(TEXT, "x"))
    assert (back.trials["reused"], back.trials["run"], state_of(back)) == (6, 0, State.INCONCLUSIVE)
    terminal.print_summary(back, [])
    assert "6 of 6 trials finished, 3 seeds; 6 reused, 0 run" in capsys.readouterr().out
    terminal.print_json(back, [])
    assert json.loads(capsys.readouterr().out)["trials"] | {"reused": 6, "run": 0} == back.trials
    assert "reused 6, run 0" in render(back)


def test_only_what_depends_on_an_edited_file_runs_again(tmp_path: Path, plugin: Any) -> None:
    plugin(0.0)
    other = tmp_path / f"others_of_{tmp_path.name}.py"
    text = PLUGINS[PLUGINS.index("@logic_attack") :].replace("Turns", "TurnsToo")
    head = "from antivenom import logic_attack\n"
    other.write_text(head + text.replace("SHARE", "0.1"))
    load_file(other)
    both = TEXT.replace("[Turns]", "[Turns, TurnsToo]")
    assert run(tmp_path / "out", plan_of(both, "x")).trials["run"] == 9
    other.write_text(head + text.replace("SHARE", "0.2"))
    load_file(other)
    trials = run(tmp_path / "out", plan_of(both, "x")).trials
    assert (trials["reused"], trials["run"]) == (6, 3)


def test_an_interrupted_audit_reuses_what_it_has(tmp_path: Path, plugin: Any) -> None:
    plugin(0.5)
    with Store(tmp_path / "out", write=True) as store:
        records = audit(plan_of(TEXT, "x"), store, serial, run_trial, "antivenom audit")
        for _ in range(4):
            next(records)
        records.close()  # type: ignore[attr-defined]
    assert summary_of(Store(tmp_path / "out")).trials["run"] == 4
    trials = run(tmp_path / "out", plan_of(TEXT, "x")).trials
    assert (trials["reused"], trials["run"]) == (4, 2)


def test_another_version_runs_everything_again(tmp_path: Path, plugin: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin(0.5)
    run(tmp_path / "out", plan_of(TEXT, "x"))
    monkeypatch.setattr(identity, "version", lambda: "0.1.0 of another commit")
    assert run(tmp_path / "out", plan_of(TEXT, "x")).trials["run"] == 6


def test_invented_records_are_ignored_and_said(tmp_path: Path, plugin: Any, capsys: pytest.CaptureFixture[str]) -> None:
    plugin(0.9)
    plan = plan_of(TEXT, "x")
    with Store(tmp_path / "out", write=True) as store:
        for job in plan.jobs.values():  # as keys were made before: of the specification alone
            spec = {"schema": 1, "type": "trial", "key": job.key, "spec": job.spec, "status": "ok"}
            store.append(spec | {"metrics": {"asr": 0.0, "clean_accuracy": 0.9}, "curves": {}, "notes": []})
    summary = run(tmp_path / "out", plan)
    assert (summary.trials["run"], summary.foreign, state_of(summary)) == (6, 6, State.BREACHED)
    terminal.print_summary(summary, [])
    assert "6 records whose key does not follow from their content; they were ignored" in " ".join(
        capsys.readouterr().out.split()
    )


def test_device_and_place_are_noted_and_are_no_part_of_the_key(plugin: Any) -> None:
    plugin(0.5)
    (job, *_) = plan_of(TEXT, "x").jobs.values()
    one, other = run_trial(job_of(job)), run_trial(job.spec, device="meta")
    assert one["key"] == other["key"] == job.key == Trial.from_spec(job.spec).key
    assert (one["device"], other["device"]) == ("cpu", "meta")


def test_a_result_is_not_filed_under_the_code_that_was_planned_if_another_ran(plugin: Any) -> None:
    plugin(0.5)
    jobs = [job_of(job) for job in plan_of(TEXT, "x").jobs.values()]
    name = plugin(0.6)  # as a worker may find it that starts after an edit
    record = run_trial(jobs[-1])
    assert record["status"] == "error"
    assert record["error"].startswith(
        f"expected the code of antivenom_plugin_{name}:Coin as it was planned, got another"
    )
    assert record["error"].endswith("start the audit again")


def test_data_are_part_of_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, module = tmp_path / "rows.txt", tmp_path / "my_rows.py"
    module.write_text(
        "from pathlib import Path\nimport numpy as np\n"
        f"def load():\n    x = np.loadtxt({str(rows)!r})\n    return x, (x[:, 0] > 0).astype(int)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    text = "scenarios: [{kind: central, data: 'my_rows:load', attacks: [BadNets]}]"

    def keys(number: str) -> set[str]:
        rows.write_text("".join(f"{i % 2 - 0.5} {number}\n" for i in range(40)))
        return {*plan_of(text, "x").jobs}

    assert keys("1") == keys("1")
    assert not keys("1") & keys("2")
    sys.modules.pop("my_rows")


def test_code_counts_with_the_helpers_that_it_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "my_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "top.py").write_text("import numpy\nfrom .middle import middle\n\ndef top():\n    return middle()\n")
    (folder / "middle.py").write_text("def middle():\n    from my_package.low import LOW\n    return LOW\n")
    (folder / "low.py").write_text("LOW = 1\n")
    (folder / "apart.py").write_text("APART = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    from my_package.top import top  # type: ignore[import-not-found]

    before = code_of(top)
    (folder / "apart.py").write_text("APART = 2\n")
    assert code_of(top) == before
    (folder / "low.py").write_text("LOW = 2\n")
    assert code_of(top) != before
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_package"]:
        del sys.modules[name]


def test_installed_code_is_named_by_its_version() -> None:
    from importlib.metadata import version

    from sklearn.svm import SVC

    assert code_of(SVC) == f"scikit-learn {version('scikit-learn')}"
    assert code_of(json.dumps).startswith("python 3.")
