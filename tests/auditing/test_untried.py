"""What an audit did not try is counted from the registry and the plan."""

from __future__ import annotations

from typing import Any

import pytest

from antivenom.auditing import terminal
from antivenom.auditing.plan import plan_of
from antivenom.auditing.report import render
from antivenom.auditing.results import Summary
from antivenom.auditing.summary import summarise
from antivenom.auditing.trial import blank
from antivenom.auditing.untried import untried
from antivenom.core.registry import Kind, entries

TEXT = """
version: 1
seeds: 1
scenarios:
  - {kind: central, access: data-injection, goal: backdoor, wanted: 0, attacks: [BadNets]}
  - kind: federated
    wanted: {name: FromTo, source: 5, target: 7}
    attacks: [{name: LineSearch, rule: Krum, agent: ExplicitBoosting}]
"""
METRICS = {
    "asr": 0.5,
    "targets_hit": 0.5,
    "clean_accuracy": 0.9,
    "chance_accuracy": 0.1,
    "test_rows": 100,
    "triggered_rows": 90,
}


def audited(finished: bool = True) -> Summary:
    plan = plan_of(TEXT, "s.yaml")
    records: dict[str, Any] = {}
    for key, each in plan.asked(plan.first).items():
        done = {"status": "ok", "metrics": METRICS, "device": "cpu", "started": "2026", "versions": {"machine": "m"}}
        records[key] = blank(plan.identity(*each).spec) | (done if finished else {"error": "failed"})
    return summarise(plan.record(""), records)


def of(kinds: tuple[Kind, ...], goal: str, access: str | None = None) -> set[str]:
    """Attacks by an independent count."""
    return {e.name for e in entries(*kinds) if goal in e.goals and access in (None, *e.access) and e.name != "NoAttack"}


def test_attacks_are_counted_by_level_and_goal_with_the_parts_of_an_attack() -> None:
    central = (Kind.DATA_ATTACK, Kind.LOGIC_ATTACK, Kind.EVASION, Kind.MODEL_ATTACK)
    injected, agents = of(central, "backdoor", "data-injection"), of((Kind.AGENT,), "targeted")
    assert "BadNets" in injected
    assert {"LineSearch", "ExplicitBoosting", "DirtyLabel"} <= agents  # DirtyLabel adds rows, which a client can do
    said = untried(audited())
    assert f"data-injection {len(injected) - 1} of {len(injected)} for backdoor, " in said
    assert f"federated {len(agents) - 2} of {len(agents)} for targeted, " in said


def test_a_failed_attack_was_not_tried() -> None:
    agents = of((Kind.AGENT,), "targeted")
    assert f"federated {len(agents)} of {len(agents)} for targeted" in untried(audited(finished=False))


def test_every_view_says_it(capsys: pytest.CaptureFixture[str]) -> None:
    found = audited()
    terminal.print_summary(found, [])
    assert untried(found) in " ".join(capsys.readouterr().out.split())
    assert untried(found) in render(found)
    terminal.print_json(found, [])
    assert '"not_tried": "Not tried, of the attacks in the catalogue' in capsys.readouterr().out
