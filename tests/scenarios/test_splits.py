"""Who holds which rows, and what the judge makes of regressions, certificates, evasions and test-aware attackers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from antivenom.attacks import LabelFlipping
from antivenom.core.errors import DataError, ModelError, NotApplicable, PluginError, ScenarioError
from antivenom.core.registry import attack, evasion, robust_learner, sanitizer
from antivenom.core.streams import Streams
from antivenom.core.threat import Access, Goal
from antivenom.core.verdict import Verdict
from antivenom.data import Dataset, Poison, load
from antivenom.models.estimators import RandomForest, Sklearn
from antivenom.scenarios.central import Central
from antivenom.scenarios.metrics import _certificate
from antivenom.scenarios.splits import Sources, hold_out, joined, known_test_rows, only_classes

LOGISTIC = Sklearn("sklearn.linear_model.LogisticRegression")
TABLE = Central(data="breast-cancer", model=LOGISTIC, access=Access.DATA_MANIPULATION, goal=Goal.AVAILABILITY)


def rows_of(data: Dataset) -> set[bytes]:
    return {row.tobytes() for row in data.dense}


def test_training_trusted_and_attacker_rows_are_disjoint_and_complete() -> None:
    train = load("breast-cancer", Streams(0)).train
    ours, trusted, own = hold_out(train, 50, None, Streams(0), attacker_rows=30)
    assert (len(ours), len(trusted), len(own)) == (len(train) - 80, 50, 30)
    assert rows_of(ours) | rows_of(trusted) | rows_of(own) == rows_of(train)
    assert not rows_of(ours) & (rows_of(trusted) | rows_of(own))
    fewer, again, _ = hold_out(train, 50, 100, Streams(0))
    assert len(fewer) == 100
    assert np.array_equal(again.x, trusted.x)  # whatever the attacker holds, the trusted rows are the same


@pytest.mark.parametrize("wanted", [(0, 398), (398, 0), (-1, 0), (0, -1), (300, 200)])
def test_more_rows_than_there_are_cannot_be_held_out(wanted: tuple[int, int]) -> None:
    with pytest.raises(DataError, match="clean_rows"):
        hold_out(load("breast-cancer").train, wanted[0], None, Streams(0), wanted[1])


def test_only_some_classes_in_the_order_named() -> None:
    split = load("digits", Streams(0))
    pair = only_classes(split, (7, 1))
    assert pair.train.classes == ("7", "1")
    assert rows_of(pair.train[pair.train.y == 0]) == rows_of(split.train[split.train.y == 7])
    assert rows_of(pair.test[pair.test.y == 1]) == rows_of(split.test[split.test.y == 1])
    for wrong in ((1, 1), (0, 10), (-1, 2)):
        with pytest.raises(DataError, match="different classes from 0 to 9"):
            only_classes(split, wrong)


def test_poison_comes_from_the_attackers_sources_alone() -> None:
    data = load("breast-cancer").train
    mask = np.arange(len(data)) % 10 == 0
    groups = Sources(honest=5, attacker=2).assigned(data, mask, Streams(0)).groups
    assert groups is not None
    assert {*groups[mask]} == {5, 6}
    assert {*groups[~mask]} == {0, 1, 2, 3, 4}
    assert Sources().assigned(data, mask, Streams(0)).groups is None


SEEN: dict[str, Any] = {}


def spy(access: str = "data-manipulation") -> Any:
    @attack(access=access, goal="availability", cite="none")
    class Looks:
        """Remembers what it holds."""

        def __call__(self, data: Dataset, context: Any) -> Poison:
            SEEN["rows"] = context.rows
            return Poison.none(data)

    return Looks()


def test_an_attacker_holds_what_the_scenario_grants(plugins: None) -> None:
    split = load("breast-cancer", Streams(0))
    looks = spy()
    TABLE.run(looks, None, 0)
    assert SEEN["rows"] is None
    replace(TABLE, attacker_rows=40).run(looks, None, 0)
    assert len(SEEN["rows"]) == 40
    assert rows_of(SEEN["rows"]) <= rows_of(split.train)
    found = replace(TABLE, test_known=0.5).run(looks, None, 0).metrics
    assert len(SEEN["rows"]) == round(0.5 * len(split.test))
    assert rows_of(SEEN["rows"]) <= rows_of(split.test)
    assert 0 < found["unseen_accuracy"] <= 1
    known = known_test_rows(split.test, 0.5, Streams(0))
    assert rows_of(split.test[known]) == rows_of(SEEN["rows"])
    assert "unseen_accuracy" not in TABLE.run(looks, None, 0).metrics
    with pytest.raises(ScenarioError, match="test_known from 0 to 1"):
        replace(TABLE, test_known=1.5)


def test_joined_rows_keep_their_order() -> None:
    data = load("breast-cancer").train
    whole = joined(data[:3], data[:0], data[3:5])
    assert whole is not None
    assert np.array_equal(whole.x, data.x[:5])
    assert joined(data[:0]) is None


def test_sanitizers_get_the_trusted_rows_and_the_sources(plugins: None) -> None:
    @sanitizer(goal="availability", cite="none")
    class Spy:
        """Remembers what it was given."""

        def __call__(self, data: Dataset, context: Any) -> Verdict:
            SEEN.update(trusted=context.trusted, groups=data.groups)
            return Verdict(np.zeros(len(data)), np.zeros(len(data), dtype=bool))

    flips = LabelFlipping(poisoned_rate=0.2)
    replace(TABLE, sources=4).run(flips, Spy(), 0)
    assert len(SEEN["trusted"]) == TABLE.clean_rows
    assert {*SEEN["groups"]} == {0, 1, 2, 3, 4}
    assert (SEEN["groups"] == 4).mean() == pytest.approx(0.2, abs=0.01)
    replace(TABLE, clean_rows=0).run(flips, Spy(), 0)
    assert SEEN["trusted"] is None


def test_a_regression_is_judged_by_r_squared() -> None:
    scenario = Central(
        data="diabetes",
        model=Sklearn("sklearn.linear_model.LinearRegression"),
        access=Access.DATA_MANIPULATION,
        goal=Goal.AVAILABILITY,
        clean_rows=0,
    )
    found = scenario.run(None, None, 0).metrics
    split = load("diabetes", Streams(0))
    design = np.c_[split.train.dense.astype(float), np.ones(len(split.train))]
    weights = np.linalg.lstsq(design, split.train.y, rcond=None)[0]
    wrong = split.test.y - np.c_[split.test.dense.astype(float), np.ones(len(split.test))] @ weights
    assert found["mse"] == pytest.approx((wrong**2).mean(), rel=1e-4)
    assert found["clean_accuracy"] == pytest.approx(1 - (wrong**2).mean() / split.test.y.var(), rel=1e-4)
    assert found["chance_accuracy"] == 0
    with pytest.raises(ModelError, match="expected a regressor for diabetes, got RandomForestClassifier"):
        replace(scenario, model=RandomForest()).run(None, None, 0)
    with pytest.raises(NotApplicable, match="rows with classes"):
        Central(data="diabetes", access=Access.DATA_MANIPULATION, goal=Goal.AVAILABILITY).run(None, None, 0)
    with pytest.raises(DataError, match="rows with classes"):
        scenario.run(LabelFlipping(), None, 0)


@pytest.mark.parametrize(
    ("radii", "right", "median", "share"),
    [
        ([3, 2, 1, 0], [1, 1, 1, 1], 2, 0.75),
        ([3, 2, 1, 0, 5], [1, 1, 1, 1, 0], 1, 0.6),
        ([9, 9, 9, 9], [1, 0, 0, 0], -1, 0.25),
        ([4], [1], 4, 1.0),
    ],
)
def test_half_of_the_test_rows_reach_the_median_radius(radii: Any, right: Any, median: int, share: float) -> None:
    found = _certificate(np.array(radii), np.array(right, dtype=bool))
    assert found == {"certified_median": median, "certified_accuracy": share}


def test_a_robust_learner_replaces_the_fit(plugins: None) -> None:
    @robust_learner(goal="availability", cite="none")
    class Trusting:
        """Trains on the trusted rows alone."""

        def __call__(self, data: Dataset, context: Any) -> Any:
            SEEN["rows"] = data
            return context.fit(context.trusted)

    flips = LabelFlipping(poisoned_rate=0.9)
    held, lost = TABLE.run(flips, Trusting(), 0).metrics, TABLE.run(flips, None, 0).metrics
    assert lost["clean_accuracy"] < 0.4
    assert held["clean_accuracy"] > 0.8
    assert held["clean_accuracy"] == TABLE.run(None, Trusting(), 0).metrics["clean_accuracy"]
    assert len(SEEN["rows"]) == 298


def test_an_evasion_leaves_training_alone_and_changes_what_is_judged(plugins: None) -> None:
    @evasion(goal="availability", cite="none")
    class Blank:
        """Sends zeros."""

        def __call__(self, model: Any, data: Dataset, context: Any) -> np.ndarray:
            SEEN["y"] = data.y
            return np.zeros_like(data.x)

    @evasion(goal="availability", cite="none")
    class Shrinks:
        """Sends too few rows."""

        def __call__(self, model: Any, data: Dataset, context: Any) -> np.ndarray:
            return data.x[:3]

    found = TABLE.run(Blank(), None, 0)
    split = load("breast-cancer", Streams(0))
    assert np.array_equal(SEEN["y"], split.test.y)
    share = (split.test.y == 1).mean()
    assert found.metrics["clean_accuracy"] in (pytest.approx(share), pytest.approx(1 - share))
    assert found.metrics["poisoned_rows"] == 0
    assert "evasion" in found.notes[0]
    with pytest.raises(PluginError, match="rows of shape"):
        TABLE.run(Shrinks(), None, 0)
