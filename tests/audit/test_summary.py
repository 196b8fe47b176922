"""What may be said from records: hand-made records, hand-computed harms, one case for every state and exit code."""

from __future__ import annotations

import math
from typing import Any

import pytest
from scipy import stats

from antivenom.audit.formatting import do_first, interval, not_measured, percent, points, stealth
from antivenom.audit.results import CellResult, State, Summary
from antivenom.audit.statistics import Interval, excluded_at_most
from antivenom.audit.summary import severity, summarise

SEEDS = 3
NAMES = ("logic-corruption", "data-manipulation", "data-injection", "transfer-learning", "federated")
LEVELS = [{"name": name, "about": "does things", "access": [name], "add": f"kind: {name}"} for name in NAMES]
Values = dict[tuple[str, str], list[float | str | None]]


def audit(
    values: Values, goal: str = "backdoor", fail_if: dict[str, float] | None = None, deployed: str = "none"
) -> Summary:
    """A summary of made-up trials: (attack, defence) -> harm-bearing metric per seed, or a status, or None for missing."""
    cells, records = [], {}
    for (attack, defence), per_seed in values.items():
        keys = [f"{attack}-{defence}-{seed}" for seed in range(SEEDS)]
        cells.append(
            {
                "group": "g",
                "level": "data-injection",
                "goal": goal,
                "scenario": {},
                "attack": attack,
                "defence": defence,
                "deployed": defence == deployed,
                "knowledge": "the training rows",
                "budget": "",
                "keys": keys,
            }
        )
        for key, value in zip(keys, per_seed, strict=True):
            if value is None:
                continue
            status = value if isinstance(value, str) else "ok"
            metrics = {} if isinstance(value, str) else measured(goal, value)
            error = f"{status} happened" if status != "ok" else None
            records[key] = {"key": key, "status": status, "metrics": metrics, "curves": {}, "notes": [], "error": error}
    limits = {"availability": 0.1, "targeted": 0.5, "backdoor": 0.2}
    plan = {
        "name": "p",
        "seeds": list(range(SEEDS)),
        "limits": limits,
        "fail_if": fail_if or {},
        "cells": cells,
        "levels": LEVELS,
    }
    return summarise(plan, records)


def measured(goal: str, value: float) -> dict[str, float]:
    if goal == "availability":
        return {"clean_accuracy": value, "chance_accuracy": 0.1, "test_rows": 500}
    name = "asr" if goal == "backdoor" else "target_confidence"
    hit = {"targets_hit": float(value > 0.5)} if goal == "targeted" else {}
    return {"clean_accuracy": 0.95, "chance_accuracy": 0.1, "test_rows": 500, name: value, **hit}


def cell(summary: Summary, attack: str, defence: str) -> CellResult:
    return next(c for c in summary.cells if (c.attack, c.defence) == (attack, defence))


CLEAN: list[float | str | None] = [0.02, 0.04, 0.03]
TWINS: Values = {("none", "none"): CLEAN, ("none", "D"): CLEAN}


def test_harm_subtracts_the_clean_twin_of_the_same_seed() -> None:
    summary = audit({**TWINS, ("A", "none"): [0.92, 0.84, 0.98]})
    harm = cell(summary, "A", "none").harm
    assert harm is not None
    assert harm.values == pytest.approx((0.90, 0.80, 0.95))
    half = stats.t.ppf(0.975, 2) * stats.tstd([0.90, 0.80, 0.95]) / math.sqrt(3)
    assert (harm.low, harm.high) == pytest.approx((0.88333 - half, 1.0), abs=1e-4)


def test_availability_harm_is_the_share_of_above_chance_accuracy_lost() -> None:
    summary = audit({("none", "none"): [0.9, 0.9, 0.9], ("A", "none"): [0.5, 0.5, 0.5]}, goal="availability")
    harm = cell(summary, "A", "none").harm
    assert harm is not None
    assert harm.mean == pytest.approx(0.4 / 0.8)
    lost = cell(summary, "A", "none").accuracy_lost
    assert lost is not None
    assert lost.mean == pytest.approx(0.4)


def test_there_is_no_more_to_lose_than_all_accuracy_above_chance() -> None:
    summary = audit({("none", "none"): [0.9, 0.9, 0.9], ("A", "none"): [0.1, 0.0, 0.05]}, goal="availability")
    harm = cell(summary, "A", "none").harm
    assert harm is not None
    assert harm.values == (1.0, 1.0, 1.0)
    assert harm.low <= harm.mean <= harm.high <= 1


