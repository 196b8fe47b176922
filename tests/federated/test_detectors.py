"""Client detectors beyond the paper's two checks: hand-made rounds, and what the formulas promise."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch

from antivenom.core.errors import NotApplicable, PluginError
from antivenom.core.protocols import ServerView
from antivenom.core.streams import Streams
from antivenom.data import Dataset
from antivenom.federated import FLANDERS, FLDetector, LeaveOneOut, NormBound
from antivenom.federated.detectors.prediction import curvature, forecast, halves
from antivenom.models.architectures import MLP
from antivenom.models.network import build

NETWORK = build(MLP(hidden=()), (2,), 2, Streams(0))
D = NETWORK.dimension


def view(updates: torch.Tensor, number: int = 1, start: torch.Tensor | None = None, **fields) -> ServerView:
    n = len(updates)
    start = torch.zeros(updates.shape[1]) if start is None else start
    return ServerView(number, start, updates, tuple(range(n)), torch.full((n,), 1 / max(n, 1)), NETWORK, **fields)


def test_norm_bound_flags_by_a_bound_or_by_the_median() -> None:
    updates = torch.diag(torch.tensor([1.0, 1.0, 2.0, 7.0]))
    verdict, _ = NormBound()(view(updates), None)
    assert verdict.scores.tolist() == pytest.approx([2 / 3, 2 / 3, 4 / 3, 14 / 3])
    assert verdict.flags.tolist() == [False, False, False, True]
    assert NormBound(bound=1.5)(view(updates), None)[0].flags.tolist() == [False, False, True, True]
    assert not NormBound()(view(torch.zeros(3, 2)), None)[0].flags.any()
    with pytest.raises(PluginError, match="above 0"):
        NormBound(bound=0.0)


def validation() -> Dataset:
    x = np.array([[1.0, 0.0], [2.0, 0.0], [-1.0, 0.0], [-3.0, 0.0]], dtype=np.float32)
    return Dataset(x, np.array([1, 1, 0, 0]), ("left", "right"))


@pytest.mark.parametrize("measure", ["error", "loss", "union"])
def test_leave_one_out_flags_the_agent_that_costs_most(measure: str) -> None:
    right = torch.zeros(D)
    right[2] = 1.0  # weight of the first feature for class 1
    updates = torch.stack([right, 0.9 * right, 1.1 * right, -4 * right])
    verdict, _ = LeaveOneOut(f=1, measure=measure)(view(updates, validation=validation()), None)
    assert verdict.flags.tolist() == [False, False, False, True]
    assert verdict.scores.argmax() == 3


def test_leave_one_out_needs_rows_and_an_agent_left() -> None:
    with pytest.raises(NotApplicable, match="validation_rows"):
        LeaveOneOut()(view(torch.zeros(3, D)), None)
    with pytest.raises(PluginError, match="must be left"):
        LeaveOneOut(f=3)(view(torch.zeros(3, D), validation=validation()), None)


def test_curvature_meets_the_secant_condition_and_a_quadratics_hessian() -> None:
    rng = torch.Generator().manual_seed(0)
    root = torch.randn(6, 6, generator=rng, dtype=torch.float64)
    hessian = root @ root.T + torch.eye(6, dtype=torch.float64)
    moves = torch.randn(4, 6, generator=rng, dtype=torch.float64)
    turns = moves @ hessian
    for sign in (1, -1):  # updates go against the gradient
        assert torch.allclose(curvature(moves, sign * turns, moves[-1]), sign * turns[-1])
    eigen = torch.eye(6, dtype=torch.float64)
    assert torch.allclose(curvature(eigen, eigen * 3.0, moves[0]), 3 * moves[0])
    assert not curvature(moves[:0], turns[:0], moves[0]).any()
    assert torch.isfinite(curvature(torch.zeros(3, 6), torch.zeros(3, 6), torch.ones(6))).all()


def rounds_of(detector, noisy: bool, rounds: int = 12, n: int = 10, d: int = 30):
    """Honest agents descend a quadratic each; with `noisy`, the last three send noise instead."""
    rng = torch.Generator().manual_seed(1)
    optima = torch.randn(n, d, generator=rng)
    vector, state, verdicts = torch.zeros(d), None, []
    for number in range(1, rounds + 1):
        updates = 0.1 * (optima - vector) + 0.001 * torch.randn(n, d, generator=rng)
        if noisy:
            updates[-3:] = 0.3 * torch.randn(3, d, generator=rng)
        seen = dataclasses.replace(view(updates, number, vector), streams=Streams(number))
        verdict, state = detector(seen, state)
        verdicts.append(verdict)
        vector = vector + updates[~torch.as_tensor(verdict.flags)].mean(dim=0)
    return verdicts


def test_fldetector_finds_those_whose_updates_nothing_predicts() -> None:
    verdicts = rounds_of(FLDetector(start=4), noisy=True)
    assert not any(verdict.flags.any() for verdict in verdicts[:4])
    assert all(verdict.flags.tolist() == [False] * 7 + [True] * 3 for verdict in verdicts[4:])
    honest = [verdict.flags.any() for verdict in rounds_of(FLDetector(start=4), noisy=False)]
    assert sum(honest) <= 2


def test_fldetector_remembers_agents_by_number_and_bounds_its_memory() -> None:
    detector, state = FLDetector(window=3, start=0), None
    for number in range(1, 9):
        updates = torch.randn(4, 5, generator=torch.Generator().manual_seed(number))
        agents = (0, 1, 2, 3) if number % 2 else (3, 2, 5, 6)
        seen = dataclasses.replace(view(updates, number, torch.full((5,), float(number))), agents=agents)
        verdict, state = detector(seen, state)
        assert len(verdict) == 4
    assert set(state["updates"]) == {0, 1, 2, 3, 5, 6}
    assert len(state["moves"]) == len(state["turns"]) == 3
    assert max(map(len, state["errors"].values())) <= 3


@pytest.mark.parametrize("seed", range(5))
def test_two_clusters_of_scores_are_the_best_of_all_divisions(seed: int) -> None:
    points = np.random.default_rng(seed).random(7)
    masks = [np.array(mask) for mask in itertools.product((False, True), repeat=7) if 0 < sum(mask) < 7]
    inertias = [sum(np.square(part - part.mean()).sum() for part in (points[m], points[~m])) for m in masks]
    best = masks[int(np.argmin(inertias))]
    upper = best if points[best].mean() > points[~best].mean() else ~best
    inertia, least = halves(points)
    assert inertia == pytest.approx(min(inertias))
    assert (points >= least).tolist() == upper.tolist()


def test_two_values_are_two_clusters_without_any_inertia() -> None:
    assert halves(np.array([1.0, 0, 1, 0, 0])) == (1e-12, 1.0)


def test_flanders_forecasts_a_matrix_autoregression() -> None:
    rng = np.random.default_rng(0)
    a = 0.7 * np.linalg.qr(rng.standard_normal((5, 5)))[0]
    b = np.linalg.qr(rng.standard_normal((4, 4)))[0]
    series = [rng.standard_normal((5, 4))]
    for _ in range(8):
        series.append(a @ series[-1] @ b)
    assert np.abs(forecast(tuple(series[:-1]), 200, ridge=1e-10) - series[-1]).max() < 0.05 * np.abs(series[-1]).max()


def test_flanders_flags_the_agent_that_breaks_with_its_past() -> None:
    detector, state = FLANDERS(f=1, window=4, sample=20), None
    base = torch.randn(6, 40, generator=torch.Generator().manual_seed(0))
    for number in range(1, 8):
        updates = base + 0.1 * number
        if number == 7:
            updates[2] = torch.randn(40, generator=torch.Generator().manual_seed(9))
        verdict, state = detector(view(updates, number), state)
        assert verdict.flags.sum() == (0 if number < 3 else 1)
    assert verdict.flags.tolist() == [False, False, True, False, False, False]
    assert len(state) == 5


def test_fldetector_survives_huge_updates_and_rounds_without_any() -> None:
    # The mean of two such updates is no single-precision number if it is summed first, nor is the change to their opposite.
    detector, state = FLDetector(start=1), None
    for number in range(1, 9):
        updates = torch.randn(5, 6, generator=torch.Generator().manual_seed(number))
        updates[:3] = 3e38 * (-1) ** number
        if number == 4:
            updates = updates[:0]
        verdict, state = detector(view(updates, number, torch.full((6,), 1e38 * (-1) ** number)), state)
        assert len(verdict) == len(updates)
        assert np.isfinite(verdict.scores).all()


def test_flanders_compares_rounds_of_the_same_agents_only() -> None:
    # Two groups in no order, each of which repeats itself: beside the other group's past everybody looks changed.
    detector, state = FLANDERS(f=1, sample=20), None
    base = 5 * torch.randn(2, 6, 40, generator=torch.Generator().manual_seed(0))
    for number, group in enumerate([0, 0, 1, 0, 1, 1, 0, 0, 1, 1, 0, 1], start=1):
        updates = base[group] + 0.01 * number
        if number == 12:
            updates[3] += 1.0
        agents = tuple(range(6 * group, 6 * group + 6))
        verdict, state = detector(dataclasses.replace(view(updates, number), agents=agents), state)
    assert verdict.flags.tolist() == [False, False, False, True, False, False]
    assert verdict.scores[3] > 10 * np.delete(verdict.scores, 3).max()


def test_leave_one_out_judges_an_agent_that_holds_all_the_weight() -> None:
    right = torch.zeros(D)
    right[2] = 1.0
    seen = view(torch.stack([right, right, -right]), validation=validation())
    seen = dataclasses.replace(seen, weights=torch.tensor([0.0, 0.0, 1.0]))
    verdict, _ = LeaveOneOut(f=1)(seen, None)
    assert np.isfinite(verdict.scores).all()
    assert verdict.flags.tolist() == [False, False, True]
