"""The bound: sound against every poison on a grid, near the attack, and Algorithm 1 against a written-out loop."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import scipy.sparse as sp

import antivenom
from antivenom.certify.bounds import certified_bound, play
from antivenom.certify.feasible import feasible_sets
from antivenom.core.errors import DataError, PluginError
from antivenom.core.streams import Streams
from antivenom.data import Dataset, load

RHO_SQUARED = 1.5


def tiny(counts: bool = False) -> Dataset:
    rng = np.random.default_rng(5)
    y = np.repeat([0, 1], 8)
    x = rng.normal(size=(16, 2)) * 0.5 + np.where(y[:, None] == 1, 1.0, -1.0)
    return Dataset(rng.poisson(np.where(y[:, None] == 1, (3, 1), (1, 2))) if counts else x, y, ("a", "b"))


def losses(theta: np.ndarray, x: np.ndarray, sign: np.ndarray) -> np.ndarray:
    """(thetas, rows) hinge."""
    return np.maximum(1 - sign * (theta[:, :-1] @ x.T + theta[:, -1:]), 0)


def least_worst(data: Dataset, pairs: list[tuple[np.ndarray, np.ndarray]], rate: float) -> float:
    """max over pairs of poison rows of min over theta in the ball: brute force, on grids that close in on the minimum."""
    limit = RHO_SQUARED**0.5
    cube = np.array(list(itertools.product(np.linspace(-1, 1, 9), repeat=3)))

    def values(theta: np.ndarray, x: np.ndarray, sign: np.ndarray) -> np.ndarray:
        clean = losses(theta, data.x, 2 * data.y - 1).mean(axis=1)
        return clean + rate * losses(theta, x, sign).mean(axis=1)

    def least(x: np.ndarray, sign: np.ndarray) -> float:
        centre, size = np.zeros(3), limit
        for _ in range(14):
            theta = centre + size * cube
            theta *= np.minimum(1, limit / np.maximum(np.linalg.norm(theta, axis=1), 1e-9))[:, None]
            centre, size = theta[values(theta, x, sign).argmin()], size * 0.6
        return float(values(centre[None], x, sign)[0])

    start = limit * cube[(cube**2).sum(axis=1) <= 1]
    rough = [float(values(start, *pair).min()) for pair in pairs]
    return max(least(*pairs[i]) for i in np.argsort(rough)[-40:])


def grid_of(low: float, high: float, steps: int) -> np.ndarray:
    return np.array(list(itertools.product(np.linspace(low, high, steps), repeat=2)))


def pairs_of(points: list[tuple[np.ndarray, float]]) -> list[tuple[np.ndarray, np.ndarray]]:
    return [
        (np.stack([a, b]), np.array([s, t])) for (a, s), (b, t) in itertools.combinations_with_replacement(points, 2)
    ]


@pytest.mark.parametrize("slab", [True, False])
def test_no_poison_on_a_grid_beats_the_bound(slab: bool) -> None:
    data, rate = tiny(), 2 / 16
    bound = certified_bound(data, rate, rho_squared=RHO_SQUARED, slab=slab, steps=1500)
    points = [
        (p, sign)
        for inside, sign in zip(feasible_sets(data, 70, slab=slab), (-1.0, 1.0), strict=True)
        for p in grid_of(-3, 3, 13)[inside.contains(grid_of(-3, 3, 13))]
    ]
    brute = least_worst(data, pairs_of(points), rate)
    assert 0.4 * bound.upper < brute <= bound.upper + 1e-4
    assert bound.attack_loss <= bound.upper * 1.03


def test_no_poison_that_drags_the_centroids_beats_the_bound_without_an_oracle() -> None:
    data, rate = tiny(), 2 / 16
    bound = certified_bound(data, rate, rho_squared=RHO_SQUARED, oracle=False, steps=1500)
    oracle = certified_bound(data, rate, rho_squared=RHO_SQUARED, slab=False, steps=1500)
    sets = feasible_sets(data, 70, slab=False)
    points = [(p, sign) for p in grid_of(-3, 3, 13) for sign in (-1.0, 1.0)]

    def passes(x: np.ndarray, sign: np.ndarray) -> bool:
        for inside, s in zip(sets, (-1.0, 1.0), strict=True):
            own = x[sign == s]
            centre = (8 * inside.centre + own.sum(axis=0)) / (8 + len(own))
            if (np.linalg.norm(own - centre, axis=1) > inside.radius).any():
                return False
        return True

    passing = [pair for pair in pairs_of(points) if passes(*pair)]
    brute = least_worst(data, passing, rate)
    assert 0.4 * bound.upper < brute <= bound.upper + 1e-4
    assert bound.upper > oracle.upper


def test_no_counts_on_the_whole_grid_beat_the_bound_for_counts() -> None:
    data, rate = tiny(counts=True), 2 / 16
    bound = certified_bound(data, rate, rho_squared=RHO_SQUARED, counts=True, steps=300)
    grid = grid_of(0, 9, 10)
    points = [
        (p, sign)
        for inside, sign in zip(feasible_sets(data, 70), (-1.0, 1.0), strict=True)
        for p in grid[inside.contains(grid)]
    ]
    assert 0.6 * bound.upper < least_worst(data, pairs_of(points), rate) <= bound.upper + 1e-4
    assert bound.upper <= certified_bound(data, rate, rho_squared=RHO_SQUARED, steps=1500).upper * 1.1


def test_algorithm_1_written_out() -> None:
    data, rate, eta = tiny(), 0.25, 0.1
    sets = feasible_sets(data, 70)
    game = play(data, sets, rate, RHO_SQUARED, eta, 40, np.array([0, 7, 39]))
    theta, z, decay, upper, moves = np.zeros(3), np.zeros(3), 1 / eta, np.inf, []
    for _ in range(40):
        answers = []
        for sign in (-1, 1):
            x = sets[(sign + 1) // 2].lowest(sign * theta[:2])
            answers.append((sign * (x @ theta[:2] + theta[2]), x, sign))
        margin, x, sign = min(answers, key=lambda answer: answer[0])
        value, gradient = rate * max(0, 1 - margin), np.zeros(3)
        for row, label in zip(data.x, data.y, strict=True):
            s = 2 * label - 1
            m = s * (row @ theta[:2] + theta[2])
            value += max(0, 1 - m) / 16
            if m < 1:
                gradient -= s * np.append(row, 1) / 16
        if margin < 1:
            gradient -= rate * sign * np.append(x, 1)
        moves.append((x, sign))
        upper = min(upper, value)
        z -= gradient
        decay = max(decay, np.linalg.norm(z) / RHO_SQUARED**0.5)
        theta = z / decay
    assert game.upper == pytest.approx(upper, rel=1e-5)
    assert game.theta @ game.theta <= RHO_SQUARED * (1 + 1e-9)
    assert game.x == pytest.approx(np.stack([moves[i][0] for i in (0, 7, 39)]), rel=1e-4, abs=1e-5)
    assert game.y.tolist() == [int(moves[i][1] > 0) for i in (0, 7, 39)]


def test_sparse_rows_play_the_same_game() -> None:
    data = tiny(counts=True)
    sparse = dataclasses.replace(data, x=sp.csr_array(data.x))
    for counts in (False, True):
        one, two = (certified_bound(d, 0.25, counts=counts, steps=60) for d in (data, sparse))
        assert one.upper == pytest.approx(two.upper, rel=1e-4)
        assert one.attack_loss == pytest.approx(two.attack_loss, rel=0.02)


def test_a_real_table() -> None:
    data = load("breast-cancer").train
    few, many = (antivenom.certified_bound(data, rate, rho_squared=4.0, steps=800) for rate in (0.03, 0.3))
    assert few.upper < many.upper
    assert few.attack_loss <= few.upper * 1.01
    assert abs(few.gap) < 0.1
    assert "clean rows" in few.assumptions[1]


def test_refusals() -> None:
    with pytest.raises(DataError, match="at least one row"):
        certified_bound(tiny(), 0.01)
    with pytest.raises(PluginError, match="above 0"):
        certified_bound(tiny(), 0.5, steps=0)
    with pytest.raises(DataError, match="two classes"):
        certified_bound(load("digits").train[:100], 0.1)


def test_moves_are_drawn_from_the_streams() -> None:
    one, two, other = (certified_bound(tiny(), 0.25, steps=50, streams=Streams(s)).attack_loss for s in (1, 1, 2))
    assert one == two != other