@pytest.mark.parametrize(
    ("undefended", "defended", "state", "reason"),
    [
        ([0.9, 0.9, 0.95], [0.9, 0.85, 0.9], State.BREACHED, "3 of 3 seeds; lower bound"),
        ([0.9, 0.9, 0.95], [0.03, 0.04, 0.03], State.HELD, "0 of 3 seeds succeeded, up to 63% of runs not excluded"),
        ([0.9, 0.9, 0.95], [0.03, 0.9, 0.03], State.INCONCLUSIVE, "spans the limit"),
        ([0.03, 0.04, 0.03], [0.03, 0.04, 0.03], State.INCONCLUSIVE, "no positive control"),
        ([0.9, 0.9, 0.95], ["error", "error", "error"], State.ERROR, "3 of 3 seeds failed: error happened"),
        ([0.9, 0.9, 0.95], ["timeout", "error", "error"], State.ERROR, "timeout happened"),
        ([0.9, 0.9, 0.95], ["not-applicable"] * 3, State.NOT_APPLICABLE, "not-applicable happened"),
        ([0.9, 0.9, 0.95], [None, None, None], State.NOT_MEASURED, "planned, not run"),
        ([0.9, 0.9, 0.95], [0.03, None, None], State.INCONCLUSIVE, "one seed gives no interval"),
        ([0.9, 0.9, 0.95], [0.03, 0.04, "error"], State.INCONCLUSIVE, "only 2 of 3 seeds finished"),
        ([0.9, 0.9, 0.95], [0.9, 0.9, "error"], State.BREACHED, "2 of 2 seeds"),
    ],
)
def test_states(undefended: Any, defended: Any, state: State, reason: str) -> None:
    found = cell(audit({**TWINS, ("A", "none"): undefended, ("A", "D"): defended}), "A", "D")
    assert found.state is state
    assert reason in found.reason


def test_an_attack_that_does_not_bite_undefended_is_inconclusive_with_a_bound() -> None:
    found = cell(audit({**TWINS, ("A", "none"): [0.03, 0.04, 0.03]}), "A", "none")
    assert found.state is State.INCONCLUSIVE
    assert (
        found.reason
        == "the attack does not bite: 0 of 3 seeds succeeded, up to 63% of runs not excluded (one-sided 95%)"
    )


def test_failed_trials_never_enter_a_number() -> None:
    with_error = cell(audit({**TWINS, ("A", "none"): [0.9, 0.8, "error"]}), "A", "none")
    assert with_error.harm is not None
    assert with_error.harm.n == with_error.finished == 2
    assert with_error.errors == ("error happened",)
    # The twin of seed 2 failed: that seed has no pair, though the attacked trial finished.
    no_twin = cell(audit({("none", "none"): [0.02, 0.04, "error"], ("A", "none"): [0.9, 0.8, 0.9]}), "A", "none")
    assert no_twin.harm is not None
    assert no_twin.harm.n == 2


ATTACKED: Values = {**TWINS, ("A", "none"): [0.9, 0.9, 0.95], ("A", "D"): [0.03, 0.04, 0.03]}


@pytest.mark.parametrize(
    ("values", "fail_if", "deployed", "code"),
    [
        (ATTACKED, {}, "none", 0),
        (ATTACKED, {"backdoor": 0.2}, "none", 1),
        (ATTACKED, {"backdoor": 0.2}, "D", 0),
        (ATTACKED, {"targeted": 0.2}, "none", 3),
        ({**ATTACKED, ("A", "D"): [0.03, None, None]}, {"backdoor": 0.2}, "D", 3),
        ({**ATTACKED, ("A", "D"): ["error"] * 3}, {"backdoor": 0.2}, "D", 3),
        ({**ATTACKED, ("B", "D"): [0.9, 0.9, 0.9], ("A", "D"): ["error"] * 3}, {"backdoor": 0.2}, "D", 1),
        ({k: ["error"] * 3 for k in ATTACKED}, {}, "none", 2),
        ({k: ["error"] * 3 for k in ATTACKED}, {"backdoor": 0.2}, "none", 2),
    ],
)
def test_exit_codes(values: Values, fail_if: dict[str, float], deployed: str, code: int) -> None:
    assert audit(values, fail_if=fail_if, deployed=deployed).exit_code == code


