"""Rows added under a wrong label: which, how many, and the rows of the attacker's that the gradient attacks share."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from antivenom.attacks import FlippedPoints
from antivenom.attacks.inputs import attacker_rows, mislabelled
from antivenom.core.errors import DataError, PluginError
from antivenom.core.protocols import AttackContext
from antivenom.core.streams import Streams
from antivenom.core.threat import ThreatModel
from antivenom.data import Dataset
from antivenom.scenarios.grants import enforce

INJECTS = ThreatModel("data-injection", "availability", max_poisoned_rate=0.25)


def context(rows: Dataset | None = None) -> AttackContext:
    return AttackContext(Streams(1), INJECTS, rows=rows)


def rows(n: int = 40, c: int = 4, first: int = 0) -> Dataset:
    """The first feature is the row's number, so that it can be recognised."""
    return Dataset(np.column_stack([np.arange(first, first + n), np.ones(n)]), np.arange(n) % c, tuple("abcd"[:c]))


def test_it_adds_that_share_of_the_attacker_s_rows_with_wrong_labels() -> None:
    data, own = rows(), rows(50, first=100)
    poison = FlippedPoints(0.25)(data, context(own))
    enforce(INJECTS, data, poison)
    added = poison.data[poison.mask]
    assert len(added) == 10
    numbers = added.x[:, 0].astype(int) - 100
    assert len(set(numbers)) == 10
    assert (added.y != own.y[numbers]).all()


def test_fewer_are_the_beginning_of_more() -> None:
    few, more = (FlippedPoints(rate)(rows(), context()).data for rate in (0.1, 0.25))
    assert np.array_equal(few.x[40:], more.x[40:44])
    assert np.array_equal(few.y[40:], more.y[40:44])


def test_clustered_rows_lie_side_by_side_and_are_repeated() -> None:
    data = Dataset(np.arange(40.0)[:, None], np.arange(40) // 20, ("a", "b"))
    for label in (None, 1):
        poison = FlippedPoints(0.25, label, choice="clustered", repeats=3)(data, context())
        enforce(INJECTS, data, poison)
        added = poison.data[poison.mask]
        distinct, times = np.unique(added.x[:, 0], return_counts=True)
        assert sorted(times) == [1, 3, 3, 3]
        assert np.ptp(distinct) == 3
        assert len(set(data.y[distinct.astype(int)])) == 1
        assert (added.y != data.y[distinct.astype(int)][0]).all()
        assert label is None or set(added.y) == {label}
    spread = FlippedPoints(0.25, repeats=2)(data, context()).data.x[40:, 0]
    assert len(set(spread)) == 5
    with pytest.raises(PluginError, match="did you mean 'clustered'"):
        FlippedPoints(choice="cluster")
    with pytest.raises(PluginError, match="repeats >= 1"):
        FlippedPoints(repeats=0)
    with pytest.raises(DataError, match="can be mislabelled"):
        FlippedPoints(0.25, 0, choice="clustered")(data[:20], context())


def test_a_demanded_label_takes_rows_of_the_other_classes() -> None:
    poison = FlippedPoints(0.25, label=2)(rows(), context())
    added = poison.data[poison.mask]
    assert (added.y == 2).all()
    assert (added.x[:, 0] % 4 != 2).all()


def test_sparse_rows_stay_sparse() -> None:
    data = Dataset(sp.csr_array(rows().x), rows().y, ("a", "b", "c", "d"))
    poison = FlippedPoints(0.1)(data, context())
    assert poison.data.is_sparse
    assert poison.mask.sum() == 4


def test_a_row_comes_twice_only_after_all_eligible_rows_came_once() -> None:
    chosen, labels = mislabelled(rows(6, 2), 7, context(), label=0)  # three rows of class 1
    _, times = np.unique(chosen.x[:, 0], return_counts=True)
    assert sorted(times) == [2, 2, 3]
    assert labels.tolist() == [0] * 7


def test_wanted_classes_choose_the_rows_and_their_labels() -> None:
    chosen, labels = mislabelled(rows(), 8, context(), None, wanted=(0, 3, 2, 3))
    assert (chosen.y == 1).all()
    assert labels.tolist() == [3] * 8


def test_the_attacker_s_own_rows_else_a_third_of_the_training_rows() -> None:
    data, own = rows(), rows(5, first=100)
    assert attacker_rows(data, context(own)) == (data, own)
    known, held = attacker_rows(data, context())
    assert len(held) == 13
    assert sorted([*known.x[:, 0], *held.x[:, 0]]) == list(range(40))


def test_what_cannot_be_flipped_is_refused() -> None:
    with pytest.raises(DataError, match="rows of a class that can be mislabelled"):
        FlippedPoints()(rows(20, 1), context())
    with pytest.raises(DataError, match="a label from 0 to 3"):
        FlippedPoints(label=4)(rows(), context())
    with pytest.raises(PluginError):
        FlippedPoints(1.5)
    assert not FlippedPoints(0.01)(rows(), context()).mask.any()
