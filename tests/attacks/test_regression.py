"""Poisoned regression: gradients against differences, fits against scikit-learn, corners and budgets by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.linear_model import Ridge

from antivenom.attacks import RegressionPoisoning, StatP
from antivenom.attacks.availability.regression import ascent, least_squares
from antivenom.core.errors import DataError, NotApplicable, PluginError
from antivenom.core.protocols import AttackContext
from antivenom.core.streams import Streams
from antivenom.core.threat import ThreatModel
from antivenom.data import Dataset, load
from antivenom.models.estimators import Sklearn
from antivenom.scenarios.central import Central
from antivenom.scenarios.grants import enforce

THREAT = ThreatModel("data-injection", "availability")  # type: ignore[arg-type]


def context(rows: Dataset | None = None) -> AttackContext:
    return AttackContext(Streams(1), THREAT, rows=rows)


def noisy(n: int = 60, d: int = 4) -> Dataset:
    rng = np.random.default_rng(5)
    x = rng.random((n, d))
    return Dataset(x, x @ np.arange(1, d + 1) + 0.1 * rng.standard_normal(n), ())


def tables(*rows: int) -> list[np.ndarray]:
    rng = np.random.default_rng(2)
    return [rng.random((n, 5)) for n in rows]


@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_the_fit_is_that_of_scikit_learn(alpha: float) -> None:
    (rows,) = tables(30)
    theta, _ = least_squares(rows, alpha)
    ridge = Ridge(alpha=alpha).fit(rows[:, :-1], rows[:, -1])
    assert theta == pytest.approx([*ridge.coef_, ridge.intercept_])


@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_the_gradient_against_differences(alpha: float) -> None:
    clean, poison, held = tables(30, 3, 20)
    error, slope = ascent(clean, poison, held, alpha)
    ridge = Ridge(alpha=alpha).fit(*np.hsplit(np.concatenate([clean, poison]), [4]))
    assert error == pytest.approx(((ridge.predict(held[:, :-1]).ravel() - held[:, -1]) ** 2).mean())
    for i, j in np.ndindex(slope.shape):
        nudge = np.zeros_like(poison)
        nudge[i, j] = 1e-6
        up, down = (ascent(clean, poison + sign * nudge, held, alpha)[0] for sign in (1, -1))
        assert slope[i, j] == pytest.approx((up - down) / 2e-6, rel=1e-4, abs=1e-8)


def error_of(data: Dataset, poison: Dataset) -> float:
    fit = Ridge(alpha=1e-9).fit(poison.dense.astype(float), poison.y)
    return float(((fit.predict(data.dense.astype(float)) - data.y) ** 2).mean())


@pytest.mark.parametrize("start", ["inv-flip", "b-flip"])
@pytest.mark.parametrize("responses", [True, False])
def test_the_error_rises_with_every_step_inside_the_box(start: str, responses: bool) -> None:
    data = noisy()
    made = [RegressionPoisoning(0.1, start=start, responses=responses, steps=n)(data, context()) for n in (0, 1, 3, 50)]
    errors = [error_of(data, poison.data) for poison in made]
    assert errors == sorted(errors)
    assert errors[-1] > 2 * errors[0]
    for poison in made:
        added = poison.data[poison.mask]
        assert len(added) == 6
        assert (added.x >= data.x.min(axis=0)).all()
        assert (added.x <= data.x.max(axis=0)).all()
        assert data.y.min() <= added.y.min() <= added.y.max() <= data.y.max()
        enforce(THREAT, data, poison)
    if not responses:
        assert np.array_equal(made[0].data.y, made[-1].data.y)


@pytest.mark.parametrize("seed", range(4))
def test_no_step_loses(seed: int) -> None:
    """Each further step may only raise the error on the attacker's rows. On these few rows, full steps would lower it."""
    rng = np.random.default_rng(seed)
    x = rng.random((16, 1))
    rows = Dataset(x, x[:, 0] + 0.3 * rng.standard_normal(16), ())
    data, own = rows[:12], rows[12:]
    made = [RegressionPoisoning(0.3, steps=n)(data, context(own)) for n in range(16)]
    errors = np.array([error_of(own, poison.data) for poison in made])
    assert (np.diff(errors) > -1e-6 * errors[-1]).all()


