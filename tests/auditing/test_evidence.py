"""Bounds by betting: against a bound solved by hand, for coverage by simulation, and their agreement with `above` and `below`."""

from __future__ import annotations

import numpy as np
import pytest

from antivenom.auditing.evidence import BETS, above, below, bounds


@pytest.mark.parametrize(("n", "error"), [(1, 0.05), (5, 0.05), (14, 0.05), (31, 0.05 / 30)])
def test_the_upper_bound_of_zeros_solves_its_equation(n: int, error: float) -> None:
    low, high = bounds([0.0] * n, [0.0] * n, error)
    assert low == 0
    if high < 1:
        capital = sum(part * (1 + share * high / (1 - high)) ** n for share, part in BETS)
        assert capital == pytest.approx(1 / error, rel=1e-5)
    assert high > 1 - error ** (1 / n)  # no method can exclude more: with this mean, n zeros have probability `error`


def test_the_bounds_of_ones_mirror_those_of_zeros() -> None:
    (_, high), (low, top) = bounds([0.0] * 9, [0.0] * 9, 0.01), bounds([1.0] * 9, [1.0] * 9, 0.01)
    assert top == 1
    assert low == pytest.approx(1 - high, abs=1e-8)


def test_bounds_are_where_above_and_below_turn() -> None:
    values = np.random.default_rng(0).beta(2, 3, 25)
    low, high = bounds([*values], [*values], 0.05)
    assert 0 < low < values.mean() < high < 1
    for limit, is_above, is_below in (
        (low - 1e-6, True, False),
        (low + 1e-6, False, False),
        (high + 1e-6, False, True),
    ):
        assert above(values, limit, 0.05)[-1] == is_above
        assert below(values, limit, 0.05)[-1] == is_below


def test_what_was_shown_once_stays_shown() -> None:
    shown = above(np.array([1.0] * 6 + [0.0] * 50), 0.2, 0.05)
    assert shown[5]
    assert shown[-1]


def test_a_lost_bet_of_everything_does_not_end_the_game() -> None:
    assert below(np.array([1.0] + [0.0] * 100), 0.2, 0.05)[-1]
    assert bounds([], [], 0.05) == (0.0, 1.0)


@pytest.mark.parametrize("works_in", [0.2, 0.3])
def test_an_attack_that_works_in_some_runs_is_rarely_said_to_be_below_its_mean(works_in: float) -> None:
    rng = np.random.default_rng(1)
    values = np.where(rng.random((4000, 60)) < works_in, 1.0, 0.0)  # the hardest case: the mean equals the limit
    wrong = below(values, works_in, 0.05)[:, -1].mean()
    assert 0.005 < wrong < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 4000)
    assert above(values, works_in, 0.05)[:, -1].mean() < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 4000)
