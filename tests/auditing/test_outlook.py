"""Which open cells more seeds can decide, and about how many they need."""

from __future__ import annotations

import math
from typing import Any

import pytest

from antivenom.auditing import terminal
from antivenom.auditing.formatting import outlook
from antivenom.auditing.judging import Harms, can_be_held, error_of, more_seeds, verdict
from antivenom.auditing.report import render
from antivenom.auditing.results import CellResult, State, Summary
from antivenom.auditing.stopping import is_open
from antivenom.auditing.summary import summarise

BITES = State.BREACHED


def harms(*values: float, times: int = 1) -> Harms:
    return Harms(values * times, (0.0,) * (len(values) * times))


@pytest.mark.parametrize(
    ("values", "limit", "cells", "held", "more"),
    [
        (harms(0.0, times=4), 0.2, 1, True, 12),  # HELD takes 16 seeds in a report of one cell,
        (harms(0.0, times=4), 0.2, 30, True, 27),  # and 31 in one of 30
        (harms(0.0, times=30), 0.2, 30, True, 1),
        (harms(1.0, times=1), 0.2, 1, True, 2),  # a breach takes 3 and 5
        (harms(1.0, times=4), 0.2, 30, False, 1),
        (harms(0.0, times=4), 0.2, 1, False, None),  # without HELD there is no verdict to come
        (harms(0.2, times=4), 0.2, 1, True, None),  # at the limit itself there is none either
        (harms(0.0, 1.0, times=2), 0.5, 1, True, None),
    ],
)
def test_the_seeds_so_far_are_repeated_until_the_bounds_give_a_verdict(
    values: Harms, limit: float, cells: int, held: bool, more: int | None
) -> None:
    error = error_of(cells)
    assert more_seeds(values, values, limit, error, held) == more
    if more is not None:
        for n, decided in ((len(values.values) + more - 1, False), (len(values.values) + more, True)):
            then = harms(*(values.values * n)[:n])
            assert verdict(then, then, limit, error, not held, BITES)[0].is_conclusive is decided


def test_attack_and_defence_together_count_for_the_estimate() -> None:
    nothing, half = harms(0.0, times=4), harms(0.1, times=4)
    alone = more_seeds(nothing, nothing, 0.2, 0.05, True)
    together = more_seeds(nothing, half, 0.2, 0.05, True)
    assert alone is not None
    assert together is not None
    assert together > alone


@pytest.mark.parametrize(
    ("values", "total", "limit", "control", "possible"),
    [
        (harms(0.0, times=20), harms(0.0, times=20), 0.2, BITES, True),
        (harms(0.0, times=20), harms(0.0, times=20), 0.2, None, False),
        (harms(0.0, times=20), harms(0.0, times=20), 0.2, State.INCONCLUSIVE, False),
        (harms(0.0, math.nan), harms(0.0, 0.0), 0.2, BITES, False),
        (harms(0.0, times=20), harms(0.9, times=20), 0.2, BITES, False),  # the defence does the harm
        (harms(0.0, times=20), harms(0.9, times=1), 0.2, BITES, True),  # which a single seed does not show
        (harms(0.0, 0.9, times=20), harms(0.0, times=40), 0.5, BITES, False),  # it works in half of the runs
    ],
    ids=["yes", "no control", "no bite", "unknown harm", "together", "one seed", "share"],
)
def test_held_is_out_of_reach(values: Harms, total: Harms, limit: float, control: State | None, possible: bool) -> None:
    assert can_be_held(values, total, limit, 0.05, control) is possible


def audited(seeds: int, bare: float, twin: float, attacked: float) -> Summary:
    """One attack that succeeds always without the defence D."""
    rates = {("none", "none"): bare, ("none", "D"): twin, ("A", "none"): 1.0, ("A", "D"): attacked}
    cells: list[dict[str, Any]] = []
    records = {}
    for (attack, defence), rate in rates.items():
        keys = [f"{attack} {defence} {seed}" for seed in range(seeds)]
        cells.append(
            {"group": "g", "level": "l", "goal": "backdoor", "scenario": {"kind": "central"}, "attack": attack}
            | {"defence": defence, "deployed": defence == "D", "knowledge": "", "budget": "", "keys": keys}
        )
        metrics = {"asr": rate, "clean_accuracy": 0.9, "chance_accuracy": 0.1, "triggered_rows": 10**6}
        rest = {"curves": {}, "notes": [], "error": None, "versions": {"machine": "m"}, "started": "", "device": "cpu"}
        records |= {
            k: {"key": k, "status": "ok", "metrics": metrics, "seconds": 1.0, "spec": {"attack": None}} | rest
            for k in keys
        }
    level = {"name": "l", "about": "", "access": [], "add": ""}
    plan = {
        "schema": 1,
        "name": "p",
        "seeds": [*range(seeds)],
        "limits": {"backdoor": 0.2},
        "fail_if": {},
        "cells": cells,
    }
    return summarise(plan | {"levels": [level], "curves": {}, "command": "", "source": ""}, records)


def defended(found: Summary) -> CellResult:
    return found.cells[-1]


def test_a_cell_in_which_the_defence_does_the_harm_is_closed() -> None:
    cell = defended(audited(40, bare=0.0, twin=0.9, attacked=0.9))
    assert cell.state is State.INCONCLUSIVE
    assert "attack and defence together" in cell.reason
    assert not is_open(cell)
    assert outlook(cell) == ""


def test_views_say_about_how_many_more_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    found = audited(14, bare=0.0, twin=0.0, attacked=0.0)
    assert defended(found).more == 5  # HELD takes 19 seeds at an error of 5 % / 2
    words = "about 5 more seeds for a verdict, if they are like these"
    terminal.print_summary(found, [])
    assert words in " ".join(capsys.readouterr().out.split())
    terminal.print_json(found, [])
    assert '"more_seeds": 5' in capsys.readouterr().out
    assert f"{words}: --seeds" in render(found)
    near = defended(audited(4, bare=0.0, twin=0.0, attacked=0.2))
    assert outlook(near) == "more than 500 more seeds for a verdict, if they are like these"
