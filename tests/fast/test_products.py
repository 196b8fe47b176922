"""Products by tiles equal those of a library, for every number of columns, both types and any order of a's elements."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba", reason="products are compiled by numba (extra fast)")
from antivenom.fast.processor import REGISTER
from antivenom.fast.products import COLUMNS, ROWS, add_product


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("columns", [1, 2, 3, 5])
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("depth", [0, 1, 7, 40])
def test_product_is_added(rows: int, columns: int, depth: int, dtype: type) -> None:
    rng = np.random.default_rng(0)
    m, n = rows * ROWS, columns * COLUMNS
    around = rng.standard_normal((m + 1, n + 3)).astype(dtype)  # what is beside c stays as it is
    a, b = rng.standard_normal((depth, m + 2)).astype(dtype), rng.standard_normal((depth, n + 5)).astype(dtype)
    expected, before = around.astype(np.float64), np.abs(around).astype(np.float64)
    expected[:m, :n] += -0.5 * a.astype(np.float64)[:, :m].T @ b.astype(np.float64)[:, :n]
    add_product(around[:m, :n], -0.5, a[:, :m].T, b[:, :n])
    # `depth` roundings in the sum, one by the scale, one by adding it; and as many of what is expected, in double.
    bound = before.copy()
    bound[:m, :n] += 0.5 * np.abs(a).astype(np.float64)[:, :m].T @ np.abs(b).astype(np.float64)[:, :n]
    assert (np.abs(around - expected) <= (depth + 2) * np.finfo(dtype).eps * bound).all()


def test_each_column_counts_when_the_last_tile_is_narrow() -> None:
    lanes = REGISTER // 4
    c = np.zeros((2 * ROWS, 4 * COLUMNS), np.float32)
    a, b = np.ones((2 * ROWS, 3), np.float32), np.arange(3 * 4 * COLUMNS, dtype=np.float32).reshape(3, -1)
    add_product(c[:, : 3 * lanes], 1.0, a[:, :3], b[:, : 3 * lanes])
    assert np.array_equal(c[:, : 3 * lanes], np.tile(b.sum(axis=0)[: 3 * lanes], (2 * ROWS, 1)))
    assert not c[:, 3 * lanes :].any()


def test_nan_and_infinity_are_taken_up() -> None:
    a, b = np.ones((ROWS, 2), np.float32), np.ones((2, COLUMNS), np.float32)
    b[0, 3], b[1, 5] = np.nan, np.inf
    c = np.zeros((ROWS, COLUMNS), np.float32)
    add_product(c[:, :COLUMNS], 1.0, a[:, :2], b[:, :COLUMNS])
    assert np.isnan(c[:, 3]).all()
    assert np.isposinf(c[:, 5]).all()
    assert np.isfinite(np.delete(c, [3, 5], axis=1)).all()
