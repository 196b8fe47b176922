"""The KKT attack: its conditions and gradients, what it asks of the poison, and that it passes filters where it hurts."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import approx_fprime

from antivenom.attacks import KKTAttack, MinMax
from antivenom.attacks.availability.kkt import objective, required_pull
from antivenom.attacks.availability.passing import Passage, Victim, counts_around, error_behind, passages
from antivenom.certify.feasible import FeasibleSet
from antivenom.core.errors import DataError, PluginError
from antivenom.core.protocols import AttackContext, DefenceContext
from antivenom.core.streams import Streams
from antivenom.core.threat import ThreatModel
from antivenom.core.verdict import Verdict
from antivenom.data import Dataset, load
from antivenom.scenarios.grants import enforce

INJECTS = ThreatModel("data-injection", "availability")


def context(rows: Dataset | None = None, seed: int = 0) -> AttackContext:
    return AttackContext(Streams(seed), INJECTS, rows=rows)


def words(n: int, seed: int, d: int = 200) -> Dataset:
    """Counts of two classes with words of their own; sparse."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    rates = np.where(np.arange(d) < d // 2, 0.2, 0.1)
    x = rng.poisson(np.where(y[:, None] == 1, rates, rates[::-1]))
    return Dataset(sp.csr_array(x.astype(np.float32)), y, ("a", "b"))


@pytest.mark.parametrize("whole", [True, False])
def test_the_gradient_of_the_objective(whole: bool) -> None:
    rng = np.random.default_rng(0)
    v = rng.normal(size=6)
    theta = rng.normal(size=7)
    both = tuple(
        Passage(FeasibleSet(rng.random(6), v / np.linalg.norm(v), 0.8, 0.2), sign, (theta, -theta), 0.4, whole)
        for sign in (-1.0, 1.0)
    )
    pull, shares, places = rng.normal(size=6), np.array([0.3, 0.7]), 2 * rng.random(12) + 0.05
    value, gradient = objective(places, pull, shares, both)
    assert value > 0
    numeric = approx_fprime(places, lambda x: objective(x, pull, shares, both)[0], 1e-7)
    assert gradient == pytest.approx(numeric, rel=1e-3, abs=1e-3)


def test_the_excess_by_hand() -> None:
    """Centre 0, radius 2, slab 1 along the first axis, loss at most 0.5 under w = (1, 0), b = 0, class +1."""
    inside = FeasibleSet(np.zeros(2), np.array([1.0, 0.0]), 2.0, 1.0)
    condition = Passage(inside, 1.0, (np.array([1.0, 0.0, 0.0]),), 0.5, whole=False)
    assert condition.excess(np.array([0.6, 0.0]))[0] == 0
    assert condition.excess(np.array([0.2, 0.0]))[0] == pytest.approx(0.3**2)
    assert condition.excess(np.array([0.6, 2.0]))[0] == pytest.approx((0.36 / 4) ** 2)
    assert condition.excess(np.array([1.5, 0.0]))[0] == pytest.approx(0.5**2 + 0.55**2)
    rounded = Passage(inside, 1.0, (), 0.5, whole=True)
    half = np.array([0.5, 1.5])  # expected squares 0.5 and (1 + 4) / 2
    assert rounded.excess(half)[0] == 0
    assert Passage(FeasibleSet(np.zeros(2), np.zeros(2), 1.0), 1.0, (), 0.5, True).excess(half)[0] == pytest.approx(4)


def test_counts_around_keep_the_mean() -> None:
    x = np.array([0.0, 0.25, 1.5, 2.9, 3.0])
    rows = counts_around(x, 8, np.random.default_rng(0))
    assert rows.shape == (8, 5)
    assert (rows == np.rint(rows)).all()
    assert np.abs(rows.mean(axis=0) - x).max() < 1 / 8
    assert rows[:, [1, 2]].mean(axis=0) == pytest.approx([0.25, 1.5])  # multiples of an eighth come out exactly
    assert len(np.unique(rows[:, 2])) == 2


def test_the_pull_is_what_makes_theta_the_optimum() -> None:
    """Poison that has exactly the pull brings the solver to theta."""
    data, k, decay = words(300, 1), 60, 0.1
    victim = Victim(decay, 0)
    theta = 0.8 * victim.fit(data.flat, data.y)
    theta[:5] += 0.05
    pull = required_pull(data, k, theta, decay)
    positive = round(k * (1 + pull[-1]) / 2)
    split = (k - positive, positive)
    # two places: any pair whose weighted difference is the pull
    other = np.zeros(data.shape[0])
    place = (pull[:-1] * k + split[0] * other) / split[1]
    x = sp.vstack([data.flat, sp.csr_array(np.repeat([other, place], split, axis=0))], format="csr")
    found = victim.fit(x, np.append(data.y, np.repeat([0, 1], split)))
    assert np.linalg.norm(found - theta) < 0.1 * np.linalg.norm(theta)


