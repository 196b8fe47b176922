"""The likelihood-ratio test against numbers by hand and a written-out loop; the curve against scikit-learn's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from antivenom.core.errors import DataError
from antivenom.leakage import curve, interval, lira, logit_scaled

INSIDE = np.array([[1], [1], [1], [0], [0], [0]], dtype=bool)


def test_logit_scaled_by_hand() -> None:
    logits = torch.tensor([0.7, 0.2, 0.1]).log().expand(2, 3)
    found = logit_scaled(logits, torch.tensor([0, 2]))
    assert found.tolist() == pytest.approx([math.log(0.7 / 0.3), math.log(0.1 / 0.9)], abs=1e-6)


def test_logit_scaled_keeps_what_a_probability_loses() -> None:
    assert logit_scaled(torch.tensor([[40.0, 0.0]]), torch.tensor([0])).item() == 40  # p = 1 in float32


def test_lira_by_hand() -> None:
    scores = lira(np.array([[1.0], [3], [5], [-1], [-3], [-5]]), INSIDE)
    # The first model is the victim: members 3 and 5 (mean 4, variance 1), the others -1, -3, -5 (-3, 8/3).
    assert scores[0, 0] == pytest.approx(-0.5 * 9 + 0.5 * (math.log(8 / 3) + 16 / (8 / 3)))
    assert scores[3:, 0] == pytest.approx(-scores[2::-1, 0][[2, 1, 0]])  # everything mirrored


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_lira_is_the_written_out_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    phi = 50 + rng.standard_normal((8, 3))
    inside = np.stack([rng.permutation(np.arange(8) < 4) for _ in range(3)], axis=1)
    scores = lira(phi, inside)
    for victim in range(8):
        for target in range(3):
            others = np.arange(8) != victim
            ins, outs = (phi[others & (inside[:, target] == flag), target] for flag in (True, False))
            own = phi[victim, target]
            expected = norm.logpdf(own, ins.mean(), ins.std()) - norm.logpdf(own, outs.mean(), outs.std())
            assert scores[victim, target] == pytest.approx(expected, rel=1e-6, abs=1e-6)


def test_confidences_that_know_nothing_tell_nothing() -> None:
    rng = np.random.default_rng(0)
    inside = np.stack([rng.permutation(np.arange(32) < 16) for _ in range(500)], axis=1)
    assert curve(lira(rng.standard_normal((32, 500)), inside), inside).auc == pytest.approx(0.5, abs=0.015)


@pytest.mark.parametrize(
    ("phi", "inside", "said"),
    [
        (np.zeros((6, 2)), INSIDE, "of one shape"),
        (np.zeros((5, 1)), INSIDE[1:], "at least three models with and three without"),
    ],
)
def test_what_lira_refuses(phi: np.ndarray, inside: np.ndarray, said: str) -> None:
    with pytest.raises(DataError, match=said):
        lira(phi, inside)


def test_the_curve_by_hand() -> None:
    scores = np.array([[5.0, 4], [3, 3], [2, 1]])
    members = np.array([[1, 1], [0, 1], [0, 0]], dtype=bool)
    found = curve(scores, members)
    assert found.fpr.tolist() == pytest.approx([0, 0, 0, 1 / 3, 2 / 3, 1])
    assert found.tpr.tolist() == pytest.approx([0, 1 / 3, 2 / 3, 1, 1, 1])  # the tie at 3 falls as one
    assert found.auc == pytest.approx(1 - 1 / 3 * 1 / 3 / 2)
    assert [found.tpr_at(rate) for rate in (0, 0.3, 1 / 3, 1)] == pytest.approx([2 / 3, 2 / 3, 1, 1])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30))
def test_the_area_is_scikit_learns_whatever_the_ties(rows: list[tuple[int, bool]]) -> None:
    scores, members = (np.array(column)[:, None] for column in zip(*rows, strict=True))
    if 0 < members.sum() < len(members):
        assert curve(scores.astype(float), members).auc == pytest.approx(roc_auc_score(members[:, 0], scores[:, 0]))


def test_a_weight_of_two_is_the_target_twice() -> None:
    rng = np.random.default_rng(3)
    scores, members = rng.standard_normal((20, 3)), rng.random((20, 3)) < 0.5
    weighted, repeated = (
        curve(scores, members, np.array([2.0, 0, 1])),
        curve(scores[:, [0, 0, 2]], members[:, [0, 0, 2]]),
    )
    assert weighted.auc == pytest.approx(repeated.auc)
    assert [weighted.tpr_at(r) for r in (0.1, 0.5)] == pytest.approx([repeated.tpr_at(r) for r in (0.1, 0.5)])


def test_the_interval_knows_that_a_targets_scores_belong_together() -> None:
    """Half of the targets leak wholly, half not at all: many scores each, but only ten targets say how common that is."""
    rng = np.random.default_rng(1)
    members = np.tile(np.arange(200) % 2 == 0, (10, 1)).T
    scores = rng.random((200, 10)) + np.where(np.arange(10) < 5, 2.0 * members, 0)
    low, high = interval(scores, members, lambda c: [c.tpr_at(0.01)], rng, 300)[:, 0]
    assert low < curve(scores, members).tpr_at(0.01) < high
    assert high - low > 0.4  # 1,000 independent members would give about .06


def test_the_interval_holds_95_percent_of_the_resamples() -> None:
    """Of eight targets four leak wholly. The number K of those that are drawn is binomial with n = 8, p = 1/2.

    P(K = 0) = .0039, P(K <= 1) = .0352 and P(K <= 2) = .1445: the 2.5 % quantile of K is 1, but the 5 % quantile is 2.
    """
    members = np.tile(np.arange(20) % 2 == 0, (8, 1)).T
    scores = np.where(np.arange(8) < 4, 2.0 * members, 1.0 - members)  # members of the others are below everyone else
    found = interval(scores, members, lambda c: [c.tpr_at(0.0)], np.random.default_rng(0), 4000)
    assert found[:, 0] == pytest.approx([1 / 8, 7 / 8])
