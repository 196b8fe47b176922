"""Judging where the clean twin with the defence differs from the one without: harms, bounds and costs by hand."""

from __future__ import annotations

import pytest
import test_confirmation as confirmation
from test_summary import BAD, Values, audit, cell, many

from antivenom.auditing.evidence import bounds
from antivenom.auditing.report.repair import prices
from antivenom.auditing.results import CellResult, State, Summary
from antivenom.auditing.summary import summarise


def test_harm_is_relative_to_the_twin_with_the_same_defence() -> None:
    values: Values = {("none", "none"): [0.02, 0.03, 0.05], ("A", "none"): [0.92, 0.83, 0.75]}
    values |= {("none", "D"): [0.30, 0.20, 0.25], ("A", "D"): [0.49, 0.60, 0.46]}
    found = cell(audit(values), "A", "D")
    assert found.harm is not None
    assert found.harm.values == pytest.approx((0.19, 0.40, 0.21))  # without the defence: .47, .57, .41
    assert found.hits == 2
    bare = cell(audit(values), "A", "none")
    assert bare.harm is not None
    assert bare.harm.values == pytest.approx((0.90, 0.80, 0.70))


def test_the_error_is_shared_by_the_cells_with_an_attack() -> None:
    """Three attacks, and one clean twin, which is not judged."""
    values: Values = {("none", "none"): [0.0] * 9, **{(name, "none"): [0.5] * 9 for name in "ABC"}}
    harm = cell(audit(values), "A", "none").harm
    assert harm is not None
    low, high = bounds([0.5 - 1 / 450] * 9, [0.5 + 1 / 450] * 9, 0.05 / 3)
    assert (harm.low, harm.high) == pytest.approx((low, high))


def test_accuracy_lost_is_relative_to_the_defended_twin_and_cost_to_the_bare_one() -> None:
    values: Values = {("none", "none"): [0.90, 0.95, 0.85], ("A", "none"): [0.3, 0.3, 0.3]}
    values |= {("none", "D"): [0.85, 0.88, 0.82], ("A", "D"): [0.60, 0.68, 0.67]}
    found = cell(audit(values, goal="availability"), "A", "D")
    assert found.harm is not None
    assert found.accuracy_lost is not None
    assert found.cost is not None
    assert found.accuracy_lost.values == pytest.approx((0.25, 0.20, 0.15))
    assert found.cost.values == pytest.approx((0.05, 0.07, 0.03))
    assert found.harm.values == pytest.approx((0.25 / 0.75, 0.20 / 0.78, 0.15 / 0.72))  # chance is .1


def judged(bare: float, defended: float, attacked: float, n: int) -> CellResult:
    """The cell of an attack that breaches the pipeline without the defence; the attack success rates are given."""
    values: Values = {("none", "none"): [bare] * n, ("A", "none"): [1.0] * n}
    return cell(audit(values | {("none", "D"): [defended] * n, ("A", "D"): [attacked] * n}), "A", "D")


@pytest.mark.parametrize(("n", "state"), [(24, State.INCONCLUSIVE), (160, State.HELD)])
def test_held_needs_the_upper_bound_of_the_harm_below_the_limit(n: int, state: State) -> None:
    """The harm is .17 in every seed, below the limit .2. The bare twin is worse, so that the total harm is 0."""
    found = judged(bare=0.22, defended=0.02, attacked=0.19, n=n)
    assert found.harm is not None
    assert found.harm.mean == pytest.approx(0.17)
    assert (found.harm.high < 0.2) is (state is State.HELD)
    assert found.state is state


@pytest.mark.parametrize(("n", "state"), [(24, State.INCONCLUSIVE), (160, State.HELD)])
def test_held_needs_the_upper_bound_of_the_total_harm_below_the_limit(n: int, state: State) -> None:
    """The attack adds nothing, and the defence itself opens the backdoor in .17 of the inputs."""
    found = judged(bare=0.02, defended=0.19, attacked=0.19, n=n)
    assert found.harm is not None
    assert found.harm.mean == 0
    assert found.harm.high < 0.2
    assert found.state is state
    if state is State.INCONCLUSIVE:
        assert found.reason.startswith(
            "harm of attack and defence together, against the clean undefended model: up to "
        )


def best_of(accuracies: dict[str, tuple[float, float]], n: int) -> CellResult:
    """The best defence; for each one, the accuracies without and with an attack that breaches the bare pipeline."""
    values: Values = {("none", "none"): [0.9] * n, ("A", "none"): [0.2] * n}
    for name, (clean, attacked) in accuracies.items():
        values |= {("none", name): [clean] * n, ("A", name): [attacked] * n}
    summary: Summary = audit(values, goal="availability")
    found = next(level for level in summary.levels if level.planned).best
    assert found is not None
    return found


