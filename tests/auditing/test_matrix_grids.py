"""The grids of benchmarks/matrix are those that they are named for, and the page is that of the matrix."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from antivenom.auditing.plan import Plan, plan_of
from antivenom.auditing.recommend import measured
from antivenom.core.registry import describe
from antivenom.core.threat import Goal
from antivenom.federated import Bulyan, LineSearch, Mean

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(ROOT / "benchmarks/matrix")
    return importlib.import_module


def planned(run: Any, grid: Any) -> Plan:
    return plan_of(yaml.safe_dump(run.plan(grid), sort_keys=False), grid.name)


def assumed(spec: Any) -> set[int]:
    if isinstance(spec, dict):
        return {f for key, value in spec.items() for f in ({value} if key == "f" else assumed(value))}
    return {f for item in spec for f in assumed(item)} if isinstance(spec, list) else set()


def test_every_grid_is_the_one_it_is_named_for(script: Any) -> None:
    run = script("run")
    assert len({grid.name for grid in run.GRIDS}) == len(run.GRIDS)
    for grid in run.GRIDS:
        for cell in planned(run, grid).cells:
            federation = cell.scenario.federation
            assert (federation.num_agents, federation.num_malicious) == (11, grid.malicious)
            assert (type(federation.partition).__name__ == "IID") == (grid.shards == "equal")
            assert cell.scenario.data.dataset == grid.data
            if cell.defence is not None:
                found = assumed(describe(cell.defence))
                assert found <= {grid.assumed}
                assert found or grid.assumed in (grid.malicious, 0)
                assert not (isinstance(cell.defence, Bulyan) and grid.assumed > 2)


def test_the_documented_grid_is_12_by_12_by_3_and_every_rule_has_an_attacker_who_knows_it(script: Any) -> None:
    run = script("run")
    plan = planned(run, run.GRIDS[0])
    assert plan.seeds == (0, 1, 2)
    attacked = [cell for cell in plan.cells if cell.attack is not None]
    assert len({type(cell.attack) for cell in attacked}) >= 12
    rules = {cell.defence for cell in plan.cells} - {None}
    assert len(rules) == 12
    for rule in (None, *rules):
        tuned = [c for c in attacked if c.defence == rule and isinstance(c.attack, LineSearch)]
        assert any(cell.attack.rule == (Mean() if rule is None else rule) for cell in tuned)
        goals = {cell.scenario.goal for cell in attacked if cell.defence == rule}
        assert goals == {Goal.AVAILABILITY, Goal.BACKDOOR, Goal.TARGETED}


def test_a_grid_without_malicious_agents_has_no_attack(script: Any) -> None:
    run = script("run")
    for grid in (grid for grid in run.GRIDS if grid.malicious == 0):
        cells = planned(run, grid).cells
        assert {cell.attack for cell in cells} == {None}
        assert len(cells) == 13


def test_the_page_is_that_of_the_matrix(script: Any) -> None:
    text = "\n".join(script("page").lines(measured())) + "\n"
    assert text == (ROOT / "docs/guide/matrix.md").read_text(encoding="utf-8")
