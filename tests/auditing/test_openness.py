"""A stranger's goal and a stranger's scenario: one file each, and every view of the audit knows them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from antivenom.auditing import terminal
from antivenom.auditing.catalogue import page, rows
from antivenom.auditing.executors import serial
from antivenom.auditing.grid import label
from antivenom.auditing.knowledge import knowledge
from antivenom.auditing.plan import Plan, plan_of
from antivenom.auditing.records import Store
from antivenom.auditing.report import render
from antivenom.auditing.report.replay import replay
from antivenom.auditing.results import State, Summary
from antivenom.auditing.run import audit
from antivenom.auditing.summary import summary_of
from antivenom.auditing.trial import Trial, run_trial
from antivenom.core.errors import ScenarioError
from antivenom.core.registry import load_file
from antivenom.core.threat import Knowledge
from antivenom.federated import Federation, Krum, Median
from antivenom.federated.agents import ALIE, LineSearch, Scaled
from antivenom.scenarios.central import Central
from antivenom.scenarios.federated import Federated
from antivenom.testing import check_plugin

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "guide" / "plugins.md").read_text(encoding="utf-8")
GOAL, SCENARIO = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)

WITH_GOAL = """
version: 1
name: points
seeds: 2
scenarios:
  - kind: central
    access: data-manipulation
    goal: points-lost
    model: {name: MLP, hidden: [16]}
    training: {epochs: 5, learning_rate: 0.01}
    attacks: [ShiftLabels]
"""
WITH_SCENARIO = """
version: 1
name: polls
seeds: 4
scenarios:
  - {kind: poll, voters: [101, 501], attacks: [StuffsBallots]}
"""


def loaded(tmp_path: Path, text: str) -> None:
    path = tmp_path / f"stranger_of_{tmp_path.name}.py"
    path.write_text(text)
    load_file(path)


def audited(folder: Path, plan: Plan) -> Summary:
    with Store(folder, write=True) as store:
        for record, _ in audit(plan, store, serial, run_trial, "antivenom audit"):
            assert record["status"] == "ok", record["error"]
    return summary_of(Store(folder))


def shown(summary: Summary, plan: Plan, capsys: pytest.CaptureFixture[str]) -> tuple[str, str, dict[str, Any]]:
    """The terminal's plan, its table, and the JSON document."""
    found = []
    for view in (lambda: terminal.print_plan(plan, 0, plan.size), lambda: terminal.print_summary(summary, [])):
        view()
        found.append(" ".join(capsys.readouterr().out.split()))
    terminal.print_json(summary, [])
    return found[0], found[1], json.loads(capsys.readouterr().out)


def test_a_goal_in_one_file(tmp_path: Path, plugins: None, capsys: pytest.CaptureFixture[str]) -> None:
    loaded(tmp_path, GOAL)
    plan = plan_of(WITH_GOAL, "x")
    assert plan.limits["points-lost"] == 0.05
    summary = audited(tmp_path / "out", plan)
    cell = next(cell for cell in summary.attacks if cell.defence == "none")
    accuracies = [record["metrics"]["clean_accuracy"] for record in cell.records]
    twin = next(c for c in summary.cells if c.is_clean_twin)
    lost = [r["metrics"]["clean_accuracy"] - a for r, a in zip(twin.records, accuracies, strict=True)]
    assert cell.harm is not None
    assert cell.harm.values == pytest.approx(lost)
    assert (cell.limit, cell.state) == (0.05, State.BREACHED)
    _, table, document = shown(summary, plan, capsys)
    assert "points of accuracy lost" in table
    assert document["cells"][0]["goal"] == "points-lost"
    report = render(summary)
    assert "measured as points of accuracy lost" in report
    assert "Harm is the accuracy lost, minus what the clean twin shows" in report
    assert "points-lost" in page("points-lost")
    assert "points-lost" in {row["name"] for row in rows("goals")}
    assert {row["name"] for row in rows("attacks", goal="points-lost")} == {"ShiftLabels"}
    check_plugin("points-lost")


def test_a_scenario_in_one_file(tmp_path: Path, plugins: None, capsys: pytest.CaptureFixture[str]) -> None:
    loaded(tmp_path, SCENARIO)
    plan = plan_of(WITH_SCENARIO, "x")
    assert {cell.group for cell in plan.cells} == {"poll [voters=101]", "poll [voters=501]"}
    for cell in plan.cells:
        spec = json.loads(json.dumps(cell.trial(3).spec))
        assert spec["scenario"]["kind"] == "poll"
        assert Trial.from_spec(spec) == cell.trial(3)
    summary = audited(tmp_path / "out", plan)
    first, table, document = shown(summary, plan, capsys)
    assert "poll [voters=101] ballot-box" in first
    assert "ballot-box ✗ BREACHED" in table
    level = next(level for level in document["levels"] if level["level"] == "ballot-box")
    assert level["state"] == "BREACHED"
    report = render(summary)
    assert "An attacker who reaches the ballot box" in report
    assert "votes for the attacker" in report  # its own chart and table
    assert report.count("<figure") == 2  # a figure for each variant; there is no defence whose price could be drawn
    assert "not stated" in report
    again = plan_of(replay(summary.attacks[0], summary.plan) or "", "replay")
    assert {*again.jobs} <= {*plan.jobs}
    check_plugin("poll")
    with pytest.raises(ScenarioError, match=r"scenarios\[0\].voter: expected a known field, got 'voter'"):
        plan_of(WITH_SCENARIO.replace("voters:", "voter:"), "x")


