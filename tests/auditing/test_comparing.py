"""Two audits compared: made-up harms, one case for every change and exit code, and no noise called a change."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from antivenom.auditing.changes import difference, html_of
from antivenom.auditing.comparing import Comparison, compare
from antivenom.auditing.paired import Change
from antivenom.auditing.results import State, Summary
from antivenom.auditing.summary import summarise

Rates = dict[
    tuple[str, str], list[float | None]
]  # (attack, defence) -> attack success rate per seed; None if it failed
SEEDS = 12


def audit(rates: Rates, name: str = "a", **changes: Any) -> Summary:
    """A summary of made-up trials with 1000 triggered rows and clean twins of rate 0.

    `changes` are fields of all cells, `seeds`, `limits` or `deployed`.
    """
    seeds = changes.pop("seeds", list(range(SEEDS)))
    limits, deployed = changes.pop("limits", {"backdoor": 0.2}), changes.pop("deployed", "none")
    defences = {"none", *(defence for _, defence in rates)}
    twins: Rates = {("none", defence): [0.0] * len(seeds) for defence in sorted(defences)}
    cells, records = [], {}
    for (attack, defence), values in {**twins, **rates}.items():
        keys = [f"{name} {attack} {defence} {seed}" for seed in seeds[: len(values)]]
        cell = {"group": "g", "level": "data-injection", "goal": "backdoor", "scenario": {"model": "MLP"}}
        cell |= {"attack": attack, "defence": defence, "deployed": defence == deployed, "knowledge": "", "budget": ""}
        cells.append(cell | {"keys": keys} | changes)
        for key, seed, value in zip(keys, seeds, values, strict=False):
            metrics = {"clean_accuracy": 0.95, "chance_accuracy": 0.1, "test_rows": 1000, "triggered_rows": 1000}
            record = {"key": key, "status": "error" if value is None else "ok", "error": "it failed", "notes": []}
            record |= {"started": "2030-01-02T03:04:05", "versions": {"antivenom": "9", "machine": "secret"}}
            records[key] = record | {"spec": {"seed": seed}, "metrics": metrics | {"asr": value}, "version": "1"}
    levels = [{"name": "data-injection", "about": "adds rows", "access": ["data-injection"], "add": "kind: central"}]
    plan = {"name": name, "seeds": seeds, "limits": limits, "fail_if": {}, "cells": cells, "levels": levels}
    return summarise(plan, records)


def changed(before: list[float | None], after: list[float | None], **changes: Any) -> Comparison:
    return compare(audit({("A", "none"): before}), audit({("A", "none"): after}, "b", **changes))


def test_a_rise_in_every_seed_is_worse_and_its_interval_is_right() -> None:
    """Twelve of twelve seeds rose, which has a probability of 2^-12 if a rise is as likely as a fall."""
    found = changed([0.1] * SEEDS, [0.4] * SEEDS)
    (cell,) = found.cells
    assert (found.exit_code, cell.change) == (1, Change.WORSE)
    assert cell.before == pytest.approx(0.1)
    assert cell.after == pytest.approx(0.4)
    assert cell.difference is not None
    assert cell.difference.n == SEEDS
    assert cell.difference.mean == pytest.approx(0.3)
    assert -0.2 < cell.difference.low < 0.3 < cell.difference.high < 0.7  # of the mean: one seed in five might fall
    assert cell.reason == "the harm rose in 12 of 12 shared seeds"
    assert found.exit_reason == "1 of 1 pairs of attack and defence got worse"


def test_the_same_rise_is_better_in_the_other_direction() -> None:
    found = changed([0.4] * SEEDS, [0.1] * SEEDS)
    assert (found.exit_code, found.cells[0].change) == (0, Change.BETTER)
    assert found.exit_reason == "none of 1 pairs of attack and defence is shown to be worse"


def test_a_rise_in_some_seeds_is_no_change() -> None:
    """The mean rises by 5 points, but the seeds disagree."""
    after: list[float | None] = [0.6, 0.0, 0.5, 0.0, 0.3, 0.1, 0.5, 0.0, 0.2, 0.1, 0.2, 0.5]
    before: list[float | None] = [0.1, 0.4, 0.0, 0.5, 0.1, 0.2, 0.1, 0.2, 0.4, 0.1, 0.3, 0.0]
    found = changed(before, after)
    assert (found.exit_code, found.cells[0].change) == (0, Change.UNCHANGED)
    assert found.cells[0].reason == "no change shown"


def test_equal_trials_are_unchanged_without_an_interval() -> None:
    summary = audit({("A", "none"): [0.1, 0.9] * 6})
    found = compare(summary, summary)
    assert found.exit_code == 0
    assert found.cells[0].reason == "the same trials"
    assert difference(found.cells[0]) == "none"


def test_more_seeds_of_the_same_trials_are_no_change() -> None:
    values: list[float | None] = [0.1, 0.9] * 6
    found = compare(audit({("A", "none"): values[:4]}), audit({("A", "none"): values}))
    assert (found.cells[0].reason, difference(found.cells[0])) == ("the same trials", "none")


def test_a_tolerance_forgives_a_small_rise() -> None:
    before, after = audit({("A", "none"): [0.1] * SEEDS}), audit({("A", "none"): [0.4] * SEEDS}, "b")
    assert compare(before, after, tolerance=0.3).exit_code == 0


def test_a_rise_in_a_third_of_the_seeds_shows_in_the_mean() -> None:
    """The attack begins to work in every third run: no direction in most seeds, but the mean harm rose."""
    seeds = list(range(60))
    before, after = (
        audit({("A", "none"): [0.0] * 60}, seeds=seeds),
        audit({("A", "none"): [1.0, 0.0, 0.0] * 20}, "b", seeds=seeds),
    )
    found = compare(before, after)
    assert (found.cells[0].change, found.cells[0].reason) == (Change.WORSE, "the mean harm rose")


def test_few_seeds_show_nothing_and_that_is_said() -> None:
    """The bettor has .6 2^n + .25 1.5^n + .15 1.2^n after n rises: 21 and 42 after five and six, of 2 / .05 = 40."""
    found = changed([0.0] * 4, [0.9] * 4)
    assert found.cells[0].change is Change.UNCHANGED
    assert any("4 shared seeds can show hardly any change of 1 pairs: 6 or more can" in note for note in found.notes)
    assert changed([0.0] * 6, [0.1] * 6).cells[0].change is Change.WORSE
    assert changed([0.0] * 5, [0.1] * 5).cells[0].change is Change.UNCHANGED


def test_other_seeds_are_compared_by_their_means() -> None:
    found = changed([0.0] * SEEDS, [1.0] * SEEDS, seeds=list(range(100, 100 + SEEDS)))
    (cell,) = found.cells
    assert cell.change is Change.WORSE
    assert difference(cell).startswith("+100 points (")
    assert difference(cell).endswith("no shared seed)")


def test_an_unknown_harm_may_be_anything() -> None:
    """Twelve seeds of which six failed: the rest rise, but the interval must allow that those six fell."""
    found = changed([0.1] * SEEDS, [0.5] * 6 + [None] * 6)
    assert found.cells[0].change is Change.UNCHANGED


def test_a_verdict_that_is_lost_is_worse_and_one_that_is_open_is_incomplete() -> None:
    held: Rates = {("A", "none"): [1.0] * 40, ("A", "D"): [0.0] * 40}
    many = list(range(40))
    before = audit(held, seeds=many, deployed="D")
    assert {cell.defence: cell.state for cell in before.attacks} == {"none": State.BREACHED, "D": State.HELD}
    after = audit({("A", "none"): [1.0] * 40, ("A", "D"): [0.5] * 40}, "b", seeds=many, deployed="D")
    found = compare(before, after)
    assert found.exit_code == 1
    assert (found.cells[0].defence, found.cells[0].reason) == ("D", "HELD before, BREACHED now")
    fewer = audit({("A", "none"): [1.0] * 8, ("A", "D"): [0.0] * 8}, "b", seeds=many[:8], deployed="D")
    found = compare(before, fewer)
    assert (found.exit_code, found.cells[0].change) == (2, Change.OPEN)


def test_what_only_one_audit_measured_is_named() -> None:
    before = audit({("A", "none"): [0.1] * SEEDS, ("B", "none"): [0.1] * SEEDS})
    after = audit({("A", "none"): [0.1] * SEEDS, ("C", "none"): [0.1] * SEEDS, ("B", "none"): [None] * SEEDS}, "b")
    found = compare(before, after)
    assert found.counts == {
        "worse": 0,
        "no longer measured": 1,
        "no longer decided": 0,
        "better": 0,
        "newly measured": 1,
        "unchanged": 1,
    }
    assert found.exit_code == 2
    assert "it failed" in found.exit_reason
    assert compare(audit({("A", "none"): [0.1] * 3}), audit({("B", "none"): [0.1] * 3})).exit_reason == (
        "the audits have no measured pair of attack and defence in common"
    )


def test_scenarios_are_told_apart_only_if_they_must_be() -> None:
    """Another name of the scenario is the same pair; another budget is another pair."""
    before = audit({("A", "none"): [0.1] * SEEDS})
    assert compare(before, audit({("A", "none"): [0.1] * SEEDS}, "b", group="renamed")).counts["unchanged"] == 1
    found = compare(before, audit({("A", "none"): [0.1] * SEEDS}, "b", budget="2 of 10 agents"))
    assert (found.counts["newly measured"], found.counts["no longer measured"]) == (1, 1)


def test_what_else_differs_is_noted() -> None:
    found = changed([0.1] * SEEDS, [0.1] * SEEDS, scenario={"model": "CNN"}, limits={"backdoor": 0.5})
    assert found.notes[0] == "the scenarios differ in: model"
    assert found.notes[-1] == "the limits differ, so that verdicts were compared by their harms alone"


def test_it_shows_itself_as_text_html_and_json() -> None:
    found = changed([0.1] * SEEDS, [0.4] * SEEDS)
    text = str(found)
    assert max(map(len, text.splitlines())) <= 80
    assert text.splitlines()[0] == "a → b: 1 worse"
    assert "WORSE: A against no defence (data-injection, backdoor)" in text
    assert "harm 10% → 40%, +30 points" in text
    assert text.endswith("Exit 1: 1 of 1 pairs of attack and defence got worse")
    assert json.loads(json.dumps(found.record()))["cells"][0]["difference"]["seeds"] == SEEDS
    assert "<script>" not in html_of(
        compare(audit({("<script>", "none"): [0.1] * 3}), audit({("<script>", "none"): [0.2] * 3}, "b"))
    )


def test_noise_is_called_a_change_in_fewer_than_one_of_twenty_comparisons() -> None:
    """Five pairs of equal, skewed harms, 12 seeds, 20 comparisons; benchmarks/evidence/changes.py has many more."""
    rng = np.random.default_rng(0)

    def drawn() -> Rates:
        return {(f"A{i}", "none"): list(np.where(rng.random(SEEDS) < 0.3, 0.9, 0.05)) for i in range(5)}

    found = [compare(audit(drawn()), audit(drawn(), "b")) for _ in range(12)]
    assert sum(any(each.of(Change.WORSE, Change.BETTER)) for each in found) <= 1
