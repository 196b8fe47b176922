"""Sphere and slab: the worst row in closed form, counts against all of them, centroids that poison drags."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.sparse as sp

from antivenom.certify.feasible import FeasibleSet, distances, feasible_sets
from antivenom.core.errors import DataError
from antivenom.data import Dataset

RNG = np.random.default_rng


def ring(radius: float = 5.0, width: float = 3.0) -> FeasibleSet:
    return FeasibleSet(np.zeros(2), np.array([1.0, 0.0]), radius, width)


@pytest.mark.parametrize(
    ("w", "lowest"),
    [
        ((1.0, 1.0), (-3.0, -4.0)),  # the slab binds
        ((0.0, 2.0), (0.0, -5.0)),  # only the sphere does
        ((3.0, 0.0), (-3.0, 0.0)),  # along the slab's normal
        ((0.0, 0.0), (0.0, 0.0)),  # nothing to gain
        ((3.0, 4.0), (-3.0, -4.0)),  # the corner itself
    ],
)
def test_the_lowest_row_by_hand(w: tuple[float, float], lowest: tuple[float, float]) -> None:
    assert ring().lowest(np.array(w)) == pytest.approx(lowest)


def test_no_sampled_row_lies_lower_and_the_lowest_passes() -> None:
    rng = RNG(0)
    for _ in range(30):
        v = rng.normal(size=4)
        inside = FeasibleSet(rng.normal(size=4), v / np.linalg.norm(v), 2.0, rng.uniform(0.1, 2.5))
        w = rng.normal(size=4)
        x = inside.lowest(w)
        assert inside.contains(x[None].astype(np.float32))[0]
        sample = inside.centre + 2.0 * rng.normal(size=(2000, 4))
        assert (sample[inside.contains(sample)] @ w).min() >= w @ x - 1e-9


def test_contains_by_hand_dense_and_sparse() -> None:
    rows = np.array([[3.0, 4.0], [3.1, 0.0], [0.0, 5.1], [-3.0, 0.0]])
    for form in (rows, sp.csr_array(rows)):
        assert ring().contains(form).tolist() == [True, False, False, True]


def test_counts_against_every_row_of_counts() -> None:
    rng = RNG(1)
    grid = np.array(list(itertools.product(range(8), repeat=3)), dtype=float)
    loose = 0
    for _ in range(150):
        v = rng.normal(size=3)
        v /= np.linalg.norm(v)
        inside = FeasibleSet(2 * rng.random(3), v, rng.uniform(1, 3), rng.uniform(0.3, 1.5))
        w = rng.normal(size=3)
        passing = grid[inside.contains(grid)]
        try:
            x, bound = inside.lowest_counts(w)
        except DataError:
            continue
        true = (passing @ w).min()
        assert inside.contains(x[None])[0]
        assert (x == np.rint(x)).all()
        assert (x >= 0).all()
        assert bound <= true + 1e-9 <= w @ x + 2e-9
        assert bound >= w @ inside.lowest(w) - 1e-6  # no weaker than the bound without whole numbers
        loose += (w @ x) > true + 1e-9
    assert loose < 75


def test_counts_that_cannot_be_reached() -> None:
    far = FeasibleSet(np.array([0.5, 0.5]), np.array([1.0, 0.0]), 0.1, 1.0)
    with pytest.raises(DataError, match="integer row inside the sphere"):
        far.lowest_counts(np.ones(2))


def test_an_enlarged_set_holds_what_passes_around_a_dragged_centroid() -> None:
    """All poison in one place on the border of the sphere around the centroid that it dragged: just inside."""
    n, k, radius = 10, 4, 2.0
    clean = FeasibleSet(np.array([1.0, -1.0]), np.array([1.0, 0.0]), radius, 0.5)
    way = np.array([0.6, 0.8])
    place = clean.centre + way * radius * (1 + k / n)
    dragged = (n * clean.centre + k * place) / (n + k)
    assert np.linalg.norm(place - dragged) == pytest.approx(radius)
    assert clean.enlarged(k / n).contains(place[None])[0]
    assert not clean.enlarged(k / n).contains((place + 0.01 * way)[None])[0]


def two_classes() -> Dataset:
    rows = np.array([[0.0, 0.0], [2.0, 0.0], [1.0, 3.0], [11.0, 1.0], [11.0, -1.0], [11.0, 3.0]])
    return Dataset(rows, np.array([0, 0, 0, 1, 1, 1]), ("a", "b"))


def test_sets_by_hand() -> None:
    first, second = feasible_sets(two_classes(), 100)
    assert first.centre == pytest.approx((1, 1))
    assert second.centre == pytest.approx((11, 1))
    assert first.direction == pytest.approx((1, 0))
    assert (first.radius, first.width) == pytest.approx((2, 1))
    assert (second.radius, second.width) == pytest.approx((2, 0))
    assert feasible_sets(two_classes(), 100, slab=False)[0].width == math.inf


def test_sparse_rows_give_the_same_sets() -> None:
    data = two_classes()
    sparse = Dataset(sp.csr_array(data.x), data.y, data.classes)
    for dense, other in zip(feasible_sets(data, 60, 80), feasible_sets(sparse, 60, 80), strict=True):
        assert (other.radius, other.width) == pytest.approx((dense.radius, dense.width), abs=1e-6)
    assert distances(sparse.flat, np.array([1.0, 1.0])) == pytest.approx(distances(data.flat, np.array([1.0, 1.0])))


def test_refusals() -> None:
    data = two_classes()
    with pytest.raises(DataError, match="two classes"):
        feasible_sets(data[:3])
    with pytest.raises(DataError, match="rows with classes"):
        feasible_sets(Dataset(data.x, data.y.astype(float), ()))
    same = Dataset(np.ones((4, 2)), np.array([0, 1, 0, 1]), ("a", "b"))
    with pytest.raises(DataError, match="different centroids"):
        feasible_sets(same)
    assert feasible_sets(same, slab=False)[0].radius == 0
