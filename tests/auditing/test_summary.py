"""What may be said from records: hand-made records, hand-computed harms, one case for every state and exit code."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from antivenom.auditing.evidence import bounds
from antivenom.auditing.formatting import interval, not_measured, percent, stealth
from antivenom.auditing.results import CellResult, State, Summary
from antivenom.auditing.sentences import do_first, next_step
from antivenom.auditing.statistics import Interval
from antivenom.auditing.summary import severity, summarise

NAMES = ("logic-corruption", "data-manipulation", "data-injection", "transfer-learning", "federated")
LEVELS = [{"name": name, "about": "does things", "access": [name], "add": f"kind: {name}"} for name in NAMES]
Values = dict[tuple[str, str], list[float | str | None]]


def audit(
    values: Values, goal: str = "backdoor", fail_if: dict[str, float] | None = None, deployed: str = "none"
) -> Summary:
    """A summary of made-up trials: (attack, defence) -> harm-bearing metric per seed, or a status, or None for missing."""
    cells, records = [], {}
    for (attack, defence), per_seed in values.items():
        keys = [f"{attack}-{defence}-{seed}" for seed in range(len(per_seed))]
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
        "seeds": list(range(max(map(len, values.values())))),
        "limits": limits,
        "fail_if": fail_if or {},
        "cells": cells,
        "levels": LEVELS,
    }
    return summarise(plan, records)


def measured(goal: str, value: float) -> dict[str, float]:
    if goal == "availability":
        return {"clean_accuracy": value, "chance_accuracy": 0.1, "test_rows": 500}
    harm = {"asr": value, "triggered_rows": 450} if goal == "backdoor" else {"targets_hit": value}
    return {"clean_accuracy": 0.95, "chance_accuracy": 0.1, "test_rows": 500, **harm}


def cell(summary: Summary, attack: str, defence: str) -> CellResult:
    return next(c for c in summary.cells if (c.attack, c.defence) == (attack, defence))


def many(*per_seed: float | str | None, times: int = 8) -> list[float | str | None]:
    """Three seeds decide a breach of this size; that one held takes some twenty."""
    return [*per_seed] * times


CLEAN = many(0.02, 0.04, 0.03)
TWINS: Values = {("none", "none"): CLEAN, ("none", "D"): CLEAN}


def test_harm_subtracts_the_clean_twin_of_the_same_seed() -> None:
    summary = audit({("none", "none"): [0.02, 0.04, 0.03], ("A", "none"): [0.92, 0.84, 0.98]})
    harm = cell(summary, "A", "none").harm
    assert harm is not None
    assert harm.values == pytest.approx((0.90, 0.80, 0.95))
    at_least, at_most = np.array([0.90, 0.80, 0.95]) - 1 / 450, np.array([0.90, 0.80, 0.95]) + 1 / 450
    low, high = bounds([*at_least], [*at_most], 0.05)
    assert (harm.low, harm.high) == pytest.approx((low, high))


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


BAD, LOW = many(0.9, 0.9, 0.95), many(0.03, 0.04, 0.03)


@pytest.mark.parametrize(
    ("undefended", "defended", "state", "reason"),
    [
        (BAD, many(0.9, 0.85, 0.9), State.BREACHED, "24 of 24 seeds above the limit 20%; the mean harm is above 72%"),
        (BAD, LOW, State.HELD, "0 of 24 seeds above the limit 20%; mean harm below 16%, successful runs below 16%"),
        (BAD, many(0.03, 0.9, 0.03, 0.03), State.INCONCLUSIVE, "6 of 24 seeds above the limit 20%; the mean harm, "),
        (LOW, LOW, State.INCONCLUSIVE, "no positive control"),
        (BAD, many("error"), State.ERROR, "24 of 24 seeds failed: error happened"),
        (BAD, [*many("timeout", "error"), *many("error")], State.ERROR, "timeout happened"),
        (BAD, many("not-applicable"), State.NOT_APPLICABLE, "not-applicable happened"),
        (BAD, many(None), State.NOT_MEASURED, "planned, not run"),
        (BAD, [0.03, *[None] * 23], State.INCONCLUSIVE, "23 of 24 seeds have no known harm"),
        (BAD, [*LOW[:-1], "error"], State.INCONCLUSIVE, "1 of 24 seeds have no known harm"),
        (BAD, [*many(0.9)[:-1], "error"], State.BREACHED, "7 of 7 seeds"),
    ],
)
def test_states(undefended: Any, defended: Any, state: State, reason: str) -> None:
    n = min(len(undefended), len(defended))
    values = {**TWINS, ("A", "none"): undefended, ("A", "D"): defended}
    found = cell(audit({key: per_seed[:n] for key, per_seed in values.items()}), "A", "D")
    assert reason.replace("24", str(n)).replace("23", str(n - 1)) in found.reason
    assert found.state is state


def test_an_attack_that_does_not_bite_undefended_is_inconclusive_with_a_bound() -> None:
    found = cell(audit({**TWINS, ("A", "none"): LOW}), "A", "none")
    assert found.state is State.INCONCLUSIVE
    assert found.reason == "the attack does not bite: 0 of 24 seeds above the limit 20%, mean harm below 14%"


def test_failed_trials_never_enter_a_number() -> None:
    three: Values = {("none", "none"): [0.02, 0.04, 0.03]}
    with_error = cell(audit({**three, ("A", "none"): [0.9, 0.8, "error"]}), "A", "none")
    assert with_error.harm is not None
    assert with_error.harm.n == with_error.finished == 2
    assert with_error.harm.mean == pytest.approx((0.88 + 0.76) / 2)
    assert with_error.errors == ("error happened",)
    # The twin of seed 2 failed: that seed has no pair, though the attacked trial finished.
    no_twin = cell(audit({("none", "none"): [0.02, 0.04, "error"], ("A", "none"): [0.9, 0.8, 0.9]}), "A", "none")
    assert no_twin.harm is not None
    assert no_twin.harm.n == 2


ATTACKED: Values = {**TWINS, ("A", "none"): BAD, ("A", "D"): LOW}


@pytest.mark.parametrize(
    ("values", "fail_if", "deployed", "code"),
    [
        (ATTACKED, {}, "none", 0),
        (ATTACKED, {"backdoor": 0.2}, "none", 1),
        (ATTACKED, {"backdoor": 0.2}, "D", 0),
        (ATTACKED, {"targeted": 0.2}, "none", 3),
        ({**ATTACKED, ("A", "D"): [0.03, *[None] * 23]}, {"backdoor": 0.2}, "D", 3),
        ({**ATTACKED, ("A", "D"): ["error"] * 24}, {"backdoor": 0.2}, "D", 3),
        ({**ATTACKED, ("B", "D"): many(0.9, 0.9, 0.9), ("A", "D"): ["error"] * 24}, {"backdoor": 0.2}, "D", 1),
        ({**ATTACKED, ("A", "D"): ["error"] * 9 + [0.03] * 15}, {}, "none", 0),  # 9 of 96 trials
        ({**ATTACKED, ("A", "D"): ["error"] * 10 + [0.03] * 14}, {}, "none", 2),  # 10 of 96 are more than a tenth
        ({**ATTACKED, ("A", "D"): [None] + [0.03] * 23}, {}, "none", 2),
        ({k: ["error"] * 24 for k in ATTACKED}, {}, "none", 2),
        ({k: ["error"] * 24 for k in ATTACKED}, {"backdoor": 0.2}, "none", 2),
    ],
)
def test_exit_codes(values: Values, fail_if: dict[str, float], deployed: str, code: int) -> None:
    assert audit(values, fail_if=fail_if, deployed=deployed).exit_code == code


@pytest.mark.parametrize(
    ("defended", "code", "reason"),
    [
        (many(0.80, 0.81, 0.79, times=24), 1, "D costs 10.0% of accuracy, above the limit 5.0%"),
        (many(0.89, 0.88, 0.90, times=24), 0, "all 1 gated cells are and the cost of the deployed defence is within"),
        ([0.88, 0.80, 0.90], 3, "not enough evidence for the cost of D: "),
        ([0.88, "error", "error"], 3, "not enough evidence for the cost of D: fewer than two seeds"),
    ],
)
def test_the_cost_of_the_deployed_defence_is_gated(defended: list[float | str | None], code: int, reason: str) -> None:
    n = len(defended)
    values = {("none", "none"): many(0.9, 0.91, 0.89, times=24)[:n], ("none", "D"): defended}
    values |= {("A", "none"): many(0.3, times=n), ("A", "D"): defended}
    gates = {"cost": 0.05} if n == 3 else {"cost": 0.05, "availability": 0.1}
    summary = audit(values, goal="availability", fail_if=gates, deployed="D")
    assert (summary.exit_code, summary.exit_reason.startswith(reason)) == (code, True), summary.exit_reason


def test_a_level_shows_the_worst_attack_and_the_best_defence() -> None:
    values: Values = {
        **ATTACKED,
        ("none", "E"): CLEAN,
        ("A", "E"): many(0.5, 0.5, 0.5),
        ("B", "none"): many(0.3, 0.3, 0.3),
        ("B", "D"): many(0.1, 0.1, 0.1),
        ("B", "E"): many(0.1, 0.1, 0.1),
    }
    summary = audit(values, deployed="none")
    level = next(row for row in summary.levels if row.level == "data-injection")
    assert level.deployed is not None
    assert level.best is not None
    assert level.deployed.attack == "A"
    assert (level.best.defence, level.best.attack) == ("D", "B")
    assert (level.planned, level.state) == (6, State.BREACHED)
    assert do_first(summary) == (
        "No defence tried is shown to be sufficient. The least harm is left by D in “g”: the worst harm goes from 89% to 7%; "
        "it costs no accuracy."
    )
    assert sorted(summary.attacks, key=severity)[-1].attack == "A"
    absent = [row.level for row in summary.levels if row.planned == 0]
    assert not_measured(summary) == [f"{name} (no scenario for it)" for name in absent]
    assert len(absent) == 4


def test_a_defence_that_leaves_more_harm_is_no_repair() -> None:
    values: Values = {**TWINS, ("A", "none"): many(0.5, 0.5, 0.5), ("A", "D"): many(0.7, 0.7, 0.7)}
    summary = audit(values, deployed="none")
    level = next(row for row in summary.levels if row.level == "data-injection")
    assert level.best is not None
    assert (level.best.defence, level.improves) == ("D", False)
    assert do_first(summary).startswith("No defence tried leaves less harm than 47% in “g”: `antivenom list defences")
    assert next_step(level, summary).startswith("No other defence tried does better.")


def test_do_first_names_the_cheapest_defence_that_held() -> None:
    values = {("none", "none"): 0.9, ("A", "none"): 0.2}
    values |= {("none", "dear"): 0.87, ("A", "dear"): 0.87, ("none", "cheap"): 0.89, ("A", "cheap"): 0.885}
    values |= {("none", "free"): 0.9, ("A", "free"): 0.6}
    summary = audit({key: many(value, times=100) for key, value in values.items()}, goal="availability")
    assert do_first(summary) == (
        "Deploy cheap in “g”, the cheapest defence that held: the worst harm goes from 87% to 0.6%; "
        "it costs 1.0 points of accuracy."
    )


def test_an_attack_that_does_not_bite_has_no_say_in_which_defence_is_best() -> None:
    values: Values = {
        **TWINS,
        ("none", "E"): CLEAN,
        ("bites", "none"): many(0.9, 0.9, 0.9),
        ("bites", "D"): many(0.03, 0.04, 0.03),
        ("bites", "E"): many(0.09, 0.1, 0.09),
        ("toothless", "none"): many(0.03, 0.05, 0.03),
        ("toothless", "D"): many(0.14, 0.15, 0.14),
        ("toothless", "E"): many(0.03, 0.04, 0.03),
    }
    best = audit({key: per_seed * 2 for key, per_seed in values.items()}).levels[2].best
    assert best is not None
    assert (best.attack, best.defence, best.state) == ("bites", "D", State.HELD)


def test_hits_count_the_seeds_whose_harm_exceeds_the_limit() -> None:
    values: Values = {("none", "none"): [0.0, 0.0, 0.0], ("A", "none"): [0.9, 0.95, 0.4]}
    assert cell(audit(values, goal="targeted"), "A", "none").hits == 2


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


def test_wording() -> None:
    assert percent(-0.00001) == percent(0.00001) == "0%"
    assert percent(0.834) == "83%"
    assert percent(0.004) == "0.4%"
    assert percent(math.nan) == "not measured"
    assert interval(None) == "not measured"
    assert interval(Interval(0.83, 0.71, 0.92, 5, ())) == "83% (71 to 92, 5 seeds)"
    assert interval(Interval(0.83, -math.inf, math.inf, 1, ())) == "83% (1 seed, no interval)"


def test_stealth_says_what_was_measured() -> None:
    summary = audit(ATTACKED)
    assert stealth(cell(summary, "A", "none"), summary) == "not measured"
    for record in cell(summary, "A", "D").records:
        record["metrics"] |= {"detection_tpr": 0.9, "detection_fpr": 0.02}
    assert stealth(cell(summary, "A", "none"), summary) == "90% found, 2% false"
    for record in cell(summary, "A", "none").records:
        record["metrics"] |= {"accuracy_gap": 0.0123}
    told = stealth(cell(summary, "A", "none"), summary)
    assert told == "one malicious update alone lowers the accuracy by 1.2 points"


def one_cell(
    goal: str, own: dict[str, float], twin: dict[str, float], n: int, bare: dict[str, float] | None = None
) -> CellResult:
    """The cell of attack A against defence D (or against none, without `bare`), with equal metrics in every seed."""
    defence = "none" if bare is None else "D"
    values = {("none", "none"): bare or twin, ("A", "none"): own if bare is None else BITES[goal]}
    if bare is not None:
        values |= {("none", "D"): twin, ("A", "D"): own}
    summary = audit({key: [0.0] * n for key in values}, goal=goal)
    for (attack, against), metrics in values.items():
        for record in cell(summary, attack, against).records:
            record["metrics"] = metrics
    records = {key: r for c in summary.cells for key, r in zip(c.keys, c.records, strict=True)}
    return cell(summarise(summary.plan, records), "A", defence)


BITES = {
    "backdoor": {"clean_accuracy": 0.95, "chance_accuracy": 0.1, "asr": 1.0, "triggered_rows": 450},
    "availability": {"clean_accuracy": 0.1, "chance_accuracy": 0.1, "test_rows": 500},
}


def accuracy(value: float, chance: float = 0.1, rows: int = 500) -> dict[str, float]:
    return {"clean_accuracy": value, "chance_accuracy": chance, "test_rows": rows}


def test_undefined_pairs_are_never_held() -> None:
    bad: Values = {("none", "none"): [0.9, 0.9, 0.05, 0.05, 0.05], ("A", "none"): [0.9, 0.9, 0.3, 0.3, 0.3]}
    found = cell(audit({key: per_seed * 20 for key, per_seed in bad.items()}, goal="availability"), "A", "none")
    assert found.state is State.INCONCLUSIVE
    assert found.reason.startswith("60 of 100 seeds have no known harm")


def test_a_target_that_is_hit_is_a_breach_whatever_the_confidence() -> None:
    hit = {"clean_accuracy": 0.95, "target_confidence": 0.45, "targets_hit": 1.0}
    found = one_cell("targeted", hit, {"clean_accuracy": 0.95, "target_confidence": 0.01, "targets_hit": 0.0}, n=6)
    assert (found.state, found.hits) == (State.BREACHED, 6)
    assert found.reason.startswith("6 of 6 seeds")


def test_a_defence_that_opens_the_backdoor_itself_is_not_held() -> None:
    def asr(value: float) -> dict[str, float]:
        return {"clean_accuracy": 0.95, "chance_accuracy": 0.1, "asr": value, "triggered_rows": 450}

    found = one_cell("backdoor", asr(0.95), asr(0.90), n=100, bare=asr(0.02))
    assert found.state is State.INCONCLUSIVE
    assert found.reason == "harm of attack and defence together, against the clean undefended model: up to 93%"
    assert one_cell("backdoor", asr(0.03), asr(0.02), n=100, bare=asr(0.02)).state is State.HELD


def test_a_defence_that_leaves_chance_is_not_held() -> None:
    found = one_cell("availability", accuracy(0.105), accuracy(0.105), n=200, bare=accuracy(0.95))
    assert found.harm is not None
    assert found.harm.mean == 0
    assert found.state is State.INCONCLUSIVE
    held = one_cell("availability", accuracy(0.94), accuracy(0.95), n=200, bare=accuracy(0.95))
    assert held.state is State.HELD


def test_one_test_row_decides_nothing() -> None:
    found = one_cell("availability", accuracy(0.91, 0.90, 100), accuracy(0.92, 0.90, 100), n=50)
    assert found.harm is not None
    assert found.harm.mean == pytest.approx(0.5)
    assert found.state is State.INCONCLUSIVE


@pytest.mark.parametrize("n", [1, 2, 5, 10])
def test_few_seeds_without_a_success_are_inconclusive(n: int) -> None:
    clean = BITES["backdoor"] | {"asr": 0.0}
    assert one_cell("backdoor", clean, clean, n, bare=clean).state is State.INCONCLUSIVE


def test_an_attack_that_helps_does_no_harm() -> None:
    found = one_cell("availability", accuracy(0.95), accuracy(0.2), n=3)
    assert found.harm is not None
    assert found.harm.low <= found.harm.mean == 0 <= found.harm.high