def test_the_pull_by_hand() -> None:
    """One row x = 2 of class 1 with loss; n = 1, k = 1, lambda = 0.5: 2 * 0.5 * theta - (2, 1)."""
    data = Dataset(np.array([[2.0], [-9.0]]), np.array([1, 0]), ("a", "b"))
    pull = required_pull(data, 2, np.array([0.25, 0.0]), 0.5)
    assert pull == pytest.approx((np.array([4 * 0.5 * 0.25, 0]) - (2, 1)) / 2)


def test_conditions_leave_the_slack() -> None:
    data = words(200, 1)
    theta = Victim(0.1, 0).fit(data.flat, data.y)
    wide, tight = (passages(data, (theta,), 0.05, slack, slack, True) for slack in (0.0, 0.2))
    for one, two in zip(wide, tight, strict=True):
        assert two.inside.width == pytest.approx(0.8 * one.inside.width)
        assert two.loss == pytest.approx(0.8 * one.loss)
        assert two.inside.radius == one.inside.radius


class DropsPoison:
    """A sanitizer that happens to know the last rows."""

    def __call__(self, data: Dataset, context: DefenceContext) -> Verdict:
        assert context.fit(data).num_classes == 2
        flags = np.arange(len(data)) >= 200
        return Verdict(flags.astype(float), flags)


def test_a_defence_that_removes_the_poison_leaves_the_clean_error() -> None:
    data, judged, victim = words(200, 1), words(200, 2), Victim(0.1, 0)
    flipped = data.extend(data.x[:100], 1 - data.y[:100])
    clean = error_behind(data, judged, victim, 0.0, None, Streams(0))
    assert error_behind(flipped, judged, victim, 0.05, DropsPoison(), Streams(0)) == pytest.approx(clean)


def test_it_passes_filters_and_hurts_more_than_min_max() -> None:
    data, test, victim = words(400, 1), words(300, 2), Victim(0.02, 0)
    attack = KKTAttack(poisoned_rate=0.1, weight_decay=0.02, gammas=(0.6,), repeats=(2, 4))
    poison = attack(data, context(test))
    enforce(INJECTS, data, poison)
    added = poison.data[poison.mask]
    assert poison.mask.sum() == 40
    assert (added.x.toarray() == np.rint(added.x.toarray())).all()
    assert len(np.unique(added.x.toarray(), axis=0)) <= 16
    clean, behind, spread = (
        error_behind(rows, test, victim, 0.05, None, Streams(0))
        for rows in (data, poison.data, MinMax(0.1, rounding="feasible", steps=60)(data, context()).data)
    )
    assert behind > clean + 0.05
    assert behind > spread


def test_it_keeps_the_decoy_with_the_largest_error() -> None:
    """Tried alone, the two decoys lead to unequal errors; tried together, in either order, they lead to the larger one."""
    data, test, victim = words(200, 1, d=30), words(200, 2, d=30), Victim(0.02, 0)

    def error(*repeats: int) -> float:
        attack = KKTAttack(0.1, 0.02, gammas=(0.6,), repeats=repeats, rounds=1, integer=False)
        return error_behind(attack(data, context(test)).data, test, victim, 0.05, None, Streams(0))

    weak, strong = error(1), error(4)
    assert strong > weak + 0.01
    assert error(1, 4) == error(4, 1) == pytest.approx(strong)


def test_a_dense_table_and_no_rows_of_his_own() -> None:
    data = load("breast-cancer").train
    attack = KKTAttack(poisoned_rate=0.1, weight_decay=0.05, gammas=(0.7,), repeats=(4,), integer=False)
    poison = attack(data, context())
    added = poison.data[poison.mask].x
    assert (added >= data.x.min(axis=0) - 1e-6).all()
    assert (added <= data.x.max(axis=0) + 1e-6).all()
    assert len(np.unique(added, axis=0)) <= 2


def test_refusals_and_a_budget_below_one_row() -> None:
    with pytest.raises(DataError, match="two classes"):
        KKTAttack()(load("digits").train, context())
    with pytest.raises(DataError, match="rows with classes"):
        KKTAttack()(load("diabetes").train, context())
    for fields in ({"gammas": ()}, {"gammas": (1.5,)}, {"repeats": (0,)}, {"weight_decay": math.inf}, {"removed": 2.0}):
        with pytest.raises(PluginError):
            KKTAttack(**fields)
    assert not KKTAttack(poisoned_rate=0.001)(words(100, 1), context()).mask.any()
