"""Selected cells are confirmed on fresh seeds: hand-made records, the allocation, and the bias that it removes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from antivenom.auditing import terminal
from antivenom.auditing.allocation import grow
from antivenom.auditing.evidence import bounds
from antivenom.auditing.executors import serial
from antivenom.auditing.formatting import effect, unconfirmed
from antivenom.auditing.judging import error_of
from antivenom.auditing.plan import Plan, plan_of
from antivenom.auditing.records import Store
from antivenom.auditing.report import render
from antivenom.auditing.results import CellResult, LevelResult, State, Summary
from antivenom.auditing.run import audit, missing
from antivenom.auditing.sentences import do_first
from antivenom.auditing.stopping import Stop, stops
from antivenom.auditing.summary import summarise, summary_of
from antivenom.auditing.trial import Record, blank
from antivenom.core.errors import ScenarioError

LEVELS = [{"name": "data-injection", "about": "adds rows", "access": ["data-injection"], "add": "kind: central"}]
HERE = {"device": "cpu", "started": "2026-01-01T00:00:00+00:00"}
ROWS = 1_000_000  # so many that a test row changes no number here


def measured(rate: float, accuracy: float = 0.95) -> dict[str, float]:
    return {"asr": rate, "clean_accuracy": accuracy, "chance_accuracy": 0.1, "triggered_rows": ROWS, "test_rows": ROWS}


def summary(
    values: Mapping[tuple[str, str], tuple[list[float | None], list[float | None]]], accuracy: Mapping[str, float] = {}
) -> Summary:
    """Of (attack, defence) -> ASR on the seeds of the selection, and on fresh ones; None for a trial that did not finish."""
    cells, records = [], {}
    for (attack, defence), (first, fresh) in values.items():
        keys = [f"{attack} {defence} {seed}" for seed in range(100)]
        own, more = keys[: len(first)], keys[50 : 50 + len(fresh)]
        cells.append(
            {"group": "g", "level": "data-injection", "goal": "backdoor", "scenario": {}, "attack": attack}
            | {
                "defence": defence,
                "deployed": defence == "none",
                "knowledge": "",
                "budget": "",
                "keys": own,
                "fresh": more,
            }
        )
        for key, rate in zip((*own, *more), (*first, *fresh), strict=True):
            fields = {"key": key, "curves": {}, "notes": [], "error": None}
            if rate is None:
                records[key] = fields | {"status": "error", "error": "failed", "metrics": {}}
            else:
                records[key] = fields | {"status": "ok", "metrics": measured(rate, accuracy.get(defence, 0.95))}
    more = {"first": 4, "most": 40, "trials": None, "confirm": 8}
    plan = {"name": "p", "seeds": [0], "limits": {"backdoor": 0.2}, "fail_if": {}, "cells": cells, "levels": LEVELS}
    return summarise(plan | {"more": more}, records)


def level_of(found: Summary) -> LevelResult:
    return found.levels[0]


def cell(found: Summary, attack: str, defence: str = "none") -> CellResult:
    return next(c for c in found.cells if (c.attack, c.defence) == (attack, defence))


CLEAN = ([0.0] * 4, [0.0] * 4)


def test_a_selected_cell_shows_the_mean_of_its_fresh_seeds_with_bounds_from_all() -> None:
    found = summary({("none", "none"): CLEAN, ("A", "none"): ([0.9, 0.8, 1.0, 0.9], [0.5, 0.7])})
    shown = level_of(found).deployed
    assert shown is not None
    assert shown.confirmed is not None
    assert shown.confirmed.harm.mean == pytest.approx(0.6)
    assert shown.confirmed.harm.n == 2
    assert shown.harm is not None
    assert shown.harm.mean == pytest.approx((0.9 + 0.8 + 1.0 + 0.9 + 0.5 + 0.7) / 6)
    every = [0.9, 0.8, 1.0, 0.9, 0.5, 0.7]
    assert (shown.confirmed.harm.low, shown.confirmed.harm.high) == pytest.approx(
        bounds(every, every, error_of(1)), abs=1e-4
    )
    assert (shown.planned, shown.fresh, shown.finished) == (6, 2, 6)
    low, high = (f"{100 * end:.0f}" for end in bounds(every, every, error_of(1)))
    assert effect(shown) == f"60% on 2 fresh seeds ({low} to {high}, 6 seeds)"
    assert unconfirmed(found) == ""


def test_the_bounds_are_widened_to_a_mean_that_lies_outside() -> None:
    found = summary({("none", "none"): ([0.0] * 40, [0.0] * 2), ("A", "none"): ([0.01] * 40, [0.9, 0.9])})
    confirmed = cell(found, "A").confirmed
    assert confirmed is not None
    assert confirmed.harm.mean == confirmed.harm.high == pytest.approx(0.9)


def test_fresh_seeds_have_no_part_in_the_selection() -> None:
    values = {("none", "none"): CLEAN, ("A", "none"): ([0.5] * 4, [0.0] * 4), ("B", "none"): ([0.4] * 4, [])}
    values |= {("none", "D"): CLEAN, ("A", "D"): ([0.1] * 4, [0.4] * 4), ("B", "D"): ([0.0] * 4, [])}
    values |= {("none", "E"): CLEAN, ("A", "E"): ([0.2] * 4, []), ("B", "E"): ([0.0] * 4, [])}
    found = summary(values)
    level = level_of(found)
    assert level.deployed is cell(found, "A")  # although B's mean over all seeds, .4, is above A's .25
    assert level.best is cell(found, "A", "D")  # although E leaves .2, and D .25 over all seeds
    assert [c.confirmed is not None for c in level.selected] == [True, True]
    assert level.severity[1] == pytest.approx(0.5 / 0.2)


def test_the_verdict_rests_on_all_seeds() -> None:
    found = summary({("none", "none"): ([0.0] * 2, [0.0] * 4), ("A", "none"): ([1.0] * 2, [1.0] * 4)})
    assert level_of(found).state is State.BREACHED
    assert summary({("none", "none"): CLEAN, ("A", "none"): ([1.0] * 2, [])}).levels[0].state is State.INCONCLUSIVE


def test_do_first_gives_means_and_cost_on_fresh_seeds() -> None:
    values = {("none", "none"): ([0.0] * 40, [0.0] * 4), ("A", "none"): ([1.0] * 40, [0.9] * 4)}
    values |= {("none", "D"): ([0.0] * 40, [0.0] * 4), ("A", "D"): ([0.0] * 40, [0.03] * 4)}
    found = summary(values, accuracy={"D": 0.93})
    assert do_first(found) == (
        "Deploy D in “g”, the cheapest defence that held: the worst harm goes from 90% to 3%; it costs 2.0 points of accuracy."
    )


def test_fresh_seeds_that_failed_are_left_out_and_named() -> None:
    found = summary({("none", "none"): CLEAN, ("A", "none"): ([1.0] * 4, [0.5, None, None, None])})
    confirmed = cell(found, "A").confirmed
    assert confirmed is not None
    assert (confirmed.harm.mean, confirmed.harm.n) == (0.5, 1)
    none = summary({("none", "none"): CLEAN, ("A", "none"): ([1.0] * 4, [None] * 4)})
    assert cell(none, "A").confirmed is None
    assert "some trials with fresh seeds did not finish" in unconfirmed(none)


TEXT = """
version: 1
name: fresh
seeds: {first: 4, most: 12, confirm: 3}
limits: {backdoor: 0.2}
scenarios:
  - {kind: central, name: one, goal: backdoor, wanted: 0, attacks: [{name: BadNets, poisoned_rate: 0.9}], defences: [FinePruning]}
  - {kind: central, name: two, goal: backdoor, wanted: 0, attacks: [{name: BadNets, poisoned_rate: 0.1}]}
