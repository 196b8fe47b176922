"""What was read against what was there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from antivenom.core.errors import DataError
from antivenom.leakage.recovery import bits_of, bits_right, exact_records, packed, psnr, reconstructed, rows_of


def test_bits_by_hand():
    rows = np.array([[0.0, 1.0], [2 / 3, 1 / 3]])
    assert bits_of(rows, 2).tolist() == [0, 0, 1, 1, 1, 0, 0, 1]
    assert packed(np.array([1, 0, 1, 1]), 3).tolist() == [5, 4]


@given(st.integers(1, 16), st.integers(0, 2**32))
def test_rows_come_back_to_half_a_level(depth, seed):
    rows = np.random.default_rng(seed).random((3, 2, 2))
    back = rows_of(bits_of(rows, depth), (2, 2), depth)
    assert np.abs(back - rows).max() <= 0.5 / (2**depth - 1) + 1e-6


def test_an_incomplete_row_is_left_out():
    assert rows_of(np.ones(8 * 3 + 5, dtype=np.uint8), (2,)).tolist() == [[1, 1]]


@pytest.mark.parametrize("rows", [np.array([[1.5]]), np.array([[-0.1]]), np.array([[np.nan]])])
def test_rows_outside_the_range_are_refused(rows):
    with pytest.raises(DataError, match=r"rows in \[0, 1\]"):
        bits_of(rows)


def test_records_are_exact_only_if_every_bit_is():
    payload = np.tile([0, 1, 1, 0], 3)
    read = payload.copy()
    read[5] ^= 1
    assert exact_records(read, payload, 4) == 2
    assert bits_right(read, payload) == pytest.approx(11 / 12)


def test_psnr_by_hand():
    """A difference of 0.1 everywhere is a mean square of 0.01: 20 dB. Of 0.01: 40 dB."""
    truth = np.full((1, 4), 0.5)
    ratios = psnr(np.stack([truth[0] + 0.1, truth[0] + 0.01, truth[0]]), truth)
    assert ratios[:2, 0] == pytest.approx([20, 40])
    assert ratios[2, 0] == np.inf
    assert reconstructed(truth + 0.1, truth).tolist() == [False]
    assert reconstructed(truth + 0.01, truth).tolist() == [True]


def test_two_guesses_of_one_record_count_once():
    truth = np.eye(3)
    assert reconstructed(np.stack([truth[1], truth[1]]), truth).tolist() == [False, True, False]


def test_no_guess_reconstructs_nothing():
    assert reconstructed(np.zeros((0, 3)), np.eye(3)).sum() == 0
