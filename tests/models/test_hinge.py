"""The linear SVM in a ball: the bound is met and used, dense and sparse agree, and what it refuses."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp

from antivenom.core.errors import DataError, PluginError
from antivenom.core.streams import Streams
from antivenom.data import Dataset, load
from antivenom.models.hinge import BoundedSVC, BoundedSVM, signs
from antivenom.models.training import Training
from antivenom.models.wrappers import learner


def hinge(svc: BoundedSVC, data: Dataset) -> float:
    return float(np.maximum(1 - signs(data.y) * svc.decision_function(data.flat), 0).mean())


@pytest.mark.parametrize("bound", [0.5, 4.0])
def test_the_bound_is_met_and_used(bound: float) -> None:
    data = load("breast-cancer").train
    svc = BoundedSVC(bound, random_state=0).fit(data.flat, data.y)
    squared = float(svc.coef_[0] @ svc.coef_[0] + svc.intercept_[0] ** 2)
    assert 0.985 * bound <= squared <= bound


def test_no_direction_in_the_ball_is_better() -> None:
    data = load("breast-cancer").train
    svc = BoundedSVC(2.0, random_state=0).fit(data.flat, data.y)
    best, rng = hinge(svc, data), np.random.default_rng(0)
    theta = np.append(svc.coef_[0], svc.intercept_)
    for size in (0.01, 0.1, 1.0):
        for _ in range(50):
            other = theta + size * rng.normal(size=len(theta))
            other *= min(1.0, np.sqrt(2.0 / (other @ other)))
            svc.coef_, svc.intercept_ = other[None, :-1], other[-1:]
            assert hinge(svc, data) >= best - 1e-3


def test_without_a_bound_it_is_the_minimum_of_the_regularised_loss() -> None:
    """Two rows at +1 and -1: mean hinge + lambda / 2 w^2 is least at w = min(1, 1 / lambda)."""
    x, y = np.array([[1.0], [-1.0]]), np.array([1, 0])
    for decay, weight in ((0.1, 1.0), (4.0, 0.25)):
        svc = BoundedSVC(None, decay, random_state=0).fit(x, y)
        assert svc.coef_[0, 0] == pytest.approx(weight, rel=1e-2)
        assert svc.predict(x).tolist() == [1, 0]


def test_sparse_rows_give_the_same_machine() -> None:
    data = load("breast-cancer").train
    sparse = dataclasses.replace(data, x=sp.csr_array(data.x))
    one, two = (learner(BoundedSVM(2.0), Training()).fit(rows, Streams(0)) for rows in (data, sparse))
    assert np.array_equal(one.predict(data.x), two.predict(sparse.x))
    assert (one.predict(data.x) == data.y).mean() > 0.75


def test_refusals() -> None:
    digits = load("digits").train
    with pytest.raises(DataError, match="two classes"):
        learner(BoundedSVM(), Training()).fit(digits, Streams(0))
    for fields in ({"rho_squared": 0.0}, {"weight_decay": 0.0}):
        with pytest.raises(PluginError, match="above 0"):
            BoundedSVM(**fields)
