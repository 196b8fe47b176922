"""Short names of labels, and the plain sentences of a verdict."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from test_summary import Values, audit, many

from antivenom.auditing.naming import MOST, details, of_value, parts_of, short, shorts
from antivenom.auditing.report.front import verdict
from antivenom.auditing.results import State
from antivenom.auditing.sentences import do_first, next_step, price, price_range, sentence, severity_of
from antivenom.auditing.statistics import Interval


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("LabelFlipping(poisoned_rate=0.3, choice=lowest-loss)", "LabelFlipping, 30% of rows"),
        (
            "LineSearch(ExplicitBoosting(steps=10, rate=0.1), Krum, centre=benign)",
            "LineSearch with ExplicitBoosting and Krum",
        ),
        ("RIPPLe(Training(epochs=10, learning_rate=0.03))", "RIPPLe"),
        ("BadNets()", "BadNets"),
        ("none", "none"),
        ("odd (text, of=a user", "odd (text, of=a user"),
        ("A(poisoned_rate=many)", "A"),
        ("x" * 500, "x" * (MOST - 1) + "…"),
    ],
    ids=["share of rows", "nested", "settings of training", "no fields", "none", "no label", "no number", "long"],
)
def test_short_names(label: str, name: str) -> None:
    assert short(label) == name


def test_brackets_and_commas_inside_a_value_do_not_split_it() -> None:
    assert parts_of("A(size=(2, 3), words=['a', 'b'])").fields == {"size": "(2, 3)", "words": "['a', 'b']"}
    assert details("A(size=(2, 3))") == "size=(2, 3)"
    assert details("A") == ""


def test_equal_short_names_get_the_fields_in_which_they_differ() -> None:
    labels = ["A(poisoned_rate=0.1, k=1, z=5)", "A(poisoned_rate=0.1, k=2, z=5)", "A(poisoned_rate=0.1)", "B"]
    assert list(shorts(labels).values()) == [
        "A, 10% of rows, k 1, z 5",
        "A, 10% of rows, k 2, z 5",
        "A, 10% of rows",
        "B",
    ]
    long = [f"A({'f' * 80}={i})" for i in (1, 2)]
    assert len(set(shorts(long).values())) == 2


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("digits", "digits"),
        ({"name": "TableFile", "path": "/home/ann/loans.csv"}, "loans.csv"),
        ({"name": "OwnEstimator", "path": "pkg.train:make_model"}, "pkg.train:make_model"),
        ({"architecture": "mine:Net", "fingerprint": "23ff"}, "mine:Net"),
        ({"name": "MLP", "hidden": [64]}, "MLP"),
        (None, "not stated"),
    ],
    ids=["named", "file", "own", "own torch", "plugin", "absent"],
)
def test_names_of_data_and_models(value: object, name: str) -> None:
    assert of_value(value) == name


def test_a_breach_is_told_before_and_after_with_the_defence_that_helps_and_its_price() -> None:
    """Accuracy .90 falls to .20; with D, which costs .03, it stays at .87 and with E at .50."""
    values = {("none", "none"): 0.9, ("A", "none"): 0.2, ("none", "D"): 0.87, ("A", "D"): 0.87}
    values |= {("none", "E"): 0.9, ("A", "E"): 0.5}
    summary = audit({key: many(value, times=100) for key, value in values.items()}, goal="availability")
    level = next(level for level in summary.levels if level.planned)
    assert sentence(level) == "An attacker who does things gets through: the accuracy is 20% (90% without the attack)."
    assert next_step(level, summary) == (
        "Deploy D, the cheapest defence that held: 20% → 87%; it costs 3.0 points of accuracy."
    )
    assert level.deployed is not None
    assert severity_of(level.deployed.harm) == "very high"


def test_levels_without_a_verdict_say_so() -> None:
    summary = audit({("none", "none"): [0.0, 0.0], ("A", "none"): [0.5, 0.5]})
    open_level = next(level for level in summary.levels if level.planned)
    assert open_level.state is State.INCONCLUSIVE
    assert sentence(open_level).startswith(
        "It is not decided yet whether an attacker who does things gets through: 50% of"
    )
    assert next_step(open_level, summary).startswith("Run more seeds: about ")
    timed = replace(summary, given={"data": {}})
    assert next_step(open_level, timed).startswith("Give it more time (--time): about ")
    absent = next(level for level in summary.levels if not level.planned)
    assert sentence(absent) == "Not measured: whether an attacker who does things gets through. No scenario tests it."
    assert next_step(absent, summary) == "Add a scenario with kind: logic-corruption."
    failed: Values = {("none", "none"): [0.0, 0.0], ("A", "none"): ["error", "error"]}
    assert sentence(next(level for level in audit(failed).levels if level.planned)).startswith("Not known: whether")


def test_prices_below_zero_are_said_in_words() -> None:
    assert price(None) == "its cost in accuracy was not measured"
    assert price(Interval(-0.02, -0.05, 0.01, 5, ())) == "costs no accuracy"
    assert price_range(Interval(-0.02, -0.05, 0.01, 5, ())) == "between a gain of 5.0 points and a loss of 1.0 points"
    assert price_range(Interval(0.0, -0.0001, 0.02, 5, ())) == "between no change and a loss of 2.0 points"
    assert price_range(Interval(0.0, 0.0, 0.0, 5, ())) == "no change"
    assert price_range(Interval(0.1, -math.inf, math.inf, 1, ())) == ""


def test_the_first_sentence_counts_the_levels_that_were_tried() -> None:
    def first(values: Values, n: int = 100) -> str:
        summary = audit(
            {key: many(value, times=n) for key, value in values.items()},
            deployed="D" if ("A", "D") in values else "none",
        )  # type: ignore[arg-type]
        return verdict(list(summary.levels))

    bare = {("none", "none"): 0.0, ("A", "none"): 0.9}
    assert first(bare) == "The one access level that was tried is breached as deployed."
    assert (
        first(bare | {("none", "D"): 0.0, ("A", "D"): 0.0}) == "The one access level that was tried held in this test."
    )
    assert first({("none", "none"): 0.0, ("A", "none"): 0.3}, 1).endswith("is not shown to be breached or to hold.")
    assert verdict([]) == "No attack was planned, so nothing is known."


def test_an_open_level_is_what_to_do_first_if_nothing_is_breached() -> None:
    summary = audit({("none", "none"): [0.0, 0.0], ("A", "none"): [0.5, 0.5]})
    assert do_first(summary).startswith(
        "No level is shown to be breached as deployed. data-injection is open: Run more seeds:"
    )
