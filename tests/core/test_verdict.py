"""Verdicts and how well they met the truth, against numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from antivenom.core.errors import PluginError
from antivenom.core.verdict import Quality, Verdict, quality

NONE = np.zeros(4, dtype=bool)


def test_quality_by_hand():
    """Bad items score 4 and 2, clean ones 3, 1 and 1: the bad one wins 5 of 6 pairs."""
    verdict = Verdict([4, 3, 2, 1, 1], np.array([True, True, False, False, False]))
    found = quality(verdict, np.array([True, False, True, False, False]))
    assert found == Quality(auroc=pytest.approx(5 / 6), tpr=0.5, fpr=pytest.approx(1 / 3))


def test_a_tie_counts_half():
    verdict = Verdict([1.0, 1.0], np.array([False, False]))
    assert quality(verdict, np.array([True, False])).auroc == 0.5


def test_infinite_scores_are_only_very_suspicious():
    verdict = Verdict([np.inf, 2, -np.inf, 1], NONE)
    assert quality(verdict, np.array([True, True, False, False])).auroc == 1.0
    assert quality(verdict, np.array([False, True, True, False])).auroc == 0.25


def test_without_poison_only_the_false_positives_are_defined():
    found = quality(Verdict([1, 2, 3, 4], np.array([True, False, False, False])), NONE)
    assert math.isnan(found.auroc)
    assert math.isnan(found.tpr)
    assert found.fpr == 0.25


def test_without_clean_items_only_the_true_positives_are_defined():
    found = quality(Verdict([1, 2, 3, 4], np.array([True, False, False, False])), ~NONE)
    assert math.isnan(found.auroc)
    assert math.isnan(found.fpr)
    assert found.tpr == 0.25


def test_over_nothing_nothing_is_defined():
    found = quality(Verdict([], []), np.zeros(0, dtype=bool))
    assert all(map(math.isnan, (found.auroc, found.tpr, found.fpr)))


@given(st.data())
def test_auroc_is_the_share_of_pairs_in_the_right_order(data):
    n = data.draw(st.integers(2, 12))
    scores = np.array(data.draw(st.lists(st.integers(-3, 3), min_size=n, max_size=n)), dtype=float)
    truth = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    if truth.all() or not truth.any():
        return
    difference = scores[truth][:, None] - scores[~truth][None, :]
    by_pairs = ((difference > 0) + 0.5 * (difference == 0)).mean()
    assert quality(Verdict(scores, np.zeros(n, dtype=bool)), truth).auroc == pytest.approx(by_pairs)


@pytest.mark.parametrize(
    ("scores", "flags", "says"),
    [
        ([1, 2], [True], "one shape"),
        ([[1, 2]], [[True, False]], "one shape"),
        ([1, np.nan], [True, False], "1 NaN"),
        ([1.0, 2.0], [0, 1], "True or False"),
        ([1.0, 2.0], [0.2, 0.9], "threshold"),
    ],
)
def test_what_is_no_verdict_is_refused_in_one_line(scores, flags, says):
    with pytest.raises(PluginError, match=says) as caught:
        Verdict(scores, flags)
    assert "\n" not in str(caught.value)


def test_tensors_are_taken():
    verdict = Verdict(torch.tensor([1.0, 3.0]), torch.tensor([False, True]))
    assert verdict.scores.dtype == np.float64
    assert verdict.flags.tolist() == [False, True]
    assert len(verdict) == 2


def test_a_verdict_over_other_items_is_refused():
    with pytest.raises(PluginError, match="a verdict over 4 items, got 2"):
        quality(Verdict([1, 2], [True, False]), NONE)
