"""What the first screen says in states without a breach: never that there is nothing to do while nothing is known."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hand_made import Values, cells_of, many, summary_of
from test_beside import LINES

from antivenom.auditing.report import render
from antivenom.auditing.sentences import do_first, next_step, sentence

TWIN = ("none", "none")
CASES: dict[str, tuple[Values, str, str]] = {
    "failed": (
        {TWIN: ["error"] * 4, ("A", "none"): ["error"] * 4},
        "Remove the cause of the errors, which the appendix lists, and run the same command again.",
        "Nothing is known, because the trials failed.",
    ),
    "killed": (
        {TWIN: [0.0] * 4, ("A", "none"): [0.9, 0.8, None, None]},
        "Run the same command again: 2 of 8 trials have not run.",
        "is not shown to be breached or to hold.",
    ),
    "not applicable": (
        {TWIN: [0.0] * 4, ("A", "none"): ["not-applicable"] * 4},
        "Choose attacks that fit these rows and this model: none was run.",
        "No attack that was planned applies here, so nothing is known.",
    ),
    "no attack": (
        {TWIN: [0.0] * 4},
        "Choose attacks that fit these rows and this model: none was run.",
        "No attack was planned, so nothing is known.",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_without_a_verdict_the_page_says_what_to_do(name: str) -> None:
    values, first, headline = CASES[name]
    summary = summary_of(cells_of(values))
    assert do_first(summary) == first
    page = render(summary)
    assert first in page
    assert headline in page


def test_seeds_that_did_not_run_are_not_asked_for_as_more_seeds() -> None:
    summary = summary_of(cells_of(CASES["killed"][0]))
    level = next(level for level in summary.levels if level.planned)
    assert next_step(level, summary) == "Run the same command again: 2 of 4 seeds have not run."
    assert "failed or did not run" in level.deployed.reason  # type: ignore[union-attr]


def test_an_attack_without_effect_is_not_called_undecided() -> None:
    summary = summary_of(cells_of({TWIN: many(0.0), ("A", "none"): many(0.0)}))
    level = next(level for level in summary.levels if level.planned)
    assert sentence(level).startswith(
        "An attacker who adds rows does not get through with the attacks that were tried, and a stronger one may: 0%"
    )
    assert next_step(level, summary) == (
        "Try stronger attacks or more rows: `antivenom list attacks --access data-injection` names attacks."
    )


def test_an_audit_of_own_rows_is_not_told_to_edit_a_scenario_file() -> None:
    summary = summary_of(cells_of({TWIN: many(0.0), ("A", "none"): many(0.9)}))
    assert "poisoned_rate: [0.01" in render(summary)
    page = render(replace(summary, given=LINES["given"]))
    assert "poisoned_rate: [0.01" not in page
    assert "A longer <code>--time</code> leaves room for a curve." in page
