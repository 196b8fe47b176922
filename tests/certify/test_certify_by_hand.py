"""Certificates where a bound is met exactly, and counts beside many coordinates that stay: numbers by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from antivenom.certify.aggregation import DPA, FiniteAggregation
from antivenom.certify.bounds import certified_bound
from antivenom.certify.feasible import FeasibleSet
from antivenom.certify.smoothing import Proof, SmoothedRidge, flips
from antivenom.core.errors import DataError, PluginError
from antivenom.data import Dataset


def model(influence: list[float], y: list[int], proof: Proof) -> SmoothedRidge:
    """A classifier of rows without features: the influences are those of the constant."""
    given = np.array([influence])
    return SmoothedRidge(given, given @ np.eye(2)[y], np.array(y), None, 0.1, proof)


ROW = np.zeros((1, 0), dtype=np.float32)


@pytest.mark.parametrize(
    ("influence", "radius"), [([1.0] * 4, 1), ([0.1] * 6, 2), ([1.0] * 5, 2), ([4.0, 1.0, 1.0], 0)]
)
def test_flips_that_lead_to_a_tie_are_too_many(influence: list[float], radius: int) -> None:
    """All labels are 1. Of four equal ones, two flips lead to a tie, which goes to class 0. In [4, 1, 1], one flip is enough."""
    found = model(influence, [1] * len(influence), Proof.EXACT)
    assert found.predict(ROW).tolist() == [1]
    assert found.certified(ROW).tolist() == [radius]


def test_the_exponent_of_equal_influences() -> None:
    """Each label contributes the smallest value over t of -log(.9 exp(-t a) + .1 exp(t a)), -log(2 sqrt(.9 * .1)) for every a."""
    for a in (0.1, 2.0):
        found = model([a] * 6, [1] * 6, Proof.SMOOTHING)._exponent(np.full((1, 6), a), 0, np.array([1]))
        assert found.tolist() == pytest.approx([-6 * math.log(0.6)], rel=1e-6)


def test_the_certificate_names_its_proof() -> None:
    said = {proof: model([1.0], [1], proof).certificate for proof in Proof}
    assert {each.unit for each in said.values()} == {"labels flipped"}
    assert said[Proof.SMOOTHING].theorem == "Rosenfeld et al. 2020, Theorem 1"
    assert said[Proof.EXACT].theorem == "exact count of flips for a linear model"


@pytest.mark.parametrize("proof", list(Proof), ids=[proof.value for proof in Proof])
def test_influences_of_zero_prove_nothing(proof: Proof) -> None:
    assert model([0.0] * 4, [0, 1, 0, 1], proof).certified(ROW).tolist() == [0]


@pytest.mark.parametrize("r", range(1, 12))
@pytest.mark.parametrize("noise", [0.05, 0.1, 0.3])
def test_a_budget_of_exactly_r_flips_is_too_little_for_r(noise: float, r: int) -> None:
    """4 p (1 - p) = exp(-2 r k), where k is the divergence that one flip costs; the theorem asks for more than that."""
    k = (1 - 2 * noise) * math.log((1 - noise) / noise)
    for factor, expected in ((1.0, r - 1), (1 + 1e-6, r)):
        budget = 2 * r * k * factor
        log_p = -budget - math.log(2) - math.log1p(math.sqrt(-math.expm1(-budget)))  # of the smaller solution
        assert flips(np.array([log_p]), noise).tolist() == [expected]


def test_coordinates_that_stay_use_up_the_sphere() -> None:
    """Only the first coordinate has a weight. The other 24 are .5 from the next integer each, 24 / 4 = 6 in all.

    The first goes from 3.4 to 1, which costs 2.4^2 = 5.76. Going to 0 would cost 11.56.
    """
    centre = np.array([3.4] + [0.5] * 24)
    inside = FeasibleSet(centre, np.zeros(25), math.sqrt(6 + 5.76 + 0.3))
    best, bound = inside.lowest_counts(np.eye(25)[0])
    assert best[0] == 1
    assert 0 < bound <= 1


@pytest.mark.parametrize("factor", [1e-8, 1e8])
def test_the_row_of_counts_does_not_depend_on_the_length_of_the_weights(factor: float) -> None:
    inside = FeasibleSet(np.array([3.4, 2.2, 5.9]), np.array([0.6, 0.0, 0.8]), 4.0, 2.0)
    w = np.array([1.0, -2.0, 0.5])
    best, bound = inside.lowest_counts(w)
    scaled, scaled_bound = inside.lowest_counts(factor * w)
    assert scaled.tolist() == best.tolist() != inside._rest.tolist()
    assert scaled_bound == pytest.approx(factor * bound, rel=1e-6)


def test_the_row_of_counts_is_no_worse_than_the_one_that_the_search_starts_from() -> None:
    """The slab allows first coordinates 0 and 1. The search starts from (1, 1) and ends at (0, 0), which is worse."""
    inside = FeasibleSet(np.array([0.8, 1.3]), np.array([1.0, 0.0]), 1.9, 0.8)
    best, bound = inside.lowest_counts(np.array([-3.0, 1.0]))
    assert -3 * best[0] + best[1] <= -2
    assert bound <= -3  # of (1, 0), the lowest row


@pytest.mark.parametrize(
    ("plugin", "field", "least", "refused"),
    [
        (DPA, "partitions", 1, 0),
        (DPA, "penalty", 1e-9, 0.0),
        (FiniteAggregation, "partitions", 1, 0),
        (FiniteAggregation, "penalty", 1e-9, 0.0),
        (FiniteAggregation, "spread", 1, 0),
    ],
)
def test_a_field_is_allowed_down_to_its_least_value(plugin: type, field: str, least: float, refused: float) -> None:
    assert getattr(plugin(**{field: least}), field) == least
    with pytest.raises(PluginError):
        plugin(**{field: refused})


def test_a_budget_of_exactly_one_row_is_enough() -> None:
    x = np.array([[0.0], [1.0]] * 5 + [[5.0], [6.0]] * 5)
    data = Dataset(x, np.repeat([0, 1], 10), ("a", "b"))
    assert certified_bound(data, 0.05, steps=20).upper > 0  # 0.05 of 20
    for rate in (0.0499, 0.0, -0.1, math.inf, math.nan):
        with pytest.raises(DataError, match="at least one row"):
            certified_bound(data, rate, steps=20)
