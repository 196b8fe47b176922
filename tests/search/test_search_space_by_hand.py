"""The axes of a searched field: places from 0 to 1 and values, by hand."""

from __future__ import annotations

import pytest

from antivenom.federated import (
    FLAME,
    LASA,
    CenteredClipping,
    Chain,
    Clip,
    ClippedClustering,
    Krum,
    NormBound,
    SignGuard,
)
from antivenom.search.limits import Limit, limits_of
from antivenom.search.space import Choices, Range


def test_choices_have_equal_parts() -> None:
    axis = Choices(("a", "b", "c", "d"))
    assert [axis.place(value) for value in (*axis.values, "unknown")] == [0.125, 0.375, 0.625, 0.875, 0.125]
    assert [axis.at(place) for place in (0.0, 0.24, 0.25, 0.5, 0.99, 1.0)] == ["a", "a", "b", "c", "d", "d"]


def test_a_range_of_reals() -> None:
    axis = Range(2.0, 6.0)
    assert [axis.at(place) for place in (0.0, 0.25, 1.0)] == [2.0, 3.0, 6.0]
    assert [axis.place(value) for value in (2.0, 3.0, 6.0, 9.0, -1.0, None)] == [0.0, 0.25, 1.0, 1.0, 0.0, 0.5]


def test_a_range_of_logarithms() -> None:
    axis = Range(0.1, 10.0, log=True)
    assert [axis.at(place) for place in (0.0, 0.5, 1.0)] == pytest.approx([0.1, 1.0, 10.0])
    assert [axis.place(value) for value in (0.1, 1.0, 10.0)] == pytest.approx([0.0, 0.5, 1.0])


def test_whole_numbers_have_equal_parts() -> None:
    axis = Range(1, 4, whole=True)
    assert [axis.at(place) for place in (0.0, 0.2, 0.3, 0.6, 0.9, 1.0)] == [1, 1, 2, 3, 4, 4]
    assert [axis.place(value) for value in (1, 2, 3, 4)] == pytest.approx([0.125, 0.375, 0.625, 0.875])


@pytest.mark.parametrize(
    ("defence", "expected"),
    [
        (ClippedClustering(), [Limit(1.0, of_median=True)]),
        (FLAME(), [Limit(1.0, of_median=True)]),
        (LASA(), [Limit(1.0, of_median=True)]),
        (SignGuard(upper=3.0), [Limit(3.0, of_median=True)]),
        (CenteredClipping(tau=7.0), [Limit(7.0)]),
        (NormBound(factor=2.0), [Limit(2.0, of_median=True)]),
        (NormBound(bound=5.0), [Limit(5.0)]),
        (Chain((Clip(bound=4.0), Clip(bound=3.0)), FLAME()), [Limit(3.0), Limit(1.0, of_median=True)]),
        (Krum(), []),
    ],
    ids=range(9),
)
def test_the_length_that_a_defence_allows(defence: object, expected: list[Limit]) -> None:
    assert limits_of(defence) == expected