def test_a_level_shows_the_worst_attack_and_the_best_defence() -> None:
    values: Values = {
        **ATTACKED,
        ("none", "E"): CLEAN,
        ("A", "E"): [0.5, 0.5, 0.5],
        ("B", "none"): [0.3, 0.3, 0.3],
        ("B", "D"): [0.1, 0.1, 0.1],
        ("B", "E"): [0.1, 0.1, 0.1],
    }
    summary = audit(values, deployed="none")
    level = next(row for row in summary.levels if row.level == "data-injection")
    assert level.deployed is not None
    assert level.best is not None
    assert level.deployed.attack == "A"
    assert (level.best.defence, level.best.attack) == ("D", "B")
    assert (level.planned, level.state) == (6, State.BREACHED)
    assert do_first(summary).startswith("D in g: worst harm 89% -> 7%")
    assert sorted(summary.attacks, key=severity)[-1].attack == "A"
    absent = [row.level for row in summary.levels if row.planned == 0]
    assert not_measured(summary) == [f"{name} (no scenario for it)" for name in absent]
    assert len(absent) == 4


def test_an_attack_that_does_not_bite_has_no_say_in_which_defence_is_best() -> None:
    values: Values = {
        **TWINS,
        ("none", "E"): CLEAN,
        ("bites", "none"): [0.9, 0.9, 0.9],
        ("bites", "D"): [0.03, 0.04, 0.03],
        ("bites", "E"): [0.09, 0.1, 0.09],
        ("toothless", "none"): [0.03, 0.05, 0.03],
        ("toothless", "D"): [0.14, 0.15, 0.14],
        ("toothless", "E"): [0.03, 0.04, 0.03],
    }
    best = audit(values).levels[2].best
    assert best is not None
    assert (best.attack, best.defence, best.state) == ("bites", "D", State.HELD)


def test_targeted_hits_count_seeds_in_which_the_target_was_hit() -> None:
    values: Values = {("none", "none"): [0.01, 0.01, 0.01], ("A", "none"): [0.9, 0.95, 0.4]}
    assert cell(audit(values, goal="targeted"), "A", "none").hits == 2


def test_seeds_that_agree_by_chance_do_not_give_a_point() -> None:
    found = cell(audit({**TWINS, ("A", "none"): [0.02, 0.04, 0.03]}), "A", "none")
    assert found.harm is not None
    assert found.harm.mean == 0
    assert found.harm.high > 0.001


def test_interval_by_hand() -> None:
    assert Interval.of([]) is None
    assert Interval.of([math.nan]) is None
    one = Interval.of([0.3])
    assert one is not None
    assert (one.low, one.high) == (-math.inf, math.inf)
    five = Interval.of([0.1, 0.2, 0.3, 0.4, 0.5])
    assert five is not None
    assert (five.low, five.high) == pytest.approx(
        (0.3 - 2.7764 * 0.158114 / math.sqrt(5), 0.3 + 2.7764 * 0.158114 / math.sqrt(5)), abs=1e-4
    )
    assert Interval.of([1.0, 0.9, 1.0], (0.0, 1.0)).high == 1.0  # type: ignore[union-attr]


@pytest.mark.parametrize(("n", "bound"), [(0, 1.0), (3, 0.63), (5, 0.45), (10, 0.26), (20, 0.14), (59, 0.05)])
def test_what_zero_successes_do_not_exclude(n: int, bound: float) -> None:
    assert excluded_at_most(n) == pytest.approx(bound, abs=0.005)


def test_wording() -> None:
    assert percent(-0.00001) == percent(0.00001) == "0%"
    assert percent(0.834) == "83%"
    assert percent(0.004) == "0.4%"
    assert percent(math.nan) == "not measured"
    assert points(-0.0123) == "-1.2 pt"
    assert interval(None) == "not measured"
    assert interval(Interval(0.83, 0.71, 0.92, 5, ())) == "83% (71 to 92, 5 seeds)"
    assert interval(Interval(0.83, -math.inf, math.inf, 1, ())) == "83% (1 seed, no interval)"


def test_stealth_says_what_was_measured() -> None:
    summary = audit(ATTACKED)
    assert stealth(cell(summary, "A", "none"), summary) == "not measured"
    for record in cell(summary, "A", "D").records:
        record["metrics"] |= {"detection_tpr": 0.9, "detection_fpr": 0.02}
    assert stealth(cell(summary, "A", "none"), summary) == "90% found, 2% false"