"""


def run(spec: Any) -> Record:
    """As in test_allocation: the strong attack succeeds always, with FinePruning and the weak one in every fifth seed."""
    strong = spec["attack"] is not None and spec["attack"]["poisoned_rate"] == 0.9
    every_fifth = float(spec["seed"] % 5 == 0)
    rate = 0.0 if spec["attack"] is None else 1.0 if strong and spec["defence"] is None else every_fifth
    return blank(spec) | {"status": "ok", "metrics": measured(rate), **HERE}


def planned(seeds: str = "{first: 4, most: 12, confirm: 3}") -> Plan:
    return plan_of(TEXT.replace("{first: 4, most: 12, confirm: 3}", seeds), "fresh.yaml")


def audited(folder: Path, plan: Plan, runner: Callable[[Any], Record] = run) -> Summary:
    with Store(folder, write=True) as store:
        for _ in audit(plan, store, serial, runner, "antivenom audit"):
            pass
    return summary_of(Store(folder))


def fresh(found: Summary) -> dict[tuple[str, str, str], int]:
    return {(c.group, c.attack.split("(")[0], c.defence): c.fresh for c in found.cells}


def test_the_shown_cells_and_their_twins_get_seeds_that_no_cell_had(tmp_path: Path) -> None:
    found = audited(tmp_path, planned())
    assert fresh(found) == {
        ("one", "none", "none"): 3,
        ("one", "none", "FinePruning"): 3,
        ("one", "BadNets", "none"): 3,  # the worst, which is deployed and undefended
        ("one", "BadNets", "FinePruning"): 3,  # the best defence
        ("two", "none", "none"): 0,
        ("two", "BadNets", "none"): 0,
    }
    assert found.trials["planned"] == found.trials["ok"] == 52 + 4 * 3  # 52 as in test_allocation
    assert found.plan["fresh"] == [12, 13, 14]
    assert found.plan["seeds"] == list(range(12))
    used = {r["spec"]["seed"] for r in found.cells[2].records}
    assert used == {0, 1, 2, 3, 12, 13, 14}
    assert [s for s in stops(found).values() if s is Stop.MOST] == [Stop.MOST] * 2
    assert not missing(planned(), Store(tmp_path))


@pytest.mark.parametrize(
    ("trials", "growth", "size"),
    [
        (20, 20, 0),  # the first four seeds take the whole budget
        (27, 20, 1),  # 12 trials are kept for the confirmation: 4 for each fresh seed
        (28, 20, 2),
        (34, 22, 3),
        (64, 52, 3),
        (63, 50, 3),  # a seed of the weak attack takes two trials
    ],
)
def test_the_budget_keeps_room_for_the_confirmation(tmp_path: Path, trials: int, growth: int, size: int) -> None:
    found = audited(tmp_path, planned(f"{{first: 4, most: 12, trials: {trials}, confirm: 3}}"))
    assert max(fresh(found).values()) == size
    assert found.trials["planned"] == growth + 4 * size
    open_cells = [reason for reason in stops(found).values() if reason is not Stop.DECIDED]
    assert len(open_cells) == 2
    assert size == 0 or Stop.CLOSED not in open_cells
    assert ("the budget of trials is spent" in unconfirmed(found)) is (size == 0)


class Killed(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("after", [10, 51, 53, 60])
def test_a_killed_audit_confirms_the_same_cells(tmp_path: Path, after: int) -> None:
    left = iter(range(after))

    def dies(spec: Any) -> Record:
        if next(left, None) is None:
            raise Killed
        return run(spec)

    whole = audited(tmp_path / "whole", planned())
    with pytest.raises(Killed):
        audited(tmp_path / "killed", planned(), dies)
    resumed = audited(tmp_path / "killed", planned())
    assert [c.keys for c in resumed.cells] == [c.keys for c in whole.cells]
    assert fresh(resumed) == fresh(whole)


def test_more_seeds_later_turn_fresh_ones_into_ordinary_ones(tmp_path: Path) -> None:
    audited(tmp_path, planned())
    found = audited(tmp_path, planned("{first: 4, most: 15, confirm: 3}"))
    assert found.plan["fresh"] == [15, 16, 17]
    weak = found.cells[-1]
    assert (weak.planned, weak.fresh) == (15, 0)


def test_views_name_the_fresh_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = audited(tmp_path, planned())
    page = render(found)
    assert "100% on 3 fresh seeds (" in page
    assert "Not confirmed" not in page
    terminal.print_summary(found, [])
    out = " ".join(capsys.readouterr().out.split())
    assert "3 fresh seeds" in out
    assert "Not confirmed" not in out
    terminal.print_json(found, [])
    assert '"confirmed": {' in capsys.readouterr().out


def test_fixed_seeds_are_named_as_those_of_the_selection(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = audited(tmp_path, planned("5"))
    assert {*fresh(found).values()} == {0}
    words = "Not confirmed on fresh seeds: the means are those of the seeds on which the worst attack"
    assert words in render(found)
    terminal.print_summary(found, [])
    assert words in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("written", ["-1", "true", "1.5", "many", "10001"])
def test_a_wrong_number_of_fresh_seeds_is_refused(written: str) -> None:
    with pytest.raises(ScenarioError, match="expected confirm: a number from 0 to 10000"):
        planned(f"{{first: 4, most: 12, confirm: {written}}}")


def test_the_default_is_eight() -> None:
    more = planned("{first: 4, most: 12}").more
    assert more is not None
    assert more.confirm == 8


def test_the_best_of_ten_equal_defences_is_not_reported_as_better_than_it_is() -> None:
    neighbours = ", ".join(map(str, range(1, 11)))
    plan = plan_of(
        f"""
