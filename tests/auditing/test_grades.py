"""Letters: they cannot be had by leaving out attacks or seeds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hand_made import Values, cells_of, many, summary_of

from antivenom.auditing.grades import Grade, grade, letter_of, profile
from antivenom.auditing.results import Confirmed, LevelResult, State, Summary
from antivenom.auditing.statistics import Interval


def audited(harms: dict[str, float], n: int = 120, **more: Any) -> Summary:
    """An audit at one level with defence D deployed. Every attack bites without it."""
    values: Values = {("none", "none"): many(0.0, n), ("none", "D"): many(0.0, n)}
    for attack, harm in harms.items():
        values |= {(attack, "none"): many(0.9, n), (attack, "D"): many(harm, n)}
    return summary_of(cells_of(values, level="transfer-learning", deployed="D", **more))


def level_of(summary: Summary, fresh: int = 8) -> LevelResult:
    level = next(level for level in summary.levels if level.planned)
    assert level.deployed is not None
    assert level.deployed.harm is not None
    confirmed = Confirmed(replace(level.deployed.harm, n=fresh), None)
    return replace(level, deployed=replace(level.deployed, confirmed=confirmed))


def test_the_letter_is_that_of_the_upper_bound_of_the_worst_harm() -> None:
    summary = audited({"A": 0.02, "B": 0.2}, n=60)
    found = grade(level_of(summary), summary)
    worst = next(c for c in summary.attacks if (c.attack, c.defence) == ("B", "D"))
    assert worst.harm is not None
    assert (found.letter, found.proven) == (letter_of(worst.harm.high), letter_of(worst.harm.low)) == ("D", "C")
    assert found.said == "grade D (C or worse is proven)"


@pytest.mark.parametrize("n", [20, 80, 320], ids=str)
def test_fewer_seeds_never_help(n: int) -> None:
    few, many_ = (audited({"A": 0.01, "B": 0.01}, seeds) for seeds in (n, 2 * n))
    assert grade(level_of(few), few).letter >= grade(level_of(many_), many_).letter


def test_attacks_that_are_left_out_cost_the_letter() -> None:
    summary = audited({"A": 0.0, "A(k=2)": 0.0})  # two settings of one attack are one attack
    assert grade(level_of(summary), summary) == Grade("", "", 1, 2, "1 of 2 required attacks")
    other = audited({"A": 0.0, "B": 0.0}, goal="targeted")
    assert grade(next(lv for lv in other.levels if lv.planned), other).said == "ungraded: 0 of 2 required attacks"


def test_an_unknown_harm_a_toothless_attack_and_a_dear_defence_have_no_letter() -> None:
    values: Values = {("none", "none"): many(0.0), ("none", "D"): many(0.0)}
    for attack in "AB":
        values |= {(attack, "none"): many(0.0), (attack, "D"): many(0.0)}
    part = cells_of(values, level="transfer-learning", deployed="D")
    summary = summary_of(part)
    assert "no attack is shown to bite" in grade(level_of(summary), summary).said
    part[1]["g-A-D-3"]["status"] = "error"
    broken = summary_of(part)
    assert "1 of 2 required attacks" in grade(level_of(broken), broken).said
    summary = audited({"A": 0.0, "B": 0.0})
    cost = Interval(0.08, 0.06, 0.1, 9, ())
    dear = replace(summary, cells=tuple(replace(c, cost=cost if c.defence == "D" else None) for c in summary.cells))
    assert "costs too much accuracy" in grade(level_of(dear), dear).said


def test_caps_for_few_fresh_seeds_and_for_attacks_that_did_not_know_the_defence() -> None:
    summary = audited({"A": 0.0, "B": 0.0}, n=120)
    assert grade(level_of(summary, fresh=4), summary).letter == "D"
    assert grade(level_of(summary), summary).letter == "B"
    aware = replace(summary, cells=tuple(replace(c, knowledge="the defence (its field `rule`)") for c in summary.cells))
    found = grade(level_of(aware), aware)
    assert (found.letter, found.why) == ("A", "")
    assert all(c.state is State.HELD for c in aware.attacks if c.defence == "D")


def test_the_profile_has_a_name_and_an_edition_and_known_goals() -> None:
    assert profile()["name"]
    assert profile()["edition"]
    assert {goal for goals in profile()["required"].values() for goal in goals} <= {
        "availability",
        "backdoor",
        "targeted",
    }
