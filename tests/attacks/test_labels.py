"""Which rows a surrogate names, and what flipping them does; orders by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.linear_model import LogisticRegression

from antivenom.attacks import LabelFlipping
from antivenom.attacks.availability.labels import CHOICES, CLUSTERED, ranked
from antivenom.core.errors import DataError, PluginError
from antivenom.core.protocols import AttackContext
from antivenom.core.streams import Streams
from antivenom.core.threat import ThreatModel
from antivenom.data import Dataset
from antivenom.models.architectures import MLP
from antivenom.models.estimators import RandomForest, Sklearn
from antivenom.scenarios.central import Central
from antivenom.scenarios.grants import enforce

THREAT = ThreatModel("data-manipulation", "availability")  # type: ignore[arg-type]
CHOSEN = [choice for choice in CHOICES[1:] if choice != CLUSTERED]  # by a surrogate
PROBABILITIES = np.array(
    [
        [0.5, 0.4, 0.1],  # on the border, right
        [0.1, 0.7, 0.2],
        [0.3, 0.0, 0.7],  # wrong
        [0.9, 0.06, 0.04],
    ]
)
TRUE = np.array([0, 1, 0, 0])


def context(seed: int = 1) -> AttackContext:
    return AttackContext(Streams(seed), THREAT)


@pytest.mark.parametrize(
    ("choice", "order", "wrong"),
    [
        ("nearest", [0, 2, 1, 3], [1, 2, 2, 1]),  # gaps .1 .5 .4 .84
        ("furthest", [3, 1, 2, 0], [2, 0, 1, 2]),
        ("highest-loss", [2, 0, 1, 3], [1, 2, 2, 1]),  # -log of .5 .7 .3 .9
        ("lowest-loss", [3, 1, 0, 2], [2, 0, 1, 2]),
    ],
)
def test_orders_by_hand(choice: str, order: list[int], wrong: list[int]) -> None:
    score, new = ranked(choice, PROBABILITIES, TRUE)
    assert np.argsort(score).tolist() == order
    assert new.tolist() == wrong


def test_random_flips_are_those_recorded_so_far(blobs: Dataset) -> None:
    rng = Streams(1).numpy("flips")
    order, shift = rng.permutation(90), rng.integers(1, 3, size=90)
    y = blobs.y.copy()
    y[order[:18]] = (y[order[:18]] + shift[order[:18]]) % 3
    assert np.array_equal(LabelFlipping(0.2)(blobs, context()).data.y, y)


@pytest.mark.parametrize("choice", CHOSEN)
def test_chosen_flips_against_a_written_out_surrogate(blobs: Dataset, choice: str) -> None:
    model = LogisticRegression(max_iter=1000).fit(blobs.x, blobs.y)
    sign = 1 if choice in ("nearest", "highest-loss") else -1
    keyed = []
    for i, p in enumerate(model.predict_proba(blobs.x)):
        best = sorted(p)
        key = best[-1] - best[-2] if choice in ("nearest", "furthest") else p[blobs.y[i]]
        wrong = [k for k in range(3) if k != blobs.y[i]]
        keyed.append((sign * key, i, max(wrong, key=lambda k: sign * p[k])))
    poison = LabelFlipping(0.1, choice=choice)(blobs, context())
    for _, i, label in sorted(keyed)[:9]:
        assert poison.mask[i]
        assert poison.data.y[i] == label
    assert poison.mask.sum() == 9
    assert np.array_equal(poison.mask, poison.data.y != blobs.y)
    enforce(THREAT, blobs, poison)


@pytest.mark.parametrize("choice", CHOICES[1:])
def test_a_higher_rate_flips_the_same_rows_and_more_of_the_source_alone(blobs: Dataset, choice: str) -> None:
    few, many = (LabelFlipping(rate, source=1, choice=choice)(blobs, context()) for rate in (0.2, 0.5))
    assert (few.mask <= many.mask).all()
    assert np.array_equal(many.data.y[few.mask], few.data.y[few.mask])
    assert (few.mask.sum(), many.mask.sum()) == (6, 15)
    assert set(blobs.y[many.mask]) == {1}


def test_clustered_flips_are_the_nearest_of_a_class_and_get_the_class_beside_them() -> None:
    x = np.array([0, 1, 2, 3, 4, 5, 100, 200, 201, 202], dtype=float)[:, None]
    data = Dataset(x, np.array([0, 0, 0, 0, 0, 0, 1, 2, 2, 2]), ("a", "b", "c"))
    for seed in range(4):
        poison = LabelFlipping(0.3, source=2, choice=CLUSTERED)(data, context(seed))
        assert poison.mask.sum() == 0  # .3 of three rows is no row
        poison = LabelFlipping(0.3, choice=CLUSTERED)(data, context(seed))
        flipped = np.flatnonzero(poison.mask)
        assert len(set(data.y[flipped])) == 1  # one class
        assert len(flipped) == min(3, int((data.y == data.y[flipped[0]]).sum()))
        assert np.ptp(flipped) == len(flipped) - 1  # side by side
        assert set(poison.data.y[flipped]) == ({1} if data.y[flipped[0]] != 1 else {0})
    with pytest.raises(DataError, match="rows of two classes"):
        LabelFlipping(0.3, choice=CLUSTERED)(data[data.y == 0], context())


def test_any_classifier_is_a_surrogate_and_sparse_rows_serve(blobs: Dataset) -> None:
    sparse = replace(blobs, x=sp.csr_array(blobs.x))
    for surrogate in (RandomForest(10), Sklearn("sklearn.svm.SVC")):  # SVC without probabilities
        poison = LabelFlipping(0.2, choice="furthest", surrogate=surrogate)(blobs, context())
        assert poison.mask.sum() == 18
        assert (poison.data.y != blobs.y).sum() == 18
    dense_mask = LabelFlipping(0.2, choice="nearest")(blobs, context()).mask
    assert np.array_equal(LabelFlipping(0.2, choice="nearest")(sparse, context()).mask, dense_mask)


def test_what_cannot_be_flipped_is_refused(blobs: Dataset) -> None:
    with pytest.raises(PluginError, match="did you mean 'furthest'"):
        LabelFlipping(choice="furtherst")
    with pytest.raises(DataError, match="rows with classes"):
        LabelFlipping(choice="nearest")(Dataset(blobs.x, blobs.y, ()), context())
    with pytest.raises(DataError, match="dense rows"):
        LabelFlipping(choice="nearest", surrogate=MLP())(replace(blobs, x=sp.csr_array(blobs.x)), context())


@pytest.mark.parametrize("model", [RandomForest(20), Sklearn("sklearn.svm.SVC")])
def test_flips_far_inside_a_class_carry_over_to_learners_without_gradients(model: Any) -> None:
    scenario = Central(data="breast-cancer", model=model, access="data-manipulation", goal="availability")  # type: ignore[arg-type]
    random, chosen = (
        scenario.run(LabelFlipping(0.3, choice=choice), None, 0).metrics["clean_accuracy"]
        for choice in ("random", "furthest")
    )
    assert chosen < random - 0.05


@pytest.mark.parametrize(
    "estimator",
    [
        *("ensemble.ExtraTreesClassifier", "neighbors.KNeighborsClassifier", "svm.LinearSVC"),
        *("naive_bayes.GaussianNB", "tree.DecisionTreeClassifier", "linear_model.RidgeClassifier"),
    ],
)
def test_any_scikit_learn_classifier_is_a_victim_with_many_classes_too(estimator: str) -> None:
    scenario = Central(
        data="digits",
        model=Sklearn(f"sklearn.{estimator}"),
        access="data-manipulation",
        goal="availability",
        train_rows=300,
    )  # type: ignore[arg-type]
    clean, attacked = (scenario.run(a, None, 0).metrics["clean_accuracy"] for a in (None, LabelFlipping(0.6)))
    assert clean > 0.6
    assert attacked < clean - 0.1
