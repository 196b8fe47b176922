"""Rules that select or weigh rows by distance, against numbers by hand or their definition written down once more."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from sklearn.cluster import MeanShift, estimate_bandwidth
from torch import Tensor

from antivenom.core.errors import PluginError
from antivenom.fast import kernels
from antivenom.federated import (
    CAF,
    CGE,
    MDA,
    SMEA,
    Bulyan,
    CenteredClipping,
    DnC,
    GeometricMedian,
    Krum,
    MultiKrum,
)
from antivenom.federated.aggregators import subsets
from antivenom.federated.aggregators.signs import mean_shift
from antivenom.federated.distances import Gram

FOUR = [[1.0, 2.0, 3.0], [-1.0, 4.0, -1.0], [2.0, 2.0, 3.0], [3.0, 1.0, 3.0]]


def rows(seed: int, n: int, d: int) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- selection -------------------------------------------------------------------------------------------------------


def test_krum_and_multi_krum_by_hand() -> None:
    points = [[0.0, 0.0], [0.1, 0.0], [-0.1, 0.0], [0.0, 0.1], [100.0, 100.0]]
    # f = 1: two neighbours each. 0: .01 + .01 = .02; .1: .01 + .02; -.1: .01 + .02; (0, .1): .01 + .02.
    np.testing.assert_allclose(Krum(f=1)(points), [0.0, 0.0])
    np.testing.assert_allclose(MultiKrum(f=1)(points), [0.0, 0.025], atol=1e-12)
    np.testing.assert_allclose(MultiKrum(f=1, m=2)(points), [0.05, 0.0], atol=1e-12)  # of three tied ones the first
    with pytest.raises(PluginError, match="m from 1 to n = 5"):
        MultiKrum(f=1, m=6)(points)


def test_multi_krum_scores_as_krum_does() -> None:
    # 0, 1, 2, 4, 5 with f = 1 and two neighbours. Scores: 0: 1 + 4; 1: 1 + 1; 2: 1 + 4; 4: 1 + 4; 5: 1 + 9.
    line = [[0.0], [1.0], [2.0], [4.0], [5.0]]
    assert [MultiKrum(f=1, m=m)(line).item() for m in (1, 2, 3, 4)] == pytest.approx([1.0, 1 / 2, 1.0, 7 / 4])
    for seed in range(20):
        x = rows(seed, 9, 2)
        assert torch.equal(MultiKrum(f=2, m=1)(x), Krum(f=2)(x))


def test_krum_counts_the_papers_neighbours() -> None:
    # 0, 1, 2, 4, 5 with f = 1: n - f - 2 = 2 neighbours choose 1; n - f - 1 = 3, as in other libraries, would choose 2.
    assert Krum(f=1)([[0.0], [1.0], [2.0], [4.0], [5.0]]).tolist() == [1.0]


def bulyan_by_definition(x: np.ndarray, f: int) -> np.ndarray:
    left, taken = list(range(len(x))), []
    while len(taken) < len(x) - 2 * f:
        apart = ((x[left][:, None] - x[left][None]) ** 2).sum(2)
        keys = [
            (round(float(np.sort(own)[1 : 1 + max(len(left) - f - 2, 1)].sum()), 9), float(own.sum())) for own in apart
        ]
        taken.append(left.pop(min(range(len(keys)), key=keys.__getitem__)))
    return kernels.mean_around_median(torch.tensor(x[taken]), len(x) - 4 * f).numpy()


@pytest.mark.parametrize(("n", "f"), [(3, 0), (7, 1), (11, 2), (13, 2)])
def test_bulyan_equals_its_definition(n: int, f: int) -> None:
    x = rows(n, n, 6).numpy()
    x[:f] += 3
    np.testing.assert_allclose(Bulyan(f=f)(x), bulyan_by_definition(x, f))


def test_bulyan_cuts_the_one_coordinate_that_krum_lets_pass() -> None:
    x = rows(0, 11, 100)
    x[:2] = x[2:].mean(0)
    x[:2, 7] = 5.0  # hidden in the norm of a hundred coordinates
    assert Krum(f=2)(x)[7] == 5.0
    assert Bulyan(f=2)(x)[7].abs() < x[2:, 7].abs().max()


@pytest.mark.parametrize(("n", "f"), [(6, 1), (10, 2)])
def test_bulyan_needs_more_updates_than_krum(n: int, f: int) -> None:
    with pytest.raises(PluginError, match=r"n >= 4f \+ 3 updates for Bulyan"):
        Bulyan(f=f)(rows(0, n, 3))


def test_cge_and_dnc_by_hand() -> None:
    assert CGE(f=1)([[1.0, 0.0], [0.0, 3.0], [9.0, 0.0]]).tolist() == [0.5, 1.5]
    assert CGE(f=1)([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]).tolist() == [0.5, 0.5]  # equal norms: the last is left out
    np.testing.assert_allclose(DnC(f=1)(FOUR), [2.0, 5 / 3, 3.0])


def test_dnc_projects_onto_the_first_singular_vector() -> None:
    x = rows(3, 8, 20)
    centred = x - x.mean(0)
    scores = (centred @ torch.linalg.svd(centred).Vh[0]) ** 2
    kept = scores.argsort()[:6]
    torch.testing.assert_close(DnC(f=2)(x), x[kept].mean(0))
    torch.testing.assert_close(DnC(f=2, c=1.5)(x), x[scores.argsort()[:5]].mean(0))
    torch.testing.assert_close(DnC(f=2, repeats=5)(x), x[kept].mean(0))  # all coordinates are drawn each time


# --- subsets ---------------------------------------------------------------------------------------------------------


def test_subset_rules_by_hand() -> None:
    points = [[0.0, 0.0], [0.1, 0.0], [-0.1, 0.0], [0.0, 0.1], [100.0, 100.0]]
    np.testing.assert_allclose(MDA(f=1)(points), [0.0, 0.025], atol=1e-12)
    np.testing.assert_allclose(SMEA(f=1)([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [6.0, 6.0]]), [1 / 3, 1 / 3])


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("n", "f"), [(5, 1), (7, 3), (9, 2)])
def test_subset_rules_equal_a_search_over_all_subsets(seed: int, n: int, f: int) -> None:
    x = rows(seed, n, 4).numpy()
    subsets = [list(s) for s in itertools.combinations(range(n), n - f)]

    def lengths(subset: list[int]) -> list[float]:
        apart = np.linalg.norm(x[subset][:, None] - x[subset][None], axis=2)
        return sorted(apart[np.triu_indices(n - f, 1)], reverse=True)

    def spread(subset: list[int]) -> float:
        return float(np.linalg.eigvalsh(np.cov(x[subset].T))[-1])

    np.testing.assert_allclose(MDA(f=f)(x), x[min(subsets, key=lengths)].mean(0))
    np.testing.assert_allclose(SMEA(f=f)(x), x[min(subsets, key=spread)].mean(0))


def test_a_search_that_takes_too_long_ends_with_n_minus_f_updates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subsets, "_MOST_BRANCHES", 20)
    coefficients = MDA(f=5).coefficients(Gram.of(rows(0, 20, 30)), None, None)
    assert coefficients.count_nonzero() == 15
    assert float(coefficients.sum()) == pytest.approx(1.0)


def test_minimum_diameter_serves_many_clients_and_smea_says_when_it_cannot() -> None:
    x = rows(0, 60, 10)
    x[:12] += 20
    torch.testing.assert_close(MDA(f=12)(x), x[12:].mean(0))
    with pytest.raises(PluginError, match="at most 50000 subsets"):
        SMEA(f=12)(x)


# --- geometry --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("n", "outliers"), [(4, 0), (9, 3), (30, 12)])
def test_geometric_median_by_its_optimality_condition(seed: int, n: int, outliers: int) -> None:
    x = rows(seed, n, 7)
    x[:outliers] += 1000.0
    towards = x - GeometricMedian()(x)
    unit = towards / towards.norm(dim=1, keepdim=True)
    assert float(unit.mean(0).norm()) < 1e-5


def test_geometric_median_on_an_update() -> None:
    # The median of a majority at one point is that point: the pull of the others, at most 2, cannot leave it.
    x = [[1.0, 1.0]] * 3 + [[5.0, 0.0], [0.0, 9.0]]
    np.testing.assert_allclose(GeometricMedian()(x), [1.0, 1.0], atol=1e-4)
    np.testing.assert_allclose(GeometricMedian()([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]), [4.0, 5.0, 6.0])


@pytest.mark.parametrize(("tolerance", "stays"), [(0.34, True), (0.33, False)])
def test_geometric_median_ends_once_the_unit_vectors_cancel_up_to_the_tolerance(tolerance: float, stays: bool) -> None:
    """It starts at the mean, 2. The unit vectors towards 0, 1 and 5 are -1, -1 and 1, whose mean has length 1/3."""
    found = GeometricMedian(tolerance=tolerance)([[0.0], [1.0], [5.0]]).item()
    assert (found == pytest.approx(2.0, abs=1e-9)) is stays


def caf_by_definition(x: np.ndarray, f: int) -> np.ndarray:
    c, found = np.ones(len(x)), []
    while c.sum() > len(x) - 2 * f:
        mean = c @ x / c.sum()
        values, vectors = np.linalg.eigh((c[:, None] * (x - mean)).T @ (x - mean) / c.sum())
        found.append((values[-1], mean))
        along = ((x - mean) @ vectors[:, -1]) ** 2
        c = c * (1 - along / along[c > 1e-12].max()).clip(0)
    return min(found, key=lambda pair: pair[0])[1]


@pytest.mark.parametrize(("n", "f"), [(5, 1), (9, 2), (9, 4)])
def test_caf_equals_its_definition_on_coordinates(n: int, f: int) -> None:
    x = rows(n, n, 6).numpy()
    x[:f] += 4
    np.testing.assert_allclose(CAF(f=f)(x), caf_by_definition(x, f), atol=1e-9)
    np.testing.assert_allclose(CAF(f=1)([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]]), [0.0, 0.0], atol=1e-12)


def test_centred_clipping_by_hand() -> None:
    # From 0 with tau 1: (3, 0) becomes (1, 0), (0, 0.5) stays; the mean is (0.5, 0.25).
    rule, x = CenteredClipping(tau=1.0), torch.tensor([[3.0, 0.0], [0.0, 0.5]])
    first, state = rule.step(x, None, None, None)
    assert first.tolist() == [0.5, 0.25]
    # From there: (2.5, -0.25) is sqrt(6.3125) long, (-0.5, 0.25) stays.
    second, _ = rule.step(x, None, None, state)
    length = 6.3125**0.5
    assert second.tolist() == pytest.approx(
        [0.5 + (2.5 / length - 0.5) / 2, 0.25 + (-0.25 / length + 0.25) / 2], abs=1e-6
    )
    torch.testing.assert_close(CenteredClipping(tau=1.0, steps=2)(x), second)
    assert CenteredClipping(tau=100.0)(FOUR).tolist() == pytest.approx([1.25, 2.25, 2.0])


def test_mean_shift_finds_the_clusters_that_scikit_learn_finds() -> None:
    for seed in range(40):
        rng = np.random.default_rng(seed)
        points = rng.normal(0.4, 0.02, (int(rng.integers(4, 30)), 3))
        points[: len(points) // 3] += rng.choice([0.01, 0.1, 1.0])
        width = estimate_bandwidth(points, quantile=0.7)
        labels, others = mean_shift(points, width), MeanShift(bandwidth=width).fit_predict(points)
        assert np.array_equal(labels[:, None] == labels, others[:, None] == others)


def test_mean_shift_reaches_a_point_at_exactly_its_width() -> None:
    points = np.array([[0.1], [0.3], [0.7]])
    assert mean_shift(points, abs(0.3 - 0.1)).tolist() == [0, 0, 1]
