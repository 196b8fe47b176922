"""TRIM: by hand, by brute force, by scikit-learn's own checks, and on poisoned data."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.utils.estimator_checks import parametrize_with_checks

from antivenom.attacks import RegressionPoisoning
from antivenom.core.errors import NotApplicable, PluginError
from antivenom.core.streams import Streams
from antivenom.data import Dataset
from antivenom.defences import TRIM, TrimmedRegressor
from antivenom.defences.learners.trim import kept_rows
from antivenom.models.estimators import Sklearn
from antivenom.models.scikit import SklearnModel
from antivenom.models.training import Training
from antivenom.scenarios.central import Central
from antivenom.scenarios.pipeline import Pipeline

LEAST_SQUARES = Sklearn("sklearn.linear_model.LinearRegression")


@parametrize_with_checks([TrimmedRegressor(starts=2)])
@pytest.mark.filterwarnings("ignore")
def test_what_scikit_learn_asks_of_an_estimator(estimator: Any, check: Any) -> None:
    check(estimator)


@pytest.mark.parametrize(
    ("rows", "rate", "kept"), [(12, 0.2, 10), (10, 0.0, 10), (11, 0.1, 10), (10, 1.0, 5), (7, 0.5, 5), (1, 1.0, 1)]
)
def test_what_is_kept_of_n_rows_plus_that_share_of_them(rows: int, rate: float, kept: int) -> None:
    assert kept_rows(rows, rate) == kept


def test_a_line_and_two_outliers_by_hand() -> None:
    x = np.arange(10.0)[:, None]
    y = 2 * x[:, 0] + 1
    y[[3, 8]] = [40, -30]
    model = TrimmedRegressor(poisoned_rate=0.25).fit(x, y)
    assert np.flatnonzero(~model.support_).tolist() == [3, 8]
    assert model.regressor_.coef_ == pytest.approx([2])
    assert model.predict([[100.0]]) == pytest.approx([201])


def test_the_mean_of_the_nearest_by_hand() -> None:
    y = np.array([0.0, 1.0, 2.0, 9.0, 10.0])
    model = TrimmedRegressor(DummyRegressor(), poisoned_rate=2 / 3).fit(np.zeros((5, 1)), y)
    assert model.support_.tolist() == [True, True, True, False, False]
    assert model.predict([[0.0]]).tolist() == [1.0]


@pytest.mark.parametrize("seed", range(5))
def test_every_result_is_a_local_optimum_and_the_best_of_many_starts_is_the_best_subset(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, y = rng.random((8, 1)), rng.random(8)

    def loss(rows: np.ndarray) -> float:
        fit = LinearRegression().fit(x[rows], y[rows])
        return float(((fit.predict(x[rows]) - y[rows]) ** 2).sum())

    best = min(loss(np.array(rows)) for rows in itertools.combinations(range(8), 6))
    for start in range(6):
        model = TrimmedRegressor(poisoned_rate=1 / 3, starts=1, random_state=start).fit(x, y)
        residuals = (model.predict(x) - y) ** 2
        assert model.support_.sum() == 6
        assert residuals[model.support_].max() <= residuals[~model.support_].min() + 1e-9
        assert loss(np.flatnonzero(model.support_)) >= best - 1e-12
    many = TrimmedRegressor(poisoned_rate=1 / 3, starts=60).fit(x, y)
    assert loss(np.flatnonzero(many.support_)) == pytest.approx(best)


def test_sparse_rows_give_the_same_fit() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.random((30, 4)), rng.random(30)
    dense, sparse = (TrimmedRegressor(Ridge(solver="lsqr")).fit(rows, y) for rows in (x, sp.csr_array(x)))
    assert np.array_equal(dense.support_, sparse.support_)
    assert dense.predict(x) == pytest.approx(sparse.predict(sp.csr_array(x)))


def context(model: Sklearn = LEAST_SQUARES):
    return Pipeline(model, Training(), "cpu", Streams(2)).context()


def test_the_learner_fits_the_pipelines_own_model_to_what_it_keeps() -> None:
    x = np.arange(12.0)[:, None]
    y = 3 * x[:, 0]
    y[[0, 7]] = [60, 60]
    model = TRIM(0.2)(Dataset(x, y, ()), context())
    assert isinstance(model, SklearnModel)
    assert isinstance(model.estimator, LinearRegression)
    assert model.predict(x) == pytest.approx(3 * x[:, 0], abs=1e-4)  # rows are float32


def test_without_assumed_poison_it_is_the_plain_fit() -> None:
    rng = np.random.default_rng(1)
    data = Dataset(rng.random((20, 3)), rng.random(20), ())
    assert np.array_equal(TRIM(0.0)(data, context()).predict(data.x), context().fit(data).predict(data.x))


def test_rows_with_classes_and_nonsense_are_refused(blobs: Dataset) -> None:
    with pytest.raises(NotApplicable, match="3 classes in blobs"):
        TRIM()(blobs, context())
    for fields in ({"poisoned_rate": 1.5}, {"starts": 0}, {"steps": 0}):
        with pytest.raises(PluginError):
            TRIM(**fields)  # type: ignore[arg-type]
        with pytest.raises(PluginError):
            TrimmedRegressor(**fields).fit(np.zeros((3, 1)), np.zeros(3))


def test_trim_restores_what_poison_took() -> None:
    scenario = Central(data="diabetes", model=LEAST_SQUARES, goal="availability", clean_rows=0)  # type: ignore[arg-type]

    def explained(attack: Any, defence: Any) -> float:
        return float(np.mean([scenario.run(attack, defence, seed).metrics["clean_accuracy"] for seed in (0, 1)]))

    clean, poison, trim = explained(None, None), RegressionPoisoning(0.1), TRIM(0.1, starts=5)
    assert explained(poison, None) < 0.3 * clean
    assert explained(poison, trim) > 0.9 * clean
    assert explained(None, trim) > 0.9 * clean