def test_without_them_the_audit_says_what_can_be_measured(plugins: None) -> None:
    with pytest.raises(
        ScenarioError,
        match="the name of a scenario, got 'poll': choose from acceptance, central, federated, membership, transfer",
    ):
        plan_of(WITH_SCENARIO, "x")
    with pytest.raises(ScenarioError, match=r"expected a valid Central\.goal, got 'points-lost'"):
        plan_of(WITH_GOAL.replace("ShiftLabels", "BadNets"), "x")


NAMED = '''
from antivenom import Poison, attack

@attack(access=("data-manipulation",), goal="backdoor", cite="none")
class Signed:
    """Does nothing. Weakness: does nothing. Fields: name: who signs. fields: how many. rate: unused."""
    name: str = "nobody"
    fields: int = 1
    rate: float = 0.1

    def __call__(self, data, context):
        return Poison.none(data)
'''


def test_a_field_may_be_called_name(tmp_path: Path, plugins: None) -> None:
    loaded(tmp_path, NAMED)
    text = """
scenarios:
  - kind: central
    access: data-manipulation
    attacks: [Signed, {name: Signed, rate: 0.2, fields: {name: [Ann, Bob], fields: 2}}]
"""
    plan = plan_of(text, "x")
    attacks = {label(cell.attack) for cell in plan.cells} - {"none"}
    assert attacks == {"Signed", "Signed(name=Ann, fields=2, rate=0.2)", "Signed(name=Bob, fields=2, rate=0.2)"}
    for identity in plan.jobs.values():
        assert Trial.from_spec(json.loads(json.dumps(identity.spec))).key == identity.key
    described = next(i.spec["attack"] for i in plan.jobs.values() if (i.spec["attack"] or {}).get("rate") == 0.2)
    assert described == {"name": "Signed", "rate": 0.2, "fields": {"name": "Ann", "fields": 2}}
    with pytest.raises(ScenarioError, match=r"x line 5, scenarios\[0\].attacks\[1\].fields.nam: .*did you mean 'name'"):
        plan_of(text.replace("name: [Ann", "nam: [Ann"), "x")
    with pytest.raises(ScenarioError, match="'rate' beside `fields` and below it: remove one"):
        plan_of(text.replace("fields: 2}", "rate: 2}"), "x")


OMNISCIENT = Federated(goal="availability", federation=Federation(num_malicious=2, knowledge=Knowledge.OMNISCIENT))  # type: ignore[arg-type]
FOREIGN = "the others' rows"


@pytest.mark.parametrize(
    ("scenario", "attack", "defence", "known", "unknown"),
    [
        (
            OMNISCIENT,
            LineSearch(ALIE(), rule=Median()),
            Median(),
            ["the others' current updates", "the defence (its field `rule`)"],
            [FOREIGN],
        ),
        (
            OMNISCIENT,
            Scaled(LineSearch(ALIE(), rule=Median())),
            Median(),
            ["the defence (its field `rule`)"],
            [FOREIGN],
        ),
        (
            OMNISCIENT,
            LineSearch(ALIE(), rule=Median()),
            Krum(),
            ["how Median works (its field `rule`)"],
            ["the defence"],
        ),
        (Federated(goal="availability"), ALIE(), Krum(), [], [FOREIGN, "the others' current updates", "the defence"]),  # type: ignore[arg-type]
        (
            Central(attacker_rows=50, test_known=0.3),
            "BadNets",
            None,
            ["50 rows of its own", "30% of the test rows"],
            [],
        ),
        (Central(access="logic-corruption"), "BlindBackdoor", None, ["the batch in hand"], ["the other rows"]),  # type: ignore[arg-type]
    ],
)
def test_what_the_attacker_knew_follows_from_the_trial(
    scenario: Any, attack: Any, defence: Any, known: list[str], unknown: list[str]
) -> None:
    from antivenom.core.registry import ATTACKS, build

    told, _, withheld = knowledge(scenario, build(attack, *ATTACKS), defence).partition("; ")
    for part in known:
        assert part in told
        assert f"not {part}" not in withheld
    for part in unknown:
        assert f"not {part}" in withheld
        assert part not in told.split(", ")
    assert ("not the defence" in withheld) == ("the defence (" not in told)


def test_nothing_in_the_audit_or_the_command_line_names_a_goal_or_a_scenario() -> None:
    names = "availability|targeted|backdoor|privacy|central|transfer|federated|membership"
    room = ROOT / "src" / "antivenom"
    files = [f for folder in ("auditing", "cli") for ext in ("py", "j2") for f in (room / folder).rglob(f"*.{ext}")]
    assert len(files) > 20
    for file in files:
        # recommend.py tells of measurements of federations, inspect.py is the command that asks one question of a model
        # file, and the help of cli/audit.py and cli/own.py names what a user can write.
        if file.name not in ("recommend.py", "inspect.py") and file not in (
            room / "cli" / n for n in ("audit.py", "own.py")
        ):
            found = re.findall(rf"\b(?:{names})\b(?!-)", file.read_text(encoding="utf-8"))
            assert not found, f"{file.name} names {found}"