def test_first_responses_by_hand() -> None:
    data = Dataset(np.arange(4.0)[:, None], np.array([0.0, 1.0, 2.0, 10.0]), ())
    mirrored, farthest = (
        RegressionPoisoning(1.0, start=start, steps=0)(data, context()).data[4:] for start in ("inv-flip", "b-flip")
    )
    original = mirrored.x[:, 0].astype(int)
    assert sorted(original) == [0, 1, 2, 3]
    assert mirrored.y.tolist() == [10 - data.y[i] for i in original]
    assert farthest.y.tolist() == [0 if i == 3 else 10 for i in original]


def test_rows_of_the_attackers_own_are_what_it_climbs_on() -> None:
    data, own = noisy()[:40], noisy()[40:]
    seen, blind = (RegressionPoisoning(0.1)(data, context(rows)).data for rows in (own, None))
    assert error_of(own, seen) >= error_of(own, blind) - 1e-6
    assert error_of(data, blind) >= error_of(data, seen) - 1e-6


def test_statp_takes_corners_and_the_response_far_from_the_fit() -> None:
    data = noisy()
    poison = StatP(0.5)(data, context())
    added = poison.data[poison.mask]
    low, high = data.x.min(axis=0), data.x.max(axis=0)
    assert len(added) == 30
    assert ((added.x == low) | (added.x == high)).all()
    clean = Ridge(alpha=1e-9).fit(data.dense.astype(float), data.y)
    above = clean.predict(added.dense.astype(float)) > (data.y.min() + data.y.max()) / 2
    assert np.array_equal(added.y, np.where(above, data.y.min(), data.y.max()))
    enforce(THREAT, data, poison)


@pytest.mark.parametrize("make", [RegressionPoisoning, StatP])
def test_odd_rows(make: type) -> None:
    data = noisy()
    constant = replace(data, x=np.ones_like(data.x))
    assert np.isfinite(make(0.1)(constant, context()).data.x).all()
    assert len(make(0.1)(data[:1], context()).data) == 1  # a budget below one row
    flat = replace(data, y=np.ones(60))
    assert (make(0.1)(flat, context()).data.y == 1).all()
    with pytest.raises(DataError, match="at least one row"):
        make()(data[:0], context())
    with pytest.raises(DataError, match="dense rows"):
        make()(replace(data, x=sp.csr_array(data.x)), context())
    with pytest.raises(NotApplicable, match="a regression"):
        make()(load("breast-cancer", Streams(0)).train[:9], context())


@pytest.mark.parametrize(
    "make",
    [
        lambda: RegressionPoisoning(poisoned_rate=2),
        lambda: RegressionPoisoning(alpha=-1.0),
        lambda: RegressionPoisoning(steps=-1),
        lambda: RegressionPoisoning(start="bflip"),
        lambda: StatP(poisoned_rate=-0.1),
    ],
)
def test_fields_that_make_no_sense(make) -> None:
    with pytest.raises(PluginError):
        make()


def test_a_tenth_of_poison_takes_most_of_what_a_regression_explains() -> None:
    scenario = Central(
        data="diabetes", model=Sklearn("sklearn.linear_model.LinearRegression"), goal="availability", clean_rows=0
    )  # type: ignore[arg-type]
    attacks = (None, RegressionPoisoning(0.1, steps=0), StatP(0.1), RegressionPoisoning(0.1))
    explained = [np.mean([scenario.run(a, None, s).metrics["clean_accuracy"] for s in range(3)]) for a in attacks]
    assert explained == sorted(explained, reverse=True)
    assert explained[-1] < 0.2 * explained[0]
