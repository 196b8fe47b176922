"""The scenario files that are shipped: each is one, and a quick one runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from antivenom.auditing.plan import read_plan
from antivenom.data import Split

ROOT = Path(__file__).parents[2]
FILES = sorted([*ROOT.glob("examples/scenarios/*.yaml"), *ROOT.glob("benchmarks/claims/availability/*.yaml")])


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_each_is_a_plan_with_three_seeds_or_more(path: Path) -> None:
    plan = read_plan(path)
    assert plan.cells
    assert len(plan.seeds) >= 3


@pytest.mark.parametrize("name", ["spambase", "adult", "enron", "imdb"])
def test_the_named_corpora_have_an_example(name: str) -> None:
    plan = read_plan(ROOT / "examples" / "scenarios" / f"{name}.yaml")
    assert all(cell.scenario.data.dataset.startswith(name) for cell in plan.cells)
    assert any(cell.attack is not None and cell.defence is not None for cell in plan.cells)


def test_one_of_them_runs_and_its_attack_bites(named_data: Callable[[str], Split]) -> None:
    named_data("spambase")
    plan = read_plan(ROOT / "examples" / "scenarios" / "spambase.yaml")
    bare = {str(cell.attack): cell for cell in plan.cells if cell.group == "labels" and cell.defence is None}
    found = {
        name: cell.scenario.run(cell.attack, None, 0).metrics["clean_accuracy"]
        for name, cell in bare.items()
        if cell.attack is None or cell.attack.choice == "furthest"
    }
    assert len(found) == 2
    assert min(found.values()) < found["None"] - 0.05