version: 1
seeds: {{first: 5, most: 5, confirm: 8}}
limits: {{backdoor: 0.2}}
scenarios:
  - kind: central
    goal: backdoor
    wanted: 0
    attacks: [BadNets]
    defences: [{{name: KNNSanitizer, k: [{neighbours}]}}]
""",
        "ten.yaml",
    )
    selected, confirmed, covered = [], [], []
    for repetition in range(15):
        found = simulated(plan, repetition)
        best = level_of_injection(found).best
        assert best is not None
        assert best.confirmed is not None
        assert best.harm is not None
        selected.append(float(np.mean(best.harm.values[:5])))
        confirmed.append(best.confirmed.harm.mean)
        covered.append(best.confirmed.harm.low <= 0.3 <= best.confirmed.harm.high)
    # every defence leaves .30 with a standard deviation of .10 over seeds: the least of ten means of five is .23
    assert np.mean(selected) < 0.26
    assert abs(np.mean(confirmed) - 0.3) < 3 * 0.1 / np.sqrt(8 * 15)
    assert all(covered)


def level_of_injection(found: Summary) -> LevelResult:
    return next(level for level in found.levels if level.planned)


def simulated(plan: Plan, repetition: int) -> Summary:
    """The summary of an audit in which each defence leaves a random harm with mean .3 in each seed."""
    known: dict[str, Record] = {}
    counts = plan.first
    while True:
        for key, each in plan.asked(counts).items():
            if key not in known:
                spec = plan.identity(*each).spec
                defence = 0 if spec["defence"] is None else spec["defence"]["k"]
                rng = np.random.default_rng([repetition, spec["seed"], defence])
                rate = 0.0 if spec["attack"] is None else 1.0 if defence == 0 else float(rng.beta(6, 14))
                known[key] = {"key": key, "status": "ok", "metrics": measured(rate), "notes": [], "curves": {}}
        found = summarise(plan.record("", counts), known)
        grown = grow(plan, counts, found)
        if grown == counts:
            return found
        counts = grown
