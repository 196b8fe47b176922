"""The adaptive linear neuron as a victim."""

from __future__ import annotations

import numpy as np

from antivenom.core.streams import Streams
from antivenom.data import Dataset, load
from antivenom.models.estimators import Adaline
from antivenom.models.training import Training
from antivenom.models.wrappers import learner


def test_its_weights_are_those_of_least_squares() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3)).astype(np.float32)
    y = (x @ [1.0, -2.0, 0.5] + 0.3 + 0.5 * rng.normal(size=200) > 0).astype(int)
    model = learner(Adaline(), Training()).fit(Dataset(x, y, ("a", "b")), Streams(0))
    exact = np.linalg.lstsq(np.column_stack([x, np.ones(200)]), 2.0 * y - 1, rcond=None)[0]
    found = np.append(model.estimator.coef_[0], model.estimator.intercept_)
    assert np.abs(found - exact).max() < 0.03


def test_it_learns_ten_digits() -> None:
    split = load("digits", Streams(0))
    model = learner(Adaline(), Training()).fit(split.train, Streams(0))
    assert (model.predict(split.test.x) == split.test.y).mean() > 0.9