@pytest.mark.parametrize("names", [("first", "second"), ("second", "first")], ids=["cheap-first", "dear-first"])
def test_of_two_defences_that_held_the_cheaper_is_best_whatever_its_name(names: tuple[str, str]) -> None:
    cheap, dear = names
    found = best_of({cheap: (0.89, 0.885), dear: (0.87, 0.87)}, n=300)
    assert (found.state, found.defence) == (State.HELD, cheap)


@pytest.mark.parametrize("names", [("first", "second"), ("second", "first")], ids=["cheap-first", "dear-first"])
def test_of_two_defences_that_did_not_hold_harm_plus_cost_decides(names: tuple[str, str]) -> None:
    """Harm left .5 and cost 0, against harm left .4 and cost .3."""
    cheap, dear = names
    found = best_of({cheap: (0.9, 0.5), dear: (0.6, 0.4)}, n=8)
    assert (found.state, found.defence) == (State.BREACHED, cheap)


def test_a_defence_that_gains_accuracy_gets_no_credit_for_it_while_harm_is_left() -> None:
    """Harm left .50 and cost -.06, against harm left .46 and cost 0."""
    found = best_of({"gains": (0.96, 0.53), "neutral": (0.9, 0.532)}, n=8)
    assert found.defence == "neutral"


def test_a_defence_that_held_is_better_than_one_that_did_not_whatever_it_costs() -> None:
    found = best_of({"broken": (0.9, 0.75), "dear": (0.85, 0.85)}, n=300)
    assert (found.state, found.defence) == (State.HELD, "dear")


def test_the_control_is_the_same_attack_without_the_defence() -> None:
    """Attack A breaches the bare pipeline and B does not: only A's defended cell can be HELD."""
    low = many(0.03, 0.04, 0.03)
    values: Values = {("none", "none"): low, ("none", "D"): low, ("A", "none"): BAD, ("B", "none"): low}
    summary = audit(values | {("A", "D"): low, ("B", "D"): low})
    assert [cell(summary, attack, "D").state for attack in "AB"] == [State.HELD, State.INCONCLUSIVE]


def test_only_attacks_that_breach_the_bare_pipeline_count_in_the_choice_and_the_price_of_a_defence() -> None:
    """Attack A breaches the bare pipeline, and B only the one with defence D, whose harm under A is smaller than that of E."""
    low, some = many(0.03, 0.04, 0.03), many(0.5, 0.5, 0.5)
    values: Values = {("none", name): low for name in ("none", "D", "E")}
    values |= {("A", "none"): BAD, ("A", "D"): low, ("A", "E"): some}
    values |= {("B", "none"): low, ("B", "D"): BAD, ("B", "E"): low}
    summary = audit(values)
    assert next(level for level in summary.levels if level.planned).best == cell(summary, "A", "D")
    rows = prices(summary)["rows"]
    assert [(row["defence"], row["worst"].attack, row["worst"].defence) for row in rows] == [
        ("D", "A", "D"),
        ("E", "A", "E"),
    ]


def test_a_confirmed_harm_and_cost_are_relative_to_their_own_twins() -> None:
    """On fresh seeds: harm against the defended twin, and the cost of the defence without the attack."""
    found = confirmation.summary(
        {
            ("none", "none"): ([0.0] * 4, [0.0] * 3),
            ("none", "D"): ([0.0] * 4, [0.30, 0.20, 0.10]),
            ("A", "none"): ([0.9] * 4, [0.9] * 3),
            ("A", "D"): ([0.6] * 4, [0.70, 0.50, 0.60]),
        },
        accuracy={"D": 0.90},
    )
    for record in cell(found, "A", "D").records:
        record["metrics"]["clean_accuracy"] = 0.60
    records = {key: record for c in found.cells for key, record in zip(c.keys, c.records, strict=True)}
    confirmed = cell(summarise(found.plan, records), "A", "D").confirmed
    assert confirmed is not None
    assert confirmed.harm.values == pytest.approx((0.40, 0.30, 0.50))
    assert confirmed.cost is not None
    assert confirmed.cost.values == pytest.approx((0.05, 0.05, 0.05))


def test_an_audit_of_which_no_trial_finished_says_so() -> None:
    summary = audit({("none", "none"): ["error"] * 3, ("A", "none"): ["timeout"] * 3})
    assert (summary.exit_code, summary.exit_reason) == (2, "the audit failed: none of 6 trials finished")
